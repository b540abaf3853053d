//! A simulated engine as a server: what clients of vLLM rely on.

use std::sync::Arc;

use perf_agent::base::{Millis, SystemClock};
use perf_agent::domain::{EngineKind, Finish, Knob, TokenLengths, WorkloadProfile};
use perf_agent::loadgen::{self, LoadOptions};
use perf_agent::serving::{ObserveContext, Page, dialect};
use serde_json::{Value, json};

use super::http_client::{MODEL, Simulated, events};

#[tokio::test]
async fn a_chat_stream_has_its_role_first_its_finish_reason_and_usage_last_and_then_done() {
    let server = Simulated::start(&[]).await;
    let asked = json!({"stream": true, "max_tokens": 5, "stream_options": {"include_usage": true}});
    let answer = server.chat(asked).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = answer.text().await.unwrap();
    let all = events(&text);
    assert_eq!(all.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        all[..all.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    // Role, five tokens, the reason, the usage.
    assert_eq!(chunks.len(), 8);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    for token in &chunks[1..6] {
        assert!(!token["choices"][0]["delta"]["content"].as_str().unwrap().is_empty());
        assert_eq!(token["choices"][0]["finish_reason"], Value::Null);
    }
    assert_eq!(chunks[6]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[7]["choices"], json!([]));
    assert_eq!(chunks[7]["usage"]["completion_tokens"], 5);
    let same = |chunk: &Value| {
        chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"
    };
    assert!(chunks.iter().all(same));
}

#[tokio::test]
async fn a_stream_without_usage_asked_for_has_none() {
    let server = Simulated::start(&[]).await;
    let text = server.chat(json!({"stream": true, "max_tokens": 2})).await.text().await.unwrap();
    assert!(!text.contains("usage"), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn an_unstreamed_answer_has_its_text_and_usage_at_four_characters_per_token() {
    let server = Simulated::start(&[]).await;
    let body = json!({"model": MODEL, "prompt": "x".repeat(400), "max_tokens": 3});
    let answer: Value =
        server.post("/v1/completions", body.to_string()).await.json().await.unwrap();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["text"], "the quiet river");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["prompt_tokens"], 100);
    assert_eq!(answer["usage"]["total_tokens"], 103);
    let chat: Value = server.chat(json!({"max_completion_tokens": 1})).await.json().await.unwrap();
    assert_eq!(chat["choices"][0]["message"]["content"], "the");
}

#[tokio::test]
async fn an_answer_that_nobody_bounds_ends_by_itself() {
    let server = Simulated::start(&[]).await;
    let answer: Value = server.chat(json!({})).await.json().await.unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 1);
}

#[tokio::test]
async fn a_prompt_that_was_sent_before_is_found_in_the_cache() {
    let server = Simulated::start(&[]).await;
    let body = json!({"prompt": "same ".repeat(400), "max_tokens": 2}).to_string();
    let cached = async || {
        let answer = server.post("/v1/completions", body.clone()).await;
        let answer: Value = answer.json().await.unwrap();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached().await, 0);
    assert!(cached().await >= 480);
}

#[tokio::test]
async fn the_vllm_dialect_reads_its_page_and_finds_what_was_asked() {
    let server = Simulated::start(&[(Knob::MaxNumSeqs, 64)]).await;
    let page = async |at| Page {
        at: Millis(at),
        backend: "sim".to_owned(),
        text: server.get("/metrics").await.text().await.unwrap().into(),
    };
    let first = page(0).await;
    for _ in 0..4 {
        server.chat(json!({"max_tokens": 8})).await.bytes().await.unwrap();
    }
    let pages = [first, page(10_000).await];
    let cx = ObserveContext { deployment: "sim".to_owned(), config: Default::default() };
    let seen = dialect(EngineKind::Vllm).observe(&pages, &cx).unwrap();
    assert_eq!(seen.finished_rps, Some(0.4));
    assert_eq!(seen.output_tokens.unwrap().mean, 8.0);
    let ttft_ms = seen.ttft.unwrap().mean_ms;
    assert!((20.0..200.0).contains(&ttft_ms), "{ttft_ms}");
    assert_eq!(seen.error_rate, Some(0.0));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_openais_words() {
    let server = Simulated::start(&[]).await;
    let chat = "/v1/chat/completions";
    let valid = |extra: &str| format!(r#"{{"messages":[{{"role":"user","content":"a"}}]{extra}}}"#);
    let cases = [
        (chat, "{".to_owned(), 400),
        (chat, "{}".to_owned(), 400),
        (chat, r#"{"messages":[]}"#.to_owned(), 400),
        (chat, valid(r#","max_tokens":9000"#), 400),
        (chat, valid(r#","max_tokens":0"#), 400),
        (chat, valid(r#","n":2"#), 400),
        (chat, valid(r#","stream_options":{"include_usage":true}"#), 400),
        (chat, valid(r#","model":"gpt-7""#), 404),
        ("/v1/completions", r#"{"prompt":["a","b"]}"#.to_owned(), 400),
        ("/v1/embeddings", "{}".to_owned(), 404),
        ("/v1/models", "{}".to_owned(), 405),
    ];
    for (path, body, status) in cases {
        let answer = server.post(path, body.clone()).await;
        assert_eq!(answer.status().as_u16(), status, "{path} {body}");
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["error"]["code"], status, "{body}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty(), "{body}");
    }
    let long: Value = server.chat(json!({"max_tokens": 9000})).await.json().await.unwrap();
    let message = long["error"]["message"].as_str().unwrap();
    assert!(message.contains("maximum context length is 8192 tokens"), "{message}");
    // None of them reached the engine.
    assert_eq!(server.metric("vllm:prompt_tokens_total", "").await, 0.0);
}

#[tokio::test]
async fn a_full_queue_answers_503_and_a_client_that_waits_or_reads_is_aborted_when_it_leaves() {
    let server = Simulated::start(&[(Knob::MaxNumSeqs, 1), (Knob::MaxNumQueuedReqs, 1)]).await;
    // About a minute of simulated time: it will not end by itself before it is left.
    let long = json!({"stream": true, "max_tokens": 8000});
    let reading = server.chat(long.clone()).await;
    server.until("vllm:num_requests_running", "", 1.0).await;
    let waiting = server.chat(long.clone()).await;
    server.until("vllm:num_requests_waiting{", "", 1.0).await;

    let refused = server.chat(json!({"max_tokens": 2})).await;
    assert_eq!(refused.status().as_u16(), 503);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["type"], "ServiceUnavailableError");

    drop(waiting);
    server.until("vllm:num_requests_waiting{", "", 0.0).await;
    drop(reading);
    server.until("vllm:num_requests_running", "", 0.0).await;
    server.until("vllm:request_success_total", "finished_reason=\"abort\"", 2.0).await;
    let next: Value = server.chat(json!({"max_tokens": 2})).await.json().await.unwrap();
    assert_eq!(next["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn it_says_what_it_serves_and_that_it_is_well() {
    let server = Simulated::start(&[]).await;
    assert_eq!(server.get("/health").await.status().as_u16(), 200);
    let models: Value = server.get("/v1/models").await.json().await.unwrap();
    assert_eq!(models["data"][0]["id"], MODEL);
    assert_eq!(models["data"][0]["max_model_len"], 8192);
    let version: Value = server.get("/version").await.json().await.unwrap();
    assert!(version["version"].as_str().unwrap().ends_with("+simulated"));
}

#[tokio::test]
async fn a_synthetic_load_on_it_ends_without_an_error() {
    let server = Simulated::start(&[]).await;
    let lengths = |mean: f64| TokenLengths { mean, p50: mean, p95: mean };
    let profile = WorkloadProfile {
        request_rate_rps: 40.0,
        arrival_cv: 1.0,
        input_tokens: lengths(100.0),
        output_tokens: lengths(20.0),
        shared_prefix_ratio: 0.0,
    };
    let options = LoadOptions {
        warmup_s: 0.0,
        duration_s: 1.0,
        ..LoadOptions::new(&server.url, MODEL, profile, 1)
    };
    let report = loadgen::run(&options, Arc::new(SystemClock)).await.unwrap();
    assert!(report.records.len() > 10);
    for record in &report.records {
        assert_eq!((record.finish, record.output_tokens), (Finish::Complete, 20));
    }
}
