//! Refusals: which are waited for, which are not, and what they never say.

use perf_agent::base::Coded;
use perf_agent::llm::{ChatModel, ChatReply, Error, OpenAi};
use serde_json::json;

use super::mock::{Groq, Turn, limited, question, refusal, says};

async fn ask(groq: &Groq) -> (Result<ChatReply, Error>, u64) {
    let model = groq.model();
    let question = question();
    groq.in_fast_time(100, model.chat(&question, &())).await
}

#[tokio::test]
async fn a_pause_that_is_named_is_kept() {
    for (value, pause_ms) in [("2", 2_000), ("2.5", 2_500), ("1.2s", 1_200), ("0", 0)] {
        let groq = Groq::start([limited(&[("retry-after", value)]), says("ok")]).await;
        let (reply, passed_ms) = ask(&groq).await;
        assert_eq!(reply.unwrap().content, "ok");
        assert!(passed_ms >= pause_ms, "{value}: {passed_ms} ms");
    }
}

#[tokio::test]
async fn a_pause_too_long_is_handed_up_at_once() {
    for (value, pause_ms) in [("2m59.56s", 179_560), ("7200", 7_200_000), ("31.5", 31_500)] {
        let groq = Groq::start([limited(&[("retry-after", value)])]).await;
        let error = groq.model().chat(&question(), &()).await.unwrap_err();
        let Error::RateLimited { retry_after_ms, .. } = error else { panic!("{error:?}") };
        assert_eq!(retry_after_ms, Some(pause_ms), "{value}");
        assert_eq!(groq.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_limit_that_stays_is_rate_limited_after_all_retries() {
    let groq = Groq::start(vec![limited(&[("retry-after", "1")]); 4]).await;
    let (reply, passed_ms) = ask(&groq).await;
    assert!(
        matches!(reply, Err(Error::RateLimited { retry_after_ms: Some(1_000), .. })),
        "{reply:?}"
    );
    assert_eq!(groq.asked().len(), 4);
    assert!(passed_ms >= 3_000);
}

#[tokio::test]
async fn a_429_that_is_a_web_page_is_still_a_429() {
    let page = || Turn::Refuse(429, vec![("retry-after", "1".into())], "<html>slow</html>".into());
    let groq = Groq::start([page(), says("ok")]).await;
    assert_eq!(ask(&groq).await.0.unwrap().content, "ok");
}

#[tokio::test]
async fn integer_codes_do_not_hide_the_status() {
    let fault = json!({"message": "busy", "type": "ServiceUnavailable", "code": 503});
    let groq = Groq::start([refusal(503, fault), says("ok")]).await;
    assert_eq!(ask(&groq).await.0.unwrap().content, "ok");
    let fault = json!({"message": "no such model `x`", "type": "NotFoundError", "code": 404});
    let groq = Groq::start([refusal(404, fault)]).await;
    let error = groq.model().chat(&question(), &()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 404, .. }), "{error:?}");
    assert!(error.to_string().contains("no such model"));
}

#[tokio::test]
async fn what_may_pass_later_is_tried_again() {
    for status in [408, 498, 500, 502, 503, 529] {
        let groq = Groq::start([refusal(status, json!({"message": "later"})), says("ok")]).await;
        assert_eq!(ask(&groq).await.0.unwrap().content, "ok", "{status}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let fault = || json!({"message": "no", "type": "invalid_request_error"});
    for (status, code) in [
        (400, "llm.refused"),
        (401, "llm.unauthorized"),
        (403, "llm.refused"),
        (404, "llm.refused"),
        (413, "llm.too_large"),
        (302, "llm.refused"),
    ] {
        let groq = Groq::start([refusal(status, fault())]).await;
        let error = groq.model().chat(&question(), &()).await.unwrap_err();
        assert_eq!(error.code(), code, "{status}");
        assert_eq!(groq.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_bad_key_is_unauthorized_and_never_repeated() {
    let groq = Groq::start([]).await;
    let mut options = groq.options();
    options.api_key = "gsk_wrong_but_secret".into();
    assert!(!format!("{options:?}").contains("gsk_wrong"));
    let model = OpenAi::new(options, groq.clock.clone());
    assert!(!format!("{model:?}").contains("gsk_wrong"));
    let error = model.chat(&question(), &()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { status: 401, .. }), "{error:?}");
    assert!(error.hint().contains("GROQ_API_KEY"));
    assert!(!format!("{error:?} {error}").contains("gsk_wrong"));
}

#[tokio::test]
async fn a_key_no_header_can_carry_is_refused_not_a_panic() {
    let groq = Groq::start([]).await;
    let mut options = groq.options();
    options.api_key = "two\nlines".into();
    let model = OpenAi::new(options, groq.clock.clone());
    let error = model.chat(&question(), &()).await.unwrap_err();
    assert_eq!(error.code(), "llm.unauthorized");
}

#[tokio::test]
async fn nobody_there_is_unavailable_after_all_retries() {
    let groq = Groq::start([]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut options = groq.options();
    options.base_url = format!("http://me:hidden@127.0.0.1:{port}/v1");
    let model = OpenAi::new(options, groq.clock.clone());
    let (reply, passed_ms) = groq.in_fast_time(500, model.chat(&question(), &())).await;
    let error = reply.unwrap_err();
    assert_eq!(error.code(), "llm.unavailable");
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    assert!(passed_ms >= 250 + 500 + 1_000, "three pauses: {passed_ms}");
}

#[tokio::test]
async fn an_address_that_is_none_is_unavailable_at_once() {
    let groq = Groq::start([]).await;
    let mut options = groq.options();
    options.base_url = "not an address".to_owned();
    let model = OpenAi::new(options, groq.clock.clone());
    let error = model.chat(&question(), &()).await.unwrap_err();
    assert_eq!(error.code(), "llm.unavailable");
}
