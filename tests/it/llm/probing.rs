//! What `doctor` learns about a model.

use perf_agent::base::Coded;
use perf_agent::llm::OpenAi;

use super::mock::{Groq, MODEL};

#[tokio::test]
async fn a_good_key_and_a_listed_model_are_seen() {
    let groq = Groq::start([]).await;
    let probe = groq.model().probe().await;
    assert!(probe.reachable && probe.error.is_none(), "{probe:?}");
    assert_eq!((probe.key_accepted, probe.model_listed), (Some(true), Some(true)));
    assert_eq!(probe.latency_ms, Some(0), "the clock stood still");
    assert_eq!(probe.models, [MODEL, "qwen/qwen3-32b"]);
    assert_eq!(probe.endpoint, groq.base_url);
    assert!(groq.asked().is_empty(), "a probe generates nothing");
}

#[tokio::test]
async fn a_model_that_is_not_listed_is_seen() {
    let groq = Groq::start([]).await;
    let mut options = groq.options();
    options.model = "openai/gpt-oss-21b".to_owned();
    let probe = OpenAi::new(options, groq.clock.clone()).probe().await;
    assert_eq!((probe.key_accepted, probe.model_listed), (Some(true), Some(false)));
}

#[tokio::test]
async fn a_bad_key_is_seen() {
    let groq = Groq::start([]).await;
    let mut options = groq.options();
    options.api_key = "gsk_wrong".into();
    let probe = OpenAi::new(options, groq.clock.clone()).probe().await;
    assert!(probe.reachable);
    assert_eq!((probe.key_accepted, probe.model_listed), (Some(false), None));
    assert_eq!(probe.error.unwrap().code(), "llm.unauthorized");
}

#[tokio::test]
async fn nobody_there_is_seen_and_the_rest_is_unknown() {
    let groq = Groq::start([]).await;
    let mut options = groq.options();
    options.base_url = "http://127.0.0.1:1/v1".to_owned();
    let probe = OpenAi::new(options, groq.clock.clone()).probe().await;
    assert!(!probe.reachable);
    assert_eq!((probe.key_accepted, probe.model_listed, probe.latency_ms), (None, None, None));
    assert_eq!(probe.error.unwrap().code(), "llm.unavailable");
}
