//! The same request sent again starts nothing again.

use std::sync::Arc;

use perf_agent::api::{Scope, SecurityOptions};
use perf_agent::base::{ManualClock, Millis};
use serde_json::{Value, json};

use crate::api::support::{GOAL, Keyed, Served, settings};

/// Status, whether it was answered before, body, `Location`.
async fn send(
    served: &Served,
    secret: Option<&str>,
    key: &str,
    body: &Value,
) -> (u16, bool, Value, Option<String>) {
    let request = served.client.post(format!("{}/optimize", served.base));
    let request = request.header("idempotency-key", key).json(body);
    let request = secret.into_iter().fold(request, |request, secret| request.bearer_auth(secret));
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let location = headers.get("location").map(|value| value.to_str().unwrap().to_owned());
    let again = headers.contains_key("idempotency-replayed");
    (response.status().as_u16(), again, response.json().await.unwrap(), location)
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_answer_and_another_body_is_422() {
    let served = Served::start().await;
    let body = json!({"goal": GOAL});
    let (status, again, first, place) = send(&served, None, "one", &body).await;
    assert_eq!((status, again), (202, false), "{first}");
    for _ in 0..3 {
        assert_eq!(
            send(&served, None, "one", &body).await,
            (202, true, first.clone(), place.clone())
        );
    }
    let (status, _, problem, _) = send(&served, None, "one", &json!({"goal": "other"})).await;
    assert_eq!((status, &problem["code"]), (422, &"api.idempotency_mismatch".into()));
    let (status, again, other, _) = send(&served, None, "two", &body).await;
    assert_eq!((status, again), (202, false));
    assert_ne!(other["thread_id"], first["thread_id"]);
    let (status, _, problem, _) = send(&served, None, &"x".repeat(256), &body).await;
    assert_eq!((status, &problem["code"]), (422, &"api.invalid_idempotency_key".into()));
}

#[tokio::test]
async fn of_many_at_once_one_is_started() {
    let served = Served::start().await;
    let body = json!({"goal": GOAL});
    let all = futures::future::join_all((0..8).map(|_| send(&served, None, "race", &body))).await;
    let mut started: Vec<String> = Vec::new();
    for (status, _, answer, _) in all {
        match status {
            202 => started.push(answer["thread_id"].as_str().unwrap().to_owned()),
            409 => assert_eq!(answer["code"], "api.idempotency_busy"),
            _ => panic!("{status} {answer}"),
        }
    }
    started.dedup();
    assert_eq!(started.len(), 1);
}

#[tokio::test]
async fn what_was_refused_may_be_tried_again_and_nothing_is_remembered_for_ever() {
    let clock = Arc::new(ManualClock::new(Millis(0)));
    let security = SecurityOptions { clock: clock.clone(), ..SecurityOptions::default() };
    let served = Served::safe(settings("memory:"), security).await;
    for _ in 0..2 {
        let (status, again, problem, _) = send(&served, None, "k", &json!({"goal": " "})).await;
        assert_eq!((status, again), (422, false), "{problem}");
    }
    let body = json!({"goal": GOAL});
    let (_, _, first, _) = send(&served, None, "k", &body).await;
    clock.set(Millis(24 * 60 * 60 * 1_000 - 1));
    assert_eq!(send(&served, None, "k", &body).await.2, first);
    clock.set(Millis(24 * 60 * 60 * 1_000));
    assert_ne!(send(&served, None, "k", &body).await.2, first);
}

#[tokio::test]
async fn keys_of_others_are_other_keys() {
    let keyed = Keyed::start().await;
    let body = json!({"goal": GOAL});
    let ask = |scope| send(&keyed.served, Some(keyed.secret(scope)), "same", &body);
    let (operator, admin) = (ask(Scope::Operate).await, ask(Scope::Admin).await);
    assert_eq!((operator.0, admin.0, admin.1), (202, 202, false));
    assert_ne!(operator.2, admin.2);
}

#[tokio::test]
async fn an_answer_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("agent.db").display());
    let body = json!({"goal": GOAL});
    let served = Served::over(&store).await;
    let first = send(&served, None, "k", &body).await;
    served.stop().await;
    let served = Served::over(&store).await;
    let again = send(&served, None, "k", &body).await;
    assert_eq!((again.1, &again.2), (true, &first.2));
    let (_, runs) = served.get("/optimize/history").await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    served.stop().await;
}
