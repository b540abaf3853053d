//! Which pages may call.

use perf_agent::api::{Scope, SecurityOptions};
use reqwest::Method;

use crate::api::support::{Keyed, Served, settings};

const CHAT: &str = "https://chat.example.org";

fn allowing() -> SecurityOptions {
    SecurityOptions { cors_origins: vec![CHAT.to_owned()], ..SecurityOptions::default() }
}

async fn preflight(served: &Served, origin: &str) -> reqwest::Response {
    let request = served.client.request(Method::OPTIONS, format!("{}/runs/wait", served.base));
    let request = request.header("origin", origin).header("access-control-request-method", "POST");
    let request = request.header("access-control-request-headers", "authorization,content-type");
    request.send().await.unwrap()
}

#[tokio::test]
async fn no_page_may_call_unless_its_origin_was_allowed() {
    let served = Keyed::start().await.served;
    let response = preflight(&served, CHAT).await;
    assert!(!response.status().is_success(), "{}", response.status());
    assert!(response.headers().get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_page_that_was_allowed_asks_without_a_key_and_calls_with_one() {
    let keyed = Keyed::with(settings("memory:"), allowing()).await;
    let response = preflight(&keyed.served, CHAT).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], CHAT);
    assert_eq!(response.headers()["access-control-allow-headers"], "authorization,content-type");
    let other = preflight(&keyed.served, "https://evil.example").await;
    assert!(other.headers().get("access-control-allow-origin").is_none());
    let url = format!("{}/tools", keyed.served.base);
    let ask = || keyed.served.client.get(&url).header("origin", CHAT);
    assert_eq!(ask().send().await.unwrap().status(), 401);
    let response = ask().bearer_auth(keyed.secret(Scope::Read)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], CHAT);
    let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("content-location"), "{exposed}");
}

#[tokio::test]
async fn without_keys_an_allowed_page_may_call_and_no_other() {
    let served = Served::safe(settings("memory:"), allowing()).await;
    for (origin, status) in [(CHAT, 200), ("https://evil.example", 403)] {
        let url = format!("{}/tools", served.base);
        let response = served.client.get(url).header("origin", origin).send().await.unwrap();
        assert_eq!(response.status(), status, "{origin}");
    }
}
