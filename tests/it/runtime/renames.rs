//! Channels that change their names from one version of a graph to the next.

use std::sync::Arc;

use perf_agent::base::Coded;
use perf_agent::graph::{Channel, Graph, Lifetime, Migration, Reducer};
use perf_agent::runtime::{Multitask, Start, ThreadState, ThreadStatus};
use serde_json::{Value, json};

use super::interrupts::question;
use super::support::{Crew, Rig, draw, list, number, wrote};

/// Version `number` of a graph with these channels whose node `ask` asks.
fn version(number: u32, channels: &[&str], step: Option<Migration>) -> Arc<Graph> {
    let mut graph = draw("g").node("fill", Some("log"), &[1]).node("ask", None, &[2]);
    for name in channels {
        graph = graph.channel(name, self::number(), Reducer::Replace);
    }
    let graph = graph.channel("log", list(), Reducer::Append).node("last", None, &[]).done();
    changed(&graph, |graph| {
        graph.version = number;
        graph.migrations.extend(step);
    })
}

fn changed(graph: &Graph, change: impl FnOnce(&mut Graph)) -> Arc<Graph> {
    let mut graph = graph.clone();
    change(&mut graph);
    graph.hash = perf_agent::base::stable_hash(&[&serde_json::to_string(&graph).unwrap()]);
    Arc::new(graph)
}

fn renaming(pairs: &[(&str, &str)]) -> Migration {
    let pairs = pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
    Migration { from: 1, rename: pairs.collect(), ..Migration::default() }
}

fn crew() -> Crew {
    Crew::default().does("ask", |view, _| match &view.answer {
        None => Ok(question(json!({}))),
        Some(_) => wrote([]),
    })
}

/// A thread that holds `a: 1, b: 2` and asks.
async fn asked() -> Rig {
    let rig = Rig::new(crew());
    let writes = [("a", json!(1)), ("b", json!(2))];
    let writes = writes.map(|(name, value)| (name.to_owned(), value)).into();
    let start = Start { input: json!({}), writes, ..Start::default() };
    let graph = version(1, &["a", "b"], None);
    rig.runtime.start_run(&rig.thread, graph, start).await.unwrap();
    rig.rest().await;
    assert_eq!(held(&rig.state().await, &["a", "b"]), [json!(1), json!(2)]);
    rig
}

fn held(state: &ThreadState, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| state.values.get(*name).cloned().unwrap_or_default()).collect()
}

#[tokio::test]
async fn two_channels_swap_their_names_and_no_value_is_lost() {
    let rig = asked().await;
    let swapped = version(2, &["a", "b"], Some(renaming(&[("a", "b"), ("b", "a")])));
    let state = rig.runtime.migrate(&rig.thread, swapped, "ada").await.unwrap();
    assert_eq!(held(&state, &["a", "b"]), [json!(2), json!(1)]);
    let rig = asked().await;
    let shifted = version(2, &["b", "c"], Some(renaming(&[("a", "b"), ("b", "c")])));
    let state = rig.runtime.migrate(&rig.thread, shifted, "ada").await.unwrap();
    assert_eq!(held(&state, &["a", "b", "c"]), [Value::Null, json!(1), json!(2)]);
}

#[tokio::test]
async fn a_rename_onto_a_channel_that_holds_something_is_refused_before_anything_is_done() {
    for pairs in [&[("a", "b")][..], &[("a", "c"), ("b", "c")]] {
        let rig = asked().await;
        let before = rig.state().await;
        let next = version(2, &["b", "c"], Some(renaming(pairs)));
        let plan = rig.runtime.plan_migration(&rig.thread, next.clone()).await.unwrap();
        assert!(
            plan.problems.iter().any(|said| said.contains("holds a value already")),
            "{plan:?}"
        );
        let refused = rig.runtime.migrate(&rig.thread, next, "ada").await.unwrap_err();
        assert_eq!(refused.code(), "runtime.migration_refused");
        assert_eq!(rig.state().await, before);
    }
}

