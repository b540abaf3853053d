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
        Threads::List { limit } => {
            // Looking at the list needs no fleet of anybody's: an empty scope.
            let agent = Agent::shared(settings, "list").await?;
            let threads = agent.threads(*limit).await?;
            if is_json(common) {
                println!("{:#}", json!(threads));
                return Ok(Exit::Done);
            }
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header([
                "thread",
                "graph",
                "status",
                "questions",
            ]);
            for row in threads {
                let status = json!(row.status).as_str().unwrap_or_default().to_owned();
                let graph = row.graph.unwrap_or_default();
                table.add_row([row.thread.to_string(), graph, status, row.interrupts.to_string()]);
            }
            println!("{table}");
        }
        Threads::Show { thread } => {
            let thread = ThreadId(thread.clone());
            let agent = Agent::for_thread(settings, &thread).await?;
            let result = agent.result(&thread).await?;
            if is_json(common) {
                println!("{:#}", json!(result));
            } else {
                let samples = chart::samples(&agent, &thread).await;
                println!("{}", report::text(&result, &samples));
            }
        }
        Threads::History { thread } => history(common, settings, &ThreadId(thread.clone())).await?,
        Threads::Diff { left, right } => {
            let (left, right) = (place(left)?, place(right)?);
            let agent = Agent::for_thread(settings, &left.0).await?;
            let diff = agent.diff((&left.0, left.1), (&right.0, right.1)).await?;
            if is_json(common) {
                println!("{:#}", json!(diff));
            } else {
                println!("{}", report::diff(&diff));
            }
        }
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
            let agent = agent_of(settings, thread).await?;
            let values: Map<String, Value> = match typed_json("--values", values)? {
                Value::Object(values) => values,
                other => return Err(misuse("--values", format!("`{other}` is no JSON object"))),
            };
            let update = StateUpdate {
                values: values.into_iter().collect(),
                as_node: as_node.clone(),
                goto: goto.clone(),
                ..StateUpdate::default()
            };
            branched(common, &agent.update_state(&ThreadId(thread.clone()), update).await?);
        }
        Threads::Cancel { thread, run } => {
            let (agent, thread) = (agent_of(settings, thread).await?, ThreadId(thread.clone()));
            match run {
                Some(run) => agent.cancel_run(&thread, &RunId(run.clone())).await?,
                None => agent.cancel(&thread).await?,
            }
            branched(common, &agent.state(&thread).await?);
        }
        Threads::Migrate { graph, thread, go } => {
            let agent = Agent::shared(settings, "list").await?;
            let thread = thread.clone().map(ThreadId);
            let reports = agent.migrate(graph, thread.as_ref(), *go).await?;
            if is_json(common) {
                println!("{:#}", json!(reports));
            } else {
                reports.iter().for_each(|report| println!("{}", report::migration(report, *go)));
            }
            if reports.iter().any(|report| !report.problems.is_empty()) {
                return Ok(Exit::Failed);
            }
        }
        Threads::Prune { thread, keep } => {
            let agent = agent_of(settings, thread).await?;
            let keep = usize::try_from(*keep).unwrap_or(usize::MAX);
            let gone = agent.prune(&ThreadId(thread.clone()), keep).await?;
            match is_json(common) {
                true => println!("{}", json!({ "checkpoints_gone": gone })),
                false => println!("{gone} checkpoints forgotten"),
            }
        }
        Threads::Delete { thread } => {
            let agent = agent_of(settings, thread).await?;
            agent.delete(&ThreadId(thread.clone())).await?;
            match is_json(common) {
                true => println!("{}", json!({ "deleted": thread })),
                false => println!("thread {thread} is forgotten"),
            }
        }
    }
    Ok(Exit::Done)
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
