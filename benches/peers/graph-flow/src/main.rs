//! graph-flow in the cases of `benches/runtime/cases.rs` that it can do: `peer CASE` prints one JSON line.
//!
//! It has no supersteps, no reducers, no history, no effects and no durable store but PostgreSQL: a ceiling, not an equal.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use graph_flow::{
    Context, ExecutionStatus, FanOutTask, FlowRunner, Graph, GraphBuilder, InMemorySessionStorage,
    NextAction, Result, Session, SessionStorage, Task, TaskResult,
};
use serde_json::{Value, json};

/// Adds one and goes on, in the same call (`chained`) or in the next.
struct Step {
    chained: bool,
}

#[async_trait]
impl Task for Step {
    fn id(&self) -> &str {
        "step"
    }

    async fn run(&self, context: Context) -> Result<TaskResult> {
        let n: u64 = context.get("n").unwrap_or(0);
        context.set("n", n + 1)?;
        let next = if self.chained { NextAction::ContinueAndExecute } else { NextAction::Continue };
        Ok(TaskResult::new(None, next))
    }
}

struct Finish;

#[async_trait]
impl Task for Finish {
    fn id(&self) -> &str {
        "finish"
    }

    async fn run(&self, _: Context) -> Result<TaskResult> {
        Ok(TaskResult::new(None, NextAction::End))
    }
}

struct Work(String);

#[async_trait]
impl Task for Work {
    fn id(&self) -> &str {
        &self.0
    }

    async fn run(&self, _: Context) -> Result<TaskResult> {
        Ok(TaskResult::new(Some("1".to_owned()), NextAction::Continue))
    }
}

fn circle(chained: bool, limit: u64) -> Arc<Graph> {
    let again = move |context: &Context| context.get::<u64>("n").unwrap_or(0) < limit;
    let built = GraphBuilder::new("loop")
        .add_task(Arc::new(Step { chained }))
        .add_task(Arc::new(Finish))
        .add_conditional_edge("step", again, "step", "finish")
        .set_start_task("step")
        .build();
    Arc::new(built.expect("the graph is valid"))
}

async fn chained(limit: u64) -> Value {
    let graph = circle(true, limit);
    let mut session = Session::new_from_task("t".to_owned(), "step");
    let begun = Instant::now();
    graph.execute_session(&mut session).await.expect("it runs");
    assert_eq!(session.context.get::<u64>("n"), Some(limit));
    json!({ "steps_per_s": limit as f64 / begun.elapsed().as_secs_f64() })
}

async fn stored(threads: u64, limit: u64) -> Value {
    let storage = Arc::new(InMemorySessionStorage::new());
    let runner = Arc::new(FlowRunner::new(circle(false, limit), storage.clone()));
    let begun = Instant::now();
    let runs = (0..threads).map(|n| {
        let (storage, runner) = (storage.clone(), runner.clone());
        tokio::spawn(async move {
            let id = format!("t{n}");
            let session = Session::new_from_task(id.clone(), "step");
            storage.save(session).await.expect("it is kept");
            while !matches!(
                runner.run(&id).await.expect("it runs").status,
                ExecutionStatus::Completed
            ) {}
        })
    });
    futures::future::join_all(runs).await;
    json!({ "steps_per_s": (threads * limit) as f64 / begun.elapsed().as_secs_f64() })
}

async fn fanout() -> Value {
    let children = (0..100).map(|n| Arc::new(Work(format!("work{n}"))) as Arc<dyn Task>).collect();
    let graph = GraphBuilder::new("fan")
        .add_task(FanOutTask::new("fan", children))
        .add_task(Arc::new(Finish))
        .add_edge("fan", "finish")
        .build()
        .expect("the graph is valid");
    let mut took_ms = Vec::new();
    for _ in 0..201 {
        let mut session = Session::new_from_task("t".to_owned(), "fan");
        let begun = Instant::now();
        graph.execute_session(&mut session).await.expect("it runs");
        took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took_ms.sort_by(f64::total_cmp);
    json!({ "fanout100_ms": took_ms[100] })
}

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let one = || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("one");
    let many = || tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("many");
    let mut found = match case.as_str() {
        "loop" => one().block_on(chained(600_000)),
        "loop_memory" => one().block_on(stored(1, 200_000)),
        "many_memory" => many().block_on(stored(1_000, 10)),
        "fanout" => one().block_on(fanout()),
        "cold" => one().block_on(chained(1)),
        other => panic!("there is no case `{other}`"),
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    found["case"] = json!(case);
    found["peak_rss_mib"] = json!(kib.map(|kib| (kib / 102.4).round() / 10.0));
    println!("{found}");
}
