//! `mcp`: the Model Context Protocol on stdin and stdout, until the client closes them.

use super::Exit;
use super::args::{Common, Mcp};
use super::commands::{resolved, stopped};
use super::serve::SCOPE;
use crate::agent::{Agent, Error};
use crate::api::{McpAccess, serve_mcp};
use crate::base::Coded;

/// `mcp`. Stdout belongs to the protocol: nothing else is printed there.
pub(super) async fn mcp(common: &Common, args: &Mcp) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let config = settings.config.text.clone();
    let agent = Agent::shared(settings, SCOPE).await?;
    let access = McpAccess { effects: args.mcp_effects, consent: args.yes };
    let served = serve_mcp(agent, access, config, stopped()).await;
    served.map(|()| Exit::Done).map_err(|error| Error::Run(error.problem()))
}
