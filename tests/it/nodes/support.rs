//! Graph files run by the real nodes: the model is scripted, and what the tools look at is acted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perf_agent::base::{Clock, ThreadId};
use perf_agent::domain::{Deployment, GpuReading, Objective, Observation};
use perf_agent::engine::Local;
use perf_agent::graph::{self, Graph, Source, ToolFacts, Vocabulary, load};
use perf_agent::llm::{ChatReply, ChatRequest, Message, Scripted, ToolCall, Usage};
use perf_agent::nodes::{Factory, Parts};
use perf_agent::runtime::{Runtime, RuntimeParts};
use perf_agent::serving::{self, Observe, Target, gpu::NoGpus};
use perf_agent::store::MemoryStore;
use perf_agent::tools::{
    Manifest, Registry, RolloutSettings, Services, Targets, TrialSettings, WindowSettings,
    built_in_manifests,
};
use serde_json::{Value, json};

use crate::runtime::support::{LeapClock, Rig};
use crate::tuning::fixtures::{blank, unknown_deployment};

/// What a look at a deployment comes to: its name, and which look of it this is, from 1.
pub type Answer = dyn Fn(&str, usize) -> Result<Observation, serving::Error> + Send + Sync;

/// Everyone who looks, and what they see.
pub struct Looks {
    answer: Box<Answer>,
    /// How often each is passed over before it gets its answer; others none.
    turns: BTreeMap<String, usize>,
    begun: Mutex<Vec<String>>,
    ended: Mutex<Vec<String>>,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

impl Looks {
    pub fn new(
        answer: impl Fn(&str, usize) -> Result<Observation, serving::Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            turns: BTreeMap::new(),
            begun: Mutex::default(),
            ended: Mutex::default(),
            at_work: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// Everyone sees a blank page.
    pub fn blank() -> Self {
        Self::new(|name, _| Ok(page(name)))
    }

    /// `name` is slower than those with fewer turns.
    pub fn slow(mut self, name: &str, turns: usize) -> Self {
        self.turns.insert(name.to_owned(), turns);
        self
    }

    /// Looks in the order they began.
    pub fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }

    /// Looks in the order they ended by themselves.
    pub fn ended(&self) -> Vec<String> {
        self.ended.lock().unwrap().clone()
    }

    /// Most looks at a time.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A window of `name` in which nothing is known.
pub fn page(name: &str) -> Observation {
    Observation { deployment: name.to_owned(), ..blank() }
}

struct Look {
    name: String,
    looks: Arc<Looks>,
}

#[async_trait]
impl Observe for Look {
    async fn observe(&self, _: f64, _: Option<&Objective>) -> Result<Observation, serving::Error> {
        let looks = &self.looks;
        looks.begun.lock().unwrap().push(self.name.clone());
        let at_work = looks.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        looks.most.fetch_max(at_work, Ordering::SeqCst);
        for _ in 0..looks.turns.get(&self.name).copied().unwrap_or(0) {
            tokio::task::yield_now().await;
        }
        looks.at_work.fetch_sub(1, Ordering::SeqCst);
        looks.ended.lock().unwrap().push(self.name.clone());
        let nth = looks.begun().iter().filter(|name| **name == self.name).count();
        (looks.answer)(&self.name, nth)
    }

    async fn series(&self, _: f64, _: f64) -> Result<Vec<Observation>, serving::Error> {
        Ok(Vec::new())
    }
}

/// The probe of a host without GPUs, for targets that are made by hand.
pub fn no_gpus() -> Arc<dyn serving::GpuProbe> {
    Arc::new(NoGpus) as Arc<dyn serving::GpuProbe>
}

/// A deployment that can be looked at, and nothing else.
pub fn watched(name: &str, looks: &Arc<Looks>) -> Target {
    let deployment = Deployment { name: name.to_owned(), ..unknown_deployment(&[]) };
    let observe = Arc::new(Look { name: name.to_owned(), looks: looks.clone() });
    Target { deployment, observe, launcher: None, traffic: None, load: None, gpus: no_gpus() }
}

/// The real tools over these targets.
pub fn registry(targets: impl IntoIterator<Item = Target>, clock: Arc<dyn Clock>) -> Arc<Registry> {
    let named = targets.into_iter().map(|target| (target.deployment.name.clone(), target));
    let manifests = built_in_manifests();
    let manifests = manifests.iter().map(|(file, text)| Manifest::parse(file, text).unwrap());
    let services = Services {
        targets: Arc::new(Targets::new(named.collect())),
        documents: Arc::new(MemoryStore::new()),
        clock,
        fleet: "test".to_owned(),
        seed: 1,
        rollout: RolloutSettings::default(),
        trial: TrialSettings::default(),
        windows: WindowSettings::default(),
    };
    Arc::new(Registry::new(services, manifests.collect()).unwrap())
}

/// Nodes, tools, a model, and a runtime around them.
pub struct Desk {
    pub rig: Rig,
    pub model: Arc<Scripted>,
    pub looks: Arc<Looks>,
    registry: Arc<Registry>,
}

impl Desk {
    /// Deployments `a` to `d` that `looks` looks at, on a leaping clock.
    pub fn new(model: Scripted, looks: Looks) -> Self {
        let (model, looks, clock) = (Arc::new(model), Arc::new(looks), LeapClock::at(1_000));
        let targets = ["a", "b", "c", "d"].map(|name| watched(name, &looks));
        let registry = registry(targets, clock.clone());
        let parts = Parts {
            registry: registry.clone(),
            model: model.clone(),
            completion_tokens_max: 500,
            checks: BTreeMap::new(),
        };
        let store = Arc::new(MemoryStore::new());
        let engine = Arc::new(Local::new(store.clone(), clock.clone()));
        let runtime = Runtime::new(RuntimeParts {
            store: store.clone(),
            nodes: Arc::new(Factory::new(parts)),
            clock,
            rng_seed: 7,
            engine: Some(engine.clone()),
        });
        let rig = Rig { runtime, engine, store, thread: ThreadId("t".to_owned()) };
        Self { rig, model, looks, registry }
    }

