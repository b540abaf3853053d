//! Threads that outlive a version of their graph.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_agent::base::Coded;
use perf_agent::graph::{Graph, Migration, Reducer};
use perf_agent::runtime::ThreadStatus;
use serde_json::{Value, json};

use super::interrupts::question;
use super::support::{Crew, Rig, draw, list, number, wrote};

fn version(
    number: u32,
    channel: &str,
    schema: Value,
    asks: &str,
    step: Option<Migration>,
) -> Arc<Graph> {
    let log = if channel == "log" { "log2" } else { "log" };
    let graph = draw("g")
        .channel(channel, schema, Reducer::Replace)
        .channel(log, list(), Reducer::Append)
        .start(&[0, 1])
        .node("a", Some(log), &[])
        .node(asks, Some(channel), &[2])
        .node("last", None, &[])
        .done();
    let mut graph = (*graph).clone();
    graph.version = number;
    graph.migrations.extend(step);
    graph.hash = format!("{number}/{channel}/{asks}/{}", graph.migrations.len());
    Arc::new(graph)
}

fn crew(ran: &Arc<AtomicU64>) -> Crew {
    let ran = ran.clone();
    let ask = |view: &perf_agent::runtime::StateView, channel: &str| match &view.answer {
        None => Ok(question(json!({ "type": "integer" }))),
        Some(answer) => wrote([(channel, answer.value.clone())]),
    };
    Crew::default()
        .does("a", move |_, _| {
            ran.fetch_add(1, Ordering::Relaxed);
            wrote([("log", json!([1]))])
        })
        .does("ask", move |view, _| ask(view, "old"))
        .does("inquire", move |view, _| ask(view, "new"))
}

fn renaming() -> Migration {
    Migration {
        from: 1,
        rename: [("old".to_owned(), "new".to_owned())].into(),
        nodes: [("ask".to_owned(), "inquire".to_owned())].into(),
        ..Migration::default()
    }
}

#[tokio::test]
async fn an_open_question_moves_with_its_thread_and_keeps_its_id() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = Rig::new(crew(&ran));
    let asked = rig.run(&version(1, "old", number(), "ask", None), Value::Null).await;
    let next = version(2, "new", number(), "inquire", Some(renaming()));
    let plan = rig.runtime.plan_migration(&rig.thread, next.clone()).await.unwrap();
    assert_eq!((plan.problems.len(), plan.from_version, plan.to_version), (0, 1, 2));
    assert_eq!(rig.state().await, asked, "a plan changes nothing");
    let moved = rig.runtime.migrate(&rig.thread, next.clone(), "ada").await.unwrap();
    assert_eq!(
        (moved.graph_hash.as_str(), moved.interrupts[0].id.as_str()),
        (next.hash.as_str(), asked.interrupts[0].id.as_str())
    );
    assert_eq!(moved.interrupts[0].node, "inquire");
    rig.runtime.resume(&rig.thread, None, json!(5), "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["new"]), (ThreadStatus::Done, &json!(5)));
    assert_eq!((ran.load(Ordering::Relaxed), &state.values["log"]), (1, &json!([1])));
}

#[tokio::test]
async fn a_renamed_channel_keeps_its_value_on_threads_of_before() {
    let rig = Rig::new(crew(&Arc::default()));
    rig.run(&version(1, "old", number(), "ask", None), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!(7), "ada").await.unwrap();
    rig.rest().await;
    let next = version(2, "new", number(), "inquire", Some(renaming()));
    let state = rig.run(&next, Value::Null).await;
    assert_eq!((state.values.get("old"), &state.values["new"]), (None, &json!(7)));
}

#[tokio::test]
async fn a_thread_that_does_not_fit_stays_where_it_is_and_says_all_that_stands_against_it() {
    let rig = Rig::new(crew(&Arc::default()));
    let asked = rig.run(&version(1, "old", number(), "ask", None), Value::Null).await;
    let text = json!({ "type": "string" });
    let step = Migration {
        set: [("new".to_owned(), json!(8))].into(),
        ..Migration { from: 1, ..Migration::default() }
    };
    let next = version(2, "new", text, "inquire", Some(step));
    let refused = rig.runtime.migrate(&rig.thread, next.clone(), "ada").await.unwrap_err();
    assert_eq!(refused.code(), "runtime.migration_refused");
    let said = refused.to_string();
    assert!(said.contains("`new`") && said.contains("node `ask`, which is gone"), "{said}");
    assert_eq!(rig.state().await, asked);
    let back = version(1, "old", number(), "ask", None);
    rig.runtime.migrate(&rig.thread, back, "ada").await.unwrap();
    assert_eq!(rig.state().await, asked, "it is there already");
}
