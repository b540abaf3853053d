//! Who is served by which arm and which backend, and what is logged about it.

use std::collections::BTreeMap;

use perf_agent::domain::Arm;
use perf_agent::serving::TrafficPlane as _;

use super::fake_server::{FakeServer, Script, whole_answer};
use super::harness::{Harness, User, arm_of, table, text};

async fn quick() -> FakeServer {
    FakeServer::start(Script::Fixed(200, "text/event-stream", whole_answer(2))).await
}

#[tokio::test]
async fn a_session_stays_on_its_arm_and_its_backend() {
    let proxy = Harness::start().await;
    let servers = [quick().await, quick().await, quick().await];
    let table = table(1, &[&servers[0], &servers[1], &servers[2]], &[], 0.0);
    proxy.plane.apply(&table).await.unwrap();
    let user = User::new();
    for session in 0..30 {
        for _turn in 0..3 {
            text(user.ask(&proxy.url, &format!("s{session}")).await).await.unwrap();
        }
    }
    let mut home: BTreeMap<String, usize> = BTreeMap::new();
    for (index, server) in servers.iter().enumerate() {
        assert!(server.requests() > 0, "every backend has its sessions");
        for seen in server.seen.lock().unwrap().iter() {
            let session = seen.headers["x-session-id"].to_str().unwrap().to_owned();
            assert_eq!(*home.entry(session).or_insert(index), index, "one session, one backend");
        }
    }
}

#[tokio::test]
async fn the_share_of_sessions_on_the_canary_is_its_weight() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    proxy.plane.apply(&table(1, &[&stable], &[&canary], 25.0)).await.unwrap();
    let user = User::new();
    for session in 0..600 {
        text(user.ask(&proxy.url, &format!("s{session}")).await).await.unwrap();
    }
    // The hash is fixed, so this is one number for ever; four standard deviations are 42.
    assert!(canary.requests().abs_diff(150) < 42, "{}", canary.requests());
    assert_eq!(canary.requests() + stable.requests(), 600);
}

#[tokio::test]
async fn the_probability_is_logged_at_the_first_turn_and_kept() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    let user = User::new();
    for (generation, percent) in [(1, 5.0), (2, 50.0)] {
        proxy.plane.apply(&table(generation, &[&stable], &[&canary], percent)).await.unwrap();
        text(user.ask(&proxy.url, "early").await).await.unwrap();
    }
    text(user.ask(&proxy.url, "late").await).await.unwrap();
    let mut next_rollout = table(3, &[&stable], &[&canary], 5.0);
    next_rollout.salt = "rollout-2".to_owned();
    proxy.plane.apply(&next_rollout).await.unwrap();
    text(user.ask(&proxy.url, "early").await).await.unwrap();
    let logged: Vec<_> = proxy
        .wait_for_records(4)
        .await
        .iter()
        .map(|record| (record.canary_probability, record.first_turn))
        .collect();
    assert_eq!(logged, [(0.05, true), (0.05, false), (0.5, true), (0.05, true)]);
}

#[tokio::test]
async fn a_header_overrides_the_dealing_and_is_no_evidence() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    proxy.plane.apply(&table(1, &[&stable], &[&canary], 50.0)).await.unwrap();
    let user = User::new();
    for session in 0..10 {
        let session = format!("s{session}");
        for (value, arm) in [("always", Arm::Canary), ("never", Arm::Stable)] {
            let headers = [("x-session-id", session.as_str()), ("x-canary", value)];
            let answer = user.ask_with(&proxy.url, &headers).await;
            assert_eq!(arm_of(&answer), arm);
            text(answer).await.unwrap();
        }
    }
    assert!(proxy.wait_for_records(20).await.iter().all(|record| !record.randomized));
    proxy.plane.apply(&table(2, &[&stable], &[], 0.0)).await.unwrap();
    let answer = user.ask_with(&proxy.url, &[("x-canary", "always")]).await;
    assert_eq!(arm_of(&answer), Arm::Stable, "there is no canary to insist on");
}

#[tokio::test]
async fn without_a_header_the_user_or_the_opening_of_the_conversation_is_the_session() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    proxy.plane.apply(&table(1, &[&stable], &[&canary], 50.0)).await.unwrap();
    let user = User::new();
    let bodies = [
        r#"{"user":"u1","messages":[{"role":"user","content":"a"}]}"#,
        r#"{"user":"u1","messages":[{"role":"user","content":"b"}]}"#,
        r#"{"messages":[{"role":"user","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"x"},{"role":"user","content":"y"}]}"#,
        r#"{"nothing":"known"}"#,
        r#"{"nothing":"known"}"#,
    ];
    for body in bodies {
        text(user.send(&proxy.url, &[], body).await).await.unwrap();
    }
    let records = proxy.wait_for_records(6).await;
    let session = |index: usize| records[index].session.as_str();
    assert_eq!(session(0), session(1));
    assert_eq!(session(2), session(3));
    assert_ne!(session(0), session(2));
    assert_ne!(session(4), session(5), "unknown: dealt at random, each for itself");
    assert!(records[4].first_turn && records[5].first_turn);
}

#[tokio::test]
async fn what_is_not_a_generation_goes_to_stable_and_is_not_recorded() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    proxy.plane.apply(&table(1, &[&stable], &[&canary], 100.0)).await.unwrap();
    let answer = User::new().get(&proxy.url, "/v1/models").await;
    assert_eq!(arm_of(&answer), Arm::Stable);
    text(answer).await.unwrap();
    assert_eq!(stable.seen.lock().unwrap()[0].path, "/v1/models");
    assert_eq!(canary.requests(), 0);
    assert!(proxy.records().await.is_empty());
}
