//! Causes, their evidence, and what is said when a number is missing.

use perf_agent::domain::*;
use perf_agent::tuning::diagnose;

use super::fixtures::*;

fn eight_seats() -> Deployment {
    unknown_deployment(&[(Knob::MaxNumSeqs, int(8))])
}

#[test]
fn full_seats_with_an_empty_cache_are_named_from_engine_metrics_alone() {
    let diagnosis = diagnose(&seats_taken(), None, &chat_slo(), &eight_seats());
    assert_eq!((diagnosis.bottleneck, diagnosis.score), (Cause::Seats, 1.0));
    assert!(!diagnosis.ambiguous);
    assert_eq!(diagnosis.evidence[0].metric, "running_p95");
    assert_eq!(diagnosis.evidence[0].expected, "≥ 7.6 (0.95 · max_num_seqs)");
    assert_eq!(
        diagnosis.explanation,
        "All seats are taken: 8 of 8 run while 21 requests wait, and the KV cache is 12 % full. \
         Missed: TTFT p95 is about 4000 ms of 1000 ms allowed."
    );
}

#[test]
fn met_targets_are_cause_none_and_say_by_which_numbers() {
    let client = stats(100, 800.0, 40.0, 5000.0);
    let observation = Observation { client: Some(client), ..seats_taken() };
    let diagnosis = diagnose(&observation, None, &chat_slo(), &eight_seats());
    assert_eq!(diagnosis.bottleneck, Cause::None);
    assert_eq!(
        diagnosis.explanation,
        "Every target is met: TTFT p95 is 800 ms, within the 1000 ms allowed; \
         TPOT p95 is 40 ms, within the 100 ms allowed."
    );
}

#[test]
fn healthy_survivors_do_not_hide_a_growing_queue() {
    let observation = Observation {
        client: Some(stats(100, 800.0, 40.0, 5000.0)),
        waiting: Some(gauge(&[2.0, 10.0, 20.0, 40.0], 60.0)),
        ..seats_taken()
    };
    let diagnosis = diagnose(&observation, None, &chat_slo(), &eight_seats());
    assert_eq!(diagnosis.bottleneck, Cause::Seats);
}

#[test]
fn an_exact_bucket_edge_decides_before_an_interpolated_percentile() {
    let mut ttft = latency(500.0, 1100.0);
    ttft.edges = vec![
        HistogramEdge { le_ms: 750.0, fraction: 0.90 },
        HistogramEdge { le_ms: 1000.0, fraction: 0.96 },
    ];
    let observation = Observation { ttft: Some(ttft), ..seats_taken() };
    let diagnosis = diagnose(&observation, None, &chat_slo(), &eight_seats());
    assert_eq!(diagnosis.bottleneck, Cause::None);
    assert!(diagnosis.explanation.contains("96.0 % of requests have TTFT ≤ 1000 ms"));
}

#[test]
fn an_unknown_metric_does_not_hold_and_is_said_so() {
    let observation = Observation { kv_cache_utilization: None, ..seats_taken() };
    let diagnosis = diagnose(&observation, None, &chat_slo(), &eight_seats());
    let kv = &diagnosis.evidence[2];
    assert_eq!((kv.metric.as_str(), kv.value, kv.holds), ("kv_cache_utilization_p95", None, false));
    assert!(kv.expected.contains("not measured"));
}

#[test]
fn without_model_and_device_their_causes_cannot_win() {
    let observation = Observation {
        running: Some(gauge(&[3.0; 4], 60.0)),
        waiting: Some(gauge(&[0.0; 4], 60.0)),
        ..seats_taken()
    };
    let diagnosis = diagnose(&observation, None, &chat_slo(), &eight_seats());
    assert_eq!(diagnosis.bottleneck, Cause::Unknown);
    assert!(diagnosis.explanation.starts_with("The evidence names no cause"));
}

#[test]
fn a_moment_is_not_a_cause() {
    let earlier = Observation {
        running: Some(gauge(&[3.0; 4], 60.0)),
        waiting: Some(gauge(&[0.0; 4], 60.0)),
        ..seats_taken()
    };
    let (slo, deployment) = (chat_slo(), eight_seats());
    let diagnosis = diagnose(&seats_taken(), Some(&earlier), &slo, &deployment);
    assert_ne!(diagnosis.bottleneck, Cause::Seats);
    let sustained = diagnose(&seats_taken(), Some(&seats_taken()), &slo, &deployment);
    assert_eq!(sustained.bottleneck, Cause::Seats);
}

#[test]
fn an_idle_deployment_without_targets_has_no_cause() {
    let observation = Observation {
        running: Some(gauge(&[0.0, 1.0], 60.0)),
        waiting: Some(gauge(&[0.0, 0.0], 60.0)),
        ..blank()
    };
    let diagnosis = diagnose(&observation, None, &objective(&[]), &eight_seats());
    assert_eq!(diagnosis.bottleneck, Cause::None);
}
