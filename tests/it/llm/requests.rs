//! What goes over the wire, and what never does.

use perf_agent::llm::{ChatModel, Message, OutputSpec, ToolCall};
use serde_json::{Value, json};

use super::mock::{Groq, KEY, Turn, calls, chunk, last, question, question_with_tools, says};

fn diagnosis() -> OutputSpec {
    OutputSpec {
        name: "Diagnosis".to_owned(),
        schema: json!({"type": "object", "required": ["cause"], "properties": {
            "cause": {"type": "string", "enum": ["kv_cache", "queue"]},
            "note": {"type": ["string", "null"]},
            "sure": {"type": "number", "minimum": 0.0, "maximum": 1.0}}}),
    }
}

const FITS: &str = r#"{"cause": "queue", "note": null, "sure": 0.9}"#;

#[tokio::test]
async fn a_request_holds_what_groq_knows_and_nothing_more() {
    let groq = Groq::start([says("ok")]).await;
    groq.model().chat(&question_with_tools(), &()).await.unwrap();
    let body = &groq.asked()[0];
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["model", "messages", "tools", "max_completion_tokens", "stream", "stream_options"]
    );
    assert_eq!(body["max_completion_tokens"], 1024);
    assert_eq!(body["tools"][0]["function"]["name"], "read_metrics");
    assert!(!body.to_string().contains("secret_fact"), "facts never leave the process");
    assert_eq!(groq.headers()[0]["authorization"], format!("Bearer {KEY}"));
    let agent = groq.headers()[0]["user-agent"].to_str().unwrap().to_owned();
    assert!(agent.starts_with("perf-agent/"));
    assert!(!groq.headers()[0].contains_key("openai-organization"));
}

#[tokio::test]
async fn the_same_question_is_the_same_bytes() {
    let groq = Groq::start([says("a"), says("b")]).await;
    let model = groq.model();
    model.chat(&question_with_tools(), &()).await.unwrap();
    model.chat(&question_with_tools(), &()).await.unwrap();
    assert_eq!(groq.asked()[0].to_string(), groq.asked()[1].to_string());
}

#[tokio::test]
async fn a_typed_answer_is_asked_for_strictly_and_checked() {
    let groq = Groq::start([says(FITS)]).await;
    let mut request = question();
    request.output = Some(diagnosis());
    let reply = groq.model().chat(&request, &()).await.unwrap();
    let value: Value = serde_json::from_str(&reply.content).unwrap();
    assert_eq!(value["cause"], "queue");
    let format = &groq.asked()[0]["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["strict"], true);
    let schema = &format["json_schema"]["schema"];
    assert_eq!(schema["required"], json!(["cause", "note", "sure"]));
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["sure"].get("minimum").is_none());
}

#[tokio::test]
async fn tools_and_a_form_never_share_a_request() {
    let groq = Groq::start([
        calls("read_metrics", r#"{"window_s":60}"#),
        says("The queue is long."),
        says(FITS),
    ])
    .await;
    let model = groq.model();
    let mut request = question_with_tools();
    request.output = Some(diagnosis());
    let reply = model.chat(&request, &()).await.unwrap();
    assert_eq!(reply.tool_calls.len(), 1);
    let reply = model.chat(&request, &()).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&reply.content).unwrap()["cause"], "queue");
    assert_eq!(reply.usage.output_tokens, 200, "both generations are counted");
    for body in groq.asked() {
        assert!(body.get("tools").is_none() || body.get("response_format").is_none(), "{body}");
    }
    let form = &groq.asked()[2];
    assert_eq!(form["messages"][2]["content"], "The queue is long.");
    assert!(form.get("response_format").is_some());
}

#[tokio::test]
async fn a_form_already_kept_needs_no_second_question() {
    let groq = Groq::start([says(&format!("```json\n{FITS}\n```"))]).await;
    let mut request = question_with_tools();
    request.output = Some(diagnosis());
    let reply = groq.model().chat(&request, &()).await.unwrap();
    assert!(serde_json::from_str::<Value>(&reply.content).is_ok());
    assert_eq!(groq.asked().len(), 1);
}

fn loop_with_reasoning() -> Vec<Message> {
    let said = |thought: &str, id: &str| Message::Assistant {
        content: String::new(),
        reasoning: Some(thought.to_owned()),
        tool_calls: vec![ToolCall {
            id: id.to_owned(),
            name: "read_metrics".to_owned(),
            arguments: json!({"window_s": 60}),
        }],
    };
    let heard = |id: &str| Message::Tool {
        call_id: id.to_owned(),
        name: "read_metrics".to_owned(),
        content: "{}".to_owned(),
    };
    let mut messages = question().messages;
    messages.extend([said("old thought", "c1"), heard("c1")]);
    messages.push(Message::User { content: "And now?".to_owned() });
    messages.extend([said("new thought", "c2"), heard("c2")]);
    messages
}

#[tokio::test]
async fn reasoning_goes_back_only_while_the_tool_loop_is_open() {
    let groq = Groq::start([says("ok")]).await;
    let mut request = question_with_tools();
    request.messages = loop_with_reasoning();
    groq.model().chat(&request, &()).await.unwrap();
    let messages = groq.asked()[0]["messages"].clone();
    assert!(messages[2].get("reasoning").is_none(), "that loop is closed");
    assert_eq!(messages[5]["reasoning"], "new thought");
    assert_eq!(messages[5]["tool_calls"][0]["function"]["arguments"], r#"{"window_s":60}"#);
    assert_eq!(messages[6]["tool_call_id"], "c2");
}

#[tokio::test]
async fn a_server_gets_reasoning_back_under_the_name_it_uses() {
    let thinks = Turn::Stream(vec![
        chunk(json!({"reasoning_content": "hm"}), None),
        chunk(json!({"content": "a"}), None),
        last("stop", 1, 1),
    ]);
    let groq = Groq::start([thinks, says("ok")]).await;
    let model = groq.model();
    let reply = model.chat(&question(), &()).await.unwrap();
    assert_eq!(reply.reasoning.as_deref(), Some("hm"));
    let mut request = question_with_tools();
    request.messages = loop_with_reasoning();
    model.chat(&request, &()).await.unwrap();
    let message = groq.asked()[1]["messages"][5].clone();
    assert_eq!(message["reasoning_content"], "new thought");
    assert!(message.get("reasoning").is_none());
}
