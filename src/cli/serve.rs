//! `serve`: the HTTP API, until it is told to stop.

use std::net::SocketAddr;

use super::Exit;
use super::args::{Common, Serve};
use super::commands::{resolved, stopped};
use crate::agent::{Agent, Error};
use crate::api::{Server, ServerOptions};
use crate::base::Coded;

/// The simulated world that all runs of a server share.
const SCOPE: &str = "serve";

/// `serve`.
pub(super) async fn serve(common: &Common, args: &Serve) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let config = common.config.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let agent = Agent::shared(settings, SCOPE).await?;
    let model = agent.model_line().to_owned();
    let listen = SocketAddr::new(args.host, args.port);
    let failed = |error: crate::api::Error| Error::Run(error.problem());
    let server = Server::bind(agent, ServerOptions { listen, config }).await.map_err(failed)?;
    println!("listening on http://{}\nmodel: {model}", server.listen());
    server.serve(stopped()).await.map_err(failed)?;
    Ok(Exit::Done)
}