#[tokio::test]
async fn a_run_that_moves_gets_the_defaults_of_the_channels_that_are_new() {
    let rig = asked().await;
    let next = changed(&version(2, &["a", "b"], None), |graph| {
        let schema = json!({ "type": "integer" });
        let (reducer, lifetime) = (Reducer::Replace, Lifetime::Run);
        let default = Some(json!(0));
        graph.channels.insert("late".to_owned(), Channel { schema, reducer, lifetime, default });
    });
    let plan = rig.runtime.plan_migration(&rig.thread, next.clone()).await.unwrap();
    assert_eq!((plan.problems.len(), plan.changed), (0, vec!["late".to_owned()]));
    rig.runtime.migrate(&rig.thread, next, "ada").await.unwrap();
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["late"]), (ThreadStatus::Done, &json!(0)));
}

#[tokio::test]
async fn a_run_that_would_lack_an_input_does_not_move() {
    let rig = asked().await;
    let next = version(2, &["a", "b", "c"], None);
    let needy = changed(&next, |graph| {
        graph.input.insert("c".to_owned(), true);
    });
    let plan = rig.runtime.plan_migration(&rig.thread, needy).await.unwrap();
    assert!(plan.problems.iter().any(|said| said.contains("input `c`")), "{plan:?}");
    let fine = rig.runtime.plan_migration(&rig.thread, next).await.unwrap();
    assert_eq!(fine.problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_was_queued_before_the_new_version_came_finds_the_renamed_values_too() {
    let rig = asked().await;
    let next = version(2, &["b", "c"], Some(renaming(&[("a", "c")])));
    // It waits behind the run of the old version, which is cancelled only then.
    let start = Start { input: json!({}), multitask: Multitask::Enqueue, ..Start::default() };
    rig.runtime.start_run(&rig.thread, next, start).await.unwrap();
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!(state.status, ThreadStatus::Interrupted, "{state:?}");
    assert_eq!(held(&state, &["a", "b", "c"]), [Value::Null, json!(2), json!(1)]);
}

#[tokio::test]
async fn a_value_whose_channel_lost_its_name_stops_a_new_run_until_a_migration_says_what_became_of_it()
 {
    let named = |number: u32, channel: &str, step: Option<Migration>| {
        let graph = draw("g")
            .channel(channel, self::number(), Reducer::Replace)
            .node("fill", Some(channel), &[])
            .done();
        let mut graph = (*graph).clone();
        (graph.version, graph.hash) = (number, format!("{number}/{channel}/{}", step.is_some()));
        graph.migrations.extend(step);
        Arc::new(graph)
    };
    let rig = Rig::new(Crew::default().does("fill", |view, _| {
        match view.channels.contains_key("note") || view.channels.contains_key("remark") {
            true => wrote([]),
            false => wrote([("note", json!(3))]),
        }
    }));
    rig.run(&named(1, "note", None), Value::Null).await;
    let before = rig.state().await;
    for number in [1, 2] {
        let start =
            rig.runtime.start(&rig.thread, named(number, "remark", None), Value::Null, Value::Null);
        let refused = start.await.unwrap_err();
        assert_eq!(refused.code(), "runtime.state_incompatible");
        assert!(refused.to_string().contains("`remark` is new"), "{refused}");
    }
    assert_eq!(rig.state().await, before);
    let state =
        rig.run(&named(2, "remark", Some(renaming(&[("note", "remark")]))), Value::Null).await;
    assert_eq!((state.status, &state.values["remark"]), (ThreadStatus::Done, &json!(3)));
}

#[tokio::test]
async fn a_channel_that_is_dropped_or_added_alone_stops_nobody() {
    let rig = asked().await;
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    for (number, channels) in [(2, &["a"][..]), (3, &["a", "b", "d"][..]), (4, &["b", "d"][..])] {
        let state = rig.run(&version(number, channels, None), json!({})).await;
        assert_eq!(state.status, ThreadStatus::Interrupted, "{number}");
        rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
        rig.rest().await;
    }
}