    /// A graph file over the real tools, a type `Note` and two prompts; `system` is the text of `system.md`.
    pub fn graph_under(&self, text: &str, system: &str) -> Arc<Graph> {
        self.graphs(&[text], system)
    }

    /// The same of several files, each a possible part of the next; the last.
    pub fn graphs(&self, files: &[&str], system: &str) -> Arc<Graph> {
        let facts = |tool: perf_agent::tools::Description| {
            let approval = tool.approval == perf_agent::tools::Approval::Required;
            let (args, output) = (tool.arguments, tool.output);
            (tool.name, ToolFacts { effect: graph::Effect::Read, approval, args, output })
        };
        let prompts = [("think.md", "Think of {{ goal }}."), ("ask.md", "Sure?")];
        let mut prompts: BTreeMap<String, String> =
            prompts.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
        prompts.insert("system.md".to_owned(), system.to_owned());
        let mut vocabulary = Vocabulary {
            tools: self.registry.describe().into_iter().map(facts).collect(),
            types: [("Note".to_owned(), note())].into(),
            prompts,
            ..Vocabulary::default()
        };
        for text in files {
            let text = format!("schema: graph/v1\n{text}");
            let source = Source { file: "test.yaml".to_owned(), text };
            let graph = load(&source, &vocabulary).unwrap_or_else(|findings| {
                let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
                panic!("{}", lines.join("\n"))
            });
            vocabulary.graphs.insert("last".to_owned(), graph.clone());
            vocabulary.graphs.insert(graph.name.clone(), graph);
        }
        Arc::new(vocabulary.graphs["last"].clone())
    }

    pub fn graph(&self, text: &str) -> Arc<Graph> {
        self.graph_under(text, "Be brief.")
    }
}

fn note() -> Value {
    json!({
        "type": "object",
        "properties": { "n": { "type": "integer", "minimum": 0 } },
        "required": ["n"],
        "additionalProperties": false,
    })
}

/// A reply that takes `tokens`, half of them for the prompt.
pub fn says(content: &str, tokens: u64) -> ChatReply {
    let (input_tokens, output_tokens) = (tokens / 2, tokens - tokens / 2);
    ChatReply {
        content: content.to_owned(),
        reasoning: None,
        tool_calls: Vec::new(),
        usage: Usage { input_tokens, output_tokens, ..Usage::default() },
        model: "scripted".to_owned(),
    }
}

/// A reply that wants these tools called, and takes ten tokens.
pub fn wants(calls: &[(&str, Value)]) -> ChatReply {
    let call = |(number, (name, arguments)): (usize, &(&str, Value))| ToolCall {
        id: format!("call_{number}"),
        name: (*name).to_owned(),
        arguments: arguments.clone(),
    };
    ChatReply { tool_calls: calls.iter().enumerate().map(call).collect(), ..says("", 10) }
}

/// Wants one deployment looked at.
pub fn look_at(name: &str, window_s: u32) -> ChatReply {
    wants(&[("read_metrics", json!({ "deployment": name, "window_s": window_s }))])
}

/// What the model was last told by its tools, or by us.
pub fn last_words(request: &ChatRequest) -> String {
    match request.messages.last().unwrap() {
        Message::System { content }
        | Message::User { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone(),
    }
}

/// A GPU of a long name: results of many of them are long.
pub fn long_gpu(index: u32) -> GpuReading {
    GpuReading {
        index,
        name: "x".repeat(200),
        gpu_utilization: None,
        memory_utilization: None,
        memory_used_bytes: None,
        memory_total_bytes: None,
        power_w: None,
        power_limit_w: None,
        sm_clock_mhz: None,
        sm_clock_max_mhz: None,
        temperature_c: None,
        throttle_reasons: Vec::new(),
        ecc_uncorrected: None,
    }
}
