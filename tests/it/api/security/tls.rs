//! HTTPS.

use std::path::{Path, PathBuf};

use perf_agent::api::{SecurityOptions, Server, ServerOptions, TlsFiles};
use perf_agent::base::Coded;

use crate::api::support::{Served, agent, settings};

/// `cert.pem` is a certificate for this machine, made for this test; nobody else trusts `ca.pem`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/security/tls").join(name)
}

fn with(cert: &str, key: &str) -> SecurityOptions {
    let tls = Some(TlsFiles { cert: file(cert), key: file(key) });
    SecurityOptions { tls, ..SecurityOptions::default() }
}

#[tokio::test]
async fn a_server_with_a_certificate_speaks_https_and_nothing_else() {
    let served = Served::safe(settings("memory:"), with("cert.pem", "key.pem")).await;
    assert!(served.base.starts_with("https://127.0.0.1:"), "{}", served.base);
    let ca = reqwest::Certificate::from_pem(&std::fs::read(file("ca.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let url = format!("{}/health", served.base);
    let response = client.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let stranger = reqwest::Client::new().get(&url).send().await;
    assert!(stranger.is_err(), "a certificate that nobody vouches for");
    let plain = reqwest::get(url.replace("https://", "http://")).await;
    assert!(plain.is_err());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200, "it goes on");
    served.stop().await;
}

#[tokio::test]
async fn files_that_are_no_certificate_and_key_are_refused_at_the_start() {
    for (cert, key) in [
        ("none.pem", "key.pem"),
        ("cert.pem", "cert.pem"),
        ("key.pem", "key.pem"),
        ("ca.pem", "key.pem"),
    ] {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = ServerOptions {
            listen,
            config: None,
            mcp: perf_agent::api::McpAccess::default(),
            security: with(cert, key),
        };
        let refused = Server::bind(agent(settings("memory:")).await, options).await.err();
        assert_eq!(refused.map(|error| error.code()), Some("api.tls"), "{cert} {key}");
    }
}
