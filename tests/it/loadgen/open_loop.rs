//! Load against a server whose every byte is scripted.

use std::sync::Arc;

use perf_agent::base::SystemClock;
use perf_agent::domain::{Finish, Metric, Objective, Statistic, Target};
use perf_agent::loadgen::{Ladder, LoadOptions, Sessions, capacity, run};
use serde_json::Value;

use super::schedules::load;
use crate::proxy::fake_server::{FakeServer, Piece, Script, done, stop, token, whole_answer};

const SSE: &str = "text/event-stream";

/// A second's load in a fraction of one.
fn quick(url: &str) -> LoadOptions {
    LoadOptions { duration_s: 0.3, timeout_s: 5.0, ..load(url, 100.0) }
}

#[tokio::test]
async fn every_answer_is_counted_with_its_latencies() {
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
    let mut pieces = whole_answer(3);
    pieces.insert(4, Piece::Send(usage.to_owned()));
    let server = FakeServer::start(Script::Fixed(200, SSE, pieces)).await;
    let report = run(&quick(&server.url), Arc::new(SystemClock)).await.unwrap();
    assert_eq!(report.records.len(), server.requests());
    assert!(report.records.len() > 10);
    for record in &report.records {
        assert_eq!((record.finish, record.output_tokens), (Finish::Complete, 4));
        assert_eq!(record.input_tokens, Some(9));
        let (ttft, e2e) = (record.ttft_ms.unwrap(), record.e2e_ms.unwrap());
        assert!((ttft + 3.0 * record.tpot_ms.unwrap() - e2e).abs() < 1e-6);
    }
    assert_eq!(report.stats.error_rate, Some(0.0));
}

#[tokio::test]
async fn arrivals_do_not_wait_for_answers() {
    // No answer ends before the test opens the gate, and it opens only when all have been asked.
    let server = Arc::new(FakeServer::start(Script::Gated(2)).await);
    let options = quick(&server.url);
    let expected = perf_agent::loadgen::schedule(&options).len();
    let running = tokio::spawn(async move { run(&options, Arc::new(SystemClock)).await });
    while server.requests() < expected {
        tokio::task::yield_now().await;
    }
    server.gate.send_modify(|open| *open += 1);
    assert_eq!(running.await.unwrap().unwrap().records.len(), expected);
}

#[tokio::test]
async fn what_fails_breaks_or_never_ends_is_counted_as_such() {
    let refused = Script::Fixed(500, "application/json", vec![]);
    let unfinished = Script::Fixed(200, SSE, vec![Piece::Send(token("a")), Piece::Send(done())]);
    for (script, finish) in [
        (refused, Finish::Failed),
        (unfinished, Finish::Cut),
        (Script::Gated(5), Finish::Cut),
        (Script::Silent, Finish::Failed),
    ] {
        let server = FakeServer::start(script.clone()).await;
        let options = LoadOptions { timeout_s: 0.05, ..quick(&server.url) };
        let report = run(&options, Arc::new(SystemClock)).await.unwrap();
        assert!(report.records.iter().all(|record| record.finish == finish), "{script:?}");
        assert_eq!(report.stats.error_rate, Some(1.0));
        assert!(report.records.iter().all(|record| record.e2e_ms.is_none()));
    }
}

#[tokio::test]
async fn prompts_have_the_length_the_shared_prefix_and_the_history_that_were_asked_for() {
    let server = FakeServer::start(Script::Fixed(200, SSE, whole_answer(1))).await;
    let mut options = quick(&server.url);
    options.sessions = Sessions { turns: 2, think_s: 0.05 };
    run(&options, Arc::new(SystemClock)).await.unwrap();
    let seen = server.seen.lock().unwrap();
    let bodies: Vec<Value> =
        seen.iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    let words = |message: &Value| message["content"].as_str().unwrap().split(' ').count();
    let system = bodies[0]["messages"][0].clone();
    assert_eq!((system["role"].as_str(), words(&system)), (Some("system"), 50));
    for body in &bodies {
        assert_eq!(body["messages"][0], system, "one prefix for all");
        assert_eq!(body["stream"], true);
        assert!((1..=60).contains(&body["max_tokens"].as_u64().unwrap()));
    }
    let turn = |session: &str, messages: usize| -> Option<&Value> {
        let of_session = seen
            .iter()
            .zip(&bodies)
            .filter(|(seen, _)| seen.headers["x-session-id"].to_str().unwrap() == session);
        of_session
            .map(|(_, body)| body)
            .find(|body| body["messages"].as_array().unwrap().len() == messages)
    };
    let (first, second) = (turn("load-7-0", 2).unwrap(), turn("load-7-0", 4).unwrap());
    assert_eq!(first["messages"][1], second["messages"][1], "the history is the same text");
    assert_eq!(second["messages"][2]["role"], "assistant");
}

#[tokio::test]
async fn a_ladder_ends_at_the_first_rate_that_breaks() {
    let bound = |max_ms| Objective {
        deployment: "d".to_owned(),
        targets: vec![Target { metric: Metric::Ttft, statistic: Statistic::P95, max_ms }],
        keep: Vec::new(),
        improve: None,
    };
    let pieces = vec![Piece::Send(token("a")), Piece::Send(stop()), Piece::Send(done())];
    let server = FakeServer::start(Script::Fixed(200, SSE, pieces)).await;
    let options = quick(&server.url);
    let mut ladder =
        Ladder { rates_rps: vec![50.0, 100.0], objective: bound(60_000.0), error_rate_max: 0.0 };
    let found = capacity(&options, &ladder, Arc::new(SystemClock)).await.unwrap();
    assert_eq!((found.passes_rps, found.fails_rps), (Some(100.0), None));
    ladder.objective = bound(0.0);
    let found = capacity(&options, &ladder, Arc::new(SystemClock)).await.unwrap();
    assert_eq!((found.passes_rps, found.fails_rps), (None, Some(50.0)));
    assert_eq!(found.rungs.len(), 1);
}
