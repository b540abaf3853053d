//! Everyone at once: no share is compared, and a bad config still does not stay.

use perf_agent::domain::{Arm, Guard, GuardRule, Metric, RolloutPlan, RolloutState};
use perf_agent::rollout::{Action, is_blue_green, validate};

use super::world::{Drive, Load, Truth, plan};

const LOAD: Load = Load { sessions_per_s: 4.0, turns: 1.5, drift: 0.0 };

fn at_once() -> RolloutPlan {
    RolloutPlan {
        steps_percent: vec![100.0],
        bake_time_ms: 30_000,
        soak_ms: 20_000,
        sessions_min: 30,
        ..plan()
    }
}

#[test]
fn exactly_one_step_of_everyone_is_a_plan() {
    assert_eq!(validate(&at_once(), 1), Ok(()));
    assert!(is_blue_green(&at_once()) && !is_blue_green(&plan()));
    let almost = RolloutPlan { steps_percent: vec![99.0], ..at_once() };
    assert!(validate(&almost, 1).is_err());
    let unguarded = RolloutPlan { guards: vec![], ..at_once() };
    assert!(validate(&unguarded, 1).is_err());
}

#[test]
fn a_faster_config_takes_everyone_and_the_old_one_idles_until_the_end() {
    let mut drive = Drive::new(1, LOAD, Truth::times(0.5), at_once());
    drive.until(|record| matches!(record.state, RolloutState::Soak { .. }));
    let step = &drive.record.status().steps[0];
    assert_eq!((step.percent, step.verdict.as_str()), (100.0, "passed"));
    assert!(step.sessions[&Arm::Canary] >= 30 && !step.sessions.contains_key(&Arm::Stable));
    assert!(step.ended.unwrap().since(step.started) >= 30_000);
    assert!(!drive.world.stopped.contains("stable"), "nothing to go back to in the soak");
    drive.run_to_end();
    assert_eq!(drive.record.state, RolloutState::Done);
    assert!(drive.world.stopped.contains("stable"));
    assert_eq!(drive.world.table.stable.backends[0].id, "canary");
}

#[test]
fn a_slower_config_is_taken_back_by_the_bound_on_everyone() {
    let mut drive = Drive::new(2, LOAD, Truth::times(2.5), at_once());
    drive.run_to_end();
    assert!(matches!(drive.record.state, RolloutState::RolledBack { .. }));
    assert_eq!(drive.world.table.stable.backends[0].id, "stable");
}

#[test]
fn a_declared_bound_is_kept_where_nothing_is_compared() {
    let rule = GuardRule::Within { limit_ms: 300.0, miss_ratio_max: 0.05 };
    let guards = vec![Guard { metric: Metric::Ttft, rule }];
    let mut drive = Drive::new(3, LOAD, Truth::times(2.0), RolloutPlan { guards, ..at_once() });
    drive.run_to_end();
    let RolloutState::RolledBack { reason } = &drive.record.state else { panic!("kept") };
    assert!(reason.contains("ttft_full_load"), "{reason}");
}

#[test]
fn failures_take_everyone_back_at_once() {
    let truth = Truth { failures: 0.3, ..Truth::times(0.5) };
    let mut drive = Drive::new(4, LOAD, truth, at_once());
    drive.run_to_end();
    let RolloutState::RolledBack { reason } = &drive.record.state else { panic!("kept") };
    assert!(reason.starts_with("errors"), "{reason}");
    assert!(drive.decided_s() < 30.0, "{}", drive.decided_s());
}

#[test]
fn while_the_old_version_still_works_latency_is_nobodys_fault() {
    let mut drive = Drive::new(5, LOAD, Truth::times(3.0), at_once());
    let busy = |inputs: &mut perf_agent::rollout::Inputs| {
        inputs.in_flight.insert("stable".to_owned(), 3);
    };
    drive.until_observing(100.0);
    let since = drive.now;
    while drive.now.since(since) < 20_000 {
        let actions = drive.tick_with(busy);
        assert!(actions.iter().any(|action| matches!(action, Action::Drain { .. })));
    }
    assert!(matches!(drive.record.state, RolloutState::Observing { .. }), "judged too early");
    // Now it is idle; what queued up gets twice that time, then the canary answers for itself.
    drive.world.truth = Truth::times(0.5);
    drive.until(|record| matches!(record.state, RolloutState::Draining { .. }));
    assert!(drive.now.since(since) >= 3 * 20_000 + 30_000);
}

#[test]
fn an_old_version_that_never_ends_does_not_keep_the_new_one_from_being_judged() {
    let mut drive = Drive::new(6, LOAD, Truth::times(3.0), at_once());
    drive.until_observing(100.0);
    while matches!(drive.record.state, RolloutState::Observing { .. }) {
        drive.tick_with(|inputs| {
            inputs.in_flight.insert("stable".to_owned(), 1);
        });
    }
    assert!(matches!(drive.record.state, RolloutState::RollingBack { .. }));
}
