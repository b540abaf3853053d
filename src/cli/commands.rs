//! Every command, one arm each.

use serde_json::{Value, json};

use super::args::{self, Cli, Command, Common, Format};
use super::{Exit, keys, optimize, report, serve, settings, store, threads};
use crate::agent::{
    Agent, Drawing, Error, LoadRequest, ProxySettings, Settings, SimulationSettings, graph_schema,
    put_load, run_proxy, run_simulation,
};

pub(super) async fn dispatch(cli: Cli) -> Result<Exit, Error> {
    let common = &cli.common;
    match cli.command {
        Command::Optimize(args) => optimize::optimize(common, &args).await,
        Command::Run(args) => optimize::run(common, &args).await,
        Command::Resume(args) => optimize::resume(common, &args).await,
        Command::Threads { command } => threads::threads(common, &command).await,
        Command::Graph { command } => graph(common, &command).await,
        Command::Tools { command } => tools(common, &command).await,
        Command::Serve(args) => serve::serve(common, &args).await,
        Command::Mcp(args) => super::mcp::mcp(common, &args).await,
        Command::Keys { command } => keys::keys(common, &command).await,
        Command::Proxy(args) => proxy(common, &args).await,
        Command::Simulate(args) => simulate(common, &args).await,
        Command::Load(args) => load(common, &args).await,
        Command::Up => up(common, true).await,
        Command::Down => up(common, false).await,
        Command::Store { command } => store::store(common, &command).await,
        Command::Doctor => doctor(common).await,
    }
}

/// Flags, environment and files of this process.
pub(super) fn resolved(common: &Common) -> Result<Settings, Error> {
    settings::resolve(common, &|name| std::env::var(name).ok())
}

/// Settings that touch no file of the user's: for commands that keep nothing.
fn without_store(common: &Common) -> Result<Settings, Error> {
    let mut settings = resolved(common)?;
    if common.store.is_none() {
        settings.store_url = "memory:".to_owned();
    }
    Ok(settings)
}

pub(super) fn is_json(common: &Common) -> bool {
    common.format == Some(Format::Json)
}

/// JSON that was typed.
pub(super) fn typed_json(what: &str, text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| Error::Argument {
        argument: what.to_owned(),
        detail: format!("`{text}` is not JSON: {error}"),
    })
}

async fn graph(common: &Common, command: &args::Graph) -> Result<Exit, Error> {
    match command {
        args::Graph::Schema => {
            println!("{:#}", graph_schema());
            Ok(Exit::Done)
        }
        args::Graph::Check { files } => {
            let agent = Agent::shared(without_store(common)?, "check").await?;
            let mut exit = Exit::Done;
            for file in files {
                match agent.check_graph(file) {
                    Ok(name) if is_json(common) => {
                        println!("{}", json!({"file": file, "graph": name}));
                    }
                    Ok(name) => println!("{}: graph `{name}` is fine", file.display()),
                    Err(error) => {
                        super::exit::report(&error, is_json(common));
                        exit = Exit::Failed;
                    }
                }
            }
            Ok(exit)
        }
        args::Graph::Test { files } => test(common, files).await,
        args::Graph::Show { graph, drawing } => {
            let agent = Agent::shared(without_store(common)?, "show").await?;
            let drawing = match drawing {
                args::Drawing::Ascii => Drawing::Ascii,
                args::Drawing::Mermaid => Drawing::Mermaid,
                args::Drawing::Svg => Drawing::Svg,
            };
            let is_file = graph.ends_with(".yaml");
            let drawn = match is_file {
                true => agent.draw_file(std::path::Path::new(graph), drawing)?,
                false => agent.draw(graph, drawing)?,
            };
            println!("{drawn}");
            Ok(Exit::Done)
        }
    }
}

/// `graph test`.
async fn test(common: &Common, files: &[std::path::PathBuf]) -> Result<Exit, Error> {
    let agent = Agent::shared(without_store(common)?, "test").await?;
    let (mut exit, mut all) = (Exit::Done, Vec::new());
    for file in files {
        let shown = file.display();
        let outcomes = match agent.test_graph(file).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                super::exit::report(&error, is_json(common));
                exit = Exit::Failed;
                continue;
            }
        };
        if outcomes.iter().any(|outcome| !outcome.problems.is_empty()) {
            exit = Exit::Failed;
        }
        if is_json(common) {
            all.push(json!({ "file": shown.to_string(), "tests": outcomes }));
            continue;
        }
        if outcomes.is_empty() {
            println!("{shown}: no tests");
        }
        for outcome in outcomes {
            let mark = if outcome.problems.is_empty() { "ok  " } else { "FAIL" };
            println!("{mark} {shown}: {}", outcome.name);
            outcome.problems.iter().for_each(|problem| println!("     {problem}"));
        }
    }
    if is_json(common) {
        println!("{:#}", json!(all));
    }
    Ok(exit)
}

