//! Runs of graphs: started, waited for, and what they came to.

use rmcp::RoleServer;
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};

use super::protocol::Door;
use crate::agent::{
    GraphShape, JournalEntry, OpenQuestion, Seen, ThreadState, ThreadStatus, Watch,
};
use crate::api::Error;
use crate::base::ThreadId;

/// Runs a graph on a thread of its own until it is over or asks.
pub(super) async fn start(
    door: &Door,
    shape: &GraphShape,
    input: Value,
    context: &RequestContext<RoleServer>,
) -> Result<Value, Error> {
    let thread = door.agent().fresh_thread();
    let mut values = Map::new();
    if door.access.consent && shape.context.contains_key("approval") {
        values.insert("approval".to_owned(), json!("never"));
    }
    let config = door.config.as_deref().map(str::to_owned);
    let journal = door.agent().follow(&thread, 0);
    let run = door.agent().start_with(&thread, &shape.name, input, values, config).await?;
    let watch = door.drivers.watch(&thread, run, journal);
    wait(&thread, watch, context).await?;
    shown(door, &thread).await
}

/// Says what a thread came to; waits while it goes on.
pub(super) async fn read(
    door: &Door,
    args: &Value,
    context: &RequestContext<RoleServer>,
) -> Result<Value, Error> {
    let thread = args["thread_id"].as_str();
    let thread =
        thread.ok_or_else(|| Error::InvalidRequest("`thread_id` is missing".to_owned()))?;
    let thread: ThreadId = serde_json::from_value(json!(thread))
        .map_err(|error| Error::InvalidRequest(format!("thread_id: {error}")))?;
    if let Some(state) = door.agent().look(&thread).await?
        && state.status == ThreadStatus::Busy
    {
        let journal = door.drivers.journal_end(&thread).await?;
        let watch = door.drivers.watch(&thread, state.run, journal);
        wait(&thread, watch, context).await?;
    }
    shown(door, &thread).await
}

/// Waits until a run rests, and says what happens to a client that wants to know.
async fn wait(
    thread: &ThreadId,
    mut watch: Watch,
    context: &RequestContext<RoleServer>,
) -> Result<(), Error> {
    let mut told = 0;
    tell(context, &mut told, format!("thread {thread}")).await;
    loop {
        match watch.next().await? {
            Seen::Entry(entry) => {
                if let Some(line) = line(&entry) {
                    tell(context, &mut told, line).await;
                }
            }
            Seen::Rested => return Ok(()),
            Seen::Failed(problem) => return Err(Error::Run(problem)),
            Seen::Stopped => return Err(Error::Stopping),
        }
    }
}

/// A line for those entries that say something to people.
fn line(entry: &JournalEntry) -> Option<String> {
    let node = entry.data["node"].as_str().unwrap_or("the run");
    match entry.kind.as_str() {
        "STEP_STARTED" => Some(format!("{node}: begins")),
        "STEP_FINISHED" => Some(format!("{node}: done")),
        "INTERRUPT" => Some(format!("{node}: asks")),
        "RETRY" => Some(format!("{node}: tries again")),
        _ => None,
    }
}

async fn tell(context: &RequestContext<RoleServer>, told: &mut u32, line: String) {
    let Some(token) = context.meta.get_progress_token() else { return };
    *told += 1;
    let progress = ProgressNotificationParam::new(token, f64::from(*told)).with_message(line);
    // A client that is gone is told nothing; the run goes on.
    let _ = context.peer.notify_progress(progress).await;
}

/// The thread as a client sees it: the contract of every call that runs a graph.
async fn shown(door: &Door, thread: &ThreadId) -> Result<Value, Error> {
    let Some(state) = door.agent().look(thread).await? else {
        return Ok(json!({
            "thread_id": thread, "run_id": null, "graph": null, "status": "idle", "output": {},
            "questions": [], "how_to_answer": null, "error": null,
        }));
    };
    let asks = !state.interrupts.is_empty();
    Ok(json!({
        "thread_id": thread,
        "run_id": state.run,
        "graph": state.graph,
        "status": state.status,
        "output": output(door, &state),
        "questions": state.interrupts.iter().map(question).collect::<Vec<_>>(),
        "how_to_answer": asks.then(|| (door.how_to_answer)(thread)),
        "error": state.error,
    }))
}

/// The channels that the graph answers with, as far as they are set.
fn output(door: &Door, state: &ThreadState) -> Map<String, Value> {
    let wanted = door.agent().graph_shape(&state.graph).map(|shape| shape.output);
    let wanted = wanted.unwrap_or_default();
    let values = state.values.iter();
    let kept = values.filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn question(open: &OpenQuestion) -> Value {
    json!({
        "id": open.id,
        "node": open.node,
        "text": open.question.text,
        "answer_schema": open.question.answer_schema,
        "expires_at": open.question.expires_at,
    })
}
