//! `tests` of a graph, run: scripted answers, leaping time, nothing touched.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Agent, Error};
use crate::base::{Clock, Millis, ThreadId};
use crate::graph::{Case, Graph};
use crate::nodes::ScriptedNodes;
use crate::runtime::{
    Activate, Next, Runtime, RuntimeParts, Start, ThreadState, ThreadStatus, kind,
};
use crate::store::MemoryStore;

/// Times a run may rest before a test gives it up.
const RESTS_MAX: usize = 10_000;

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// What was not as expected; empty: it passed.
    pub problems: Vec<String>,
    /// Nodes in the order they started.
    pub path: Vec<String>,
}

impl Agent {
    /// Runs the `tests` of a graph file.
    ///
    /// Errors: the file cannot be read, or is refused.
    pub async fn test_graph(&self, path: &Path) -> Result<Vec<TestOutcome>, Error> {
        let (graph, cases) = self.graph_with_tests(path)?;
        let graph = Arc::new(graph);
        let mut outcomes = Vec::with_capacity(cases.len());
        for case in &cases {
            outcomes.push(run(&graph, case).await?);
        }
        Ok(outcomes)
    }
}

async fn run(graph: &Arc<Graph>, case: &Case) -> Result<TestOutcome, Error> {
    let nodes = Arc::new(ScriptedNodes::new(&case.answers));
    let clock = Arc::new(LeapClock(Mutex::new(Millis(0))));
    let runtime = Runtime::new(RuntimeParts {
        store: Arc::new(MemoryStore::new()),
        nodes: nodes.clone(),
        clock: clock.clone(),
        rng_seed: 1,
        engine: None,
    });
    let thread = ThreadId("test".to_owned());
    let start =
        Start { input: case.input.clone(), context: case.context.clone(), ..Start::default() };
    if let Err(error) = runtime.start_run(&thread, graph.clone(), start).await {
        let problems = vec![error.to_string()];
        return Ok(TestOutcome { name: case.name.clone(), problems, path: Vec::new() });
    }
    let mut problems = drive(&runtime, &thread, &clock).await?;
    let state = runtime.state(&thread).await?;
    let path = path(&runtime, &thread).await?;
    if let Some(state) = state {
        problems.extend(compare(case, &state, &path));
    }
    for (node, count) in nodes.left() {
        problems.push(format!("answers: {count} of `{node}` were not asked for"));
    }
    Ok(TestOutcome { name: case.name.clone(), problems, path })
}

/// Runs to the end; pauses are passed, time leaps.
async fn drive(
    runtime: &Runtime,
    thread: &ThreadId,
    clock: &LeapClock,
) -> Result<Vec<String>, Error> {
    let stop = CancellationToken::new();
    for _ in 0..RESTS_MAX {
        match runtime.activate(thread, &stop).await {
            Next::Again => {}
            Next::At(at) => clock.sleep_until(at).await,
            Next::Idle | Next::Held => {
                let held = runtime.state(thread).await?.is_some_and(|state| !state.held.is_empty());
                if !held {
                    return Ok(Vec::new());
                }
                runtime.go_on(thread, "test").await?;
            }
            Next::RetryAfter(_, problem) | Next::Dead(problem) => return Err(Error::Run(problem)),
        }
    }
    Ok(vec![format!("it still went on after {RESTS_MAX} rests")])
}

/// Nodes in the order they started, looks and the last doors of subgraphs left out.
async fn path(runtime: &Runtime, thread: &ThreadId) -> Result<Vec<String>, Error> {
    let events = runtime.events(thread, 0, usize::MAX >> 1).await?;
    let starts = events
        .iter()
        .filter(|event| event.kind == kind::STEP_STARTED && event.data.get("at").is_none());
    let names = starts.filter_map(|event| event.data["node"].as_str());
    Ok(names.filter(|name| !name.ends_with("/end")).map(str::to_owned).collect())
}

fn compare(case: &Case, state: &ThreadState, path: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let status = match state.status {
        ThreadStatus::Done => "done",
        ThreadStatus::Error => "error",
        ThreadStatus::Interrupted => "interrupted",
        ThreadStatus::Idle | ThreadStatus::Busy => "waiting",
        ThreadStatus::Cancelled => "cancelled",
    };
    if status != case.status {
        let why = state.error.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
        problems.push(format!("status: expected {}, was {status}{why}", case.status));
    }
    if let Some(expected) = case.path.as_ref().filter(|expected| *expected != path) {
        let (expected, was) = (expected.join(" -> "), path.join(" -> "));
        problems.push(format!("path: expected {expected}, was {was}"));
    }
    for (channel, expected) in &case.output {
        match state.values.get(channel) {
            Some(found) if holds(found, expected) => {}
            found => {
                let found = found.map_or("unset".to_owned(), Value::to_string);
                problems.push(format!("output `{channel}`: expected {expected}, was {found}"));
            }
        }
    }
    problems
}

/// Whether `found` is what was expected; of an object, a part will do.
fn holds(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .all(|(key, expected)| found.get(key).is_some_and(|found| holds(found, expected))),
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| holds(found, expected))
        }
        (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
        _ => found == expected,
    }
}

/// Time that passes when somebody sleeps.
struct LeapClock(Mutex<Millis>);

#[async_trait]
impl Clock for LeapClock {
    fn now(&self) -> Millis {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sleep_until(&self, at: Millis) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (*now).max(at);
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
