//! What goes wrong around a rollout, and who is kept from harm.

use perf_agent::domain::RolloutState;
use perf_agent::rollout::{Action, Health, HoldKind, Lock};

use super::world::{Drive, Load, Truth, plan};

const LOAD: Load = Load { sessions_per_s: 10.0, turns: 1.0, drift: 0.0 };

fn at(percent: f64) -> Drive {
    let mut drive = Drive::new(11, LOAD, Truth::times(0.9), plan());
    drive.until_observing(percent);
    drive
}

fn down() -> Option<Health> {
    Some(Health::Down { reason: "exit code 137".to_owned() })
}

fn failing() -> Option<Health> {
    Some(Health::Failing { reason: "timeout".to_owned() })
}

fn asks(drive: &Drive) -> bool {
    matches!(drive.record.state, RolloutState::NeedsHuman { .. })
}

fn goes_back(drive: &Drive) -> bool {
    matches!(drive.record.state, RolloutState::RollingBack { .. })
}

#[test]
fn a_crash_sends_everyone_back_in_the_same_look() {
    let mut drive = at(25.0);
    let actions = drive.tick_with(|inputs| inputs.canary_health = down());
    let Some(Action::Apply { table }) = actions.first() else { panic!("{actions:?}") };
    assert_eq!((table.canary_percent, table.lease_ms), (0.0, None));
    assert!(goes_back(&drive));
    drive.run_to_end();
    assert!(drive.world.stopped.contains("canary") && !drive.world.stopped.contains("stable"));
}

#[test]
fn a_config_that_failed_is_blocked_and_an_aborted_one_is_not() {
    let mut drive = at(5.0);
    drive.tick_with(|inputs| inputs.canary_health = down());
    assert!(drive.record.blamed);
    let mut drive = at(5.0);
    drive
        .tick_with(|inputs| inputs.commands = vec![super::commands::order(super::commands::ABORT)]);
    assert!(goes_back(&drive) && !drive.record.blamed);
}

#[test]
fn two_failed_health_checks_are_forgiven_and_three_are_not() {
    let mut drive = at(5.0);
    for _ in 0..2 {
        drive.tick_with(|inputs| inputs.canary_health = failing());
    }
    drive.tick_with(|inputs| inputs.canary_health = Some(Health::Healthy));
    for _ in 0..2 {
        drive.tick_with(|inputs| inputs.canary_health = failing());
    }
    assert!(!goes_back(&drive));
    drive.tick_with(|inputs| inputs.canary_health = failing());
    assert!(goes_back(&drive));
}

#[test]
fn nobody_is_sent_back_to_a_dead_stable() {
    let mut drive = at(25.0);
    drive.tick_with(|inputs| (inputs.canary_health, inputs.stable_health) = (down(), down()));
    assert!(asks(&drive));
    assert_eq!(drive.world.table.canary_percent, 25.0);
    // Once stable is back, so are its users.
    drive.tick_with(|inputs| inputs.canary_health = down());
    assert!(goes_back(&drive));
}

#[test]
fn a_launch_that_fails_ends_the_rollout_with_no_user_exposed() {
    let mut drive = Drive::new(12, LOAD, Truth::times(0.9), plan());
    drive.world.launch_fails = true;
    drive.run_to_end();
    let RolloutState::RolledBack { reason } = &drive.record.state else { panic!() };
    assert!(reason.contains("CUDA out of memory"));
    assert!(drive.world.applied.is_empty() && drive.record.blamed);
}

#[test]
fn a_failed_warm_up_stops_the_canary_with_no_user_exposed() {
    let mut drive = Drive::new(12, LOAD, Truth::times(0.9), plan());
    drive.until(|record| record.state == RolloutState::Warming);
    let actions =
        drive.tick_with(|inputs| inputs.warmed = Some(Err("TTFT never settled".to_owned())));
    assert!(actions.contains(&Action::Stop { backend: "canary".to_owned() }));
    assert!(drive.world.applied.is_empty());
}

#[test]
fn a_second_rollout_waits_for_the_lock() {
    let mut drive = Drive::new(12, LOAD, Truth::times(0.9), plan());
    for _ in 0..5 {
        let actions = drive.tick_with(|i| i.lock = Some(Lock::Held { by: "r-0".to_owned() }));
        assert!(matches!(actions[..], [Action::Lock { .. }]));
    }
    assert_eq!(drive.record.state, RolloutState::Planned);
}

#[test]
fn without_a_baseline_nothing_is_started() {
    let mut drive = Drive::new(12, LOAD, Truth::times(0.9), plan());
    for _ in 0..1900 {
        drive.tick_with(|inputs| inputs.baseline = None);
    }
    let RolloutState::RolledBack { reason } = &drive.record.state else { panic!() };
    assert_eq!(reason, "preflight: stable was not measured");
    assert!(drive.world.launches.is_empty());
}

