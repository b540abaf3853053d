//! Speed of the runtime: supersteps per second without a store, in memory, and durable on disk.
//!
//! `cargo bench --bench runtime [FOLDER]`: the folder (default: the system's temporary one) decides which disk is measured.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on should stop where it is")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use perf_agent::base::{EffectKey, Millis, Problem, SystemClock, ThreadId};
use perf_agent::engine::Local;
use perf_agent::graph::{
    self, Channel, EdgeTarget, Graph, Kind, Lifetime, Limits, Reducer, RetryPolicy, Route,
    ToolCallSpec,
};
use perf_agent::runtime::{
    Begun, Checkpoint, CheckpointStore, Commit, Committed, Epoch, Event, Forgotten, Letter,
    NewEvent, Node, NodeError, NodeFactory, Opened, Outcome, PostOutcome, Posted, Retention,
    Runtime, RuntimeParts, StateView, TaskContext, TaskResult, ThreadRow, Usage,
};
use perf_agent::store::{MemoryStore, SqliteStore};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Adds one.
struct Count;

#[async_trait]
impl Node for Count {
    async fn run(&self, _: &StateView, _: &TaskContext) -> Result<Outcome, NodeError> {
        let writes = vec![("n".to_owned(), json!(1))];
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}

struct Counters;

impl NodeFactory for Counters {
    fn node(&self, _: &graph::Node) -> Arc<dyn Node> {
        Arc::new(Count)
    }
}

/// Two nodes in a circle that count until the limit of supersteps ends them.
fn circle(supersteps: u64) -> Arc<Graph> {
    let node = |name: &str, next: usize| graph::Node {
        name: name.to_owned(),
        kind: Kind::Tool(ToolCallSpec { tool: "count".to_owned(), args: json!({}) }),
        reads: vec!["n".to_owned()],
        writes: Some("n".to_owned()),
        timeout_ms: 60_000,
        retry: RetryPolicy {
            max: 0,
            initial_ms: 1,
            factor: 1.0,
            cap_ms: 1,
            jitter: false,
            on: Vec::new(),
        },
        repeat: None,
        on_error: Vec::new(),
        cache: None,
        pause: None,
        join: None,
        defer: false,
        route: Route::Always(vec![EdgeTarget::Node(next)]),
    };
    let channel = Channel {
        schema: json!({ "type": "integer" }),
        reducer: Reducer::Sum,
        lifetime: Lifetime::Run,
        default: Some(json!(0)),
    };
    Arc::new(Graph {
        name: "circle".to_owned(),
        version: 1,
        description: String::new(),
        hash: format!("circle of {supersteps}"),
        channels: BTreeMap::from([("n".to_owned(), channel)]),
        input: BTreeMap::new(),
        context: BTreeMap::new(),
        output: vec!["n".to_owned()],
        limits: Limits {
            supersteps,
            visits_per_node: u64::MAX,
            wall_ms: None,
            tokens: None,
            cost_usd: None,
            on_limit: None,
        },
        nodes: vec![node("tick", 1), node("tock", 0)],
        start: vec![0],
        migrations: Vec::new(),
    })
}

/// Runs `threads` runs side by side; supersteps per second of all of them.
async fn measure(store: Arc<dyn CheckpointStore>, threads: usize, supersteps: u64) -> f64 {
    let clock = Arc::new(SystemClock);
    let engine = Arc::new(Local::new(store.clone(), clock.clone()));
    let parts = RuntimeParts { store, nodes: Arc::new(Counters), clock, rng_seed: 1, engine: None };
    let runtime = Runtime::new(parts);
    let graph = circle(supersteps);
    let begun = Instant::now();
    let runs = (0..threads).map(|n| {
        let (runtime, engine, graph) = (runtime.clone(), engine.clone(), graph.clone());
        tokio::spawn(async move {
            let thread = ThreadId(format!("thread {n}"));
            runtime.start(&thread, graph, Value::Null, Value::Null).await.unwrap();
            engine.run_to_rest(&runtime, &thread, &CancellationToken::new()).await.unwrap();
            runtime.state(&thread).await.unwrap().map_or(0, |state| state.superstep)
        })
    });
    let done: u64 =
        futures::future::join_all(runs).await.into_iter().map(|steps| steps.unwrap()).sum();
    assert!(done >= supersteps * threads as u64);
    done as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.iter().find(|text| !text.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let many = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let show = |what: &str, rate: f64| println!("{what:<44} {rate:>12.0} supersteps/s");
    for _ in 0..2 {
        show("no store, one core", one.block_on(measure(Arc::new(NoStore::default()), 1, 400_000)));
    }
    show("memory store, one core", one.block_on(measure(Arc::new(MemoryStore::new()), 1, 100_000)));
    for (threads, supersteps) in [(1, 4_000), (16, 2_000), (256, 400)] {
        let path = folder.join(format!("perf-agent-bench-{}-{threads}.db", std::process::id()));
        let store = Arc::new(SqliteStore::open(&path).unwrap());
        let rate = many.block_on(measure(store.clone(), threads, supersteps));
        show(&format!("SQLite, synchronous=FULL, {threads} runs"), rate);
        drop(store);
        let bytes = std::fs::metadata(&path).unwrap().len();
        let each = bytes as f64 / (threads as u64 * supersteps) as f64;
        println!("{:<44} {each:>12.0} bytes/checkpoint with its events", "");
        for end in ["", "-wal", "-shm", ".lock"] {
            // What is not there need not go.
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}

/// Keeps nothing but the head: what the runtime itself costs.
#[derive(Default)]
struct NoStore {
    head: Mutex<Option<Arc<Checkpoint>>>,
    inbox: Mutex<Vec<Posted>>,
    graphs: Mutex<Option<String>>,
}

#[async_trait]
impl CheckpointStore for NoStore {
    async fn put_graph(&self, _: &str, text: &str) -> Result<(), Problem> {
        *self.graphs.lock().unwrap() = Some(text.to_owned());
        Ok(())
    }
    async fn graph(&self, _: &str) -> Result<Option<String>, Problem> {
        Ok(self.graphs.lock().unwrap().clone())
    }
    async fn open_epoch(&self, _: &ThreadId, _: &str) -> Result<Opened, Problem> {
        let (head, inbox) = (self.head.lock().unwrap().clone(), self.inbox.lock().unwrap().clone());
        Ok(Opened { epoch: Epoch(1), head, inbox, results: Vec::new() })
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, Problem> {
        if !commit.applied.is_empty() {
            self.inbox.lock().unwrap().clear();
        }
        *self.head.lock().unwrap() = Some(commit.checkpoint);
        Ok(Committed::Committed)
    }
    async fn put_task_writes(
        &self,
        _: &ThreadId,
        _: Epoch,
        _: &TaskResult,
        _: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        Ok(true)
    }
    async fn append_events(
        &self,
        _: &ThreadId,
        _: Epoch,
        _: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        Ok(true)
    }
    async fn effect_begin(
        &self,
        _: &ThreadId,
        _: Epoch,
        _: &EffectKey,
        _: &str,
    ) -> Result<Begun, Problem> {
        Ok(Begun::Fresh)
    }
    async fn effect_finish(&self, _: &EffectKey, _: &Value) -> Result<(), Problem> {
        Ok(())
    }
    async fn inbox_push(
        &self,
        _: &ThreadId,
        letter: &Letter,
        at: Millis,
        _: Option<&str>,
    ) -> Result<PostOutcome, Problem> {
        self.inbox.lock().unwrap().push(Posted { id: 1, at, letter: letter.clone() });
        Ok(PostOutcome::Accepted(1))
    }
    async fn inbox(&self, _: &ThreadId) -> Result<Vec<Posted>, Problem> {
        Ok(self.inbox.lock().unwrap().clone())
    }
    async fn results(&self, _: &ThreadId) -> Result<Vec<TaskResult>, Problem> {
        Ok(Vec::new())
    }

    async fn head(&self, _: &ThreadId) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(self.head.lock().unwrap().clone())
    }
    async fn state_at(&self, _: &ThreadId, _: u64) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(None)
    }
    async fn history(
        &self,
        _: &ThreadId,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<Arc<Checkpoint>>, Problem> {
        Ok(Vec::new())
    }
    async fn events(&self, _: &ThreadId, _: u64, _: usize) -> Result<Vec<Event>, Problem> {
        Ok(Vec::new())
    }
    async fn threads(&self, _: usize) -> Result<Vec<ThreadRow>, Problem> {
        Ok(Vec::new())
    }
    async fn due(&self, _: Millis, _: usize) -> Result<Vec<ThreadId>, Problem> {
        Ok(Vec::new())
    }
    async fn next_wake(&self) -> Result<Option<Millis>, Problem> {
        Ok(None)
    }
    async fn put_wake(&self, _: &ThreadId, _: Millis) -> Result<(), Problem> {
        Ok(())
    }
    async fn stale_ready(&self, _: Millis, _: usize) -> Result<Vec<ThreadId>, Problem> {
        Ok(Vec::new())
    }
    async fn fork(&self, _: &ThreadId, _: u64, _: &ThreadId) -> Result<bool, Problem> {
        Ok(false)
    }
    async fn prune(&self, _: &ThreadId, _: usize) -> Result<u64, Problem> {
        Ok(0)
    }
    async fn delete(&self, _: &ThreadId) -> Result<(), Problem> {
        Ok(())
    }
    async fn retain(&self, _: &Retention) -> Result<Forgotten, Problem> {
        Ok(Forgotten::default())
    }
}
