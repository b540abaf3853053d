//! When a window meets an objective.

use perf_agent::base::Millis;
use perf_agent::domain::{Arm, Finish, Metric, Objective, RequestRecord, Statistic, Target};
use perf_agent::loadgen::{meets, share_within};

fn record(ttft_ms: f64, finish: Finish) -> RequestRecord {
    RequestRecord {
        arm: Arm::Stable,
        canary_probability: 0.0,
        session: "s".to_owned(),
        first_turn: true,
        randomized: false,
        started: Millis(0),
        finished: Millis(1),
        ttft_ms: Some(ttft_ms),
        tpot_ms: None,
        itl_max_ms: None,
        e2e_ms: None,
        input_tokens: None,
        output_tokens: 1,
        status: 200,
        finish,
    }
}

fn ttft(statistic: Statistic) -> Objective {
    Objective {
        deployment: "d".to_owned(),
        targets: vec![Target { metric: Metric::Ttft, statistic, max_ms: 100.0 }],
        keep: Vec::new(),
        improve: None,
    }
}

/// `good` fast requests and `bad` ones that ended this way.
fn window(good: usize, bad: usize, finish: Finish) -> Vec<RequestRecord> {
    let mut records = vec![record(10.0, Finish::Complete); good];
    records.extend(vec![record(if finish == Finish::Complete { 500.0 } else { 1.0 }, finish); bad]);
    records
}

#[test]
fn a_p95_is_met_when_95_of_100_requests_are_within_its_bound() {
    let objective = ttft(Statistic::P95);
    assert!(meets(&window(95, 5, Finish::Complete), &objective));
    assert!(!meets(&window(94, 6, Finish::Complete), &objective));
}

#[test]
fn requests_that_failed_or_broke_are_within_no_bound_and_client_aborts_do_not_count() {
    let objective = ttft(Statistic::P95);
    for finish in [Finish::Failed, Finish::Cut] {
        assert!(!meets(&window(90, 10, finish), &objective));
        assert_eq!(share_within(&window(90, 10, finish), &objective), Some(0.9));
        assert!(!meets(&window(90, 10, finish), &ttft(Statistic::Mean)));
    }
    assert!(meets(&window(90, 10, Finish::ClientGone), &objective));
}

#[test]
fn no_request_is_no_pass() {
    assert!(!meets(&[], &ttft(Statistic::P95)));
    assert_eq!(share_within(&[], &ttft(Statistic::P95)), None);
}

#[test]
fn a_mean_is_a_mean() {
    assert!(meets(&window(9, 1, Finish::Complete), &ttft(Statistic::Mean)), "mean 59");
    assert!(!meets(&window(5, 5, Finish::Complete), &ttft(Statistic::Mean)), "mean 255");
}