#[test]
fn a_table_that_nobody_reads_back_is_reverted() {
    let mut drive = Drive::new(13, LOAD, Truth::times(0.9), plan());
    drive.until(|record| record.state == RolloutState::Warming);
    drive.world.deafen(60_000);
    drive.until(|record| matches!(record.state, RolloutState::RollingBack { .. }));
    assert!(!drive.record.blamed);
    drive.run_to_end();
    assert!(drive.record.is_finished() && drive.world.table.canary_percent == 0.0);
}

#[test]
fn a_foreign_change_is_never_fought() {
    let mut drive = at(25.0);
    drive.world.table.generation += 3;
    drive.world.table.canary_percent = 10.0;
    let table = drive.world.table.clone();
    drive.tick();
    assert!(asks(&drive));
    for _ in 0..100 {
        assert!(drive.tick().is_empty());
    }
    assert_eq!(drive.world.table, table);
}

#[test]
fn an_expired_lease_is_a_rollback() {
    let mut drive = at(50.0);
    drive.world.expire_lease();
    drive.run_to_end();
    let RolloutState::RolledBack { reason } = &drive.record.state else { panic!() };
    assert!(reason.contains("lease expired"));
    assert!(!drive.record.blamed && drive.record.is_finished());
}

#[test]
fn lost_metrics_freeze_and_then_send_everyone_back() {
    let mut drive = at(25.0);
    let blind = |drive: &mut Drive, looks| {
        for _ in 0..looks {
            drive.tick_with(|i| (i.metrics_fresh_at, i.records) = (None, Vec::new()));
        }
    };
    blind(&mut drive, 60);
    assert_eq!(drive.record.hold.as_ref().map(|hold| hold.kind), Some(HoldKind::MetricsLost));
    drive.tick();
    assert_eq!(drive.record.hold, None);
    blind(&mut drive, 200);
    assert!(drive.record.is_over() || goes_back(&drive));
}

#[test]
fn lost_metrics_and_an_invisible_stable_are_a_question() {
    let mut drive = at(25.0);
    for _ in 0..200 {
        drive.tick_with(|inputs| {
            (inputs.metrics_fresh_at, inputs.stable_health) = (None, None);
            inputs.records.clear();
        });
    }
    assert!(asks(&drive));
    assert_eq!(drive.world.table.canary_percent, 25.0);
}

#[test]
fn no_traffic_holds_for_an_hour_and_is_no_failure() {
    let mut drive = at(25.0);
    for _ in 0..3600 {
        drive.tick_with(|inputs| inputs.records.clear());
    }
    assert!(matches!(drive.record.state, RolloutState::Observing { step: 1, .. }));
    assert_eq!(drive.record.hold.as_ref().map(|hold| hold.kind), Some(HoldKind::NoTraffic));
    drive.run_to_end();
    assert_eq!(drive.record.state, RolloutState::Done);
}

#[test]
fn errors_that_stable_already_has_hold_and_blame_nobody() {
    // Where both arms begin to fail within the same second the canary may be taken back first: the safe side.
    let mut drive = at(25.0);
    drive.world.stable_failures = 0.3;
    for _ in 0..10 {
        drive.tick();
    }
    drive.world.truth.failures = 0.3;
    for _ in 0..120 {
        drive.tick();
    }
    assert_eq!(drive.record.hold.as_ref().map(|hold| hold.kind), Some(HoldKind::Incident));
    assert!(matches!(drive.record.state, RolloutState::Observing { .. }));
    assert_eq!(drive.world.table.canary_percent, 25.0);
}

#[test]
fn a_canary_that_breaks_only_under_all_the_load_is_taken_back_from_100_percent() {
    let truth = Truth { alone: 2.0, ..Truth::times(0.8) };
    let mut drive = Drive::new(14, LOAD, truth, plan());
    drive.until_observing(100.0);
    drive.run_to_end();
    let RolloutState::RolledBack { reason } = &drive.record.state else { panic!() };
    assert!(reason.contains("full_load"), "{reason}");
    assert_eq!(drive.world.table.stable.backends[0].id, "stable");
}

#[test]
fn a_canary_that_cannot_be_proven_is_a_question_and_keeps_its_weight() {
    let mut drive = Drive::new(15, Load { sessions_per_s: 0.5, ..LOAD }, Truth::times(1.1), plan());
    drive.run_to_end();
    let RolloutState::NeedsHuman { reason } = &drive.record.state else { panic!() };
    assert!(reason.contains("not worse"), "{reason}");
    assert_eq!(drive.world.table.canary_percent, 50.0);
}
