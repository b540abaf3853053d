//! Answers of an orchestrator that are no answers: too late, too long, none of its business.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;

use super::orchestrator::{Fake, REGISTERED, Reporting, within};

#[tokio::test]
async fn an_orchestrator_that_takes_a_call_and_says_nothing_is_left_after_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let began = Instant::now();
    let mut server = Reporting::to(&url, "").await;
    let (held, _) = within(listener.accept()).await.unwrap();
    let ms = server.waits().await;
    assert!((500..=1_000).contains(&ms), "the first pause: {ms}");
    let took = began.elapsed();
    assert!((Duration::from_millis(4_900)..Duration::from_secs(15)).contains(&took), "{took:?}");
    // It calls again, and says meanwhile how it stands.
    within(listener.accept()).await.unwrap();
    assert_eq!(server.check().await["ok"], json!(false));
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn what_may_be_otherwise_tomorrow_is_asked_again_and_nobody_is_followed_elsewhere() {
    let odd = [(401, "{}"), (403, "no"), (302, "{}"), (307, "{}"), (429, "{}"), REGISTERED];
    let mut fake = Fake::start(&odd).await;
    let mut server = Reporting::to(&fake.url, "").await;
    for longest in [1_000, 2_000, 4_000, 8_000, 16_000] {
        assert_eq!(fake.next().await.0, "/agents/register");
        let ms = server.waits().await;
        assert!((longest / 2..=longest).contains(&ms), "{ms} of {longest}");
    }
    assert_eq!(fake.next().await.0, "/agents/register");
    within(server.slept.recv()).await;
    assert_eq!(server.check().await["detail"], "registered as a1");
    server.stop().await;
}

#[tokio::test]
async fn a_heartbeat_that_is_refused_for_good_is_the_last() {
    for refusal in [(400, r#"{"error":"no such status"}"#), (422, "{}")] {
        let mut fake = Fake::start(&[REGISTERED, refusal]).await;
        let mut server = Reporting::to(&fake.url, "").await;
        assert_eq!(fake.next().await.0, "/agents/register");
        assert_eq!(server.waits().await, 0);
        assert_eq!(fake.next().await.0, "/agents/a1/heartbeat");
        let check = within(async {
            loop {
                let check = server.check().await;
                if check["detail"].as_str().unwrap().starts_with("given up") {
                    return check;
                }
            }
        });
        assert_eq!(check.await["ok"], json!(false));
        server.stop().await;
        assert!(fake.is_quiet(), "it was called again");
    }
}

#[tokio::test]
async fn a_heartbeat_that_fails_is_repeated_under_the_same_id() {
    let mut fake = Fake::start(&[REGISTERED, (503, ""), (403, ""), (200, "{}")]).await;
    let mut server = Reporting::to(&fake.url, "").await;
    assert_eq!(fake.next().await.0, "/agents/register");
    assert_eq!(server.waits().await, 0);
    for longest in [1_000, 2_000] {
        assert_eq!(fake.next().await.0, "/agents/a1/heartbeat");
        let ms = server.waits().await;
        assert!((longest / 2..=longest).contains(&ms), "{ms} of {longest}");
    }
    assert_eq!(fake.next().await.0, "/agents/a1/heartbeat");
    assert_eq!(server.waits().await, 30_000);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_and_gives_no_id() {
    let padding = "x".repeat(70 << 10);
    let long: &'static str =
        Box::leak(format!(r#"{{"agent_id":"long","padding":"{padding}"}}"#).into_boxed_str());
    let mut fake = Fake::start(&[(201, long), REGISTERED, (200, long)]).await;
    let mut server = Reporting::to(&fake.url, "").await;
    assert_eq!(fake.next().await.0, "/agents/register");
    let ms = server.waits().await;
    assert!((500..=1_000).contains(&ms), "tried again: {ms}");
    assert_eq!(fake.next().await.0, "/agents/register");
    assert_eq!(server.waits().await, 0);
    // A heartbeat was heard, whatever its answer says.
    assert_eq!(fake.next().await.0, "/agents/a1/heartbeat");
    assert_eq!(server.waits().await, 30_000);
    server.stop().await;
}
