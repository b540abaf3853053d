//! Graph files as people write them, run: subgraphs, joins, deferred nodes, pauses, remembered answers, failures taken over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use perf_agent::base::Clock;
use perf_agent::graph::{Effect, Graph, Source, ToolFacts, Vocabulary, load};
use perf_agent::runtime::{ErrorClass, Outcome, ThreadStatus, Usage};
use perf_agent::store::MemoryStore;
use serde_json::{Value, json};

use super::interrupts::question;
use super::support::{Crew, LeapClock, Rig, code, failure, wrote};

/// Loads files in order, each a possible part of the next; returns the last.
pub fn graph(files: &[&str]) -> Arc<Graph> {
    let tool =
        ToolFacts { effect: Effect::Read, approval: false, args: json!(true), output: json!(true) };
    let mut vocabulary = Vocabulary {
        tools: [("any".to_owned(), tool)].into(),
        prompts: [("ask.md".to_owned(), "Sure?".to_owned())].into(),
        ..Vocabulary::default()
    };
    let mut last = None;
    for text in files {
        let source =
            Source { file: "test.yaml".to_owned(), text: format!("schema: graph/v1\n{text}") };
        let graph = load(&source, &vocabulary).unwrap_or_else(|findings| {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        });
        vocabulary.graphs.insert(graph.name.clone(), graph.clone());
        last = Some(Arc::new(graph));
    }
    last.unwrap()
}

/// Counts its runs and adds one to `n`.
fn adds(crew: Crew, node: &str, ran: &Arc<AtomicU64>) -> Crew {
    let ran = ran.clone();
    crew.does(node, move |view, _| {
        ran.fetch_add(1, Ordering::Relaxed);
        wrote([("n", json!(view.channels["n"].as_i64().unwrap_or(0) + 1))])
    })
}

fn started(journal: &[String]) -> Vec<&str> {
    journal.iter().filter_map(|line| line.strip_prefix("STEP_STARTED ")).collect()
}

const REVIEW: &str = "
name: review
input: { draft: string }
state: { n: { type: integer, default: 0 }, verdict: { type: string } }
output: [verdict, n]
limits: { supersteps: 10 }
nodes:
  look: { tool: any, reads: [n, draft], writes: n }
  judge: { set: { verdict: '{{ draft }} seen {{ n }} times, {{ visits.look }} visits' } }
edges:
  - start -> look
  - { from: look, to: [{ when: 'n < 3', to: look }, { else: judge }] }
  - judge -> end
";

fn outer(memory: &str) -> String {
    format!(
        "
name: outer
input: {{ goal: string }}
state: {{ answer: {{ type: string, default: '' }}, n: {{ type: integer, default: 100 }} }}
output: [answer]
limits: {{ supersteps: 20 }}
nodes:
  review:
    graph: {{ name: review, in: {{ draft: 'the {{{{ goal }}}}' }}, out: {{ answer: '{{{{ verdict }}}}' }}, memory: {memory} }}
  after: {{ set: {{ n: '{{{{ n + 1 }}}}' }} }}
edges:
  - start -> review -> after
  - {{ from: after, to: [{{ when: 'visits.review < 2', to: review }}, {{ else: end }}] }}
"
    )
}

