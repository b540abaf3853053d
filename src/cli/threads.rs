//! `threads`: look at runs, change them, branch them, end them.

use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::args::{Common, Threads};
use super::commands::{is_json, resolved, typed_json};
use super::{Exit, chart, report};
use crate::agent::{Agent, Error, Settings, StateUpdate, ThreadState};
use crate::base::{RunId, ThreadId};

/// `threads …`.
pub(super) async fn threads(common: &Common, command: &Threads) -> Result<Exit, Error> {
    // A thread can be looked at and edited wherever its records are, with or without its servers.
    let settings = Settings { records_only: true, ..resolved(common)? };
    match command {
        Threads::List { limit } => list(common, settings, *limit).await?,
        Threads::Show { thread } => show(common, settings, &ThreadId(thread.clone())).await?,
        Threads::History { thread } => history(common, settings, &ThreadId(thread.clone())).await?,
        Threads::Diff { left, right } => diff(common, settings, left, right).await?,
        Threads::Fork { thread, at } => {
            let agent = agent_of(settings, thread).await?;
            branched(common, &agent.fork(&ThreadId(thread.clone()), *at).await?);
        }
        Threads::Copy { thread } => {
            let agent = agent_of(settings, thread).await?;
            let copy = agent.copy(&ThreadId(thread.clone())).await?;
            branched(common, &agent.state(&copy).await?);
        }
        Threads::Rewind { thread, to } => {
            let agent = agent_of(settings, thread).await?;
            branched(common, &agent.rewind(&ThreadId(thread.clone()), *to).await?);
        }
        Threads::Update { thread, values, as_node, goto } => {
            let update = StateUpdate {
                values: object("--values", values)?.into_iter().collect(),
                as_node: as_node.clone(),
                goto: goto.clone(),
                ..StateUpdate::default()
            };
            let agent = agent_of(settings, thread).await?;
            branched(common, &agent.update_state(&ThreadId(thread.clone()), update).await?);
        }
        Threads::Cancel { thread, run } => {
            cancel(common, settings, thread, run.as_deref()).await?;
        }
        Threads::Signal { thread, name, payload } => {
            let payload = typed_json("JSON", payload)?;
            signal(common, settings, thread, (name, payload)).await?;
        }
        Threads::Migrate { graph, thread, go } => {
            return migrate(common, settings, graph, thread.as_deref(), *go).await;
        }
        Threads::Prune { thread, keep } => prune(common, settings, thread, *keep).await?,
        Threads::Delete { thread } => delete(common, settings, thread).await?,
    }
    Ok(Exit::Done)
}

async fn list(common: &Common, settings: Settings, limit: usize) -> Result<(), Error> {
    // Looking at the list needs no fleet of anybody's: an empty scope.
    let agent = Agent::shared(settings, "list").await?;
    let threads = agent.threads(limit).await?;
    if is_json(common) {
        println!("{:#}", json!(threads));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["thread", "graph", "status", "questions"]);
    for row in threads {
        let status = json!(row.status).as_str().unwrap_or_default().to_owned();
        let graph = row.graph.unwrap_or_default();
        table.add_row([row.thread.to_string(), graph, status, row.interrupts.to_string()]);
    }
    println!("{table}");
    Ok(())
}

async fn show(common: &Common, settings: Settings, thread: &ThreadId) -> Result<(), Error> {
    let agent = Agent::for_thread(settings, thread).await?;
    let result = agent.result(thread).await?;
    if is_json(common) {
        println!("{:#}", json!(result));
        return Ok(());
    }
    let samples = chart::samples(&agent, thread).await;
    println!("{}", report::text(&result, &samples));
    Ok(())
}

async fn diff(common: &Common, settings: Settings, left: &str, right: &str) -> Result<(), Error> {
    let (left, right) = (place(left)?, place(right)?);
    let agent = Agent::for_thread(settings, &left.0).await?;
    let diff = agent.diff((&left.0, left.1), (&right.0, right.1)).await?;
    match is_json(common) {
        true => println!("{:#}", json!(diff)),
        false => println!("{}", report::diff(&diff)),
    }
    Ok(())
}

async fn cancel(
    common: &Common,
    settings: Settings,
    thread: &str,
    run: Option<&str>,
) -> Result<(), Error> {
    let (agent, thread) = (agent_of(settings, thread).await?, ThreadId(thread.to_owned()));
    match run {
        Some(run) => agent.cancel_run(&thread, &RunId(run.to_owned())).await?,
        None => agent.cancel(&thread).await?,
    }
    branched(common, &agent.state(&thread).await?);
    Ok(())
}

