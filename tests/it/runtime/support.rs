//! Small graphs, small nodes, and a clock that leaps: what the tests of the runtime are made of.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perf_agent::base::{Clock, Millis, Problem, ThreadId};
use perf_agent::engine::{Local, Rest};
use perf_agent::graph::{
    self, Channel, EdgeTarget, Graph, Kind, Lifetime, Limits, OnError, Reducer, Repeat,
    RetryPolicy, Route, ToolCallSpec,
};
use perf_agent::runtime::{
    CheckpointStore, ErrorClass, Event, Node, NodeError, NodeFactory, Outcome, Runtime,
    RuntimeParts, StateView, TaskContext, ThreadState, Usage,
};
use perf_agent::store::MemoryStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A simulated clock: sleeping is what moves it.
pub struct LeapClock(Mutex<Millis>);

impl LeapClock {
    pub fn at(ms: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Millis(ms))))
    }
}

#[async_trait]
impl Clock for LeapClock {
    fn now(&self) -> Millis {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, at: Millis) {
        let mut now = self.0.lock().unwrap();
        *now = (*now).max(at);
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

/// Work that needs no waiting.
struct Now<F>(F);

#[async_trait]
impl<F> Node for Now<F>
where
    F: Fn(&StateView, &TaskContext) -> Result<Outcome, NodeError> + Send + Sync,
{
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        (self.0)(view, cx)
    }
}

/// Workers by name of node; a node without one writes nothing.
#[derive(Default, Clone)]
pub struct Crew(HashMap<String, Arc<dyn Node>>);

impl Crew {
    pub fn does<F>(self, node: &str, work: F) -> Self
    where
        F: Fn(&StateView, &TaskContext) -> Result<Outcome, NodeError> + Send + Sync + 'static,
    {
        self.has(node, Now(work))
    }

    pub fn has(mut self, node: &str, worker: impl Node + 'static) -> Self {
        self.0.insert(node.to_owned(), Arc::new(worker));
        self
    }
}

impl NodeFactory for Crew {
    fn node(&self, definition: &graph::Node) -> Arc<dyn Node> {
        if let (None, Kind::Set(values)) = (self.0.get(&definition.name), &definition.kind) {
            let values = values.clone();
            return Arc::new(Now(move |view: &StateView, _: &TaskContext| set(&values, view)));
        }
        let idle =
            || -> Arc<dyn Node> { Arc::new(Now(|_: &StateView, _: &TaskContext| wrote([]))) };
        self.0.get(&definition.name).cloned().unwrap_or_else(idle)
    }
}

/// What a `set` node writes.
fn set(values: &BTreeMap<String, Value>, view: &StateView) -> Result<Outcome, NodeError> {
    let mut scope = view.channels.clone();
    scope.insert("visits".to_owned(), json!(view.visits));
    let filled = values.iter().map(|(channel, template)| {
        (channel.clone(), graph::render_args(template, &scope).unwrap())
    });
    Ok(Outcome::Update { writes: filled.collect(), grant: None, usage: Usage::default() })
}

/// An update with these writes.
pub fn wrote<const N: usize>(writes: [(&str, Value); N]) -> Result<Outcome, NodeError> {
    let writes = writes.into_iter().map(|(channel, value)| (channel.to_owned(), value)).collect();
    Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
}

/// A failure of this class.
pub fn failure(class: ErrorClass) -> NodeError {
    let problem = Problem {
        code: "test.failure".to_owned(),
        message: "it did not work".to_owned(),
        hint: String::new(),
    };
    NodeError::new(class, problem)
}

/// A graph under construction.
pub struct Draw(Graph);

pub fn draw(name: &str) -> Draw {
    Draw(Graph {
        name: name.to_owned(),
        version: 1,
        description: String::new(),
        hash: String::new(),
        channels: BTreeMap::new(),
        input: BTreeMap::new(),
        context: BTreeMap::new(),
        output: Vec::new(),
        limits: Limits {
            supersteps: 100,
            visits_per_node: 50,
            wall_ms: None,
            tokens: None,
            cost_usd: None,
            on_limit: None,
        },
        mode: graph::Mode::Superstep,
        nodes: Vec::new(),
        start: vec![0],
        migrations: Vec::new(),
    })
}

impl Draw {
    pub fn channel(self, name: &str, schema: Value, reducer: Reducer) -> Self {
        self.channel_for(name, schema, reducer, Lifetime::Thread)
    }

    pub fn channel_for(
        mut self,
        name: &str,
        schema: Value,
        reducer: Reducer,
        lifetime: Lifetime,
    ) -> Self {
        let channel = Channel { schema, reducer, lifetime, default: None };
        self.0.channels.insert(name.to_owned(), channel);
        self
    }

    pub fn input(mut self, name: &str, required: bool) -> Self {
        self.0.input.insert(name.to_owned(), required);
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.0.output.push(name.to_owned());
        self
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.0.limits);
        self
    }

    pub fn start(mut self, nodes: &[usize]) -> Self {
        self.0.start = nodes.to_vec();
        self
    }

