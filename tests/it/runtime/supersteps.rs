//! Planning, snapshots, folding, routing, limits, threads that live on.

use std::sync::Arc;

use perf_agent::base::Coded;
use perf_agent::graph::{Lifetime, Reducer};
use perf_agent::runtime::{Multitask, Outcome, Start, ThreadStatus, Usage};
use serde_json::{Value, json};

use super::support::{Crew, Rig, code, draw, list, number, wrote};

#[tokio::test]
async fn a_run_goes_from_its_input_to_its_output_and_journals_every_step() {
    let graph = draw("double")
        .channel("n", number(), Reducer::Replace)
        .channel("twice", number(), Reducer::Replace)
        .input("n", true)
        .output("twice")
        .node("double", Some("twice"), &[])
        .done();
    let crew = Crew::default().does("double", |view, _| {
        wrote([("twice", json!(view.channels["n"].as_i64().unwrap() * 2))])
    });
    let rig = Rig::new(crew);
    let state = rig.run(&graph, json!({ "n": 21 })).await;
    assert_eq!((state.status, state.values["twice"].clone()), (ThreadStatus::Done, json!(42)));
    let expected = ["RUN_STARTED", "STEP_STARTED double", "STEP_FINISHED double", "RUN_FINISHED"];
    assert_eq!(rig.journal().await, expected);
    let events = rig.events().await;
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(events[3].data["output"], json!({ "twice": 42 }));
}

#[tokio::test]
async fn parallel_nodes_see_one_snapshot_and_fold_in_the_order_of_the_graph() {
    let graph = draw("fan")
        .channel("items", list(), Reducer::Append)
        .channel("seen", list(), Reducer::Append)
        .input("items", true)
        .start(&[0, 1])
        .node("left", Some("items"), &[2])
        .node("right", Some("items"), &[2])
        .node("join", Some("seen"), &[])
        .done();
    let count =
        |view: &perf_agent::runtime::StateView| view.channels["items"].as_array().unwrap().len();
    let crew = Crew::default()
        .does("left", move |view, _| wrote([("items", json!([10 + count(view)]))]))
        .does("right", move |view, _| wrote([("items", json!([20 + count(view)]))]))
        .does("join", move |view, _| wrote([("seen", json!([count(view)]))]));
    let rig = Rig::new(crew);
    let state = rig.run(&graph, json!({ "items": [0] })).await;
    assert_eq!(state.values["items"], json!([0, 11, 21]));
    // Two routes lead to it in one superstep: it runs once.
    assert_eq!(state.values["seen"], json!([3]));
    assert_eq!(state.visits["join"], 1);
}

