//! A whole rollout over streams that are under way.

use perf_agent::domain::{Arm, Finish};
use perf_agent::serving::{Error, TrafficPlane as _};

use super::fake_server::{FakeServer, Script};
use super::harness::{Harness, User, arm_of, count, table, text};

const SESSIONS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_is_cut_or_fails_when_the_weight_goes_from_0_to_100_and_back() {
    let proxy = Harness::start().await;
    // Answers need ten steps, and each weight lasts one: all streams live through several changes.
    let (stable, canary) =
        (FakeServer::start(Script::Gated(10)).await, FakeServer::start(Script::Gated(10)).await);
    let user = User::new();
    let (mut streams, mut before) = (Vec::new(), vec![Arm::Stable; SESSIONS]);
    for (step, percent) in [0.0, 5.0, 25.0, 50.0, 100.0, 0.0].into_iter().enumerate() {
        proxy.plane.apply(&table(step as u64 + 1, &[&stable], &[&canary], percent)).await.unwrap();
        let mut arms = Vec::new();
        for session in 0..SESSIONS {
            let answer = user.ask(&proxy.url, &format!("user-{session}")).await;
            arms.push(arm_of(&answer));
            streams.push(tokio::spawn(text(answer)));
        }
        check_step(percent, &before, &arms);
        before = arms;
        for server in [&stable, &canary] {
            server.gate.send_modify(|open| *open += 1);
        }
    }
    for server in [&stable, &canary] {
        server.gate.send_modify(|open| *open += 100);
    }
    for stream in streams {
        let body = stream.await.unwrap().unwrap();
        assert_eq!(body.matches("content").count(), 10, "every token arrived");
        assert!(body.ends_with("data: [DONE]\n\n"));
    }
    let records = proxy.wait_for_records(6 * SESSIONS).await;
    assert_eq!(count(&records, Finish::Complete), 6 * SESSIONS);
    for backend in ["stable-0", "canary-0"] {
        proxy.wait_for_in_flight(backend, 0).await;
    }
}

/// Everyone on stable at 0 and on the canary at 100; between, nobody goes back while the weight grows.
fn check_step(percent: f64, before: &[Arm], arms: &[Arm]) {
    let on_canary = arms.iter().filter(|arm| **arm == Arm::Canary).count();
    if percent == 0.0 || percent == 100.0 {
        assert_eq!(on_canary, if percent == 0.0 { 0 } else { SESSIONS });
    } else {
        let went_back =
            before.iter().zip(arms).any(|(was, is)| (*was, *is) == (Arm::Canary, Arm::Stable));
        assert!(!went_back, "at {percent} %");
    }
}

#[tokio::test]
async fn a_drained_backend_can_be_watched_after_it_left_the_table() {
    let proxy = Harness::start().await;
    let (old, new) =
        (FakeServer::start(Script::Gated(2)).await, FakeServer::start(Script::Gated(2)).await);
    proxy.plane.apply(&table(1, &[&old], &[&new], 0.0)).await.unwrap();
    let answer = User::new().ask(&proxy.url, "a").await;
    let mut promoted = table(2, &[&new], &[], 0.0);
    promoted.stable.backends[0].id = "canary-0".to_owned();
    proxy.plane.apply(&promoted).await.unwrap();
    assert_eq!(proxy.plane.in_flight("stable-0").await.unwrap(), 1);
    old.gate.send_modify(|open| *open += 1);
    text(answer).await.unwrap();
    proxy.wait_for_in_flight("stable-0", 0).await;
    let unknown = proxy.plane.in_flight("nobody").await;
    assert!(matches!(unknown, Err(Error::UnknownBackend(_))));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_streams_and_takes_no_new_connection() {
    let mut proxy = Harness::start().await;
    let server = FakeServer::start(Script::Gated(2)).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let answer = User::new().ask(&proxy.url, "a").await;
    proxy.begin_shutdown();
    let address = proxy.url.trim_start_matches("http://").to_owned();
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(proxy.plane.in_flight("stable-0").await.unwrap(), 1, "steering goes on");
    server.gate.send_modify(|open| *open += 1);
    assert!(text(answer).await.unwrap().ends_with("data: [DONE]\n\n"));
    proxy.stop().await;
}
