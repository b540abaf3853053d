//! What an optimization came to, as one object: the contract of `optimize --format json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{Problem, RunId, ThreadId};
use crate::domain::{
    Change, Diagnosis, Knob, Objective, Observation, Outcome, Report, RequestStats, RolloutState,
    RolloutStatus, StepRecord, Trial,
};
use crate::graph::Graph;
use crate::runtime::{ThreadState, ThreadStatus};

/// The result of a run of an optimizing graph. What did not happen is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptimizeResult {
    /// The run.
    pub run_id: RunId,
    /// Its thread.
    pub thread_id: ThreadId,
    /// How it ended.
    pub status: Outcome,
    /// The model that decided, and why that one.
    pub model: String,
    /// Seed.
    pub seed: u64,
    /// The goal as it was understood.
    pub objective: Option<Objective>,
    /// The bottleneck with its evidence.
    pub diagnosis: Option<Diagnosis>,
    /// What users got before.
    pub baseline: Option<RequestStats>,
    /// What users get now.
    pub after: Option<RequestStats>,
    /// What was changed: empty when nothing was.
    pub change: BTreeMap<Knob, Change>,
    /// The same in the engine's own flags, a line each as a diff shows it; of the config to decide on when it waits.
    pub flags: Vec<String>,
    /// The rollout, if there was one.
    pub rollout: Option<RolloutResult>,
    /// Every config that was tried.
    pub trials: Vec<Trial>,
    /// The report's words.
    pub report: Option<Report>,
    /// The open question, when it is interrupted.
    pub question: Option<String>,
    /// The answers it takes, where they are a list of choices.
    pub answers: Vec<Value>,
    /// What the graph gives out, when it is done; `null` for a tuning run: there it is the rest of this object.
    pub output: Option<BTreeMap<String, Value>>,
    /// What went wrong, when it failed.
    pub error: Option<Problem>,
    /// How long it took [s].
    pub wall_s: f64,
    /// How long it took on the deployment's clock [s].
    pub virtual_s: f64,
}

/// A rollout in a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutResult {
    /// The rollout.
    pub id: String,
    /// Where it ended: `done`, `rolled_back`, `needs_human` …
    pub status: String,
    /// Why, where it was not `done`.
    pub reason: Option<String>,
    /// Who approved it; `null`: unknown.
    pub approved_by: Option<String>,
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Requests that failed while weights moved.
    pub requests_failed: u64,
    /// Streams cut while weights moved.
    pub streams_cut: u64,
}

/// How a run was started: kept beside the thread, so that `resume` needs no flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Graph.
    pub graph: String,
    /// Seed.
    pub seed: u64,
    /// The model, and why that one.
    pub model: String,
    /// `auto`, `expert` or `groq`, as it was asked for.
    pub choice: super::ModelChoice,
    /// Text of the config file; `None`: the default fleet.
    pub config: Option<String>,
    /// Start on the deployment's clock [ms].
    pub started_ms: u64,
    /// Wall time spent so far, over all processes that came to rest [s]: what one spent that was killed is not known.
    pub wall_s: f64,
    /// The run that was started last.
    #[serde(default)]
    pub run: Option<RunId>,
    /// The simulated world it lives in; `None`: one of its own, named after the thread.
    #[serde(default)]
    pub scope: Option<String>,
}

impl OptimizeResult {
    /// The result of a run that nobody has begun to work on.
    pub fn queued(thread: &ThreadId, run: RunId, started: &Started) -> Self {
        Self {
            run_id: run,
            thread_id: thread.clone(),
            status: Outcome::Running,
            model: started.model.clone(),
            seed: started.seed,
            objective: None,
            diagnosis: None,
            baseline: None,
            after: None,
            change: BTreeMap::new(),
            flags: Vec::new(),
            rollout: None,
            trials: Vec::new(),
            report: None,
            question: None,
            answers: Vec::new(),
            output: None,
            error: None,
            wall_s: 0.0,
            virtual_s: 0.0,
        }
    }

