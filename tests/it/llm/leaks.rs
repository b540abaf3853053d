//! The key is nowhere but in one header.

use perf_agent::base::Coded;
use perf_agent::llm::ChatModel;
use serde_json::json;

use super::mock::{Groq, KEY, Turn, chunk, question, refusal};
use crate::log::Log;

/// A server that repeats our key wherever it can.
fn echoes() -> Vec<Turn> {
    let words = format!("Incorrect key provided: {KEY}");
    vec![
        refusal(500, json!({"message": words})),
        Turn::Raw(format!("data: {words}\n\n")),
        Turn::Stream(vec![chunk(json!({"content": "x"}), None), json!({"error": words})]),
        Turn::Plain("application/json", json!({ "error": words }).to_string()),
    ]
}

#[tokio::test]
async fn a_key_that_the_server_echoes_reaches_neither_errors_nor_logs() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    for order in 0..4 {
        // Tests beside this one may have met the same log lines while nobody listened.
        tracing::callsite::rebuild_interest_cache();
        let mut turns = echoes();
        turns.rotate_left(order);
        let groq = Groq::start(turns).await;
        let model = groq.model();
        let (reply, _) = groq.in_fast_time(500, model.chat(&question(), &())).await;
        let error = reply.unwrap_err();
        let text = format!("{error:?} {error} {:?} {model:?}", error.problem());
        assert!(!text.contains(KEY), "{text}");
    }
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("asking the model again"), "the log was heard");
    let leak = log.lines().find(|line| line.contains(KEY));
    assert_eq!(leak, None);
}

#[tokio::test]
async fn a_key_in_a_refusal_is_cut_out() {
    for status in [400, 403, 413] {
        let words = format!("Incorrect key provided: {KEY}");
        let groq = Groq::start([refusal(status, json!({"message": words}))]).await;
        let error = groq.model().chat(&question(), &()).await.unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(text.contains("[key]") && !text.contains(KEY), "{text}");
    }
}
