//! What is used: flag over environment over default, decided in one place.

use std::path::{Path, PathBuf};

use crate::agent::{ConfigFile, Error, ModelChoice, ModelSettings, Settings};
use crate::cli::args::{Common, Model};

/// Where the environment is read: given as a function, so that tests need not change the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Resolves flags, environment and files.
///
/// Errors: a config file that cannot be obeyed; a variable that is not a number.
pub fn resolve(common: &Common, environment: Environment<'_>) -> Result<Settings, Error> {
    let config = match &common.config {
        Some(path) => ConfigFile::read(path)?,
        None => ConfigFile::default(),
    };
    Ok(Settings {
        store_url: common.store.clone().unwrap_or_else(|| "sqlite:perf-agent.db".to_owned()),
        seed: common.seed.unwrap_or(1),
        model: model(common, environment)?,
        config,
        graphs: folder(common.graphs.as_deref(), "graphs", "optimize.yaml"),
        prompts: folder(common.prompts.as_deref(), "prompts", "system.md"),
        tools: folder(common.tools.as_deref(), "tools", "metrics"),
        operator: environment("USER").unwrap_or_else(|| "operator".to_owned()),
        records_only: false,
    })
}

fn model(common: &Common, environment: Environment<'_>) -> Result<ModelSettings, Error> {
    let text = |name: &str, default: &str| {
        environment(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    Ok(ModelSettings {
        choice: match common.model.unwrap_or(Model::Auto) {
            Model::Auto => ModelChoice::Auto,
            Model::Expert => ModelChoice::Expert,
            Model::Groq => ModelChoice::Groq,
        },
        api_key: environment("GROQ_API_KEY").filter(|key| !key.trim().is_empty()).map(Into::into),
        base_url: text("LLM_BASE_URL", "https://api.groq.com/openai/v1"),
        model: text("GROQ_MODEL", "openai/gpt-oss-20b"),
        timeout_s: number("LLM_TIMEOUT", &text("LLM_TIMEOUT", "30"))?,
        retries_max: number("LLM_MAX_RETRIES", &text("LLM_MAX_RETRIES", "3"))?,
    })
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Error> {
    let detail = format!("`{text}` is not a whole number");
    text.trim()
        .parse()
        .map_err(|_| Error::Argument { argument: format!("environment variable {name}"), detail })
}

/// The folder that was named; else the one beside us when it holds what it should; else what is built in.
fn folder(named: Option<&Path>, beside: &str, holds: &str) -> Option<PathBuf> {
    let beside = Path::new(beside);
    named.or_else(|| beside.join(holds).exists().then_some(beside)).map(Path::to_path_buf)
}
