//! The cases: the same graphs, written in the same way, as those of the peers in `benches/peers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use hdrhistogram::Histogram;
use perf_agent::base::{Clock, Rng, SeededRng, SystemClock, ThreadId};
use perf_agent::engine::Local;
use perf_agent::graph::{self, EdgeTarget, Effect, Graph, Route, Source, ToolFacts, Vocabulary};
use perf_agent::runtime::{
    CheckpointStore, Node, NodeError, NodeFactory, Outcome, Runtime, RuntimeParts, StateView,
    TaskContext, Usage,
};
use perf_agent::store::{MemoryStore, SqliteStore};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::NoStore;

/// Every case, in the order of the table.
pub const ALL: [&str; 10] = [
    "loop",
    "loop_memory",
    "loop_sqlite",
    "many_sqlite",
    "many_memory",
    "fanout",
    "fanout_memory",
    "growth",
    "cold",
    "load",
];

/// A node that goes back to itself until a condition ends it, as in the peers.
const LOOP: &str = "schema: graph/v1
name: loop
input: { limit: integer }
state: { n: { type: integer, default: 0, lifetime: run } }
output: [n]
limits: { supersteps: 100000000 }
nodes: { step: { tool: work, reads: [n], writes: n } }
edges: [start -> step, { from: step, to: [{ when: n < limit, to: step }, { else: end }] }]
";

/// One node that appends to a list.
const TURN: &str = "schema: graph/v1
name: turn
input: { said: string }
state: { talk: { type: { array: string }, reducer: append } }
output: []
nodes: { turn: { tool: work, reads: [said], writes: talk } }
edges: [start -> turn -> end]
";

/// Two nodes, of which the second is to be multiplied.
const FAN: &str = "schema: graph/v1
name: fan
input: { goal: { type: string, optional: true } }
state: { out: { type: { array: integer }, reducer: append, lifetime: run } }
output: [out]
nodes: { fork: { tool: work }, work: { tool: work, writes: out } }
edges: [start -> fork -> work -> end]
";

/// Runs one case and prints what it measured as a line of JSON.
pub fn run(case: &str, folder: &Path) {
    let one = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let many = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let memory = || -> Arc<dyn CheckpointStore> { Arc::new(MemoryStore::new()) };
    let mut found = match case {
        "loop" => one().block_on(loops(Arc::new(NoStore::default()), 1, 600_000)),
        "loop_memory" => one().block_on(loops(memory(), 1, 200_000)),
        "loop_sqlite" => on_disk(folder, |store| one().block_on(loops(store, 1, 5_000))),
        "many_sqlite" => on_disk(folder, |store| many().block_on(loops(store, 256, 400))),
        "many_memory" => many().block_on(loops(memory(), 1_000, 10)),
        "fanout" => one().block_on(fanout(Arc::new(NoStore::default()))),
        "fanout_memory" => one().block_on(fanout(memory())),
        "growth" => on_disk(folder, |store| one().block_on(turns(store))),
        "cold" => one().block_on(loops(memory(), 1, 1)),
        "load" => loads(),
        other => panic!("there is no case `{other}`; there are {ALL:?}"),
    };
    found.insert("case".to_owned(), json!(case));
    found.insert("peak_rss_mib".to_owned(), json!(peak_rss_mib()));
    println!("{}", Value::Object(found));
}

/// What every node of the benchmark does, by the name of the graph's channel it writes.
struct Work {
    definition: graph::Node,
    steps: Arc<Steps>,
}

/// When each thread last took a step, and how long the steps took [µs].
#[derive(Default)]
struct Steps {
    last: Mutex<BTreeMap<String, Instant>>,
    took: Mutex<Option<Histogram<u64>>>,
}

impl Steps {
    fn count(&self, thread: &str) {
        let mut took = self.took.lock().unwrap();
        let Some(histogram) = took.as_mut() else { return };
        let now = Instant::now();
        let before = self.last.lock().unwrap().insert(thread.to_owned(), now);
        if let Some(before) = before {
            histogram.record((now - before).as_micros() as u64).unwrap();
        }
    }
}

#[async_trait]
impl Node for Work {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        self.steps.count(&cx.thread.0);
        let value = match self.definition.writes.as_deref() {
            Some("n") => json!(view.channels["n"].as_u64().unwrap_or(0) + 1),
            Some("out") => json!([cx.task.len()]),
            Some("talk") => {
                json!([view.channels["said"], text(1_000, cx.clock.now().0 ^ cx.task.len() as u64)])
            }
            _ => {
                return Ok(Outcome::Update {
                    writes: Vec::new(),
                    grant: None,
                    usage: Usage::default(),
                });
            }
        };
        let writes = self.definition.writes.iter().map(|channel| (channel.clone(), value.clone()));
        Ok(Outcome::Update { writes: writes.collect(), grant: None, usage: Usage::default() })
    }
}

