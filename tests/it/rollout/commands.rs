//! What people may order, and what they may not.

use perf_agent::domain::RolloutState;
use perf_agent::rollout::{Command, HoldKind, Order};

use super::world::{Drive, Load, Truth, plan};

pub const ABORT: Order = Order::Abort;
const LOAD: Load = Load { sessions_per_s: 10.0, turns: 1.0, drift: 0.0 };

pub fn order(order: Order) -> Command {
    Command { order, by: "ada".to_owned(), generation: None }
}

fn at(percent: f64, truth: Truth) -> Drive {
    let mut drive = Drive::new(21, LOAD, truth, plan());
    drive.until_observing(percent);
    drive
}

fn give(drive: &mut Drive, what: Order) {
    drive.tick_with(|inputs| inputs.commands = vec![order(what)]);
}

#[test]
fn a_pause_holds_the_weights_until_it_is_resumed() {
    let mut drive = at(25.0, Truth::times(0.8));
    give(&mut drive, Order::Pause);
    for _ in 0..4000 {
        drive.tick();
    }
    assert_eq!(drive.world.table.canary_percent, 25.0);
    assert_eq!(drive.record.status().paused.as_deref(), Some("paused by ada"));
    give(&mut drive, Order::Resume);
    drive.run_to_end();
    assert_eq!(drive.record.state, RolloutState::Done);
}

#[test]
fn a_pause_does_not_silence_an_alarm() {
    let mut drive = at(25.0, Truth::times(0.8));
    give(&mut drive, Order::Pause);
    drive.world.truth = Truth::times(2.5);
    drive.run_to_end();
    assert!(matches!(drive.record.state, RolloutState::RolledBack { .. }));
}

#[test]
fn skip_goes_on_without_waiting_but_not_to_everyone_without_proof() {
    let mut drive = at(5.0, Truth::times(1.0));
    give(&mut drive, Order::Skip);
    drive.until_observing(25.0);
    give(&mut drive, Order::Skip);
    drive.until_observing(50.0);
    give(&mut drive, Order::Skip);
    assert_eq!(drive.record.percent, 50.0);
    let refused = drive.record.transitions.last().unwrap();
    assert!(refused.why.contains("Skip by ada refused"), "{}", refused.why);
}

#[test]
fn promote_goes_to_everyone_at_the_persons_own_risk() {
    let mut drive = at(5.0, Truth::times(1.0));
    give(&mut drive, Order::Promote);
    drive.until_observing(100.0);
    assert!(drive.record.transitions.iter().any(|t| t.why == "promoted by ada"));
}

#[test]
fn abort_returns_everyone() {
    let mut drive = at(50.0, Truth::times(0.8));
    give(&mut drive, Order::Abort);
    drive.run_to_end();
    assert_eq!(
        drive.record.state,
        RolloutState::RolledBack { reason: "aborted by ada".to_owned() }
    );
    assert_eq!(drive.world.table.stable.backends[0].id, "stable");
}

#[test]
fn abort_before_anything_runs_needs_no_table() {
    let mut drive = Drive::new(21, LOAD, Truth::times(1.0), plan());
    drive.until(|record| record.state == RolloutState::Provisioning);
    give(&mut drive, Order::Abort);
    drive.run_to_end();
    assert!(drive.record.is_finished() && drive.world.applied.is_empty());
}

#[test]
fn an_order_for_an_older_generation_is_refused() {
    let mut drive = at(25.0, Truth::times(0.8));
    let generation = Some(drive.record.generation - 1);
    drive.tick_with(|i| i.commands = vec![Command { generation, ..order(Order::Abort) }]);
    assert!(matches!(drive.record.state, RolloutState::Observing { .. }));
    assert!(drive.record.transitions.last().unwrap().why.contains("refused"));
}

#[test]
fn an_order_after_the_end_changes_nothing() {
    let mut drive = at(50.0, Truth::times(0.8));
    drive.run_to_end();
    let state = drive.record.state.clone();
    give(&mut drive, Order::Abort);
    assert_eq!(drive.record.state, state);
}

#[test]
fn resume_after_a_foreign_change_asks_for_the_same_share_again() {
    let mut drive = at(25.0, Truth::times(0.8));
    drive.world.table.generation += 5;
    drive.world.table.canary_percent = 0.0;
    drive.tick();
    let foreign = drive.world.table.generation;
    give(&mut drive, Order::Resume);
    drive.until_observing(25.0);
    assert!(drive.world.table.generation > foreign);
    drive.run_to_end();
    assert_eq!(drive.record.state, RolloutState::Done);
}

#[test]
fn resume_after_a_question_gives_the_share_its_time_again() {
    let load = Load { sessions_per_s: 0.5, ..LOAD };
    let mut drive = Drive::new(15, load, Truth::times(1.1), plan());
    drive.run_to_end();
    give(&mut drive, Order::Resume);
    assert!(matches!(drive.record.state, RolloutState::Observing { step: 2, .. }));
    for _ in 0..60 {
        drive.tick();
    }
    assert!(matches!(drive.record.state, RolloutState::Observing { step: 2, .. }));
}

#[test]
fn resume_ends_an_incident_and_watches_stable_anew() {
    let mut drive = at(25.0, Truth::times(0.8));
    for _ in 0..30 {
        drive.tick_with(|inputs| {
            for record in &mut inputs.records {
                if record.arm == perf_agent::domain::Arm::Stable {
                    record.finish = perf_agent::domain::Finish::Failed;
                }
            }
        });
    }
    assert_eq!(drive.record.hold.as_ref().map(|hold| hold.kind), Some(HoldKind::Incident));
    give(&mut drive, Order::Resume);
    drive.run_to_end();
    assert_eq!(drive.record.state, RolloutState::Done);
}

#[test]
fn no_order_brings_more_users_while_something_speaks_against_the_canary() {
    let mut drive = at(5.0, Truth::times(1.0));
    drive.tick_with(|inputs| {
        let reason = "no answer".to_owned();
        inputs.canary_health = Some(perf_agent::rollout::Health::Failing { reason });
        inputs.commands = vec![order(Order::Promote)];
    });
    assert_eq!(drive.record.percent, 5.0);
    let refused = &drive.record.transitions.last().unwrap().why;
    assert!(refused.contains("Promote by ada refused: the canary is not healthy"), "{refused}");
}

#[test]
fn resume_is_refused_where_nothing_holds() {
    let mut drive = at(5.0, Truth::times(1.0));
    let judged_ms = drive.record.judged_ms;
    give(&mut drive, Order::Resume);
    assert!(drive.record.judged_ms >= judged_ms, "the share's time does not begin anew");
    let refused = &drive.record.transitions.last().unwrap().why;
    assert!(refused.contains("Resume by ada refused: nothing holds it"), "{refused}");
}

#[test]
fn a_server_that_comes_up_after_the_rollout_was_called_off_goes_again() {
    let mut drive = Drive::new(21, LOAD, Truth::times(1.0), plan());
    drive.until(|record| record.state == RolloutState::Provisioning);
    give(&mut drive, Order::Abort);
    drive.run_to_end();
    let late = perf_agent::domain::Backend { id: "late".to_owned(), url: "http://late".to_owned() };
    let inputs = perf_agent::rollout::Inputs { provisioned: Some(Ok(late)), ..Default::default() };
    let (record, wanted) = perf_agent::rollout::step(&drive.record, &inputs, drive.record.updated);
    assert_eq!(wanted, [perf_agent::rollout::Action::Stop { backend: "late".to_owned() }]);
    assert!(!record.is_finished());
}
