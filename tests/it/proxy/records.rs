//! What is recorded about each way in which a request can end.

use http_body_util::BodyExt as _;
use perf_agent::domain::{Arm, Finish, RequestRecord};
use perf_agent::serving::TrafficPlane as _;

use super::fake_server::{FakeServer, Piece, Script, done, stop, token, whole_answer};
use super::harness::{Harness, User, table, text};

const SSE: &str = "text/event-stream";

/// One request against a server with this script; its record, and the body if it came whole.
async fn one(
    status: u16,
    kind: &'static str,
    pieces: Vec<Piece>,
) -> (RequestRecord, Option<String>) {
    let proxy = Harness::start().await;
    let server = FakeServer::start(Script::Fixed(status, kind, pieces)).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let body = text(User::new().ask(&proxy.url, "a").await).await.ok();
    (proxy.wait_for_records(1).await.remove(0), body)
}

fn send(texts: &[String]) -> Vec<Piece> {
    texts.iter().cloned().map(Piece::Send).collect()
}

#[tokio::test]
async fn a_finished_stream_is_complete_and_has_every_latency() {
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":5}}\n\n";
    let pieces = send(&[token("a"), token("b"), token("c"), stop(), usage.to_owned(), done()]);
    let (record, body) = one(200, SSE, pieces).await;
    assert_eq!((record.finish, record.status, record.arm), (Finish::Complete, 200, Arm::Stable));
    assert_eq!((record.input_tokens, record.output_tokens), (Some(12), 5), "as reported");
    let (ttft, e2e) = (record.ttft_ms.unwrap(), record.e2e_ms.unwrap());
    assert!(0.0 < ttft && ttft <= e2e && record.itl_max_ms.is_some());
    let tpot = record.tpot_ms.unwrap();
    assert!((ttft + 4.0 * tpot - e2e).abs() < 1e-6, "E2E = TTFT + (n − 1) · TPOT");
    assert!(body.unwrap().ends_with(&done()));
}

#[tokio::test]
async fn done_without_a_finish_reason_is_cut() {
    // What vLLM 0.32 sends when it is told to stop: HTTP 200, an error event, then the end mark.
    let error = "data: {\"error\":{\"message\":\"aborted\",\"code\":500}}\n\n".to_owned();
    let (record, _) = one(200, SSE, send(&[token("a"), error, done()])).await;
    assert_eq!((record.finish, record.output_tokens), (Finish::Cut, 1));
    assert_eq!(record.e2e_ms, None);
}

#[tokio::test]
async fn a_clean_end_without_a_finish_reason_is_cut() {
    let (record, body) = one(200, SSE, send(&[token("a"), token("b")])).await;
    assert_eq!((record.finish, record.output_tokens), (Finish::Cut, 2));
    assert!(body.is_some());
}

#[tokio::test]
async fn a_connection_that_breaks_is_cut_and_the_client_sees_it_break() {
    let proxy = Harness::start().await;
    let server = FakeServer::start(Script::ByHand).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let url = proxy.url.clone();
    let asking = tokio::spawn(async move { User::new().ask(&url, "a").await });
    let writer = server.next_answer().await;
    writer.send(Piece::Send(token("a"))).unwrap();
    let mut answer = asking.await.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    writer.send(Piece::Break).unwrap();
    assert!(answer.frame().await.unwrap().is_err(), "the break is passed on, not papered over");
    let record = proxy.wait_for_records(1).await.remove(0);
    assert_eq!((record.finish, record.output_tokens), (Finish::Cut, 1));
}

#[tokio::test]
async fn an_error_of_the_server_is_failed_and_passes_through() {
    let error = "{\"error\":{\"message\":\"engine is dead\"}}".to_owned();
    let (record, body) = one(500, "application/json", send(std::slice::from_ref(&error))).await;
    assert_eq!((record.finish, record.status), (Finish::Failed, 500));
    assert_eq!(body, Some(error));
}

#[tokio::test]
async fn an_unstreamed_answer_has_its_tokens_and_no_ttft() {
    let answer = "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a b\"},\"finish_reason\":\"stop\"}],\
        \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}";
    let (record, _) = one(200, "application/json", send(&[answer.to_owned()])).await;
    assert_eq!((record.finish, record.output_tokens), (Finish::Complete, 2));
    assert_eq!((record.ttft_ms, record.tpot_ms), (None, None));
    assert!(record.e2e_ms.is_some());
}

#[tokio::test]
async fn a_client_that_leaves_aborts_the_backend_and_is_no_failure() {
    let proxy = Harness::start().await;
    let server = FakeServer::start(Script::ByHand).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let url = proxy.url.clone();
    let asking = tokio::spawn(async move { User::new().ask(&url, "a").await });
    let writer = server.next_answer().await;
    writer.send(Piece::Send(token("a"))).unwrap();
    let mut answer = asking.await.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    drop(answer);
    // The backend's side of the stream closes: it would otherwise generate for nobody.
    writer.closed().await;
    let record = proxy.wait_for_records(1).await.remove(0);
    assert_eq!((record.finish, record.output_tokens), (Finish::ClientGone, 1));
    proxy.wait_for_in_flight("stable-0", 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_began_is_recorded_too() {
    let proxy = Harness::start().await;
    let server = FakeServer::start(Script::Silent).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let url = proxy.url.clone();
    let asking = tokio::spawn(async move { User::new().ask(&url, "a").await });
    proxy.wait_for_in_flight("stable-0", 1).await;
    asking.abort();
    let record = proxy.wait_for_records(1).await.remove(0);
    assert_eq!((record.finish, record.status), (Finish::ClientGone, 0));
}

#[tokio::test]
async fn a_slow_client_gets_everything_and_is_complete() {
    let proxy = Harness::start().await;
    // More than the socket buffers of three hops hold: the proxy must wait for the client.
    let long = "x".repeat(16_000);
    let mut pieces = vec![Piece::Send(token(&long)); 1_000];
    pieces.extend(whole_answer(0));
    let server = FakeServer::start(Script::Fixed(200, SSE, pieces)).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let answer = User::new().ask(&proxy.url, "slow").await;
    for _ in 0..50 {
        assert!(proxy.records().await.is_empty(), "still under way: nobody reads");
        assert_eq!(proxy.plane.in_flight("stable-0").await.unwrap(), 1);
    }
    let body = text(answer).await.unwrap();
    assert_eq!(body.len(), 1_000 * token(&long).len() + stop().len() + done().len());
    let record = proxy.wait_for_records(1).await.remove(0);
    assert_eq!((record.finish, record.output_tokens), (Finish::Complete, 1_000));
}
