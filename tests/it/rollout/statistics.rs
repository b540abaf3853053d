//! The promises of the tests, on few rollouts; `benches/rollout.rs` makes them on hundreds.

use perf_agent::base::{Rng, SeededRng};
use perf_agent::domain::{Arm, Guard, GuardRule, Metric, RolloutState};
use perf_agent::rollout::{ALPHA, Comparison, Direction, Draw, Exceedance, Outcome, Ruler};

use super::world::{Drive, Load, Truth, plan, run};

const TALK: Load = Load { sessions_per_s: 10.0 / 3.0, turns: 3.0, drift: 0.2 };
const SINGLE: Load = Load { sessions_per_s: 10.0, turns: 1.0, drift: 0.2 };

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rolled_back(drive: &Drive) -> bool {
    matches!(drive.record.state, RolloutState::RolledBack { .. })
}

#[test]
fn the_same_config_is_promoted_under_sticky_sessions_a_ramp_and_drift() {
    let runs: Vec<_> = (100..106).map(|seed| run(seed, TALK, Truth::times(1.0), plan())).collect();
    assert!(runs.iter().all(|run| run.record.state == RolloutState::Done));
}

#[test]
fn thirty_percent_slower_is_found_in_five_minutes_and_never_promoted() {
    let truth = Truth { tpot: 1.0, ..Truth::times(1.3) };
    let runs: Vec<_> = (0..9).map(|seed| run(seed, SINGLE, truth, plan())).collect();
    assert!(runs.iter().all(rolled_back));
    assert!(median(runs.iter().map(Drive::decided_s).collect()) <= 300.0);
}

#[test]
fn twice_as_slow_is_found_in_ninety_seconds() {
    let truth = Truth { tpot: 1.0, ..Truth::times(2.0) };
    let runs: Vec<_> = (0..9).map(|seed| run(seed, SINGLE, truth, plan())).collect();
    assert!(runs.iter().all(rolled_back));
    assert!(median(runs.iter().map(Drive::decided_s).collect()) <= 90.0);
}

#[test]
fn harm_is_found_although_a_light_load_flattered_the_canary_before() {
    let truth = Truth { flattery: 0.5, ..Truth::times(1.3) };
    assert!((0..4).all(|seed| rolled_back(&run(seed, SINGLE, truth, plan()))));
}

#[test]
fn a_faster_canary_is_done_in_a_quarter_of_an_hour_at_five_requests_per_second() {
    let load = Load { sessions_per_s: 5.5, ..SINGLE };
    let runs: Vec<_> = (0..3).map(|seed| run(seed, load, Truth::times(0.8), plan())).collect();
    assert!(runs.iter().all(|run| run.record.state == RolloutState::Done));
    assert!(median(runs.iter().map(Drive::decided_s).collect()) <= 900.0);
}

#[test]
fn five_percent_errors_are_caught_after_about_34_requests() {
    let mut rng = SeededRng::new(5);
    let caught = (0..400).map(|_| {
        let mut test = Exceedance::failures(0.001);
        while test.ln_peak() < -ALPHA.ln() {
            test.observe(rng.unit() < 0.05);
        }
        test.units() as f64
    });
    let median = median(caught.collect());
    assert!((25.0..45.0).contains(&median), "{median}");
}

#[test]
fn allowed_errors_raise_an_alarm_in_less_than_alpha_of_all_streams() {
    let mut rng = SeededRng::new(6);
    let false_alarms = (0..1000).filter(|_| {
        let mut test = Exceedance::misses(0.05);
        (0..1000).for_each(|_| test.observe(rng.unit() < 0.05));
        test.ln_peak() >= f64::ln(1.0 / 0.05)
    });
    assert!(false_alarms.count() <= 50);
}

#[test]
fn equal_arms_raise_an_alarm_in_less_than_alpha_of_all_streams_whatever_the_drift() {
    let mut rng = SeededRng::new(7);
    let mut false_alarms = 0;
    for _ in 0..400 {
        let mut test = Comparison::new(Direction::Harm, 1.0, 3);
        for session in 0..600 {
            if session % 200 == 0 {
                test.begin_part();
            }
            let probability = [0.05, 0.25, 0.5][session / 200];
            let on_canary = rng.unit() < probability;
            // The load triples while the canary's share grows.
            let ms = 100.0 * f64::exp(session as f64 / 550.0 + rng.unit());
            let ruler = Ruler { centre_ln: 5.0, span_ln: 1.2 };
            test.observe(
                Draw { on_canary, probability },
                Outcome::Measured(ms),
                ruler,
                Some(300.0),
            );
        }
        false_alarms += u32::from(test.ln_peak() >= f64::ln(1.0 / 0.05));
    }
    assert!(false_alarms <= 20, "{false_alarms}");
}

#[test]
fn sessions_whose_arm_was_chosen_by_hand_are_no_evidence() {
    let mut drive = Drive::new(31, SINGLE, Truth::times(3.0), plan());
    drive.until_observing(5.0);
    for _ in 0..300 {
        drive.tick_with(|inputs| {
            inputs.records.iter_mut().for_each(|record| record.randomized = false);
        });
    }
    assert!(matches!(drive.record.state, RolloutState::Observing { step: 0, .. }));
    assert!(drive.record.steps[0].sessions.is_empty());
}

#[test]
fn a_session_speaks_once_about_latency() {
    let load = Load { sessions_per_s: 2.0, turns: 5.0, drift: 0.0 };
    let mut drive = Drive::new(32, load, Truth::times(1.0), plan());
    drive.until_observing(25.0);
    let sessions: std::collections::BTreeSet<_> =
        drive.world.history.iter().map(|record| record.session.clone()).collect();
    let status = drive.record.status();
    let harm = status.evidence.iter().find(|test| test.test == "ttft_harm").unwrap();
    assert!(harm.sessions <= sessions.len() as u64);
    let errors = status.evidence.iter().find(|test| test.test == "errors").unwrap();
    assert!(errors.sessions > status.steps[0].sessions[&Arm::Canary]);
}

#[test]
fn a_declared_trade_may_be_slower_within_its_bound_and_no_further() {
    let trade = |limit_ms| {
        let rule = GuardRule::Within { limit_ms, miss_ratio_max: 0.05 };
        let mut plan = plan();
        plan.guards[0] = Guard { metric: Metric::Ttft, rule };
        plan
    };
    let truth = Truth { ttft: 1.5, ..Truth::times(0.8) };
    let load = Load { drift: 0.0, ..SINGLE };
    assert_eq!(run(33, load, truth, trade(1500.0)).record.state, RolloutState::Done);
    let broken = run(33, load, truth, trade(500.0));
    assert!(
        rolled_back(&broken)
            && broken.record.transitions.iter().any(|t| t.why.contains("ttft_within"))
    );
}
