//! `optimize`, `run` and `resume`: a thread from start, or from where it stood, to rest.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::args::{Common, Optimize, Resume, Run};
use super::commands::{is_json, resolved, stopped, typed_json};
use super::live::Live;
use super::{Exit, chart, report, terminal};
use crate::agent::{Agent, Error};
use crate::base::{Coded, ThreadId};

/// `optimize GOAL`.
pub(super) async fn optimize(common: &Common, args: &Optimize) -> Result<Exit, Error> {
    let mut input = json!({"goal": args.goal});
    if let Some(target) = &args.target {
        input["deployment"] = json!(target);
    }
    begin(common, "optimize", input, args.yes).await
}

/// `run GRAPH`.
pub(super) async fn run(common: &Common, args: &Run) -> Result<Exit, Error> {
    begin(common, &args.graph, typed_json("--input", &args.input)?, args.yes).await
}

/// `resume THREAD`.
pub(super) async fn resume(common: &Common, args: &Resume) -> Result<Exit, Error> {
    let thread = ThreadId(args.thread.clone());
    let agent = Agent::for_thread(resolved(common)?, &thread).await?;
    if let Some(answer) = &args.answer {
        // A bare word is an answer too: --answer approve.
        let answer = typed_json("--answer", answer).unwrap_or_else(|_| json!(answer));
        agent.answer(&thread, answer).await?;
    } else if let Some(state) = agent.look(&thread).await?
        && (!state.held.is_empty() || state.error.is_some() && !state.next.is_empty())
    {
        agent.go_on(&thread).await?;
    }
    go_on(common, &agent, &thread, false).await
}

async fn begin(common: &Common, graph: &str, input: Value, yes: bool) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let config = settings.config.text.clone();
    let (agent, thread) = Agent::for_new_thread(settings).await?;
    agent.start(&thread, graph, input, yes, config).await?;
    go_on(common, &agent, &thread, graph == "optimize").await
}

/// Runs to rest; in a terminal, answers questions and goes on.
async fn go_on(
    common: &Common,
    agent: &Agent,
    thread: &ThreadId,
    announce: bool,
) -> Result<Exit, Error> {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let signals = tokio::spawn(async move {
        stopped().await;
        stopper.cancel();
    });
    let live = (!is_json(common)).then(|| Live::start(agent, thread, announce));
    let rested = loop {
        let state = match agent.run_to_rest(thread, &stop).await {
            Ok(state) => state,
            Err(error) => break Err(error),
        };
        if let Some(live) = &live {
            live.settle().await;
        }
        let asked = state.interrupts.first().map(|open| open.question.text.clone());
        match asked.filter(|_| !is_json(common) && terminal::is_attended()) {
            Some(question) if ask(agent, thread, &question, &stop).await => {}
            _ => break Ok(()),
        }
    };
    signals.abort();
    if let Some(live) = live {
        live.finish().await;
    }
    rested?;
    let result = agent.result(thread).await?;
    if is_json(common) {
        println!("{}", json!(result));
    } else {
        let samples = chart::samples(agent, thread).await;
        println!("\n{}", report::text(&result, &samples));
    }
    Ok(report::exit(&result))
}

/// Asks in the terminal until an answer is taken; false when the person leaves the question open.
async fn ask(agent: &Agent, thread: &ThreadId, question: &str, stop: &CancellationToken) -> bool {
    terminal::show(question);
    while let Some(answer) = terminal::answer(stop).await {
        match agent.answer(thread, json!(answer)).await {
            Ok(()) => return true,
            Err(error) => eprintln!("error: {}", error.problem()),
        }
    }
    false
}
