//! What LangGraph 1.2 does wrong without a word, as seen in its source and reproduced: one test each that this
//! runtime refuses it or does it right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use perf_agent::base::{Clock, Coded, ThreadId};
use perf_agent::engine::{Local, Rest};
use perf_agent::graph::{self, Effect, Reducer, Source, ToolFacts, Vocabulary};
use perf_agent::runtime::{
    CheckpointStore, Engine, Error, Node, NodeError, Outcome, Runtime, RuntimeParts, StateView,
    TaskContext, ThreadStatus,
};
use perf_agent::store::{MemoryStore, SqliteStore};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::runtime::interrupts::question;
use crate::runtime::support::{Crew, LeapClock, Rig, code, draw, list, number, wrote};
use crate::simulation::clock::SimClock;

/// Codes of what the loader finds in a graph with these nodes and edges.
fn refusals(nodes: &str, edges: &str) -> Vec<String> {
    let any =
        ToolFacts { effect: Effect::Read, approval: false, args: json!(true), output: json!(true) };
    let vocabulary =
        Vocabulary { tools: [("work".to_owned(), any)].into(), ..Vocabulary::default() };
    let text = format!(
        "schema: graph/v1\nname: g\ninput: {{ goal: string }}\nstate: {{ n: {{ type: integer, default: 0 }} }}\n\
         nodes: {nodes}\nedges: {edges}\n"
    );
    let found = graph::load(&Source { file: "g.yaml".to_owned(), text }, &vocabulary);
    found.err().into_iter().flatten().map(|finding| finding.code.to_owned()).collect()
}

