//! The protocol over the pipes of a process that a client has started.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::transport::stdio_pipes;

use super::McpAccess;
use super::protocol::Door;
use crate::agent::{Agent, Drivers};
use crate::api::Error;
use crate::base::ThreadId;

/// Longest wait for supersteps after the client has gone.
const DRAIN: Duration = Duration::from_secs(30);

/// Speaks with the client at the other end of stdin and stdout until it closes them, or `shutdown` comes. Runs stop at a superstep
/// boundary; the next process of the same store goes on with them.
///
/// Errors: [`Error::Pipes`]; a store that fails.
pub async fn serve_mcp(
    agent: Agent,
    access: McpAccess,
    config: Option<String>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let drivers = Drivers::start(agent).await?;
    let config: Option<Arc<str>> = config.map(Into::into);
    let door = Door { drivers: drivers.clone(), access, config, how_to_answer, keys: false };
    let ended = tokio::select! {
        ended = speak(door) => ended,
        () = shutdown => Ok(()),
    };
    if drivers.drain(DRAIN).await > 0 {
        tracing::error!(
            "the drain ended before all work did; runs resume from their last checkpoint"
        );
    }
    ended
}

async fn speak(door: Door) -> Result<(), Error> {
    let broken = |error: String| Error::Pipes(error);
    let running = door.serve(stdio_pipes()).await.map_err(|error| broken(error.to_string()))?;
    running.waiting().await.map(drop).map_err(|error| broken(error.to_string()))
}

fn how_to_answer(thread: &ThreadId) -> String {
    format!(
        "A person answers it with `perf-agent resume {thread} --answer ANSWER` (JSON, such as '\"approve\"') and the same --store, once \
         this MCP server has ended: a store belongs to one process. Where that is in the way, `perf-agent serve` answers MCP at /mcp \
         and takes answers meanwhile. Then call read_thread with this thread_id."
    )
}
