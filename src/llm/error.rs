//! Why a model gave no usable answer.

use crate::base::Coded;

/// Errors of chat models. The caller reads the variant, never the text.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key was refused.
    #[error("{endpoint} refused the key ({status})")]
    Unauthorized {
        /// Endpoint.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// Slower, please.
    #[error("rate limited by {endpoint}")]
    RateLimited {
        /// Endpoint.
        endpoint: String,
        /// Pause it asked for [ms].
        retry_after_ms: Option<u64>,
    },
    /// The request is larger than the provider takes at once (413, or over the context).
    #[error("the request is too large for {model}: {detail}")]
    TooLarge {
        /// Model.
        model: String,
        /// Provider's words, bounded.
        detail: String,
    },
    /// No answer, a broken stream, a 5xx, after all retries.
    #[error("no usable answer from {endpoint}: {detail}")]
    Unavailable {
        /// Endpoint.
        endpoint: String,
        /// What happened.
        detail: String,
    },
    /// Nothing came in time.
    #[error("no answer from {endpoint} within {waited_ms} ms")]
    Timeout {
        /// Endpoint.
        endpoint: String,
        /// Waited [ms].
        waited_ms: u64,
    },
    /// The provider refused the request as malformed.
    #[error("{endpoint} refused the request ({status}): {detail}")]
    Refused {
        /// Endpoint.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// Its words, bounded.
        detail: String,
    },
    /// The model's answer does not fit the schema or names no known tool. `repair` tells the model why.
    #[error("{model} gave an answer that cannot be used: {detail}")]
    Unusable {
        /// Model.
        model: String,
        /// What is wrong with it, fit to be shown to the model.
        detail: String,
    },
    /// The task itself cannot be done as it was stated: asking again would not help, its author must say more.
    #[error("{detail}")]
    TaskUnclear {
        /// What is missing or contradicts itself.
        detail: String,
        /// What to say instead.
        hint: String,
    },
    /// The expert or the script has no rule for this prompt.
    #[error("{model} has no answer for prompt `{prompt}`")]
    NoRule {
        /// Model.
        model: String,
        /// Prompt.
        prompt: String,
    },
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "llm.unauthorized",
            Self::RateLimited { .. } => "llm.rate_limited",
            Self::TooLarge { .. } => "llm.too_large",
            Self::Unavailable { .. } => "llm.unavailable",
            Self::Timeout { .. } => "llm.timeout",
            Self::Refused { .. } => "llm.refused",
            Self::Unusable { .. } => "llm.unusable",
            Self::TaskUnclear { .. } => "llm.task_unclear",
            Self::NoRule { .. } => "llm.no_rule",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Unauthorized { .. } => {
                "check GROQ_API_KEY, or run with `--model expert` to do without a model".to_owned()
            }
            Self::RateLimited { .. } => "wait, or raise the provider's plan".to_owned(),
            Self::TooLarge { .. } => "shorten the prompt or allow fewer tools".to_owned(),
            Self::Unavailable { .. } | Self::Timeout { .. } => {
                "check LLM_BASE_URL, or run with `--model expert`".to_owned()
            }
            Self::TaskUnclear { hint, .. } => hint.clone(),
            Self::NoRule { .. } => "this prompt needs a real model: set GROQ_API_KEY".to_owned(),
            Self::Refused { .. } => "the provider's words say what it expects".to_owned(),
            Self::Unusable { .. } => {
                "try again, take a stronger model, or run with `--model expert`".to_owned()
            }
        }
    }
}
