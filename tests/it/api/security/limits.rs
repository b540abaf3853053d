//! How often a key may ask.

use std::sync::Arc;

use perf_agent::api::{Scope, SecurityOptions};
use perf_agent::base::{Coded, ManualClock, Millis};
use serde_json::json;

use crate::api::support::{Keyed, Served, agent, settings};

fn with_rate(rate_rps: f64, clock: &Arc<ManualClock>) -> SecurityOptions {
    SecurityOptions { rate_rps, clock: clock.clone(), ..SecurityOptions::default() }
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again_and_others_are_not_hindered() {
    let clock = Arc::new(ManualClock::new(Millis(1_000_000)));
    let keyed = Keyed::with(settings("memory:"), with_rate(0.5, &clock)).await;
    assert_eq!(keyed.get(Scope::Read, "/tools").await.0, 200);
    let url = format!("{}/tools", keyed.served.base);
    let ask = || keyed.served.client.get(&url).bearer_auth(keyed.secret(Scope::Read)).send();
    let response = ask().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
    let problem: serde_json::Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "api.rate_limited");
    assert_eq!(keyed.get(Scope::Admin, "/tools").await.0, 200);
    assert_eq!(keyed.served.get("/health").await.0, 200, "needs no key, has no limit");
    clock.set(Millis(1_001_999));
    assert_eq!(ask().await.unwrap().status(), 429);
    clock.set(Millis(1_002_000));
    assert_eq!(ask().await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_keys_there_is_no_limit() {
    let clock = Arc::new(ManualClock::new(Millis(0)));
    let served = Served::safe(settings("memory:"), with_rate(0.5, &clock)).await;
    for _ in 0..20 {
        assert_eq!(served.post("/threads/search", json!({})).await.0, 200);
    }
}

#[tokio::test]
async fn a_rate_that_makes_no_sense_is_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let clock = Arc::new(ManualClock::new(Millis(0)));
        let listen = "127.0.0.1:0".parse().unwrap();
        let security = with_rate(rate, &clock);
        let options = perf_agent::api::ServerOptions {
            listen,
            config: None,
            mcp: perf_agent::api::McpAccess::default(),
            security,
        };
        let agent = agent(settings("memory:")).await;
        let refused = perf_agent::api::Server::bind(agent, options).await.err().unwrap();
        assert_eq!(refused.code(), "api.bad_option", "{rate}");
    }
}
