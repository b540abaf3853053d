//! `threads`: look at runs.

use comfy_table::{Table, presets};
use serde_json::json;

use super::args::{Common, Threads};
use super::commands::{is_json, resolved};
use super::{Exit, chart, report};
use crate::agent::{Agent, Error};
use crate::base::ThreadId;

/// `threads list|show|history`.
pub(super) async fn threads(common: &Common, command: &Threads) -> Result<Exit, Error> {
    let settings = resolved(common)?;
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
        Threads::History { thread } => {
            let thread = ThreadId(thread.clone());
            let agent = Agent::for_thread(settings, &thread).await?;
            let mut history = agent.history(&thread).await?;
            history.reverse();
            if is_json(common) {
                println!("{:#}", json!(history));
                return Ok(Exit::Done);
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
        }
    }
    Ok(Exit::Done)
}
