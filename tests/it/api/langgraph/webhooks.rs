//! Webhooks, as those get them who are called.

use perf_agent::base::Millis;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::rig::{Graphs, Receiver, TUESDAY, Turned, within};
use crate::api::support::Served;

/// Starts a run that calls `url` when it has ended. Its thread and its id.
async fn run(served: &Served, url: &str) -> (String, String) {
    let thread = served.thread().await;
    let body = json!({"assistant_id": "steps", "input": {"n": 1}, "webhook": url});
    let (status, run) = served.post(&format!("/threads/{thread}/runs"), body).await;
    assert_eq!(status, 200, "{run}");
    (thread, run["run_id"].as_str().unwrap().to_owned())
}

/// HMAC-SHA-256 of RFC 2104, for a secret shorter than a block.
fn hmac(secret: &str, text: &str) -> String {
    let padded = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(secret.bytes()).for_each(|(a, b)| *a ^= b);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn after(s: u64) -> Millis {
    TUESDAY.plus(s * 1_000)
}

#[tokio::test]
async fn a_webhook_gets_the_run_and_its_values_signed() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let mut receiver = Receiver::answering(&[]).await;
    let served = graphs.steered(&clock).await;
    let (thread, run) = run(&served, &receiver.url).await;
    let call = receiver.next().await;
    let body = call.body();
    assert_eq!((&body["run_id"], &body["thread_id"]), (&json!(run), &json!(thread)));
    assert_eq!(body["status"], "success");
    assert_eq!(body["values"], json!({"n": 2, "log": ["a", "b", "c"]}));
    assert_eq!(body["error"], json!(null));
    assert_eq!(body["webhook_sent_at"], "2026-11-24T08:59:30.000000+00:00");
    assert!(body["run_ended_at"].is_string(), "{body}");
    let signature = format!("sha256={}", hmac("a secret", &call.text));
    assert_eq!(call.headers["x-perf-agent-signature"], signature.as_str());
    assert_eq!(call.headers["content-type"], "application/json");
    served.stop().await;
}

#[tokio::test]
async fn a_run_that_fails_or_is_cancelled_says_so_to_its_webhook() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let mut receiver = Receiver::answering(&[]).await;
    let served = graphs.steered(&clock).await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs");
    let body = json!({"assistant_id": "waits", "input": {"n": 1}, "webhook": receiver.url});
    let (_, run) = served.post(&path, body).await;
    let id = run["run_id"].as_str().unwrap();
    assert_eq!(served.post_text(&format!("{path}/{id}/cancel?wait=1")).await.0, 204);
    let body = receiver.next().await.body();
    assert_eq!((&body["status"], &body["run_id"]), (&json!("interrupted"), &json!(id)));
    assert_eq!(body["error"]["error"], "UserInterrupt");
    served.stop().await;
}

#[tokio::test]
async fn who_does_not_listen_is_called_again_after_1_4_16_and_60_seconds_and_then_left_alone() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let mut receiver = Receiver::answering(&[503, 429, 500, 502, 503]).await;
    let served = graphs.steered(&clock).await;
    run(&served, &receiver.url).await;
    let first = receiver.next().await;
    for moment in [1, 5, 21, 81] {
        clock.is_awaited(after(moment)).await;
        assert!(receiver.is_quiet(), "not before {moment} s");
        clock.turn(after(moment)).await;
        let again = receiver.next().await;
        assert_eq!(again.text, first.text, "every attempt says the same");
    }
    // The next run's first call comes; one more of this run's would have come before.
    let (_, next) = run(&served, &receiver.url).await;
    assert_eq!(receiver.next().await.body()["run_id"], json!(next));
    served.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_called_again_and_one_that_refuses_is_not() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let served = graphs.steered(&clock).await;
    // A port that was free a moment ago: nobody is there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_, id) = run(&served, &format!("http://{address}/hook")).await;
    clock.is_awaited(after(1)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let mut receiver = Receiver::on(listener, &[410]);
    clock.turn(after(1)).await;
    assert_eq!(receiver.next().await.body()["run_id"], json!(id));
    // It was refused for good: only the next run's call comes.
    let (_, next) = run(&served, &receiver.url).await;
    assert_eq!(receiver.next().await.body()["run_id"], json!(next));
    served.stop().await;
}

#[tokio::test]
async fn a_call_that_is_still_to_be_made_is_made_by_the_next_server_when_it_is_due() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let mut receiver = Receiver::answering(&[503, 503]).await;
    let served = graphs.steered(&clock).await;
    let (_, id) = run(&served, &receiver.url).await;
    receiver.next().await;
    clock.turn(after(1)).await;
    receiver.next().await;
    clock.is_awaited(after(5)).await;
    served.stop().await;

    let clock = Turned::at(after(3));
    let served = graphs.steered(&clock).await;
    clock.is_awaited(after(5)).await;
    assert!(receiver.is_quiet(), "it is not due yet");
    clock.turn(after(5)).await;
    assert_eq!(receiver.next().await.body()["run_id"], json!(id));
    served.stop().await;

    // It was taken: nobody is told twice.
    let clock = Turned::at(after(100));
    let served = graphs.steered(&clock).await;
    let (_, next) = run(&served, &receiver.url).await;
    assert_eq!(within(receiver.next()).await.body()["run_id"], json!(next));
    served.stop().await;
}
