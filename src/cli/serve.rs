//! `serve`: the HTTP API, until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use super::Exit;
use super::args::{Common, Serve};
use super::commands::{resolved, stopped};
use super::settings::Environment;
use crate::agent::{Agent, Error, Reloaded, Settings};
use crate::api::{Outbound, SecurityOptions, Server, ServerOptions, TlsFiles};
use crate::base::Coded;

/// The simulated world that all runs of a server share.
const SCOPE: &str = "serve";

/// `serve`.
pub(super) async fn serve(common: &Common, args: &Serve) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let security = security(args, &settings, &|name| std::env::var(name).ok());
    let config = common.config.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let agent = Agent::shared(settings, SCOPE).await?;
    let (model, files) = (agent.model_line().to_owned(), agent.clone());
    let listen = SocketAddr::new(args.host, args.port);
    let failed = |error: crate::api::Error| Error::Run(error.problem());
    let options = ServerOptions { listen, config, security };
    let server = Server::bind(agent, options).await.map_err(failed)?;
    let scheme = if server.is_tls() { "https" } else { "http" };
    println!("listening on {scheme}://{}\nmodel: {model}", server.listen());
    if server.is_keyed() && !server.is_tls() && !args.host.is_loopback() {
        eprintln!("warning: keys travel in the clear without --tls-cert, unless a proxy encrypts");
    }
    let reloading = tokio::spawn(reload(files));
    let served = server.serve(stopped()).await.map_err(failed);
    reloading.abort();
    served?;
    Ok(Exit::Done)
}

/// Hosts that webhooks may go to although their addresses are private, separated by commas.
const WEBHOOK_ALLOW: &str = "PERF_AGENT_WEBHOOK_ALLOW";
/// Signs webhooks.
const WEBHOOK_SECRET: &str = "PERF_AGENT_WEBHOOK_SECRET";

/// Keys, limits, TLS, the audit log: flags, environment, defaults.
fn security(args: &Serve, settings: &Settings, environment: Environment<'_>) -> SecurityOptions {
    let hosts = environment(WEBHOOK_ALLOW).unwrap_or_default();
    let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let beside = settings.store_path().map(|path| {
        let mut name = path.into_os_string();
        name.push(".audit.jsonl");
        name.into()
    });
    SecurityOptions {
        rate_rps: args.rate_limit,
        audit: args.audit_log.clone().or(beside),
        cors_origins: args.cors_origin.clone(),
        tls: tls.map(|(cert, key)| TlsFiles { cert, key }),
        outbound: Outbound::new(hosts.map(str::to_owned).collect()),
        webhook_secret: environment(WEBHOOK_SECRET).map(Into::into),
        ..SecurityOptions::default()
    }
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads graphs and prompts again when their files change, and says what came of it.
async fn reload(agent: Agent) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match agent.reload_if_changed() {
            Ok(reloaded) => reloaded.iter().for_each(say),
            Err(error) => eprintln!("error: {}", error.problem()),
        }
    }
}

fn say(reloaded: &Reloaded) {
    match &reloaded.refused {
        None => println!("graph {}: reloaded; new runs use it", reloaded.what),
        Some(error) => {
            eprintln!("graph {}: refused; the last valid version stays", reloaded.what);
            super::exit::report(error, false);
        }
    }
}