struct Works(Arc<Steps>);

impl NodeFactory for Works {
    fn node(&self, definition: &graph::Node) -> Arc<dyn Node> {
        Arc::new(Work { definition: definition.clone(), steps: self.0.clone() })
    }
}

/// Text of so many letters that no compressor makes much smaller: six bits in every eight.
fn text(letters: usize, seed: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = SeededRng::new(seed);
    (0..letters).map(|_| char::from(ALPHABET[(rng.next_u64() % 64) as usize])).collect()
}

fn load(text: &str) -> Graph {
    // Those of the wide graph are typed, so that the loader proves what flows where.
    let tool = |output: Value| {
        let args = json!({
            "type": "object",
            "properties": { "n": { "type": "integer" } },
            "additionalProperties": false,
        });
        ToolFacts { effect: Effect::Read, approval: false, args, output }
    };
    let number = json!({ "type": "integer" });
    let list = json!({ "type": "array", "items": number });
    let any =
        ToolFacts { effect: Effect::Read, approval: false, args: json!(true), output: json!(true) };
    let tools = [("work", any), ("count", tool(number)), ("gather", tool(list))];
    let tools = tools.into_iter().map(|(name, facts)| (name.to_owned(), facts)).collect();
    let vocabulary = Vocabulary { tools, ..Vocabulary::default() };
    let source = Source { file: "bench.yaml".to_owned(), text: text.to_owned() };
    graph::load(&source, &vocabulary).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

fn machine(store: Arc<dyn CheckpointStore>, steps: Arc<Steps>) -> (Runtime, Arc<Local>) {
    let clock = Arc::new(SystemClock);
    let engine = Arc::new(Local::new(store.clone(), clock.clone()));
    let nodes = Arc::new(Works(steps));
    let parts = RuntimeParts { store, nodes, clock, rng_seed: SystemClock.now().0, engine: None };
    (Runtime::new(parts), engine)
}

/// Runs `threads` runs of `limit` supersteps side by side.
async fn loops(store: Arc<dyn CheckpointStore>, threads: usize, limit: u64) -> Map<String, Value> {
    let steps = Arc::new(Steps::default());
    if threads > 1 {
        *steps.took.lock().unwrap() = Some(Histogram::new(3).unwrap());
    }
    let (runtime, engine) = machine(store, steps.clone());
    let graph = Arc::new(load(LOOP));
    let before_mib = rss_mib();
    let begun = Instant::now();
    let runs = (0..threads).map(|n| {
        let (runtime, engine, graph) = (runtime.clone(), engine.clone(), graph.clone());
        tokio::spawn(async move {
            let thread = ThreadId(format!("thread {n}"));
            runtime.start(&thread, graph, json!({ "limit": limit }), Value::Null).await.unwrap();
            engine.run_to_rest(&runtime, &thread, &CancellationToken::new()).await.unwrap();
            runtime.state(&thread).await.unwrap().unwrap().values["n"].as_u64().unwrap()
        })
    });
    let runs = futures::future::join_all(runs).await;
    let seconds = begun.elapsed().as_secs_f64();
    let done: u64 = runs.into_iter().map(|steps| steps.unwrap()).sum();
    assert_eq!(done, limit * threads as u64);
    let mut found = Map::new();
    found.insert("steps".to_owned(), json!(done));
    found.insert("steps_per_s".to_owned(), json!((done as f64 / seconds).round()));
    found.insert("rss_before_mib".to_owned(), json!(before_mib));
    if let Some(took) = steps.took.lock().unwrap().as_ref() {
        for (name, share) in [("step_p50_ms", 0.5), ("step_p99_ms", 0.99)] {
            found.insert(name.to_owned(), json!(took.value_at_quantile(share) as f64 / 1_000.0));
        }
    }
    found
}

/// One superstep of a hundred nodes, again and again; the median [ms], all that a run takes included.
async fn fanout(store: Arc<dyn CheckpointStore>) -> Map<String, Value> {
    let (runtime, engine) = machine(store, Arc::default());
    let mut graph = load(FAN);
    let work = graph.nodes[1].clone();
    for n in 1..100 {
        graph.nodes.push(graph::Node { name: format!("work{n}"), ..work.clone() });
    }
    let all = (1..=100).map(EdgeTarget::Node).collect();
    graph.nodes[0].route = Route::Always(all);
    graph.hash = "a fan of a hundred".to_owned();
    let graph = Arc::new(graph);
    let mut took_ms = Vec::new();
    for n in 0..201 {
        let thread = ThreadId(format!("thread {n}"));
        let begun = Instant::now();
        runtime.start(&thread, graph.clone(), Value::Null, Value::Null).await.unwrap();
        engine.run_to_rest(&runtime, &thread, &CancellationToken::new()).await.unwrap();
        took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        let state = runtime.state(&thread).await.unwrap().unwrap();
        assert_eq!(state.values["out"].as_array().unwrap().len(), 100);
    }
    took_ms.sort_by(f64::total_cmp);
    Map::from_iter([("fanout100_ms".to_owned(), json!(took_ms[took_ms.len() / 2]))])
}

/// Two hundred runs on one thread, each of which adds 1.1 kB.
async fn turns(store: Arc<dyn CheckpointStore>) -> Map<String, Value> {
    let (runtime, engine) = machine(store, Arc::default());
    let graph = Arc::new(load(TURN));
    let thread = ThreadId("thread".to_owned());
    let begun = Instant::now();
    for n in 0..200 {
        let input = json!({ "said": text(100, n) });
        runtime.start(&thread, graph.clone(), input, Value::Null).await.unwrap();
        engine.run_to_rest(&runtime, &thread, &CancellationToken::new()).await.unwrap();
    }
    let state = runtime.state(&thread).await.unwrap().unwrap();
    assert_eq!(state.values["talk"].as_array().unwrap().len(), 400);
    Map::from_iter([("seconds".to_owned(), json!(begun.elapsed().as_secs_f64()))])
}

/// A graph of 5,000 nodes that fork, meet and choose, loaded again and again; the median [ms].
fn loads() -> Map<String, Value> {
    let text = wide(5_000);
    let mut took_ms: Vec<f64> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(load(&text).nodes.len(), 5_000);
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took_ms.sort_by(f64::total_cmp);
    let (median, bytes) = (took_ms[took_ms.len() / 2], text.len());
    Map::from_iter([("load_ms".to_owned(), json!(median)), ("bytes".to_owned(), json!(bytes))])
}

/// Groups of five: a node that chooses, two ways on, one of which forks, and a node where they meet again.
fn wide(nodes: usize) -> String {
    let (mut state, mut list, mut edges) = (String::new(), String::new(), String::new());
    let groups = nodes / 5;
    for n in 0..groups {
        state += &format!(
            "  c{n}: {{ type: integer, default: 0 }}\n  t{n}: {{ type: {{ array: integer }}, reducer: append }}\n"
        );
        for (node, tool, writes) in [
            ("pick", "count", "c"),
            ("plain", "gather", "t"),
            ("fork", "gather", "t"),
            ("side", "gather", "t"),
            ("meet", "count", "c"),
        ] {
            list += &format!(
                "  {node}{n}: {{ tool: {tool}, args: {{ n: \"{{{{ c{n} + 1 }}}}\" }}, reads: [c{n}, t{n}], writes: {writes}{n} }}\n"
            );
        }
        edges += &format!(
            "  - {{ from: pick{n}, to: [{{ when: c{n} > 3 and c{n} < 9, to: plain{n} }}, {{ else: fork{n} }}] }}\n"
        );
        edges += &format!("  - {{ from: fork{n}, to: [side{n}, meet{n}] }}\n");
        edges += &format!("  - plain{n} -> meet{n}\n  - side{n} -> end\n");
        let next = if n + 1 < groups { format!("pick{}", n + 1) } else { "end".to_owned() };
        edges += &format!("  - meet{n} -> {next}\n");
    }
    format!(
        "schema: graph/v1\nname: wide\nstate:\n{state}nodes:\n{list}edges:\n  - start -> pick0\n{edges}output: [c0]\n"
    )
}

/// A case on a file of its own; its size comes with what was measured.
fn on_disk(
    folder: &Path,
    case: impl FnOnce(Arc<dyn CheckpointStore>) -> Map<String, Value>,
) -> Map<String, Value> {
    let path: PathBuf = folder.join(format!("perf-agent-bench-{}.db", std::process::id()));
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let mut found = case(store.clone());
    // Closing writes everything back into the one file.
    drop(store);
    let bytes = std::fs::metadata(&path).unwrap().len();
    found.insert("file_mib".to_owned(), json!(bytes as f64 / f64::from(1 << 20)));
    for end in ["", "-wal", "-shm", ".lock"] {
        // What is not there need not go.
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    found
}

/// Most memory this process ever held [MiB]; `None` where the system does not say.
fn peak_rss_mib() -> Option<f64> {
    status_mib("VmHWM:")
}

fn rss_mib() -> Option<f64> {
    status_mib("VmRSS:")
}

fn status_mib(name: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some((kib / 102.4).round() / 10.0)
}