#[tokio::test]
async fn a_misspelt_channel_fails_the_node_and_names_the_one_meant() {
    let graph = draw("misspelt")
        .channel("diagnosis", number(), Reducer::Replace)
        .node("diagnose", Some("diagnosis"), &[])
        .done();
    let crew = Crew::default().does("diagnose", |_, _| wrote([("diagnosys", json!(1))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!(code(&state), "runtime.write_unknown");
    assert!(state.error.unwrap().hint.contains("`diagnosis`"));
    assert!(state.values.is_empty());
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused_and_nothing_is_stored() {
    let graph =
        draw("typed").channel("n", number(), Reducer::Replace).node("write", Some("n"), &[]).done();
    let crew = Crew::default().does("write", |_, _| wrote([("n", json!("three"))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((code(&state), state.values.len()), ("runtime.write_invalid", 0));
}

#[tokio::test]
async fn a_channel_the_node_does_not_declare_is_refused() {
    let graph = draw("undeclared")
        .channel("mine", number(), Reducer::Replace)
        .channel("theirs", number(), Reducer::Replace)
        .node("write", Some("mine"), &[])
        .done();
    let crew = Crew::default().does("write", |_, _| wrote([("theirs", json!(3))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!(code(&state), "runtime.write_undeclared");
}

#[tokio::test]
async fn two_writers_of_a_replace_channel_in_one_superstep_are_an_error() {
    let graph = draw("race")
        .channel("n", number(), Reducer::Replace)
        .start(&[0, 1])
        .node("a", Some("n"), &[])
        .node("b", Some("n"), &[])
        .done();
    let crew = Crew::default()
        .does("a", |_, _| wrote([("n", json!(1))]))
        .does("b", |_, _| wrote([("n", json!(2))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!(code(&state), "runtime.fold");
}

#[tokio::test]
async fn an_input_that_does_not_fit_starts_nothing() {
    let graph = draw("strict")
        .channel("n", number(), Reducer::Replace)
        .input("n", true)
        .node("a", None, &[])
        .done();
    let rig = Rig::new(Crew::default());
    for (input, part) in [
        (json!({ "n": "x" }), "`n`"),
        (json!({}), "must be given"),
        (json!({ "n": 1, "m": 2 }), "did you mean `n`"),
    ] {
        let error =
            rig.runtime.start(&rig.thread, graph.clone(), input, Value::Null).await.unwrap_err();
        assert_eq!(error.code(), "runtime.input_invalid");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(rig.runtime.state(&rig.thread).await.unwrap(), None);
}

#[tokio::test]
async fn a_loop_ends_when_its_condition_says_so() {
    let graph = draw("loop")
        .channel("n", number(), Reducer::Sum)
        .choice("count", Some("n"), &[("n < 5 and visits.count < 50", Some(0)), ("", None)])
        .done();
    let crew = Crew::default().does("count", |_, _| wrote([("n", json!(1))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(5)));
    assert_eq!((state.superstep, state.visits["count"]), (5, 5));
}

#[tokio::test]
async fn a_reached_limit_runs_the_on_limit_node_once_and_then_ends() {
    let graph = draw("limited")
        .channel("n", number(), Reducer::Sum)
        .channel("report", json!({ "type": "string" }), Reducer::Replace)
        .limits(|limits| (limits.supersteps, limits.on_limit) = (4, Some(1)))
        .node("count", Some("n"), &[0])
        .node("report", Some("report"), &[])
        .done();
    let crew = Crew::default()
        .does("count", |_, _| wrote([("n", json!(1))]))
        .does("report", |_, _| wrote([("report", json!("stopped early"))]));
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(4)));
    assert_eq!(state.values["report"], json!("stopped early"));
    let at_limit = rig.journal().await.iter().filter(|line| *line == "LIMIT_REACHED").count();
    assert_eq!(at_limit, 1);
}

#[tokio::test]
async fn a_limit_without_an_on_limit_node_fails_the_run() {
    for change in [
        (|limits| limits.supersteps = 3) as fn(&mut perf_agent::graph::Limits),
        |limits| limits.visits_per_node = 3,
        |limits| limits.tokens = Some(30),
        |limits| limits.cost_usd = Some(0.03),
    ] {
        let graph = draw("limited").limits(change).node("spend", None, &[0]).done();
        let crew = Crew::default().does("spend", |_, _| {
            let usage = Usage { input_tokens: 6, output_tokens: 4, cost_usd: 0.01 };
            Ok(Outcome::Update { writes: Vec::new(), grant: None, usage })
        });
        let state = Rig::new(crew).run(&graph, Value::Null).await;
        assert_eq!((code(&state), state.visits["spend"]), ("runtime.limit_reached", 3));
    }
}

#[tokio::test]
async fn channels_live_as_long_as_their_lifetime_says() {
    let graph = draw("lives")
        .channel_for("thread", number(), Reducer::Sum, Lifetime::Thread)
        .channel_for("run", number(), Reducer::Sum, Lifetime::Run)
        .channel_for("step", number(), Reducer::Replace, Lifetime::Step)
        .channel_for("seen", list(), Reducer::Append, Lifetime::Run)
        .input("thread", true)
        .start(&[0, 1])
        .node("a", Some("run"), &[2])
        .node("b", Some("step"), &[2])
        .node("c", Some("seen"), &[3])
        .node("d", Some("seen"), &[])
        .done();
    let look = |view: &perf_agent::runtime::StateView, _: &perf_agent::runtime::TaskContext| {
        wrote([("seen", json!([i32::from(view.channels.contains_key("step"))]))])
    };
    let crew = Crew::default()
        .does("a", |_, _| wrote([("run", json!(1))]))
        .does("b", |_, _| wrote([("step", json!(9))]))
        .does("c", look)
        .does("d", look);
    let rig = Rig::new(crew);
    rig.run(&graph, json!({ "thread": 5 })).await;
    let state = rig.run(&graph, json!({ "thread": 6 })).await;
    // Written in one superstep, read in the next, gone after that.
    assert_eq!(state.values["seen"], json!([1, 0]));
    assert_eq!((&state.values["run"], &state.values["thread"]), (&json!(1), &json!(6)));
}

#[tokio::test]
async fn five_runs_at_once_on_one_thread_keep_all_their_items() {
    let graph = draw("append")
        .channel("items", list(), Reducer::Append)
        .channel("n", number(), Reducer::Replace)
        .input("n", true)
        .node("first", Some("items"), &[1])
        .node("second", Some("items"), &[])
        .done();
    let add = |view: &perf_agent::runtime::StateView, _: &perf_agent::runtime::TaskContext| {
        wrote([("items", json!([view.channels["n"]]))])
    };
    let rig = Arc::new(Rig::new(Crew::default().does("first", add).does("second", add)));
    let runs = (0..5).map(|n| {
        let (rig, graph) = (rig.clone(), graph.clone());
        tokio::spawn(async move { rig.run(&graph, json!({ "n": n })).await })
    });
    futures::future::join_all(runs).await;
    assert_eq!(rig.state().await.values["items"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_second_run_is_refused_queued_or_takes_over_as_asked() {
    let graph = draw("ask")
        .channel("n", number(), Reducer::Sum)
        .node("count", Some("n"), &[1])
        .node("ask", None, &[])
        .done();
    let crew =
        Crew::default().does("count", |_, _| wrote([("n", json!(1))])).does("ask", |view, _| {
            match view.answer {
                Some(_) => wrote([]),
                None => Ok(super::interrupts::question(json!({}))),
            }
        });
    let rig = Rig::new(crew);
    rig.run(&graph, Value::Null).await;
    let start = |multitask| {
        rig.runtime.start_run(&rig.thread, graph.clone(), Start { multitask, ..Start::default() })
    };
    assert_eq!(start(Multitask::Reject).await.unwrap_err().code(), "runtime.busy");
    let queued = start(Multitask::Enqueue).await.unwrap();
    rig.rest().await;
    assert_ne!(rig.state().await.run, queued, "it waits its turn");
    rig.runtime.resume(&rig.thread, None, json!(1), "me").await.unwrap();
    rig.rest().await;
    assert_eq!((rig.state().await.run, &rig.state().await.values["n"]), (queued, &json!(2)));
    let rolled = start(Multitask::Rollback).await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    // The second run's write was taken back before the third counted.
    assert_eq!((state.run, &state.values["n"]), (rolled, &json!(2)));
}

#[tokio::test]
async fn a_value_that_a_new_version_of_the_graph_cannot_hold_is_refused_not_lost() {
    let old = draw("g").channel("n", number(), Reducer::Replace).node("a", Some("n"), &[]).done();
    let new = draw("g")
        .channel("n", json!({ "type": "string" }), Reducer::Replace)
        .node("a", None, &[])
        .done();
    let text = json!({ "type": "string" });
    let other = draw("g").channel("m", text, Reducer::Replace).node("b", None, &[]).done();
    let rig = Rig::new(Crew::default().does("a", |_, _| wrote([("n", json!(3))])));
    rig.run(&old, Value::Null).await;
    let refused = rig.runtime.start(&rig.thread, new, Value::Null, Value::Null).await;
    assert_eq!(refused.unwrap_err().code(), "runtime.state_incompatible");
    let state = rig.run(&other, Value::Null).await;
    assert_eq!(state.values["n"], json!(3), "a channel the new version dropped keeps its value");
}

#[tokio::test]
async fn one_seed_gives_one_history() {
    let mut histories = Vec::new();
    for _ in 0..2 {
        let graph = draw("jitter")
            .node("flaky", None, &[])
            .but(|node| (node.retry.max, node.retry.jitter) = (3, true))
            .done();
        let crew = Crew::default().does("flaky", |_, cx| {
            if cx.attempt < 3 {
                Err(super::support::failure(perf_agent::runtime::ErrorClass::Timeout))
            } else {
                wrote([])
            }
        });
        let rig = Rig::new(crew);
        rig.run(&graph, Value::Null).await;
        histories.push(serde_json::to_string(&rig.events().await).unwrap());
    }
    assert_eq!(histories[0], histories[1]);
}
