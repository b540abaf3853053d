//! Secrets are in no log, no error and no answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use perf_agent::agent::{ModelChoice, ModelSettings, Settings};
use perf_agent::api::{Outbound, Scope, SecurityOptions};
use serde_json::json;

use crate::api::support::{Keyed, settings};
use crate::log::Log;

const GROQ_KEY: &str = "gsk_never_to_be_seen";
const WEBHOOK_SECRET: &str = "whs_never_to_be_seen";

/// How often our key came to the provider.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// A provider that repeats whatever key it is sent.
async fn echo(headers: HeaderMap) -> (StatusCode, String) {
    let key = headers.get("authorization").and_then(|key| key.to_str().ok()).unwrap_or_default();
    SHOWN.fetch_add(usize::from(key.contains(GROQ_KEY)), Ordering::SeqCst);
    (StatusCode::UNAUTHORIZED, json!({"error": {"message": format!("bad key {key}")}}).to_string())
}

async fn keyed() -> Keyed {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    let model = ModelSettings {
        choice: ModelChoice::Groq,
        api_key: Some(GROQ_KEY.to_owned().into()),
        base_url,
        model: "m".to_owned(),
        timeout_s: 60,
        retries_max: 0,
    };
    let security = SecurityOptions {
        rate_rps: 1e6,
        webhook_secret: Some(WEBHOOK_SECRET.to_owned().into()),
        outbound: Outbound::new(vec!["127.0.0.1".to_owned()]),
        ..SecurityOptions::default()
    };
    Keyed::with(Settings { model, ..settings("memory:") }, security).await
}

#[tokio::test]
async fn keys_are_in_no_log_and_no_answer() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let keyed = keyed().await;
    let mut answers = String::new();
    for scope in Scope::ALL {
        for path in [
            "/health/detailed",
            "/health/version",
            "/info",
            "/keys",
            "/audit",
            "/metrics",
            "/nowhere",
        ] {
            answers += &keyed.get(scope, path).await.1.to_string();
        }
        // A run that fails at its provider, and a webhook that nobody answers.
        let hook = "http://127.0.0.1:9/hook?token=hook_never_to_be_seen";
        let input = json!({"goal": "p95 TTFT under 300 ms"});
        let body = json!({"assistant_id": "watch", "input": input, "webhook": hook});
        answers += &keyed.post(scope, "/runs/wait", body).await.1.to_string();
    }
    // Tests beside this one may have met the same log lines while nobody listened.
    tracing::callsite::rebuild_interest_cache();
    let url = format!("{}/threads/search", keyed.served.base);
    let wrong = "pa_000000000000_wrong_never_to_be_seen";
    for header in ["authorization", "x-api-key"] {
        let request = keyed.served.client.post(&url).header(header, format!("Bearer {wrong}"));
        answers += &request.send().await.unwrap().text().await.unwrap();
    }
    assert!(SHOWN.load(Ordering::SeqCst) > 2, "the provider was asked: {answers}");
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("/threads/search"), "the log was heard: {log}");
    let all = Scope::ALL.map(|scope| keyed.secret(scope).to_owned());
    let never = ["never_to_be_seen"].into_iter().chain(all.iter().map(String::as_str));
    for secret in never {
        let leak = log.lines().chain(answers.lines()).find(|line| line.contains(secret));
        assert_eq!(leak, None, "{secret}");
    }
}

#[tokio::test]
async fn what_is_printed_for_debugging_hides_secrets() {
    let keyed = keyed().await;
    let body = json!({"name": "x", "scopes": ["read"]});
    let (_, made) = keyed.post(Scope::Admin, "/keys", body).await;
    assert!(made["secret"].as_str().unwrap().starts_with("pa_"), "shown once, here");
    let agent = crate::api::support::agent(settings("memory:")).await;
    let keys = perf_agent::api::Keys::open(agent.documents().clone()).await.unwrap();
    let random = rustls::crypto::ring::default_provider().secure_random;
    let now = perf_agent::base::Millis(1);
    let made = keys.create("x", [Scope::Read].into(), now, random).await.unwrap();
    assert!(!format!("{made:?}").contains("pa_"), "{made:?}");
}
