//! `serve`: the HTTP API, until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Exit;
use super::args::{Common, Serve};
use super::commands::{resolved, stopped};
use super::settings::Environment;
use crate::agent::{Agent, Error, Reloaded, Settings};
use crate::api::{
    McpAccess, OrchestratorOptions, Outbound, SecurityOptions, Server, ServerOptions, TlsFiles,
};
use crate::base::{Clock, Coded, SystemClock};

/// The simulated world that all runs of a server share.
pub(super) const SCOPE: &str = "serve";

/// `serve`.
pub(super) async fn serve(common: &Common, args: &Serve) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let security = security(args, &settings, &|name| std::env::var(name).ok());
    let config = settings.config.text.clone();
    let agent = Agent::shared(settings, SCOPE).await?;
    let (model, files) = (agent.model_line().to_owned(), agent.clone());
    let listen = SocketAddr::new(args.host, args.port);
    let failed = |error: crate::api::Error| Error::Run(error.problem());
    // Over HTTP nobody can consent beforehand: a caller is asked, as everywhere.
    let mcp = McpAccess { effects: args.mcp_effects, consent: false };
    let options = ServerOptions { listen, config, mcp, security };
    let mut server = Server::bind(agent, options).await.map_err(failed)?;
    if let Some(orchestrator) = orchestrator() {
        server = server.reporting_to(orchestrator);
    }
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

/// The orchestrator that the environment names.
fn orchestrator() -> Option<OrchestratorOptions> {
    let variable =
        |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
    let started = SystemClock.now().0;
    Some(OrchestratorOptions {
        url: variable("ORCHESTRATOR_URL")?,
        prefix: variable("ORCHESTRATOR_PREFIX").unwrap_or_default(),
        name: variable("AGENT_NAME").unwrap_or_else(|| "performance-agent".to_owned()),
        host: variable("AGENT_HOST"),
        clock: Arc::new(SystemClock),
        // Agents that start together must not call together.
        seed: started ^ u64::from(std::process::id()).rotate_left(32),
    })
}

/// Hosts that webhooks may go to although their addresses are private, separated by commas.
const WEBHOOK_ALLOW: &str = "PERF_AGENT_WEBHOOK_ALLOW";
/// Further hosts whose metrics may be read, separated by commas.
const SCRAPE_ALLOW: &str = "PERF_AGENT_SCRAPE_ALLOW";
/// Signs webhooks.
const WEBHOOK_SECRET: &str = "PERF_AGENT_WEBHOOK_SECRET";

/// Keys, limits, TLS, the audit log: flags, environment, defaults.
fn security(args: &Serve, settings: &Settings, environment: Environment<'_>) -> SecurityOptions {
    let hosts = |variable| {
        let listed = environment(variable).unwrap_or_default();
        let hosts = listed.split(',').map(str::trim).filter(|host| !host.is_empty());
        hosts.map(str::to_owned).collect::<Vec<_>>()
    };
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
        outbound: Outbound::new(hosts(WEBHOOK_ALLOW)).reading(hosts(SCRAPE_ALLOW)),
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
