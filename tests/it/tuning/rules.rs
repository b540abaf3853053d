//! What is proposed where no simulator can help.

use perf_agent::domain::*;
use perf_agent::tuning::{diagnose, legality, propose_by_rules};

use super::fixtures::*;

fn naive_cpu(gpu_name: Option<&str>) -> Deployment {
    let mut deployment = unknown_deployment(&[
        (Knob::EnforceEager, KnobValue::Bool(true)),
        (Knob::MaxNumSeqs, int(4)),
        (Knob::CpuKvCacheSpaceGib, int(4)),
    ]);
    deployment.gpu = gpu_name.map(|name| GpuSpec { name: name.into(), ..h100() });
    deployment
}

fn four_seats_taken() -> Observation {
    Observation { running: Some(gauge(&[4.0; 12], 60.0)), ..seats_taken() }
}

fn names(deployment: &Deployment, observation: &Observation) -> Vec<String> {
    let diagnosis = diagnose(observation, None, &chat_slo(), deployment);
    let proposals = propose_by_rules(&diagnosis, deployment, observation);
    for proposal in &proposals {
        assert!(legality::check(deployment, &proposal.config).is_empty(), "{proposal:?}");
        assert_eq!(proposal.prediction, None);
        assert!(!proposal.change.is_empty());
    }
    proposals.into_iter().map(|proposal| proposal.name).collect()
}

#[test]
fn a_cpu_server_short_of_seats_gets_seats_then_all_cores_and_is_never_compiled_beside_its_users() {
    assert_eq!(
        names(&naive_cpu(Some("cpu-2")), &four_seats_taken()),
        ["seats-16", "seats-16-cores-0-1", "seats-64", "seats-64-cores-0-1", "cores-0-1"]
    );
}

#[test]
fn cores_are_never_invented() {
    let names = names(&naive_cpu(None), &four_seats_taken());
    assert!(names.iter().all(|name| !name.contains("cores")), "{names:?}");
}

#[test]
fn a_met_target_needs_no_proposal() {
    let observation =
        Observation { client: Some(stats(100, 300.0, 40.0, 3000.0)), ..four_seats_taken() };
    assert_eq!(names(&naive_cpu(Some("cpu-2")), &observation), Vec::<String>::new());
}
