//! A good config's way to all users, and a bad one's way back.

use std::fmt::Write as _;
use std::path::Path;

use perf_agent::domain::{Arm, RolloutState};
use perf_agent::rollout::Action;

use super::world::{Drive, Load, Truth, plan};

const LOAD: Load = Load { sessions_per_s: 10.0, turns: 2.0, drift: 0.1 };

#[test]
fn a_faster_config_takes_every_step_and_the_old_version_is_stopped_last() {
    check("promoted.txt", &story(Truth::times(0.8)));
}

#[test]
fn a_slower_config_is_taken_back_before_anything_else_happens() {
    check("rolled_back.txt", &story(Truth::times(1.6)));
}

#[test]
fn the_status_shows_steps_evidence_and_the_end() {
    let mut drive = Drive::new(3, LOAD, Truth::times(0.8), plan());
    drive.until_observing(25.0);
    let status = drive.record.status();
    assert_eq!((status.canary_percent, status.finished), (25.0, false));
    assert_eq!(status.steps.len(), 2);
    assert_eq!(
        (status.steps[0].verdict.as_str(), status.steps[1].verdict.as_str()),
        ("passed", "running")
    );
    assert!(status.steps[0].sessions[&Arm::Canary] >= 30);
    let (stable, canary) =
        (status.steps[0].ttft_p95_ms[&Arm::Stable], status.steps[0].ttft_p95_ms[&Arm::Canary]);
    assert!(canary < stable, "{canary} {stable}");
    let tests: Vec<_> = status.evidence.iter().map(|test| test.test.as_str()).collect();
    assert!(
        tests.contains(&"errors")
            && tests.contains(&"ttft_harm")
            && tests.contains(&"tpot_promote")
    );
    drive.run_to_end();
    assert_eq!(drive.record.status().state, RolloutState::Done);
    assert!(drive.record.status().finished);
    assert_eq!(drive.world.table.stable.backends[0].id, "canary");
    assert_eq!(drive.world.table.lease_ms, None);
}

#[test]
fn a_server_that_already_runs_is_warmed_and_not_launched() {
    let mut drive = Drive::new(4, LOAD, Truth::times(0.8), plan());
    drive.record.canary = Some(super::world::backend("canary"));
    drive.until_observing(5.0);
    assert!(drive.world.launches.is_empty());
}

/// Every state and the actions that it asked for, without times and numbers.
fn story(truth: Truth) -> String {
    let mut drive = Drive::new(1, LOAD, truth, plan());
    let (mut text, mut last) = (String::new(), String::new());
    while !drive.record.is_finished() {
        let actions = drive.tick();
        let share = format!("{} %", drive.record.percent);
        let to =
            drive.record.transitions.last().map_or("planned", |transition| transition.to.as_str());
        let actions: Vec<_> = actions.iter().map(name).collect();
        let line = format!("{to} · {share} · {}", actions.join(", "));
        if line != last {
            writeln!(text, "{line}").unwrap();
        }
        last = line;
    }
    text
}

fn name(action: &Action) -> String {
    match action {
        Action::Apply { table } => {
            let arms = table
                .canary
                .iter()
                .map(|arm| format!(" + {} at {} %", arm.backends[0].id, table.canary_percent));
            let lease = if table.lease_ms.is_some() { ", lease" } else { "" };
            format!("apply({}{}{lease})", table.stable.backends[0].id, arms.collect::<String>())
        }
        Action::Stop { backend } | Action::Assign { backend } => {
            let verb = if matches!(action, Action::Stop { .. }) { "stop" } else { "assign" };
            format!("{verb}({backend})")
        }
        Action::Drain { backends, .. } => format!("drain({})", backends.join(" ")),
        other => serde_json::to_value(other).unwrap()["action"].as_str().unwrap().to_owned(),
    }
}

fn check(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rollout/golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{file} differs; UPDATE_GOLDEN=1 accepts:\n{actual}");
}
