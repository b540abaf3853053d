//! Backends that are not there, and what may be tried again.

use std::time::Duration;

use perf_agent::domain::{Arm, Backend, Finish};
use perf_agent::serving::TrafficPlane as _;
use serde_json::Value;

use super::fake_server::{FakeServer, Piece, Script, whole_answer};
use super::harness::{Harness, User, arm_of, count, dead_url, table, text};

async fn quick() -> FakeServer {
    FakeServer::start(Script::Fixed(200, "text/event-stream", whole_answer(1))).await
}

#[tokio::test]
async fn without_a_table_the_answer_is_503_in_the_shape_of_openai() {
    let proxy = Harness::start().await;
    let answer = User::new().ask(&proxy.url, "a").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let error: Value = serde_json::from_str(&text(answer).await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "proxy.no_table");
    assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string());
}

#[tokio::test]
async fn a_dead_backend_is_failed_with_502() {
    let proxy = Harness::start().await;
    let server = quick().await;
    let mut dead = table(1, &[&server], &[], 0.0);
    dead.stable.backends[0].url = dead_url().await;
    proxy.plane.apply(&dead).await.unwrap();
    let answer = User::new().ask(&proxy.url, "a").await;
    assert_eq!(answer.status(), 502);
    let record = proxy.wait_for_records(1).await.remove(0);
    assert_eq!((record.finish, record.status), (Finish::Failed, 0));
}

#[tokio::test]
async fn another_backend_of_the_same_arm_takes_over_unseen() {
    let proxy = Harness::start().await;
    let server = quick().await;
    let mut half_dead = table(1, &[&server], &[], 0.0);
    half_dead.stable.backends.push(Backend { id: "dead".to_owned(), url: dead_url().await });
    proxy.plane.apply(&half_dead).await.unwrap();
    let user = User::new();
    for session in 0..20 {
        let answer = user.ask(&proxy.url, &format!("s{session}")).await;
        assert_eq!(answer.status(), 200);
        text(answer).await.unwrap();
    }
    let records = proxy.wait_for_records(20).await;
    assert_eq!((records.len(), count(&records, Finish::Complete)), (20, 20));
}

#[tokio::test]
async fn stable_answers_for_a_dead_canary_and_the_canary_is_charged_with_it() {
    let proxy = Harness::start().await;
    let server = quick().await;
    let mut dead_canary = table(1, &[&server], &[&server], 100.0);
    dead_canary.canary.as_mut().unwrap().backends[0].url = dead_url().await;
    proxy.plane.apply(&dead_canary).await.unwrap();
    let answer = User::new().ask(&proxy.url, "a").await;
    assert_eq!((answer.status().as_u16(), arm_of(&answer)), (200, Arm::Stable));
    text(answer).await.unwrap();
    let records = proxy.wait_for_records(2).await;
    let (failed, served) = (&records[0], &records[1]);
    assert_eq!((failed.arm, failed.finish), (Arm::Canary, Finish::Failed));
    assert!(failed.randomized && failed.first_turn, "evidence against the canary");
    assert_eq!((served.arm, served.finish), (Arm::Stable, Finish::Complete));
    assert!(!served.randomized, "no evidence for stable: it was not dealt");
}

#[tokio::test]
async fn a_backend_that_took_the_request_is_not_asked_twice() {
    let proxy = Harness::start().await;
    // Each breaks off before its first byte: the work may have been done, so nobody else is asked.
    let broken = Script::Fixed(200, "text/event-stream", vec![Piece::Break]);
    let servers = [FakeServer::start(broken.clone()).await, FakeServer::start(broken).await];
    proxy.plane.apply(&table(1, &[&servers[0], &servers[1]], &[], 0.0)).await.unwrap();
    let answer = User::new().ask(&proxy.url, "a").await;
    let failed = answer.status() == 502 || text(answer).await.is_err();
    assert!(failed);
    assert_eq!(servers[0].requests() + servers[1].requests(), 1);
    assert_ne!(proxy.wait_for_records(1).await[0].finish, Finish::Complete);
}

#[tokio::test]
async fn a_backend_that_never_answers_is_given_up() {
    let proxy = Harness::with(|options| options.answer_timeout = Duration::from_millis(20)).await;
    let server = FakeServer::start(Script::Silent).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    assert_eq!(User::new().ask(&proxy.url, "a").await.status(), 504);
    assert_eq!(proxy.wait_for_records(1).await[0].finish, Finish::Failed);
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut() {
    let proxy = Harness::with(|options| options.idle_timeout = Duration::from_millis(20)).await;
    let server = FakeServer::start(Script::Gated(5)).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let answer = User::new().ask(&proxy.url, "a").await;
    assert!(text(answer).await.is_err());
    assert_eq!(proxy.wait_for_records(1).await[0].finish, Finish::Cut);
}