#[tokio::test]
async fn a_misspelt_state_key_is_not_dropped() {
    // Where the text is known the loader sees it; where only the node knows, the run fails and names the key.
    assert_eq!(refusals("{ a: { set: { m: 1 } } }", "[start -> a -> end]"), ["PA031"]);
    let graph = draw("g").channel("n", number(), Reducer::Replace).node("a", Some("n"), &[]).done();
    let crew = Crew::default().does("a", |_, _| wrote([("nn", json!(1))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.write_unknown"));
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_not_stored() {
    let graph = draw("g").channel("n", number(), Reducer::Replace).node("a", Some("n"), &[]).done();
    let crew = Crew::default().does("a", |_, _| wrote([("n", json!("three"))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((code(&state), state.values.len()), ("runtime.write_invalid", 0));
}

#[test]
fn a_route_to_an_unknown_node_is_refused_before_anything_runs() {
    assert_eq!(refusals("{ a: { tool: work } }", "[start -> a -> nowhere]"), ["PA010"]);
    let edges =
        "[start -> a, { from: a, to: [{ when: \"goal == 'x'\", to: nowhere }, { else: end }] }]";
    assert_eq!(refusals("{ a: { tool: work } }", edges), ["PA010"]);
}

#[test]
fn orphan_nodes_are_refused() {
    let nodes = "{ a: { tool: work }, orphan: { tool: work } }";
    assert!(refusals(nodes, "[start -> a -> end, orphan -> end]").contains(&"PA020".to_owned()));
}

#[tokio::test]
async fn a_renamed_channel_does_not_lose_its_value_on_old_threads() {
    let old = draw("g").channel("note", number(), Reducer::Replace).node("a", Some("note"), &[]);
    let new = draw("g").channel("remark", number(), Reducer::Replace).node("b", None, &[]);
    let rig = Rig::new(Crew::default().does("a", |_, _| wrote([("note", json!(3))])));
    let old = old.done();
    rig.run(&old, Value::Null).await;
    // Nobody said what became of it: a run that would find the new channel empty does not start.
    let started = rig.runtime.start(&rig.thread, new.done(), Value::Null, Value::Null).await;
    assert_eq!(started.unwrap_err().code(), "runtime.state_incompatible");
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["note"]), (ThreadStatus::Done, &json!(3)));
}

#[tokio::test]
async fn five_runs_started_at_once_on_one_thread_keep_all_ten_items() {
    let graph = draw("g")
        .channel("items", list(), Reducer::Append)
        .node("first", Some("items"), &[1])
        .node("second", Some("items"), &[])
        .done();
    let add = |_: &StateView, _: &TaskContext| wrote([("items", json!([1]))]);
    let rig = Arc::new(Rig::new(Crew::default().does("first", add).does("second", add)));
    let runs = (0..5).map(|_| {
        let (rig, graph) = (rig.clone(), graph.clone());
        tokio::spawn(async move { rig.run(&graph, Value::Null).await })
    });
    futures::future::join_all(runs).await;
    assert_eq!(rig.state().await.values["items"].as_array().unwrap().len(), 10);
}

/// Makes a side effect, then asks.
struct ActThenAsk(Arc<AtomicU32>);

#[async_trait]
impl Node for ActThenAsk {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let key = cx.effects.key(0);
        if cx.effects.begin(&key, "at_most_once").await?.is_none() {
            self.0.fetch_add(1, Ordering::SeqCst);
            cx.effects.finish(&key, &json!("sent")).await?;
        }
        match view.answer {
            None => Ok(question(json!({ "type": "boolean" }))),
            Some(_) => wrote([]),
        }
    }
}

#[tokio::test]
async fn a_side_effect_before_a_question_happens_once_though_its_node_runs_twice() {
    let happened = Arc::new(AtomicU32::new(0));
    let rig = Rig::new(Crew::default().has("a", ActThenAsk(happened.clone())));
    rig.run(&draw("g").node("a", None, &[]).done(), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!(true), "ada").await.unwrap();
    assert_eq!(rig.rest().await, Rest::Over);
    assert_eq!(
        (rig.state().await.status, happened.load(Ordering::SeqCst)),
        (ThreadStatus::Done, 1)
    );
}

#[tokio::test]
async fn travelling_back_runs_only_what_comes_after_the_point() {
    let graph = draw("g")
        .channel("done", list(), Reducer::Append)
        .node("a", Some("done"), &[1])
        .node("b", Some("done"), &[2])
        .node("c", Some("done"), &[])
        .done();
    let runs: Arc<[AtomicU32; 3]> = Arc::default();
    let count = |ix: usize| {
        let runs = runs.clone();
        move |_: &StateView, _: &TaskContext| {
            runs[ix].fetch_add(1, Ordering::SeqCst);
            wrote([("done", json!([ix]))])
        }
    };
    let rig = Rig::new(Crew::default().does("a", count(0)).does("b", count(1)).does("c", count(2)));
    rig.run(&graph, Value::Null).await;
    let history = rig.runtime.history(&rig.thread, None, 100).await.unwrap();
    let before_c = history.iter().find(|state| state.next == ["c"]).unwrap().seq;
    let fork = ThreadId("fork".to_owned());
    assert!(rig.store.fork(&rig.thread, before_c, &fork).await.unwrap());
    let stop = CancellationToken::new();
    rig.engine.run_to_rest(&rig.runtime, &fork, &stop).await.unwrap();
    let state = rig.runtime.state(&fork).await.unwrap().unwrap();
    assert_eq!((state.status, &state.values["done"]), (ThreadStatus::Done, &json!([0, 1, 2])));
    assert_eq!(runs.each_ref().map(|n| n.load(Ordering::SeqCst)), [1, 1, 2]);
}

#[tokio::test]
async fn two_hundred_turns_of_a_fifth_of_a_mebibyte_fit_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let graph = draw("talk")
        .channel("said", json!({ "type": "string" }), Reducer::Replace)
        .channel("talk", json!({ "type": "array", "items": {} }), Reducer::Append)
        .input("said", true)
        .node("turn", Some("talk"), &[])
        .done();
    let crew = Crew::default().does("turn", |view, cx| {
        // 1,000 letters of four bits each, different in every turn.
        let seed = format!("{} {}", view.channels["said"], cx.run);
        let text: String =
            (0..32).map(|n| perf_agent::base::stable_hash(&[&format!("{seed} {n}")])).collect();
        wrote([("talk", json!([view.channels["said"], &text[..1_000]]))])
    });
    let rig = Rig::on(Arc::new(SqliteStore::open(&path).unwrap()), LeapClock::at(1), crew);
    for turn in 0..200 {
        let state = rig.run(&graph, json!({ "said": format!("{turn:0100}") })).await;
        assert_eq!(state.values["talk"].as_array().unwrap().len(), 2 * (turn + 1));
    }
    drop(rig);
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}

/// Says something, then works for `ms`.
struct Long {
    ms: u64,
    runs: Arc<AtomicU32>,
}

#[async_trait]
impl Node for Long {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (cx.emit)(json!("so far"));
        cx.clock.sleep_ms(self.ms).await;
        wrote([])
    }
}

/// An engine that loses every wake.
struct Deaf(Arc<Local>);

#[async_trait]
impl Engine for Deaf {
    async fn wake(&self, _: &ThreadId, _: Option<perf_agent::base::Millis>) -> Result<(), Error> {
        Ok(())
    }

    async fn serve(
        &self,
        activate: Arc<dyn perf_agent::runtime::Activate>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        self.0.serve(activate, stop).await
    }
}

/// Serves one run of a node that takes `ms`, in virtual time. Returns how often the node was started, how long the run
/// took [virtual ms], how it ended, and whether what the node said is in the journal.
fn served(ms: u64, deaf: bool, cancel_at_ms: Option<u64>) -> (u32, u64, ThreadStatus, bool) {
    let clock = SimClock::at(1_000);
    clock.run(async {
        let (runs, store) = (Arc::new(AtomicU32::new(0)), Arc::new(MemoryStore::new()));
        let crew = Crew::default().has("long", Long { ms, runs: runs.clone() });
        let local = Arc::new(Local::new(store.clone(), clock.clone()));
        let engine: Arc<dyn Engine> =
            if deaf { Arc::new(Deaf(local.clone())) } else { local.clone() };
        let runtime = Runtime::new(RuntimeParts {
            store: store.clone(),
            nodes: Arc::new(crew),
            clock: clock.clone(),
            rng_seed: 7,
            engine: Some(engine),
        });
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (runtime, stop) = (Arc::new(runtime.clone()), stop.clone());
            async move { local.serve(runtime, stop).await }
        });
        // The engine has looked for what is ready before the run comes.
        clock.sleep_ms(10).await;
        let thread = ThreadId("t".to_owned());
        let graph =
            draw("g").node("long", None, &[]).but(|node| node.timeout_ms = 7_200_000).done();
        let begun = clock.now();
        runtime.start(&thread, graph, Value::Null, Value::Null).await.unwrap();
        if let Some(at) = cancel_at_ms {
            clock.sleep_ms(at).await;
            runtime.cancel(&thread, "ada").await.unwrap();
        }
        let state = loop {
            clock.sleep_ms(100).await;
            match runtime.state(&thread).await.unwrap() {
                Some(state) if state.status.is_over() => break state,
                _ => assert!(clock.now().since(begun) < 8_000_000, "it never ended"),
            }
        };
        let took_ms = clock.now().since(begun);
        stop.cancel();
        serving.await.unwrap().unwrap();
        let journal = store.events(&thread, 0, 100).await.unwrap();
        let said = journal.iter().any(|event| event.data["data"] == json!("so far"));
        (runs.load(Ordering::SeqCst), took_ms, state.status, said)
    })
}

#[test]
fn a_node_that_takes_an_hour_is_run_once() {
    let (runs, took_ms, status, _) = served(3_600_000, false, None);
    assert_eq!((runs, status), (1, ThreadStatus::Done));
    assert!(took_ms < 3_601_000, "{took_ms} ms");
}

#[test]
fn a_lost_wake_delays_a_run_by_half_a_minute_at_most() {
    let (runs, took_ms, status, _) = served(10, true, None);
    assert_eq!((runs, status), (1, ThreadStatus::Done));
    assert!(took_ms <= 30_000, "{took_ms} ms");
}

#[test]
fn a_cancelled_run_keeps_what_it_had_said() {
    let (runs, took_ms, status, said) = served(3_600_000, false, Some(5_000));
    assert_eq!((runs, status, said), (1, ThreadStatus::Cancelled, true));
    assert!(took_ms < 10_000, "its tools are stopped within the deadline: {took_ms} ms");
}
