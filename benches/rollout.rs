//! Simulated rollouts by the hundred: false rollbacks, time to an alarm, time to done. Prints the table of `docs/rollout.md`.
//!
//! `cargo bench --bench rollout -- 400` for 400 rollouts a line; the first argument that is a number counts.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop where it is")]
#![allow(
    missing_docs,
    dead_code,
    reason = "the world is shared with the tests, which use all of it"
)]

#[path = "../tests/it/rollout/world.rs"]
mod world;

use perf_agent::domain::{Arm, RequestRecord, RolloutState};
use world::{Drive, Load, Truth, plan, run};

struct Line {
    name: &'static str,
    load: Load,
    truth: Truth,
    share: usize,
}

fn main() {
    let rollouts = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(400);
    println!(
        "| scenario | sessions/s × turns | rollouts | rolled back | done | asked | alarm s p50 / p90 | canary requests at alarm p50 | done s p50 / p90 | fixed threshold: rolled back, s p50 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for line in lines() {
        report(&line, (rollouts / line.share).max(1));
    }
}

fn lines() -> Vec<Line> {
    let single = Load { sessions_per_s: 10.0, turns: 1.0, drift: 0.2 };
    let talk = Load { sessions_per_s: 10.0 / 3.0, turns: 3.0, drift: 0.2 };
    let vllm = Load { sessions_per_s: 5.5, turns: 1.0, drift: 0.2 };
    let slow = Load { sessions_per_s: 1.0, turns: 1.0, drift: 0.2 };
    let line = |name, load, truth, share| Line { name, load, truth, share };
    let failing = Truth { failures: 0.05, ..Truth::times(1.0) };
    let ttft = |factor| Truth { ttft: factor, ..Truth::times(1.0) };
    let alone = Truth { alone: 2.0, ..Truth::times(0.9) };
    let flattered = Truth { flattery: 0.4, ..Truth::times(1.3) };
    let tpot_only = Truth { tpot: 1.3, ..Truth::times(0.8) };
    vec![
        line("same", single, Truth::times(1.0), 1),
        line("same", talk, Truth::times(1.0), 1),
        line("same", slow, Truth::times(1.0), 4),
        line("3 % slower", single, Truth::times(1.03), 4),
        line("30 % slower", single, Truth::times(1.3), 2),
        line("30 % slower", talk, Truth::times(1.3), 2),
        line("30 % slower", slow, Truth::times(1.3), 4),
        line("TTFT 30 % slower", single, ttft(1.3), 2),
        line("TTFT 30 % slower", talk, ttft(1.3), 2),
        line("TTFT 2× slower", single, ttft(2.0), 4),
        line("TTFT 15 % slower", single, ttft(1.15), 4),
        line("30 % slower, 40 % flattered by light load", single, flattered, 4),
        line("2× slower only when alone", single, alone, 4),
        line("TTFT −20 %, TPOT +30 %", single, tpot_only, 4),
        line("2× slower", single, Truth::times(2.0), 4),
        line("2× slower", talk, Truth::times(2.0), 4),
        line("5 % errors", single, failing, 4),
        line("20 % faster", vllm, Truth::times(0.8), 4),
        line("50 % faster", vllm, Truth::times(0.5), 4),
        line("20 % faster", slow, Truth::times(0.8), 4),
        line("50 % faster", slow, Truth::times(0.5), 4),
    ]
}

fn report(line: &Line, rollouts: usize) {
    let (mut alarms, mut alarm_requests, mut dones, mut fixed) = (vec![], vec![], vec![], vec![]);
    let mut asked = 0;
    let mut reasons = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..rollouts as u64 {
        let run = run(seed, line.load, line.truth, plan());
        fixed.extend(fixed_threshold_s(&run));
        match &run.record.state {
            RolloutState::RolledBack { reason } => {
                let test = reason.split(':').next().unwrap_or_default();
                *reasons.entry(test.to_owned()).or_default() += 1;
                alarms.push(run.decided_s());
                let canary = run.world.history.iter().filter(|r| r.arm == Arm::Canary);
                alarm_requests.push(canary.count() as f64);
            }
            RolloutState::Done => dones.push(run.decided_s()),
            RolloutState::NeedsHuman { reason } => {
                asked += 1;
                *reasons
                    .entry(reason.split(':').next().unwrap_or_default().to_owned())
                    .or_default() += 1;
            }
            other => *reasons.entry(format!("{other:?}")).or_default() += 1,
        }
    }
    let share = |count: usize| format!("{:.1} %", 100.0 * count as f64 / rollouts as f64);
    println!(
        "| {} | {:.1} × {:.0} | {rollouts} | {} | {} | {} | {} | {} | {} | {}, {} |",
        line.name,
        line.load.sessions_per_s,
        line.load.turns,
        share(alarms.len()),
        share(dones.len()),
        share(asked),
        pair(&mut alarms),
        pair(&mut alarm_requests).split(' ').next().unwrap_or_default(),
        pair(&mut dones),
        share(fixed.len()),
        pair(&mut fixed).split(' ').next().unwrap_or_default(),
    );
    eprintln!("    {reasons:?}");
}

/// Median and 90th percentile as text.
fn pair(values: &mut [f64]) -> String {
    if values.is_empty() {
        return "–".to_owned();
    }
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values[((values.len() - 1) as f64 * q).round() as usize];
    format!("{:.0} / {:.0}", at(0.5), at(0.9))
}

/// When an analysis of fixed thresholds would have rolled the same rollout back: each 60 s it compares the p95 of
/// TTFT of both arms over the last 60 s, and fails at the first canary that is more than 10 % worse (Argo Rollouts'
/// default of no failure allowed).
fn fixed_threshold_s(run: &Drive) -> Option<f64> {
    let begin = run.record.steps.first()?.started;
    let full = run.record.steps.iter().find(|step| step.percent >= 100.0);
    let end = full.map_or(run.record.updated, |step| step.started);
    let mut windows: Vec<[Vec<f64>; 2]> = Vec::new();
    for request in run.world.history.iter().filter(|r| r.finished >= begin && r.finished < end) {
        let index = (request.finished.since(begin) / 60_000) as usize;
        windows.resize_with(windows.len().max(index + 1), Default::default);
        let arm = usize::from(request.arm == Arm::Canary);
        windows[index][arm].extend(ttft(request));
    }
    let failed = windows.iter_mut().position(|[stable, canary]| match (p95(stable), p95(canary)) {
        (Some(stable), Some(canary)) => canary > 1.1 * stable,
        _ => false,
    });
    failed.map(|index| 60.0 * (index + 1) as f64)
}

fn ttft(request: &RequestRecord) -> Option<f64> {
    request.ttft_ms
}

fn p95(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().checked_sub(1)?) as f64 * 0.95) as usize).copied()
}
