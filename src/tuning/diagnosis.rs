//! From one or two windows of metrics to a named cause, its evidence and the cause it could be mistaken for.

mod evidence;
mod explain;
mod rules;
mod signals;
mod targets;

use crate::domain::{Cause, Deployment, Diagnosis, Evidence, Objective, Observation, RunnerUp};
use signals::Signals;
use targets::TargetStatus;

/// Scores closer than this are ambiguous.
const AMBIGUOUS_WITHIN: f64 = 0.15;
/// Below this share of conditions no cause is named.
const SCORE_MIN: f64 = 0.6;

/// Names what holds `deployment` back from `objective`.
///
/// A cause's score is the share of its conditions that hold, 0–1; the first cause of the table with all of them wins,
/// otherwise the highest score. `earlier` is the window before: a condition then holds only when it held in both.
/// Engine metrics alone suffice; a condition on a metric or a model shape that is unknown does not hold, and says so.
pub fn diagnose(
    observation: &Observation,
    earlier: Option<&Observation>,
    objective: &Objective,
    deployment: &Deployment,
) -> Diagnosis {
    let now = Window::of(observation, objective, deployment);
    let before = earlier.map(|earlier| Window::of(earlier, objective, deployment));
    let score = |cause| Scored::of(cause, &now, before.as_ref());
    // A deployment that was slow a minute ago and is not now has nothing that holds it back.
    let none = Scored::of(Cause::None, &now, None);
    let causes: Vec<Scored> = rules::ORDER.into_iter().map(score).collect();
    let (winner, rest) = choose(none, causes);
    let runner_up = best(&rest).filter(|second| second.score > 0.0);
    let rival = runner_up
        .filter(|second| !(winner.complete() && rules::explains(winner.cause, second.cause)));
    let ambiguous = rival.is_some_and(|second| winner.score - second.score < AMBIGUOUS_WITHIN);
    let runner_up = runner_up.map(|second| RunnerUp {
        cause: second.cause,
        score: second.score,
        separated_by: separating_metric(&winner, second),
    });
    let named = winner.defined && winner.score >= SCORE_MIN;
    let bottleneck = if named { winner.cause } else { Cause::Unknown };
    let ambiguous = ambiguous || bottleneck == Cause::Unknown;
    let mut diagnosis = Diagnosis {
        bottleneck,
        score: winner.score,
        evidence: winner.evidence,
        runner_up,
        ambiguous,
        explanation: String::new(),
    };
    diagnosis.explanation = explain::explain(&diagnosis, winner.cause, &now.signals, &now.targets);
    diagnosis
}

/// One window, read once.
struct Window {
    signals: Signals,
    targets: Vec<TargetStatus>,
}

impl Window {
    fn of(observation: &Observation, objective: &Objective, deployment: &Deployment) -> Self {
        Self {
            signals: Signals::of(observation, deployment),
            targets: targets::target_statuses(objective, observation),
        }
    }
}

/// A cause with its conditions and the share that holds.
struct Scored {
    cause: Cause,
    score: f64,
    evidence: Vec<Evidence>,
    /// It may be named: every condition that it cannot do without holds.
    defined: bool,
}

impl Scored {
    fn complete(&self) -> bool {
        self.score >= 1.0
    }

    fn of(cause: Cause, now: &Window, before: Option<&Window>) -> Self {
        let mut evidence = rules::conditions(cause, &now.signals, &now.targets);
        if let Some(before) = before {
            let past = rules::conditions(cause, &before.signals, &before.targets);
            for (condition, past) in evidence.iter_mut().zip(past) {
                sustain(condition, &past);
            }
        }
        let defined = evidence.iter().take(rules::required(cause)).all(|condition| condition.holds);
        let met = evidence.iter().filter(|condition| condition.holds).count();
        Self { cause, score: met as f64 / evidence.len().max(1) as f64, evidence, defined }
    }
}

/// A condition that held only in the newer window is a moment, not a cause. What the older one did not know is no veto.
fn sustain(condition: &mut Evidence, past: &Evidence) {
    let of_now = condition.metric == rules::TARGET;
    if condition.holds && !past.holds && past.value.is_some() && !of_now {
        condition.holds = false;
        condition.expected.push_str(", in both windows");
    }
}

/// The winner and the others. Met targets end the search: what could be better is not what holds it back.
fn choose(none: Scored, mut causes: Vec<Scored>) -> (Scored, Vec<Scored>) {
    if none.complete() {
        return (none, causes);
    }
    let highest = causes.iter().filter(|cause| cause.defined).map(|cause| cause.score);
    let highest = highest.fold(0.0, f64::max);
    let at = causes.iter().position(|cause| cause.defined && cause.score >= highest);
    match at {
        Some(at) => (causes.remove(at), causes),
        None => (closest(none, &mut causes), causes),
    }
}

/// The likeliest of causes that are all undefined, to be told as the closest one.
fn closest(none: Scored, causes: &mut Vec<Scored>) -> Scored {
    let highest = causes.iter().map(|cause| cause.score).fold(0.0, f64::max);
    let at = causes.iter().position(|cause| cause.score >= highest && highest > 0.0);
    Scored { defined: false, ..at.map_or(none, |at| causes.remove(at)) }
}

fn best(causes: &[Scored]) -> Option<&Scored> {
    let highest = causes.iter().map(|cause| cause.score).fold(0.0, f64::max);
    causes.iter().find(|cause| cause.score >= highest)
}

/// The runner-up's first condition that fails; if none does, the winner's first that the other does not share.
fn separating_metric(winner: &Scored, second: &Scored) -> String {
    let failing = second.evidence.iter().find(|condition| !condition.holds);
    let own = || {
        let shared = |metric: &str| second.evidence.iter().any(|other| other.metric == metric);
        winner.evidence.iter().find(|condition| !shared(&condition.metric))
    };
    let condition = failing.or_else(own).or(winner.evidence.first());
    condition.map_or_else(String::new, |condition| condition.metric.clone())
}
