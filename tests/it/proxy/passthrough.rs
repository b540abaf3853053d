//! Bytes and headers: what goes through untouched, what stays on this hop.

use http_body_util::BodyExt as _;
use perf_agent::serving::TrafficPlane as _;

use super::fake_server::{FakeServer, Piece, Script, done, stop, token, whole_answer};
use super::harness::{Harness, User, table, text};

#[tokio::test]
async fn each_token_leaves_as_it_arrives_and_no_byte_is_changed() {
    let proxy = Harness::start().await;
    let server = FakeServer::start(Script::ByHand).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let url = proxy.url.clone();
    let asking = tokio::spawn(async move { User::new().ask(&url, "a").await });
    let writer = server.next_answer().await;
    let mut answer = asking.await.unwrap().into_body();
    // Pieces that split lines and characters, a comment, CRLF, and something that is not JSON.
    let odd = ["data: {\"cho", "ices\":[]}\r\n\r\n", ": ping\n\n", "data: näh\n\n", "\n\n"];
    for piece in odd {
        writer.send(Piece::Send(piece.to_owned())).unwrap();
        let passed = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(passed, piece, "before the next one was even written");
    }
    writer.send(Piece::Send([token("a"), stop(), done()].concat())).unwrap();
    drop(writer);
    assert_eq!(answer.collect().await.unwrap().to_bytes(), [token("a"), stop(), done()].concat());
}

#[tokio::test]
async fn hop_headers_stay_here_and_the_request_id_goes_all_the_way() {
    let proxy = Harness::start().await;
    let server = FakeServer::start(Script::Fixed(200, "text/event-stream", whole_answer(1))).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let headers = [
        ("authorization", "Bearer key"),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("te", "trailers"),
        ("accept-encoding", "gzip"),
        ("x-request-id", "mine"),
    ];
    let answer = User::new().ask_with(&proxy.url, &headers).await;
    assert_eq!(answer.headers()["x-request-id"], "mine");
    assert_eq!(answer.headers()["x-fake"], "1", "the backend's own headers pass");
    let seen = server.seen.lock().unwrap()[0].clone();
    assert_eq!(seen.headers["authorization"], "Bearer key");
    assert_eq!(seen.headers["x-request-id"], "mine");
    assert_eq!(seen.headers["host"], server.url.trim_start_matches("http://"));
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    for name in ["x-private", "te", "accept-encoding"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let unnamed = User::new().ask(&proxy.url, "a").await;
    assert!(!unnamed.headers()["x-request-id"].is_empty(), "made here when the client did not");
}

#[tokio::test]
async fn a_body_over_the_limit_streams_through_whole() {
    let proxy = Harness::with(|options| options.body_limit = 1_000).await;
    let server = FakeServer::start(Script::Fixed(200, "text/event-stream", whole_answer(1))).await;
    proxy.plane.apply(&table(1, &[&server], &[], 0.0)).await.unwrap();
    let body = format!(r#"{{"user":"u","messages":[{{"content":"{}"}}]}}"#, "x".repeat(200_000));
    let answer = User::new().send(&proxy.url, &[], &body).await;
    assert!(text(answer).await.unwrap().contains("[DONE]"));
    assert_eq!(server.seen.lock().unwrap()[0].body, body);
}
