//! Attacks that were tried, one test each.

mod injection;
mod inside;
mod leaks;
mod outbound;
mod page;
mod raw;

use perf_agent::api::Scope;
use serde_json::{Value, json};

use super::support::{Keyed, Served, operations};
use raw::ask;

#[tokio::test]
async fn a_name_that_climbs_out_of_its_folder_finds_nothing() {
    let served = Served::start().await;
    let climbs = [
        "..%2f..%2fCargo.toml",
        "..%2Foptimize",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cCargo.toml",
        "%2fetc%2fpasswd",
        "optimize%00.yaml",
        "optimize.yaml%00",
        "....%2f%2fetc%2fpasswd",
    ];
    for name in climbs {
        for path in [
            format!("/graphs/{name}"),
            format!("/graphs/{name}/diagram"),
            format!("/prompts/{name}"),
            format!("/deployments/{name}"),
            format!("/rollout/{name}"),
            format!("/test/results/{name}"),
            format!("/analyze/{name}"),
            format!("/optimize/{name}"),
        ] {
            let answer = ask(&served, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
            assert!(!answer.contains("[package]") && !answer.contains("root:"), "{answer}");
        }
    }
    // Segments that a client would have folded.
    for path in
        ["/graphs/../../Cargo.toml", "/graphs/./../prompts/../../etc/passwd", "//etc/passwd"]
    {
        let answer = ask(&served, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for name in ["../../Cargo.toml", "/etc/passwd", "..\\optimize", "optimize\0"] {
        let (status, problem) = served.post("/runs/wait", json!({"assistant_id": name})).await;
        assert!((400..500).contains(&status), "{name:?}: {problem}");
        let (status, problem) = served.post("/assistants", json!({"graph_id": name})).await;
        assert!((400..500).contains(&status), "{name:?}: {problem}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_kept_whether_its_length_is_told_or_not() {
    let served = Served::start().await;
    let huge = format!(r#"{{"goal": "{}"}}"#, "x".repeat((1 << 20) + (16 << 10)));
    for path in ["/optimize", "/runs/wait", "/runs/stream", "/graphs/check", "/analyze", "/threads"]
    {
        let url = format!("{}{path}", served.base);
        let told = served.client.post(&url).header("content-type", "application/json");
        assert_eq!(told.body(huge.clone()).send().await.unwrap().status(), 413, "{path}");
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            huge.as_bytes().chunks(8 << 10).map(|piece| Ok(piece.to_vec())).collect();
        let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
        let untold = served.client.post(&url).header("content-type", "application/json");
        assert_eq!(untold.body(stream).send().await.unwrap().status(), 413, "{path}");
    }
    // With a key whose bodies are looked through, and with one that is remembered.
    let keyed = Keyed::start().await;
    for scope in [Scope::Operate, Scope::Admin] {
        let request = keyed.served.client.post(format!("{}/optimize", keyed.served.base));
        let request = request.bearer_auth(keyed.secret(scope)).header("idempotency-key", "k");
        let request = request.header("content-type", "application/json").body(huge.clone());
        assert_eq!(request.send().await.unwrap().status(), 413);
    }
}

#[tokio::test]
async fn a_length_that_is_a_lie_is_not_believed() {
    let served = Served::start().await;
    for length in ["99999999999999999999", "-1", "+5", "0x10", "5, 5x", "1e3"] {
        let head = format!(
            "POST /optimize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        );
        let answer = ask(&served, &head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{length}: {answer}");
    }
    let head = "POST /optimize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 17179869184\r\n";
    let answer = ask(&served, head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let served = Served::start().await;
    let one = format!("X-Long: {}\r\n", "x".repeat(40 << 10));
    let many: String = (0..150).map(|number| format!("X-{number}: y\r\n")).collect();
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n", "x".repeat(40 << 10));
    for head in [
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{one}"),
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}"),
        path,
    ] {
        let answer = ask(&served, &head).await;
        let refused = ["HTTP/1.1 431 ", "HTTP/1.1 414 "].iter().any(|s| answer.starts_with(s));
        assert!(refused, "{}", &answer[..answer.len().min(200)]);
    }
    // A head that never ends is not kept for ever either.
    let endless = format!("GET /health HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    let answer = raw::send(&served, endless.as_bytes()).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(served.get("/health").await.0, 200);
}

#[tokio::test]
async fn a_request_cannot_be_smuggled_in_the_body_of_another() {
    let served = Served::start().await;
    let inner = "GET /tools HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let body = format!("0\r\n\r\n{inner}");
    let length = body.len();
    // Who believes the length sees one request, who believes the chunks sees two: we believe the chunks, answer the
    // first, and close, so that what follows is never a request (RFC 9112, section 6.1).
    for (first, second) in [
        (format!("Content-Length: {length}"), "Transfer-Encoding: chunked".to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), format!("Content-Length: {length}")),
    ] {
        let request = format!(
            "POST /threads/search HTTP/1.1\r\nHost: localhost\r\n{first}\r\n{second}\r\n\r\n{body}"
        );
        let answer = raw::send(&served, request.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(!answer.contains("start_rollout"), "the tools were listed: {answer}");
    }
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4\r\nContent-length: 40\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 4\r\n",
        " Content-Length: 4\r\n",
        "X: a\r\n\tb\r\n",
        "X: a\0b\r\n",
    ] {
        let request =
            format!("POST /threads/search HTTP/1.1\r\nHost: localhost\r\n{headers}\r\nabcd{inner}");
        let answer = raw::send(&served, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{headers:?}: {answer}");
    }
    // HTTP/1.0 knows no chunks.
    let old = format!("POST /threads/search HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let answer = raw::send(&served, old.as_bytes()).await;
    assert!(!answer.contains("start_rollout") && answer.contains(" 400 "), "{answer}");
}

#[tokio::test]
async fn a_key_that_may_only_look_changes_nothing_on_any_route() {
    let keyed = Keyed::start().await;
    let mut tried = 0;
    for (method, path, scope) in operations() {
        if method == "GET" || scope.as_deref() == Some("read") {
            continue;
        }
        for body in [None, Some(json!({})), Some(json!({"approved": true, "goal": "x"}))] {
            let (status, problem) = keyed.send(Scope::Read, &method, &path, body).await;
            let (field, code) = match path.starts_with("/api/v1/") {
                true => ("error", "http_403"),
                false => ("code", "api.forbidden"),
            };
            assert_eq!((status, &problem[field]), (403, &code.into()), "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried > 90, "{tried}");
    let (_, entries) = keyed.get(Scope::Admin, "/audit?limit=1000").await;
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), tried);
    assert!(entries.iter().all(|entry| entry["outcome"] == "refused"));
    let (_, threads) = keyed.post(Scope::Read, "/threads/search", json!({})).await;
    assert_eq!(threads, json!([]));
}

#[tokio::test]
async fn a_method_in_disguise_is_the_method_that_was_sent() {
    let keyed = Keyed::start().await;
    let url = format!("{}/threads/search", keyed.served.base);
    let request = keyed.served.client.post(url).bearer_auth(keyed.secret(Scope::Read));
    let request = request.header("x-http-method-override", "DELETE").json(&json!({}));
    assert_eq!(request.send().await.unwrap().status(), 200);
    for path in
        ["/health/../threads", "/health%2f..%2fthreads", "/HEALTH", "/health/", "/ok/../keys"]
    {
        let answer =
            ask(&keyed.served, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
    let head = ask(&keyed.served, "HEAD /tools HTTP/1.1\r\nHost: localhost\r\n").await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let nobody: Value = keyed.served.get("/nowhere").await.1;
    assert_eq!(nobody["code"], "api.unauthenticated", "strangers learn no routes");
}
