//! Which model drives, and why that one.

use std::sync::Arc;

use secrecy::SecretString;

use super::{Error, ModelChoice, ModelSettings};
use crate::base::SystemClock;
use crate::expert::Expert;
use crate::llm::{ChatModel, OpenAi, OpenAiOptions};

/// A model and the line that reports say about it.
pub(super) struct Chosen {
    pub(super) model: Arc<dyn ChatModel>,
    pub(super) line: String,
}

/// Picks the model. A key that is there is used; one that fails later is an error, never a silent way to the expert.
///
/// Errors: [`Error::NoKey`].
pub(super) fn choose(settings: &ModelSettings, seed: u64) -> Result<Chosen, Error> {
    let expert = |why: &str| Chosen { model: Arc::new(Expert), line: format!("expert ({why})") };
    match (settings.choice, &settings.api_key) {
        (ModelChoice::Expert, _) => Ok(expert("asked for")),
        (ModelChoice::Auto, None) => Ok(expert("no GROQ_API_KEY")),
        (ModelChoice::Groq, None) => Err(Error::NoKey),
        (_, Some(key)) => {
            let model: Arc<dyn ChatModel> = Arc::new(real(settings, key, seed));
            let line = format!("{} ({})", settings.model, settings.base_url);
            Ok(Chosen { model, line })
        }
    }
}

/// The provider's client.
pub(super) fn real(settings: &ModelSettings, key: &SecretString, seed: u64) -> OpenAi {
    // Pauses between retries are real time, whoever owns the deployment's clock.
    let options = OpenAiOptions {
        base_url: settings.base_url.clone(),
        api_key: key.clone(),
        model: settings.model.clone(),
        timeout_s: settings.timeout_s,
        retries_max: settings.retries_max,
        seed,
    };
    OpenAi::new(options, Arc::new(SystemClock))
}
