//! Search: pruned, screened, shortlisted, and the same every time.

use perf_agent::domain::*;
use perf_agent::tuning::{
    SearchBudget, SearchRequest, SearchResult, legality, plan_capacity, predict, search,
};

use super::fixtures::*;
use super::injected::{load, search_request};

/// Eight seats where thirty are needed, on one H100.
fn short_of_seats() -> SearchRequest {
    request(&[(Knob::MaxNumSeqs, int(8))], load(8.0, (700.0, 3000.0), (150.0, 500.0)))
}

fn request(knobs: &[(Knob, KnobValue)], profile: WorkloadProfile) -> SearchRequest {
    let objective = objective(&[(Metric::Ttft, 600.0), (Metric::Tpot, 60.0)]);
    let budget = SearchBudget { configs_max: 60, final_requests: 1000 };
    search_request(knobs, profile, objective, budget)
}

fn show(result: &SearchResult) {
    for proposal in &result.shortlist {
        println!("{}: {}", proposal.name, proposal.rationale);
    }
    println!("{:?}\n{:?}\n{:?}", result.incumbent, result.screened, result.reasons);
}

#[test]
fn the_smallest_safe_change_comes_first_and_is_predicted_to_meet_the_targets() {
    let request = short_of_seats();
    assert_eq!(request.diagnosis.bottleneck, Cause::Seats);
    let result = search(&request).unwrap();
    show(&result);
    let first = &result.shortlist[0];
    assert_eq!(first.change.keys().copied().collect::<Vec<_>>(), [Knob::MaxNumSeqs]);
    let prediction = first.prediction.as_ref().unwrap();
    assert!(prediction.ttft_p95_ms <= 600.0 && prediction.tpot_p95_ms <= 60.0, "{prediction:?}");
    assert!(result.incumbent.unwrap().ttft_p95_ms > 600.0);
    assert!((1..=6).contains(&result.shortlist.len()));
}

#[test]
fn every_shortlisted_config_is_legal_and_leaves_precision_alone() {
    let request = short_of_seats();
    let result = search(&request).unwrap();
    for proposal in &result.shortlist {
        assert_eq!(legality::check(&request.deployment, &proposal.config), [], "{proposal:?}");
        assert!(!proposal.change.contains_key(&Knob::Quantization));
        assert!(!proposal.change.contains_key(&Knob::KvCacheDtype));
        assert!(!proposal.change.contains_key(&Knob::MaxModelLen));
    }
}

#[test]
fn one_seed_gives_one_shortlist() {
    let request = short_of_seats();
    assert_eq!(search(&request).unwrap(), search(&request).unwrap());
}

#[test]
fn met_targets_are_not_searched_for() {
    let request = request(&[], load(2.0, (700.0, 3000.0), (150.0, 500.0)));
    assert_eq!(request.diagnosis.bottleneck, Cause::None);
    let result = search(&request).unwrap();
    assert!(result.shortlist.is_empty());
    assert_eq!(result.reasons, ["every target is met, nothing to search for"]);
}

#[test]
fn without_a_model_the_rules_propose_and_predict_nothing() {
    let mut request = short_of_seats();
    request.deployment.model = None;
    request.observation = seats_taken();
    let result = search(&request).unwrap();
    assert_eq!(result.shortlist[0].name, "seats-32");
    assert!(result.shortlist.iter().all(|proposal| proposal.prediction.is_none()));
}

#[test]
fn a_config_that_cannot_start_has_no_prediction() {
    let request = short_of_seats();
    let config = request.deployment.config.clone().with(Knob::MaxNumBatchedTokens, int(4));
    let error = predict(&request.deployment, &request.observation, &config, 1).unwrap_err();
    assert!(error.to_string().contains("max_num_batched_tokens"), "{error}");
}

#[test]
fn capacity_grows_with_seats_and_tells_the_replicas_a_load_needs() {
    let request = short_of_seats();
    let plan = |config: &ServingConfig| {
        plan_capacity(&request.deployment, &request.observation, &request.objective, config, 1)
            .unwrap()
    };
    let now = plan(&request.deployment.config);
    let wide = plan(&request.deployment.config.clone().with(Knob::MaxNumSeqs, int(128)));
    assert!(now.headroom_ratio < 0.0 && wide.headroom_ratio > 0.0, "{now:?} {wide:?}");
    assert!(wide.rps_per_replica_max > 1.5 * now.rps_per_replica_max);
    assert!(now.replicas_needed > wide.replicas_needed);
    let double = wide.replicas_for(2.0 * wide.rps_per_replica_max);
    assert_eq!(double, Some(2));
}
