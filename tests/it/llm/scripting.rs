//! The scripted model.

use perf_agent::base::Coded;
use perf_agent::llm::{ChatModel, ChatReply, ChatRequest, Error, Scripted, Usage};

use super::mock::{Heard, question};

fn reply(content: &str) -> ChatReply {
    ChatReply {
        content: content.to_owned(),
        reasoning: Some("hm".to_owned()),
        tool_calls: Vec::new(),
        usage: Usage::default(),
        model: "scripted".to_owned(),
    }
}

fn ask(prompt: &str) -> ChatRequest {
    ChatRequest { prompt: prompt.to_owned(), ..question() }
}

#[tokio::test]
async fn answers_come_in_order_and_run_out() {
    let model = Scripted::new([reply("one"), reply("two")]);
    let heard = Heard::default();
    assert_eq!(model.chat(&ask("a.md"), &heard).await.unwrap().content, "one");
    assert_eq!(model.chat(&ask("b.md"), &heard).await.unwrap().content, "two");
    let error = model.chat(&ask("c.md"), &heard).await.unwrap_err();
    assert_eq!(error.code(), "llm.no_rule");
    assert!(error.to_string().contains("c.md"));
    assert_eq!(heard.text(), "(hm)one(hm)two");
    assert_eq!(model.asked().len(), 3);
}

#[tokio::test]
async fn a_prompt_gets_its_own_answers_first() {
    let model = Scripted::new([reply("any")]).on("diagnose.md", reply("queue")).fail_on(
        "propose.md",
        Error::RateLimited { endpoint: "e".to_owned(), retry_after_ms: None },
    );
    assert_eq!(model.chat(&ask("diagnose.md"), &()).await.unwrap().content, "queue");
    let limited = model.chat(&ask("propose.md"), &()).await.unwrap_err();
    assert_eq!(limited.code(), "llm.rate_limited");
    assert_eq!(model.chat(&ask("diagnose.md"), &()).await.unwrap().content, "any");
    assert!(model.chat(&ask("diagnose.md"), &()).await.is_err());
}
