//! The flags of `serve`, through the real binary.

use std::path::PathBuf;

use serde_json::Value;

use super::support::{Going, run};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/security/tls").join(name)
}

#[tokio::test]
async fn certificate_origin_rate_and_audit_log_are_those_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(folder.path(), &["keys", "create", "ci", "--scope", "read,operate"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let args = [
        "serve",
        "--port",
        "0",
        "--model",
        "expert",
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
        "--cors-origin",
        "https://chat.example.org",
        "--rate-limit",
        "1",
        "--audit-log",
        "written.jsonl",
    ];
    let server = Going::start(folder.path(), &args);
    let url = server.said.trim().strip_prefix("listening on ").unwrap().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(file("ca.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    for (origin, allowed) in [
        ("https://chat.example.org", Some("https://chat.example.org")),
        ("https://evil.example", None),
    ] {
        let asked = client
            .request(reqwest::Method::OPTIONS, format!("{url}/threads"))
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let answer = asked.send().await.unwrap();
        let header = answer.headers().get("access-control-allow-origin");
        assert_eq!(header.map(|value| value.to_str().unwrap()), allowed, "{origin}");
    }
    let post = || client.post(format!("{url}/threads")).json(&serde_json::json!({}));
    assert_eq!(post().send().await.unwrap().status(), 401);
    // One a second, and two at once.
    let mut limited = None;
    let mut taken = 0;
    for _ in 0..20 {
        let answer = post().bearer_auth(made.out.trim()).send().await.unwrap();
        match answer.status().as_u16() {
            200 => taken += 1,
            429 => {
                limited = Some(answer.headers()["retry-after"].to_str().unwrap().to_owned());
                break;
            }
            other => panic!("{other}"),
        }
    }
    assert!(taken >= 2, "{taken}");
    assert_eq!(limited.as_deref(), Some("1"), "after {taken}");
    assert_eq!(server.stop(), 0);
    let log = std::fs::read_to_string(folder.path().join("written.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = lines.iter().filter(|line| line["outcome"] == "done" && line["status"] == 200);
    assert_eq!(done.count(), taken, "{log}");
    assert!(lines.iter().all(|line| line["what"] == "POST /threads"), "{log}");
    assert!(!log.contains(made.out.trim()), "a secret is written down");
}