async fn signal(
    common: &Common,
    settings: Settings,
    thread: &str,
    (name, payload): (&str, Value),
) -> Result<(), Error> {
    let (agent, thread) = (agent_of(settings, thread).await?, ThreadId(thread.to_owned()));
    let run = agent.signal(&thread, name, payload).await?;
    match is_json(common) {
        true => println!("{}", json!({ "thread_id": thread, "run_id": run, "signal": name })),
        false => println!("taken: `perf-agent resume {thread}` lets the run go on with it"),
    }
    Ok(())
}

async fn migrate(
    common: &Common,
    settings: Settings,
    graph: &str,
    thread: Option<&str>,
    go: bool,
) -> Result<Exit, Error> {
    let agent = Agent::shared(settings, "list").await?;
    let thread = thread.map(|thread| ThreadId(thread.to_owned()));
    let reports = agent.migrate(graph, thread.as_ref(), go).await?;
    match is_json(common) {
        true => println!("{:#}", json!(reports)),
        false => reports.iter().for_each(|report| println!("{}", report::migration(report, go))),
    }
    let stuck = reports.iter().any(|report| !report.problems.is_empty());
    Ok(if stuck { Exit::Failed } else { Exit::Done })
}

async fn prune(common: &Common, settings: Settings, thread: &str, keep: u64) -> Result<(), Error> {
    let agent = agent_of(settings, thread).await?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let gone = agent.prune(&ThreadId(thread.to_owned()), keep).await?;
    match is_json(common) {
        true => println!("{}", json!({ "checkpoints_gone": gone })),
        false => println!("{gone} checkpoints forgotten"),
    }
    Ok(())
}

async fn delete(common: &Common, settings: Settings, thread: &str) -> Result<(), Error> {
    let agent = agent_of(settings, thread).await?;
    agent.forget(&ThreadId(thread.to_owned())).await?;
    match is_json(common) {
        true => println!("{}", json!({ "deleted": thread })),
        false => println!("thread {thread} is forgotten"),
    }
    Ok(())
}

/// A JSON object that was typed.
fn object(what: &str, text: &str) -> Result<Map<String, Value>, Error> {
    match typed_json(what, text)? {
        Value::Object(values) => Ok(values),
        other => Err(misuse(what, format!("`{other}` is no JSON object"))),
    }
}

async fn agent_of(settings: Settings, thread: &str) -> Result<Agent, Error> {
    Agent::for_thread(settings, &ThreadId(thread.to_owned())).await
}

async fn history(common: &Common, settings: Settings, thread: &ThreadId) -> Result<(), Error> {
    let agent = Agent::for_thread(settings, thread).await?;
    let mut history = agent.history(thread).await?;
    history.reverse();
    if is_json(common) {
        println!("{:#}", json!(history));
        return Ok(());
    }
    for state in history {
        let status = json!(state.status).as_str().unwrap_or_default().to_owned();
        println!(
            "{:>6}  superstep {:>4}  {status:<12} next: {}",
            state.seq,
            state.superstep,
            state.next.join(", ")
        );
    }
    Ok(())
}

/// Where a thread stands after something was done to it by hand.
fn branched(common: &Common, state: &ThreadState) {
    let status = json!(state.status).as_str().unwrap_or_default().to_owned();
    if is_json(common) {
        println!(
            "{}",
            json!({
                "thread_id": state.thread, "run_id": state.run, "seq": state.seq, "status": status,
                "next": state.next, "held": state.held,
            })
        );
        return;
    }
    println!("thread {} is {status} at checkpoint {}", state.thread, state.seq);
    if !state.next.is_empty() {
        println!("next: {}", state.next.join(", "));
    }
    if !state.held.is_empty() {
        println!("held: `perf-agent resume {}` lets it go on", state.thread);
    }
}

/// `THREAD` or `THREAD@SEQ`.
fn place(text: &str) -> Result<(ThreadId, Option<u64>), Error> {
    let Some((thread, seq)) = text.split_once('@') else {
        return Ok((ThreadId(text.to_owned()), None));
    };
    match seq.parse() {
        Ok(seq) => Ok((ThreadId(thread.to_owned()), Some(seq))),
        Err(_) => Err(misuse("threads diff", format!("`{seq}` is no checkpoint of `{text}`"))),
    }
}

fn misuse(what: &str, detail: String) -> Error {
    Error::Argument { argument: what.to_owned(), detail }
}
