//! `report.md`: the words of the report, from the run's facts.

use serde_json::{Value, json};

use super::facts;
use crate::domain::{
    Cause, Diagnosis, Metric, Objective, Observation, RequestStats, RolloutState, RolloutStatus,
    Statistic, Target, Trial, TrialOutcome,
};
use crate::llm::ChatRequest;

/// What the report is made from.
struct Run {
    objective: Option<Objective>,
    diagnosis: Option<Diagnosis>,
    before: Option<RequestStats>,
    after: Option<RequestStats>,
    trials: Vec<Trial>,
    chosen: Option<Trial>,
    decision: Option<String>,
    rollout: Option<RolloutStatus>,
}

pub(super) fn answer(request: &ChatRequest) -> Value {
    let client = |name| facts::typed::<Observation>(request, name).and_then(|seen| seen.client);
    let run = Run {
        objective: facts::typed(request, "objective"),
        diagnosis: facts::typed(request, "diagnosis"),
        before: client("observation"),
        after: client("after"),
        trials: facts::typed(request, "trials").unwrap_or_default(),
        chosen: facts::typed(request, "chosen"),
        decision: facts::typed(request, "decision"),
        rollout: facts::typed(request, "rollout"),
    };
    let (headline, effect, next_steps) = ending(&run);
    let mut summary: Vec<String> = run.diagnosis.iter().map(|d| d.explanation.clone()).collect();
    summary.extend(effect);
    json!({"headline": headline, "summary": summary.join(" "), "next_steps": next_steps})
}

type Ending = (String, Vec<String>, Vec<String>);

fn ending(run: &Run) -> Ending {
    match (&run.rollout, &run.chosen) {
        (Some(rollout), _) => after_rollout(run, rollout),
        (None, Some(chosen)) => {
            let decision = run.decision.as_deref().unwrap_or("no answer");
            let headline =
                format!("Nothing was changed: `{}` was not approved.", chosen.proposal.name);
            (headline, vec![format!("The answer was \"{decision}\".")], vec![])
        }
        (None, None) => nothing_found(run),
    }
}

fn after_rollout(run: &Run, rollout: &RolloutStatus) -> Ending {
    let name = &rollout.proposal.name;
    match &rollout.state {
        RolloutState::Done => {
            let headline = match goal_line(run) {
                Some(line) => format!("`{name}` now serves all traffic: {line}."),
                None => format!("`{name}` now serves all traffic."),
            };
            let failed = format!(
                "{} requests failed and {} streams were cut while traffic moved.",
                rollout.requests_failed, rollout.streams_cut
            );
            (headline, vec![format!("Changed: {}.", change_line(rollout)), failed], vec![])
        }
        RolloutState::RolledBack { reason } => {
            let headline = format!("`{name}` was taken back; the old config serves all traffic.");
            let next = format!("`{name}` is blocked for this deployment until the cause is found.");
            (headline, vec![format!("Why: {reason}.")], vec![next])
        }
        RolloutState::NeedsHuman { reason } => {
            let headline = format!("`{name}` waits for a person at {} %.", rollout.canary_percent);
            let next =
                format!("Decide: `perf-agent tools call abort_rollout` takes {} back.", rollout.id);
            (headline, vec![format!("Why: {reason}.")], vec![next])
        }
        other => (format!("The rollout of `{name}` ended as {other:?}."), vec![], vec![]),
    }
}

fn nothing_found(run: &Run) -> Ending {
    let cause = run.diagnosis.as_ref().map_or(Cause::Unknown, |d| d.bottleneck);
    let (headline, next) = match cause {
        Cause::None => ("Nothing to change: the goal is met.", None),
        Cause::Overload => (
            "Nothing was changed: no config of this hardware carries this load.",
            Some("Add replicas or shed load; `plan_capacity` says how many."),
        ),
        _ if run.trials.iter().any(|trial| trial.outcome == TrialOutcome::Advised) => {
            return advised(&run.trials);
        }
        _ if run.trials.is_empty() => {
            ("Nothing was changed: the search found no config that promises to be better.", None)
        }
        _ => ("Nothing was changed: no config that was tried was good enough.", None),
    };
    let tried = run.trials.iter().map(trial_line).collect();
    (headline.to_owned(), tried, next.into_iter().map(str::to_owned).collect())
}

/// Somebody else makes the change: what it is, best first. How it is made stands in the trial.
fn advised(trials: &[Trial]) -> Ending {
    let headline = match trials.first() {
        Some(best) => {
            format!("Somebody else runs this deployment: `{}` is advised.", best.proposal.name)
        }
        None => "Somebody else runs this deployment.".to_owned(),
    };
    let why = trials.iter().map(|t| format!("`{}`: {}", t.proposal.name, t.proposal.rationale));
    let next = "Start a new server with it beside the old one, move new requests there, and only then stop the old one.";
    (headline, why.collect(), vec![next.to_owned()])
}

fn trial_line(trial: &Trial) -> String {
    let outcome = match trial.outcome {
        TrialOutcome::Accepted => "accepted",
        TrialOutcome::Rejected => "rejected",
        TrialOutcome::FailedToStart => "did not start",
        TrialOutcome::Advised => "advised",
    };
    // After the reason why it did not start come the engine's own last lines: they stay in the trial.
    let shown = match trial.outcome {
        TrialOutcome::FailedToStart => 1,
        _ => trial.reasons.len(),
    };
    let reasons: Vec<&str> = trial.reasons.iter().take(shown).map(String::as_str).collect();
    format!("`{}` {outcome}: {}.", trial.proposal.name, reasons.join("; "))
}

fn change_line(rollout: &RolloutStatus) -> String {
    let shown = |value: &Option<crate::domain::KnobValue>| {
        value.as_ref().map_or("default".to_owned(), ToString::to_string)
    };
    let moves = rollout.proposal.change.iter();
    moves
        .map(|(k, c)| format!("{k} {} → {}", shown(&c.from), shown(&c.to)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// "TTFT p95 2,310 → 182 ms (goal 300 ms)" for the first bound that was measured.
fn goal_line(run: &Run) -> Option<String> {
    let (before, after) = (run.before.as_ref()?, run.after.as_ref()?);
    let objective = run.objective.as_ref()?;
    let with_goal = objective.targets.iter().find_map(|target| {
        let (from, to) = (measured(before, target)?, measured(after, target)?);
        let statistic = format!("{:?}", target.statistic).to_lowercase();
        Some(format!(
            "{} {statistic} {from:.0} → {to:.0} ms (goal {:.0} ms)",
            target.metric, target.max_ms
        ))
    });
    with_goal.or_else(|| {
        let (from, to) = (before.e2e_p95_ms?, after.e2e_p95_ms?);
        Some(format!("E2E latency p95 {from:.0} → {to:.0} ms"))
    })
}

fn measured(stats: &RequestStats, target: &Target) -> Option<f64> {
    match (target.metric, target.statistic) {
        (Metric::Ttft, Statistic::P50) => stats.ttft_p50_ms,
        (Metric::Ttft, Statistic::P95) => stats.ttft_p95_ms,
        (Metric::Tpot, Statistic::P50) => stats.tpot_p50_ms,
        (Metric::Tpot, Statistic::P95) => stats.tpot_p95_ms,
        (Metric::E2e, Statistic::P50) => stats.e2e_p50_ms,
        (Metric::E2e, Statistic::P95) => stats.e2e_p95_ms,
        _ => None,
    }
}
