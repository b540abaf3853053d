//! Answers that a model got wrong: what is saved, and what the model is told.

use perf_agent::base::Coded;
use perf_agent::llm::{ChatModel, ChatReply, ChatRequest, Error, OutputSpec};
use serde_json::json;

use super::mock::{
    Groq, Heard, Turn, calls, chunk, last, question, question_with_tools, refusal, says,
};

async fn answer(turn: Turn, request: &ChatRequest) -> Result<ChatReply, Error> {
    Groq::start([turn]).await.model().chat(request, &()).await
}

/// What the model would be told.
fn told(reply: Result<ChatReply, Error>) -> String {
    match reply.unwrap_err() {
        Error::Unusable { detail, .. } => detail,
        other => panic!("{other:?}"),
    }
}

fn tool_use_failed(generation: &str) -> serde_json::Value {
    json!({"message": "Failed to call a function. Please adjust your prompt.",
        "type": "invalid_request_error", "code": "tool_use_failed",
        "failed_generation": generation})
}

#[tokio::test]
async fn misspelt_tool_names_are_understood() {
    for name in ["functions.read_metrics", "read_metrics<|channel|>commentary", "metrics"] {
        let reply = answer(calls(name, r#"{"window_s":60}"#), &question_with_tools()).await;
        assert_eq!(reply.unwrap().tool_calls[0].name, "read_metrics", "{name}");
    }
}

#[tokio::test]
async fn a_tool_that_does_not_exist_is_answered_with_those_that_do() {
    let reply = answer(calls("container.exec", "{}"), &question_with_tools()).await;
    let told = told(reply);
    assert_eq!(told, "there is no tool named `container.exec`; the tools are `read_metrics`");
}

#[tokio::test]
async fn a_call_inside_a_tool_named_json_is_found() {
    let inner = r#"{"name":"read_metrics","arguments":{"window_s":60}}"#;
    let reply = answer(calls("json", inner), &question_with_tools()).await.unwrap();
    assert_eq!(
        (reply.tool_calls[0].name.as_str(), reply.tool_calls[0].id.as_str()),
        ("read_metrics", "fc_1")
    );
}

#[tokio::test]
async fn broken_arguments_are_told() {
    let reply = answer(calls("read_metrics", r#"{"window_s":"#), &question_with_tools()).await;
    assert_eq!(told(reply), "call of `read_metrics`: the arguments end too early");
}

#[tokio::test]
async fn a_failed_generation_that_validates_is_a_call() {
    let generation = r#"{"name": "functions.read_metrics", "arguments": {"window_s": 60}}"#;
    let inside = json!({"error": tool_use_failed(generation)});
    for turn in [
        refusal(400, tool_use_failed(generation)),
        Turn::Stream(vec![chunk(json!({"reasoning": "hm"}), None), inside]),
    ] {
        let reply = answer(turn, &question_with_tools()).await.unwrap();
        assert_eq!(reply.tool_calls[0].arguments, json!({"window_s": 60}));
        assert!(reply.tool_calls[0].id.starts_with("call_"));
        assert!(reply.usage.output_tokens > 0);
    }
}

#[tokio::test]
async fn a_failed_generation_that_does_not_validate_is_told() {
    let generation = r#"{"name": "read_metrics", "arguments": {"window_s": 1}}"#;
    let turn = refusal(400, tool_use_failed(generation));
    let told_schema = told(answer(turn, &question_with_tools()).await);
    assert!(told_schema.contains("at `/window_s`"), "{told_schema}");
    let turn = refusal(400, tool_use_failed("I think that the queue"));
    let told_names = told(answer(turn, &question_with_tools()).await);
    assert!(told_names.contains("the tools are `read_metrics`"), "{told_names}");
}

#[tokio::test]
async fn a_call_written_as_text_is_a_call() {
    let text = "<|channel|>commentary to=functions.read_metrics <|constrain|>json<|message|>\
                {\"window_s\": 60}<|call|>";
    let reply = answer(says(text), &question_with_tools()).await.unwrap();
    assert_eq!(reply.tool_calls[0].arguments, json!({"window_s": 60}));
    assert_eq!(reply.content, "");
}

#[tokio::test]
async fn text_stays_text_when_no_tools_are_on_offer() {
    let text = r#"{"name": "read_metrics", "arguments": {}}"#;
    let reply = answer(says(text), &question()).await.unwrap();
    assert_eq!((reply.content.as_str(), reply.tool_calls.len()), (text, 0));
}

#[tokio::test]
async fn an_answer_cut_at_the_token_limit_is_never_taken_for_whole() {
    let cut =
        Turn::Stream(vec![chunk(json!({"content": "The qu"}), None), last("length", 1, 1024)]);
    let told = told(answer(cut, &question()).await);
    assert!(told.contains("cut off at 1024 tokens"), "{told}");
}

fn only_thinks() -> Turn {
    Turn::Stream(vec![chunk(json!({"reasoning": "hm"}), None), last("length", 1000, 1024)])
}

#[tokio::test]
async fn a_model_that_only_thinks_is_asked_to_think_less_once() {
    let groq = Groq::start([only_thinks(), says("The queue.")]).await;
    let heard = Heard::default();
    let reply = groq.model().chat(&question(), &heard).await.unwrap();
    assert_eq!(reply.content, "The queue.");
    assert!(groq.asked()[0].get("reasoning_effort").is_none());
    assert_eq!(groq.asked()[1]["reasoning_effort"], "low");
    assert_eq!(reply.usage.output_tokens, 1124, "the thrown-away thoughts are counted");
    assert_eq!(heard.text(), "(hm)⟲The queue.");
    let groq = Groq::start([only_thinks(), only_thinks()]).await;
    let told = told(groq.model().chat(&question(), &()).await);
    assert!(told.contains("think and answer in fewer words"), "{told}");
}

#[tokio::test]
async fn an_empty_answer_is_told() {
    let empty = Turn::Stream(vec![chunk(json!({"reasoning": "hm"}), None), last("stop", 1, 1)]);
    let told = told(answer(empty, &question()).await);
    assert!(told.starts_with("the answer is empty"), "{told}");
}

fn typed_question() -> ChatRequest {
    let schema = json!({"type": "object", "required": ["sure"],
        "properties": {"sure": {"type": "number", "maximum": 1}}});
    ChatRequest { output: Some(OutputSpec { name: "Verdict".to_owned(), schema }), ..question() }
}

#[tokio::test]
async fn an_answer_out_of_form_is_told_where() {
    let told_limit = told(answer(says(r#"{"sure": 7}"#), &typed_question()).await);
    assert!(
        told_limit.starts_with("the answer does not fit `Verdict`: at `/sure`"),
        "{told_limit}"
    );
    let told_prose = told(answer(says("quite sure"), &typed_question()).await);
    assert!(told_prose.starts_with("the answer is no JSON"), "{told_prose}");
}

#[tokio::test]
async fn an_answer_in_form_is_found_where_groq_lost_it() {
    for turn in [
        calls("json", r#"{"sure": 0.5}"#),
        refusal(
            400,
            json!({"message": "Failed to generate JSON", "code": "json_validate_failed",
            "failed_generation": "```json\n{\"sure\": 0.5}\n```"}),
        ),
    ] {
        let reply = answer(turn, &typed_question()).await.unwrap();
        assert_eq!(reply.content, r#"{"sure":0.5}"#);
        assert!(reply.tool_calls.is_empty());
    }
}

#[tokio::test]
async fn unusable_has_a_stable_code() {
    let error = answer(calls("nope", "{}"), &question_with_tools()).await.unwrap_err();
    assert_eq!(error.code(), "llm.unusable");
}