    /// A node that reads everything, writes `writes`, and goes to `next` (indices; empty: the end).
    pub fn node(self, name: &str, writes: Option<&str>, next: &[usize]) -> Self {
        let to = next.iter().map(|&ix| EdgeTarget::Node(ix)).collect();
        self.routed(name, writes, Route::Always(to))
    }

    /// A node that goes where the first condition that holds says; `None`: the end.
    pub fn choice(self, name: &str, writes: Option<&str>, arms: &[(&str, Option<usize>)]) -> Self {
        let arm = |(when, to): &(&str, Option<usize>)| {
            let when = (!when.is_empty()).then(|| (*when).to_owned());
            (when, to.map_or(EdgeTarget::End, EdgeTarget::Node))
        };
        self.routed(name, writes, Route::First(arms.iter().map(arm).collect()))
    }

    fn routed(mut self, name: &str, writes: Option<&str>, route: Route) -> Self {
        self.0.nodes.push(graph::Node {
            name: name.to_owned(),
            kind: Kind::Tool(ToolCallSpec { tool: name.to_owned(), args: json!({}) }),
            reads: Vec::new(),
            writes: writes.map(str::to_owned),
            timeout_ms: 60_000,
            retry: RetryPolicy {
                max: 0,
                initial_ms: 100,
                factor: 2.0,
                cap_ms: 10_000,
                jitter: false,
                on: vec!["timeout".to_owned(), "unavailable".to_owned(), "rate_limited".to_owned()],
            },
            repeat: None,
            on_error: Vec::new(),
            cache: None,
            pause: None,
            join: None,
            defer: false,
            route,
        });
        self
    }

    /// Changes the node drawn last.
    pub fn but(mut self, change: impl FnOnce(&mut graph::Node)) -> Self {
        change(self.0.nodes.last_mut().unwrap());
        self
    }

    pub fn repeat(self, every_ms: u64, until: &str) -> Self {
        let until = until.to_owned();
        self.but(|node| node.repeat = Some(Repeat { every_ms, until }))
    }

    pub fn on_error(self, when: Option<&str>, to: Option<usize>) -> Self {
        let when = when.map(str::to_owned);
        self.but(|node| node.on_error.push(OnError { when, to, set: BTreeMap::new() }))
    }

    pub fn done(mut self) -> Arc<Graph> {
        let all: Vec<String> = self.0.channels.keys().cloned().collect();
        for node in &mut self.0.nodes {
            node.reads = all.clone();
        }
        self.0.hash = perf_agent::base::stable_hash(&[&serde_json::to_string(&self.0).unwrap()]);
        Arc::new(self.0)
    }
}

/// A runtime on a store, and the engine that drives it.
pub struct Rig {
    pub runtime: Runtime,
    pub engine: Arc<Local>,
    pub store: Arc<dyn CheckpointStore>,
    pub thread: ThreadId,
}

impl Rig {
    /// In memory, on a leaping clock.
    pub fn new(crew: Crew) -> Self {
        Self::on(Arc::new(MemoryStore::new()), LeapClock::at(1_000), crew)
    }

    pub fn on(store: Arc<dyn CheckpointStore>, clock: Arc<dyn Clock>, crew: Crew) -> Self {
        let engine = Arc::new(Local::new(store.clone(), clock.clone()));
        let runtime = Runtime::new(RuntimeParts {
            store: store.clone(),
            nodes: Arc::new(crew),
            clock,
            rng_seed: 7,
            engine: Some(engine.clone()),
        });
        Self { runtime, engine, store, thread: ThreadId("t".to_owned()) }
    }

    pub async fn rest(&self) -> Rest {
        let stop = CancellationToken::new();
        self.engine.run_to_rest(&self.runtime, &self.thread, &stop).await.unwrap()
    }

    /// Starts a run and drives it to rest.
    pub async fn run(&self, graph: &Arc<Graph>, input: Value) -> ThreadState {
        self.runtime.start(&self.thread, graph.clone(), input, Value::Null).await.unwrap();
        self.rest().await;
        self.state().await
    }

    pub async fn state(&self) -> ThreadState {
        self.runtime.state(&self.thread).await.unwrap().unwrap()
    }

    pub async fn events(&self) -> Vec<Event> {
        self.runtime.events(&self.thread, 0, 10_000).await.unwrap()
    }

    /// The journal as lines: kind, and the node if one is named.
    pub async fn journal(&self) -> Vec<String> {
        let line = |event: Event| match event.data.get("node").and_then(Value::as_str) {
            Some(node) => format!("{} {node}", event.kind),
            None => event.kind,
        };
        self.events().await.into_iter().map(line).collect()
    }
}

/// Code of the run's failure.
pub fn code(state: &ThreadState) -> &str {
    state.error.as_ref().map_or("", |problem| problem.code.as_str())
}

pub fn number() -> Value {
    json!({ "type": "integer" })
}

pub fn list() -> Value {
    json!({ "type": "array", "items": { "type": "integer" } })
}