#[tokio::test]
async fn a_subgraph_runs_as_a_nested_path_with_channels_and_counters_of_its_own() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = Rig::new(adds(Crew::default(), "look", &ran));
    let state = rig.run(&graph(&[REVIEW, &outer("call")]), json!({ "goal": "plan" })).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    assert_eq!(state.values["answer"], json!("the plan seen 3 times, 3 visits"));
    assert_eq!(state.values["n"], json!(102), "the channel of the same name outside is another");
    assert_eq!(ran.load(Ordering::Relaxed), 6, "each call starts anew");
    let journal = rig.journal().await;
    let call = [
        "review",
        "review/look",
        "review/look",
        "review/look",
        "review/judge",
        "review/end",
        "after",
    ];
    assert_eq!(started(&journal), [call, call].concat());
    let finished = rig.events().await.pop().unwrap();
    assert_eq!(finished.data["output"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_subgraph_remembers_is_for_its_node_to_say() {
    let mut runs = BTreeMap::new();
    for memory in ["call", "thread", "none"] {
        let ran = Arc::new(AtomicU64::new(0));
        let rig = Rig::new(adds(Crew::default(), "look", &ran));
        let state = rig.run(&graph(&[REVIEW, &outer(memory)]), json!({ "goal": "x" })).await;
        assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
        let kept = state.values.get("review/n").cloned();
        runs.insert(memory, (ran.load(Ordering::Relaxed), kept));
    }
    assert_eq!(runs["call"], (6, Some(json!(3))));
    assert_eq!(runs["thread"], (4, Some(json!(4))), "the second call finds three and adds one");
    assert_eq!(runs["none"], (6, None), "nothing is left behind");
}

const ASKS: &str = "
name: asks
state: { n: { type: integer, default: 0 }, decision: { enum: [approve, reject], default: reject } }
output: [decision]
nodes:
  first: { tool: any, reads: [n], writes: n }
  beside: { wait: { for: 1s } }
  sure: { approval: { ask: ask.md, answer: { enum: [approve, reject] } }, writes: decision }
edges: [ start -> first -> sure -> end, first -> beside -> end ]
";

const ASKING: &str = "
name: asking
state: { decision: { type: string, default: '' } }
nodes:
  sub: { graph: { name: asks, out: { decision: '{{ decision }}' } } }
edges: [ start -> sub -> end ]
";

#[tokio::test]
async fn time_travel_into_a_subgraph_runs_nothing_again_that_had_finished() {
    let ran = Arc::new(AtomicU64::new(0));
    let crew = adds(Crew::default(), "first", &ran).does("sure", |view, _| match &view.answer {
        None => Ok(question(json!({ "enum": ["approve", "reject"] }))),
        Some(answer) => wrote([("decision", answer.value.clone())]),
    });
    let rig = Rig::new(crew);
    let asked = rig.run(&graph(&[ASKS, ASKING]), Value::Null).await;
    assert_eq!((asked.interrupts[0].node.as_str(), asked.interrupts.len()), ("sub/sure", 1));
    rig.runtime.resume(&rig.thread, None, json!("approve"), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.values["decision"], json!("approve"));
    let branch = perf_agent::base::ThreadId("u".to_owned());
    rig.runtime.fork(&rig.thread, Some(asked.seq), &branch).await.unwrap();
    rig.runtime.resume(&branch, None, json!("reject"), "ada").await.unwrap();
    let rig = Rig { thread: branch, ..rig };
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["decision"]), (ThreadStatus::Done, &json!("reject")));
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

const FAILS: &str = "
name: fails
input: { mode: string }
state: { n: { type: integer, default: 0 } }
output: [n]
limits: { supersteps: 3 }
nodes:
  side: { wait: { for: 1s } }
  work: { tool: any, reads: [n, mode], writes: n }
edges:
  - start -> side -> end
  - start -> work
  - { from: work, to: [{ when: 'n < 100', to: work }, { else: end }] }
";

const CATCHES: &str = "
name: catches
input: { mode: string }
state: { note: { type: string, default: '' } }
output: [note]
nodes:
  sub:
    graph: { name: fails, in: { mode: '{{ mode }}' } }
    on_error:
      - { when: \"error.class == 'timeout'\", to: end }
      - { to: mend, set: { note: '{{ mode }}: {{ error.code }}' } }
  mend: { set: {} }
edges: [ start -> sub -> end, mend -> end ]
";

#[tokio::test]
async fn a_failure_or_a_limit_inside_a_subgraph_is_its_nodes_to_take_over() {
    let crew = Crew::default().does("work", |view, _| match view.channels["mode"].as_str() {
        Some("break") => Err(failure(ErrorClass::Fatal)),
        _ => wrote([("n", json!(view.channels["n"].as_i64().unwrap() + 1))]),
    });
    let cases = [("break", "break: test.failure"), ("loop", "loop: runtime.limit_reached")];
    for (mode, note) in cases {
        let rig = Rig::new(crew.clone());
        let state = rig.run(&graph(&[FAILS, CATCHES]), json!({ "mode": mode })).await;
        assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
        assert_eq!(state.values["note"], json!(note));
        let head = rig.store.head(&rig.thread).await.unwrap().unwrap();
        assert!(head.progress.calls.is_empty() && head.tasks.is_empty(), "the call is over");
        assert!(rig.journal().await.contains(&"STEP_STARTED mend".to_owned()));
    }
}

#[tokio::test]
async fn a_subgraph_inside_a_subgraph_is_a_path_of_three() {
    let middle = "
name: middle
input: { draft: string }
state: { out: { type: string } }
output: [out]
nodes: { review: { graph: { name: review, in: { draft: '{{ draft }}' }, out: { out: '{{ verdict }}' } } } }
edges: [ start -> review -> end ]
";
    let top = "
name: top
state: { out: { type: string } }
output: [out]
nodes: { middle: { graph: { name: middle, in: { draft: it }, out: { out: '{{ out }}' } } } }
edges: [ start -> middle -> end ]
";
    let rig = Rig::new(adds(Crew::default(), "look", &Arc::default()));
    let state = rig.run(&graph(&[REVIEW, middle, top]), Value::Null).await;
    assert_eq!(state.values["out"], json!("it seen 3 times, 3 visits"), "{:?}", state.error);
    assert!(rig.journal().await.contains(&"STEP_STARTED middle/review/look".to_owned()));
}

fn diamond(join: &str, last: &str) -> String {
    format!(
        "
name: diamond
state: {{ log: {{ type: {{ array: string }}, reducer: append }}, skip: {{ type: boolean, default: false }} }}
limits: {{ supersteps: 30 }}
nodes:
  fork: {{ set: {{}} }}
  quick: {{ set: {{ log: ['quick'] }} }}
  slow: {{ set: {{ log: ['slow'] }} }}
  slower: {{ set: {{ log: ['slower'] }} }}
  meet: {{ set: {{ log: ['meet'] }}{join} }}
edges:
  - start -> fork
  - {{ from: fork, to: [quick, slow] }}
  - quick -> meet
  - slow -> slower
  - {last}
  - meet -> end
"
    )
}

#[tokio::test]
async fn a_join_runs_once_for_all_any_or_some_of_those_that_lead_to_it() {
    let on = "slower -> meet";
    let logs = [
        ("", json!(["quick", "slow", "meet", "slower", "meet"])),
        (", join: { after: [quick, slower] }", json!(["quick", "slow", "slower", "meet"])),
        (
            ", join: { after: [quick, slower], need: any }",
            json!(["quick", "slow", "slower", "meet"]),
        ),
        (", join: { after: [quick, slower], need: 2 }", json!(["quick", "slow", "slower", "meet"])),
        (", defer: true", json!(["quick", "slow", "slower", "meet"])),
    ];
    for (join, log) in logs {
        let rig = Rig::new(crew_of_sets());
        let state = rig.run(&graph(&[&diamond(join, on)]), Value::Null).await;
        let expected =
            if join.contains("any") { json!(["quick", "slow", "meet", "slower"]) } else { log };
        let mut got: Vec<Value> = state.values["log"].as_array().unwrap().clone();
        let mut wanted: Vec<Value> = expected.as_array().unwrap().clone();
        // Within one superstep the order is that of the file.
        if join.contains("any") || join.is_empty() {
            let key = |value: &Value| value.to_string();
            got.sort_by_key(key);
            wanted.sort_by_key(key);
        }
        assert_eq!((state.status, got), (ThreadStatus::Done, wanted), "{join}");
    }
}

/// Workers of the diamond.
fn crew_of_sets() -> Crew {
    ["quick", "slow", "slower", "meet"].into_iter().fold(Crew::default(), |crew, name| {
        crew.does(name, move |_, _| wrote([("log", json!([name]))]))
    })
}

#[tokio::test]
async fn a_join_whose_branches_do_not_all_come_fails_aloud() {
    let last = "{ from: slower, to: [{ when: skip, to: meet }, { else: end }] }";
    let rig = Rig::new(crew_of_sets());
    let text = diamond(", join: { after: [quick, slower] }", last);
    let state = rig.run(&graph(&[&text]), Value::Null).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.join_starved"));
    assert!(state.error.unwrap().message.contains("`slower`"));
}

#[tokio::test]
async fn a_graph_may_pause_before_and_after_its_nodes() {
    let text = "
name: pauses
state: { log: { type: { array: string }, reducer: append } }
nodes:
  a: { set: { log: ['a'] }, pause: after }
  b: { set: { log: ['b'] } }
  c: { set: { log: ['c'] }, pause: before }
edges: [ start -> a -> b -> c -> end ]
";
    let crew = ["a", "b", "c"].into_iter().fold(Crew::default(), |crew, name| {
        crew.does(name, move |_, _| wrote([("log", json!([name]))]))
    });
    let rig = Rig::new(crew);
    rig.run(&graph(&[text]), Value::Null).await;
    for (held, log) in [("b", json!(["a"])), ("c", json!(["a", "b"]))] {
        let state = rig.state().await;
        assert_eq!((state.status, &state.values["log"]), (ThreadStatus::Interrupted, &log));
        assert_eq!(state.held, [held]);
        rig.runtime.go_on(&rig.thread, "ada").await.unwrap();
        rig.rest().await;
    }
    assert_eq!(rig.state().await.status, ThreadStatus::Done);
}

#[tokio::test]
async fn an_answer_is_remembered_for_its_key_and_as_long_as_it_was_said() {
    let text = "
name: remembers
state: { n: { type: integer, default: 0 }, price: { type: integer, default: 0 } }
limits: { supersteps: 40 }
nodes:
  price: { tool: any, args: { x: '{{ n }}' }, writes: price, cache: { ttl: 10s, key: '{{ n // 2 }}' } }
  count: { tool: any, reads: [n], writes: n }
  hold: { wait: { for: 1s } }
edges:
  - start -> price -> count -> hold
  - { from: hold, to: [{ when: 'n < 4', to: price }, { else: end }] }
";
    let ran = Arc::new(AtomicU64::new(0));
    let asked = ran.clone();
    let crew = adds(Crew::default(), "count", &Arc::default())
        .does("price", move |_, _| {
            let outcome = json!(asked.fetch_add(1, Ordering::Relaxed) + 1);
            let usage = Usage { input_tokens: 7, ..Usage::default() };
            Ok(Outcome::Update { writes: vec![("price".to_owned(), outcome)], grant: None, usage })
        })
        .does("hold", |view, cx| match view.woken {
            Some(_) => wrote([]),
            None => {
                let at = cx.clock.now().plus(1_000).0;
                Ok(Outcome::Wait(perf_agent::runtime::WaitFor::Until(at)))
            }
        });
    let clock = LeapClock::at(1_000);
    let rig = Rig::on(Arc::new(MemoryStore::new()), clock.clone(), crew);
    let state = rig.run(&graph(&[text]), Value::Null).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    assert_eq!(ran.load(Ordering::Relaxed), 2, "n = 0, 1 share a key, and so do 2, 3");
    assert_eq!(state.usage.input_tokens, 14, "what is remembered costs nothing");
    let kinds = rig.journal().await;
    assert_eq!(kinds.iter().filter(|line| *line == "REMEMBERED price").count(), 2);
    // A later run on the thread, when all answers are too old.
    clock.sleep_ms(10_000).await;
    let reset = perf_agent::runtime::Update {
        values: [("n".to_owned(), json!(0))].into(),
        ..perf_agent::runtime::Update::default()
    };
    rig.runtime.update_state(&rig.thread, reset).await.unwrap();
    rig.run(&graph(&[text]), Value::Null).await;
    assert_eq!(ran.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn an_attempt_that_is_too_slow_is_told_before_it_is_dropped() {
    struct Listens(Arc<Mutex<Vec<&'static str>>>);
    #[async_trait::async_trait]
    impl perf_agent::runtime::Node for Listens {
        async fn run(
            &self,
            _: &perf_agent::runtime::StateView,
            cx: &perf_agent::runtime::TaskContext,
        ) -> Result<Outcome, perf_agent::runtime::NodeError> {
            cx.cancel.cancelled().await;
            self.0.lock().unwrap().push("told");
            wrote([("n", json!(5))])
        }
    }
    let text = "
name: slow
state: { n: { type: integer, default: 0 } }
nodes:
  work: { tool: any, writes: n, timeout: 20ms }
edges: [ start -> work -> end ]
";
    let told = Arc::new(Mutex::new(Vec::new()));
    let crew = Crew::default().has("work", Listens(told.clone()));
    let clock = Arc::new(perf_agent::base::SystemClock);
    let rig = Rig::on(Arc::new(MemoryStore::new()), clock, crew);
    let state = rig.run(&graph(&[text]), Value::Null).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.node_timeout"));
    assert_eq!(
        (told.lock().unwrap().len(), &state.values["n"]),
        (1, &json!(0)),
        "too late to count"
    );
}
