//! What is sent when is decided by the seed alone.

use perf_agent::base::Coded as _;
use perf_agent::domain::{TokenLengths, WorkloadProfile};
use perf_agent::loadgen::{Arrival, LoadOptions, Sessions, schedule};
use proptest::prelude::*;

/// A load of short chats.
pub fn load(url: &str, rate_rps: f64) -> LoadOptions {
    let lengths = |p50: f64| TokenLengths { mean: p50, p50, p95: 1.5 * p50 };
    let profile = WorkloadProfile {
        request_rate_rps: rate_rps,
        arrival_cv: 1.0,
        input_tokens: lengths(100.0),
        output_tokens: lengths(20.0),
        shared_prefix_ratio: 0.5,
    };
    let mut load = LoadOptions::new(url, "m", profile, 7);
    (load.warmup_s, load.duration_s) = (0.0, 100.0);
    load
}

#[test]
fn one_seed_is_one_history_and_another_seed_is_another() {
    let base = load("http://127.0.0.1:1", 5.0);
    assert_eq!(schedule(&base), schedule(&base));
    let other = LoadOptions { seed: 8, ..base.clone() };
    assert_ne!(schedule(&base), schedule(&other));
}

#[test]
fn arrivals_have_the_rate_and_the_variation_that_were_asked_for() {
    for cv in [0.0, 0.5, 1.0, 2.0] {
        let mut load = load("http://127.0.0.1:1", 20.0);
        load.duration_s = 1_000.0;
        load.profile.arrival_cv = cv;
        let times: Vec<f64> = schedule(&load).iter().map(|arrival| arrival.at_s).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 20.0 - 1.0).abs() < 0.1, "mean gap at cv {cv}: {mean}");
        assert!((variance.sqrt() / mean - cv).abs() < 0.15, "cv {cv}: {}", variance.sqrt() / mean);
    }
}

#[test]
fn turns_of_a_session_come_in_order_and_its_think_time_apart() {
    let mut load = load("http://127.0.0.1:1", 10.0);
    load.sessions = Sessions { turns: 3, think_s: 4.0 };
    let arrivals = schedule(&load);
    let of = |session: u64| -> Vec<&Arrival> {
        arrivals.iter().filter(|arrival| arrival.session == session).collect()
    };
    for session in 0..80 {
        let turns: Vec<u32> = of(session).iter().map(|arrival| arrival.turn).collect();
        assert_eq!(turns, [0, 1, 2], "session {session}");
    }
    let gaps: Vec<f64> = (0..80).map(|session| of(session)[1].at_s - of(session)[0].at_s).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    assert!((mean - 4.0).abs() < 0.5, "{mean}");
}

#[tokio::test]
async fn other_machines_are_not_loaded_unless_that_is_allowed() {
    let clock = std::sync::Arc::new(perf_agent::base::SystemClock);
    for (url, code) in [
        ("http://10.1.2.3:8000", "loadgen.remote"),
        ("http://example.com", "loadgen.remote"),
        ("https://127.0.0.1:1", "loadgen.bad_url"),
        ("nonsense", "loadgen.bad_url"),
    ] {
        let error = perf_agent::loadgen::run(&load(url, 1.0), clock.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{url}");
    }
    let mut endless = load("http://127.0.0.1:1", 0.0);
    let error = perf_agent::loadgen::run(&endless, clock.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "request_rate_rps is 0, expected a number above zero");
    endless.profile.request_rate_rps = f64::NAN;
    assert!(perf_agent::loadgen::run(&endless, clock).await.is_err());
}

proptest! {
    #[test]
    fn arrivals_stay_in_the_window_and_in_order(
        seed: u64, rate in 0.1..50.0_f64, cv in 0.0..3.0_f64, turns in 1..6_u32,
    ) {
        let mut load = load("http://127.0.0.1:1", rate);
        (load.seed, load.duration_s, load.profile.arrival_cv) = (seed, 20.0, cv);
        load.sessions.turns = turns;
        let arrivals = schedule(&load);
        prop_assert!(arrivals.iter().all(|arrival| (0.0..20.0).contains(&arrival.at_s)));
        prop_assert!(arrivals.is_sorted_by(|a, b| a.at_s <= b.at_s));
        prop_assert!(arrivals.iter().all(|arrival| arrival.turn < turns));
    }
}
