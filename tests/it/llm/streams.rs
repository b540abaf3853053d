//! Streams that come in pieces, stop too early or never stop.

use perf_agent::base::{Coded, Millis};
use perf_agent::llm::{ChatModel, Error};
use serde_json::json;

use super::mock::{Groq, Heard, MODEL, Turn, chunk, last, question, question_with_tools, says};

fn thought_and_half_a_word() -> Vec<serde_json::Value> {
    vec![chunk(json!({"reasoning": "hm"}), None), chunk(json!({"content": "The qu"}), None)]
}

#[tokio::test]
async fn a_call_in_pieces_is_put_together() {
    let piece = |call: serde_json::Value| chunk(json!({"tool_calls": [call]}), None);
    let groq = Groq::start([Turn::Stream(vec![
        chunk(json!({"role": "assistant", "content": null}), None),
        chunk(json!({"reasoning": "look "}), None),
        chunk(json!({"reasoning": "first"}), None),
        piece(json!({"index": 0, "id": "fc_9", "type": "function",
            "function": {"name": "read_metrics", "arguments": ""}})),
        piece(json!({"index": 0, "function": {"arguments": "{\"windo"}})),
        piece(json!({"index": 0, "function": {"arguments": "w_s\":60}"}})),
        last("tool_calls", 2_000_000, 1_000_000),
    ])])
    .await;
    let heard = Heard::default();
    let reply = groq.model().chat(&question_with_tools(), &heard).await.unwrap();
    assert_eq!(reply.tool_calls[0].id, "fc_9");
    assert_eq!(reply.tool_calls[0].arguments, json!({"window_s": 60}));
    assert_eq!(reply.reasoning.as_deref(), Some("look first"));
    assert_eq!(heard.text(), "(look )(first)");
    assert_eq!(reply.model, MODEL);
    assert_eq!((reply.usage.input_tokens, reply.usage.cached_tokens), (2_000_000, 64));
    assert!((reply.usage.cost_usd - (2.0 * 0.075 + 0.30)).abs() < 1e-9, "{:?}", reply.usage);
}

#[tokio::test]
async fn a_cut_stream_is_asked_again_and_the_sink_is_told() {
    for broken in [Turn::Cut(thought_and_half_a_word()), Turn::Break(thought_and_half_a_word())] {
        let groq = Groq::start([broken, says("The queue.")]).await;
        let model = groq.model();
        let heard = Heard::default();
        let (reply, _) = groq.in_fast_time(200, model.chat(&question(), &heard)).await;
        assert_eq!(reply.unwrap().content, "The queue.");
        assert_eq!(heard.text(), "(hm)The qu⟲The queue.");
    }
}

#[tokio::test]
async fn a_stream_cut_every_time_is_unavailable_never_half_an_answer() {
    let groq = Groq::start(vec![Turn::Cut(thought_and_half_a_word()); 4]).await;
    let model = groq.model();
    let (reply, _) = groq.in_fast_time(500, model.chat(&question(), &())).await;
    let error = reply.unwrap_err();
    assert_eq!(error.code(), "llm.unavailable");
    assert_eq!(groq.asked().len(), 4, "the first attempt and three retries");
}

#[tokio::test]
async fn a_stream_cut_after_the_finish_is_whole() {
    let mut events = thought_and_half_a_word();
    events.push(chunk(json!({"content": "eue."}), Some("stop")));
    let groq = Groq::start([Turn::Break(events)]).await;
    let reply = groq.model().chat(&question(), &()).await.unwrap();
    assert_eq!(reply.content, "The queue.");
    assert!(reply.usage.input_tokens > 0, "uncounted tokens are estimated, not free");
}

#[tokio::test]
async fn silence_inside_a_stream_ends_it_by_the_clock() {
    let groq = Groq::start([Turn::Idle(thought_and_half_a_word())]).await;
    let mut options = groq.options();
    options.retries_max = 0;
    let model = perf_agent::llm::OpenAi::new(options, groq.clock.clone());
    let chat = tokio::spawn(async move { model.chat(&question(), &()).await });
    groq.heard().await;
    // Twenty-nine seconds of silence are not thirty.
    groq.clock.set(Millis(1_000_000 + 29_000));
    // Whoever the clock wakes has had every chance to end.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!chat.is_finished());
    let (reply, _) = groq.in_fast_time(10_000, chat).await;
    let error = reply.unwrap().unwrap_err();
    assert!(matches!(error, Error::Timeout { waited_ms: 30_000, .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout_after_all_retries() {
    let groq = Groq::start(vec![Turn::Silent; 4]).await;
    let model = groq.model();
    let (reply, passed_ms) = groq.in_fast_time(10_000, model.chat(&question(), &())).await;
    assert_eq!(reply.unwrap_err().code(), "llm.timeout");
    assert_eq!(groq.asked().len(), 4);
    assert!(passed_ms >= 4 * 30_000);
}

#[tokio::test]
async fn an_error_event_inside_a_stream_is_an_error() {
    let fault = json!({"error": {"message": "over capacity", "type": "server_error"}});
    let stopped = json!({"choices": [], "x_groq": {"id": "r", "error": "over_capacity"}});
    for event in [fault, stopped] {
        let groq = Groq::start([
            Turn::Stream(vec![chunk(json!({"content": "x"}), None), event]),
            says("ok"),
        ])
        .await;
        let model = groq.model();
        let (reply, _) = groq.in_fast_time(500, model.chat(&question(), &())).await;
        assert_eq!(reply.unwrap().content, "ok");
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let whole = json!({"model": "llama", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "The queue."}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3}});
    let groq = Groq::start([Turn::Plain("application/json", whole.to_string())]).await;
    let reply = groq.model().chat(&question(), &()).await.unwrap();
    assert_eq!((reply.content.as_str(), reply.model.as_str()), ("The queue.", "llama"));
    assert_eq!(reply.usage.output_tokens, 3);
    assert_eq!(reply.usage.cost_usd, 0.0, "nobody bills for a local server");
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    let page = Turn::Plain("text/html; charset=utf-8", "<html>Log in to the hotel</html>".into());
    let groq = Groq::start(vec![page; 4]).await;
    let model = groq.model();
    let (reply, _) = groq.in_fast_time(500, model.chat(&question(), &())).await;
    let error = reply.unwrap_err();
    assert_eq!(error.code(), "llm.unavailable");
    assert!(error.to_string().contains("text/html"), "{error}");
}

#[tokio::test]
async fn groqs_unknown_service_tier_is_ignored() {
    let groq = Groq::start([says("fine")]).await;
    assert_eq!(groq.model().chat(&question(), &()).await.unwrap().content, "fine");
}