    /// Reads the result from a thread's state; `graph` is what it runs, `None` where that is not known any more.
    pub fn of(
        thread: &ThreadId,
        state: &ThreadState,
        started: &Started,
        graph: Option<&Graph>,
    ) -> Self {
        let values = &state.values;
        let tunes = graph.is_none_or(|graph| graph.channels.contains_key("rollout"));
        let question = state.interrupts.first().map(|open| &open.question);
        let rollout: Option<RolloutStatus> = typed(values, "rollout");
        let seen = |name| typed::<Observation>(values, name).and_then(|o| o.client);
        let done = matches!(&rollout, Some(r) if r.state == RolloutState::Done);
        let change = match &rollout {
            Some(rollout) if done => rollout.proposal.change.clone(),
            _ => BTreeMap::new(),
        };
        Self {
            run_id: state.run.clone(),
            thread_id: thread.clone(),
            status: match outcome(state, rollout.as_ref()) {
                Outcome::NoChange if !tunes => Outcome::Done,
                other => other,
            },
            model: started.model.clone(),
            seed: started.seed,
            objective: typed(values, "objective"),
            diagnosis: typed(values, "diagnosis"),
            baseline: seen("observation"),
            after: seen("after"),
            flags: flags(values, rollout.as_ref(), done),
            change,
            rollout: rollout.map(RolloutResult::of),
            trials: typed(values, "trials").unwrap_or_default(),
            report: typed(values, "report"),
            question: question.map(|question| question.text.clone()),
            answers: question.map(|question| choices(&question.answer_schema)).unwrap_or_default(),
            output: graph
                .filter(|_| !tunes && state.status == ThreadStatus::Done)
                .map(|graph| output(graph, values)),
            error: state.error.clone(),
            wall_s: started.wall_s,
            virtual_s: state.updated.0.saturating_sub(started.started_ms) as f64 / 1000.0,
        }
    }
}

/// The answers that a schema lists.
fn choices(schema: &Value) -> Vec<Value> {
    schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn output(graph: &Graph, values: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let value = |name: &String| values.get(name).cloned().unwrap_or(Value::Null);
    graph.output.iter().map(|name| (name.clone(), value(name))).collect()
}

fn outcome(state: &ThreadState, rollout: Option<&RolloutStatus>) -> Outcome {
    if state.error.is_some() || state.status == ThreadStatus::Cancelled {
        return Outcome::Failed;
    }
    match state.status {
        ThreadStatus::Interrupted => return Outcome::Interrupted,
        status if !status.is_over() => return Outcome::Running,
        _ => {}
    }
    match rollout.map(|r| &r.state) {
        None => Outcome::NoChange,
        Some(RolloutState::Done) => Outcome::Improved,
        Some(RolloutState::RolledBack { .. } | RolloutState::RollingBack { .. }) => {
            Outcome::RolledBack
        }
        Some(_) => Outcome::Interrupted,
    }
}

impl RolloutResult {
    fn of(rollout: RolloutStatus) -> Self {
        let named = serde_json::to_value(&rollout.state).unwrap_or(Value::Null);
        let text = |key: &str| named.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: rollout.id.to_string(),
            status: text("name").unwrap_or_default(),
            reason: text("reason"),
            approved_by: rollout.provenance.map(|provenance| provenance.approved_by),
            steps: rollout.steps,
            requests_failed: rollout.requests_failed,
            streams_cut: rollout.streams_cut,
        }
    }
}

/// Flags of what serves now, else of what a person is asked about.
fn flags(
    values: &BTreeMap<String, Value>,
    rollout: Option<&RolloutStatus>,
    done: bool,
) -> Vec<String> {
    let chosen: Option<Trial> = typed(values, "chosen");
    let asked = rollout.is_none() || done;
    chosen.filter(|_| asked).map(|trial| trial.flags).unwrap_or_default()
}

fn typed<T: serde::de::DeserializeOwned>(
    values: &BTreeMap<String, Value>,
    name: &str,
) -> Option<T> {
    serde_json::from_value(values.get(name)?.clone()).ok()
}