async fn tools(common: &Common, command: &args::Tools) -> Result<Exit, Error> {
    let agent = Agent::shared(without_store(common)?, "tools").await?;
    match command {
        args::Tools::List if is_json(common) => println!("{:#}", json!(agent.tools())),
        args::Tools::List => println!("{}", report::tools(&agent.tools())),
        args::Tools::Schema { tool } => {
            let wanted = agent.tools().into_iter().find(|known| known.name == *tool);
            let Some(known) = wanted else {
                let detail =
                    format!("there is no tool `{tool}`; `perf-agent tools list` shows them");
                return Err(Error::Argument { argument: "TOOL".to_owned(), detail });
            };
            println!("{:#}", json!({"arguments": known.arguments, "output": known.output}));
        }
        args::Tools::Call { tool, args, yes } => {
            let args = typed_json("arguments", args)?;
            println!("{:#}", agent.call_tool(tool, args, *yes).await?);
        }
    }
    Ok(Exit::Done)
}

async fn proxy(common: &Common, args: &args::Proxy) -> Result<Exit, Error> {
    let settings = ProxySettings {
        listen: args.listen,
        control: args.control.clone(),
        state: args.state.clone(),
    };
    let json = is_json(common);
    let announce = |listen: std::net::SocketAddr| {
        let url = format!("http://{listen}");
        if json {
            println!("{}", json!({"url": url}));
        } else {
            println!("the proxy takes requests at {url}");
        }
    };
    run_proxy(settings, announce, stopped()).await?;
    Ok(Exit::Done)
}

async fn simulate(common: &Common, args: &args::Simulate) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let settings = SimulationSettings {
        listen: (std::net::Ipv4Addr::LOCALHOST, args.port).into(),
        speed: args.speed,
        seed: settings.seed,
        config: settings.config,
    };
    let json = is_json(common);
    let announce = |listen: std::net::SocketAddr, model: &str| {
        let url = format!("http://{listen}");
        if json {
            println!("{}", json!({"url": url, "served_model": model}));
        } else {
            println!("{model} is simulated at {url}");
        }
    };
    run_simulation(settings, announce, stopped()).await?;
    Ok(Exit::Done)
}

async fn load(common: &Common, args: &args::Load) -> Result<Exit, Error> {
    let request = LoadRequest {
        url: args.url.clone(),
        served_model: args.served_model.clone(),
        rate_rps: args.rate,
        duration_s: args.duration_s,
        warmup_s: args.warmup_s,
        input_tokens: args.input_tokens,
        shared_prefix_ratio: args.shared_prefix_ratio,
        output_tokens: args.output_tokens,
        timeout_s: args.timeout_s,
        slo_ttft_ms: args.slo_ttft_ms,
        slo_tpot_ms: args.slo_tpot_ms,
        seed: common.seed.unwrap_or(1),
        allow_remote: args.allow_remote,
    };
    let (stats, within) = put_load(&request).await?;
    println!("{:#}", json!({"stats": stats, "within_slo": within}));
    // Figures of nothing but failures are no measurement.
    Ok(if stats.requests_failed < stats.requests { Exit::Done } else { Exit::Failed })
}

/// `up` and `down`.
async fn up(common: &Common, wanted: bool) -> Result<Exit, Error> {
    let agent = Agent::shared(without_store(common)?, "up").await?;
    let lines = if wanted { agent.up().await? } else { agent.down().await? };
    if is_json(common) {
        println!("{:#}", json!(lines));
    } else if lines.is_empty() {
        println!("the config declares no deployment that is run on this host");
    } else {
        println!("{}", lines.join("\n"));
    }
    Ok(Exit::Done)
}

async fn doctor(common: &Common) -> Result<Exit, Error> {
    let agent = Agent::shared(without_store(common)?, "doctor").await?;
    let checks = agent.doctor().await;
    if is_json(common) {
        println!("{:#}", json!(checks));
    } else {
        for check in &checks {
            let mark = match check.ok {
                Some(true) => "ok  ",
                Some(false) => "FAIL",
                None => "–   ",
            };
            println!("{mark} {}: {}", check.name, check.detail);
        }
    }
    let failed = checks.iter().any(|check| check.ok == Some(false));
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Ctrl-C or SIGTERM.
pub(super) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
