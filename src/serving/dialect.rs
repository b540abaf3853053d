//! The one list of engines.

use super::exposition::Exposition;
use super::{Dialect, sglang, tgi, vllm};
use crate::domain::EngineKind;

/// Every engine's dialect.
pub const DIALECTS: [&dyn Dialect; 3] = [&vllm::Vllm, &sglang::Sglang, &tgi::Tgi];

/// The dialect of an engine.
pub fn dialect(kind: EngineKind) -> &'static dyn Dialect {
    match kind {
        EngineKind::Vllm => &vllm::Vllm,
        EngineKind::Sglang => &sglang::Sglang,
        EngineKind::Tgi => &tgi::Tgi,
    }
}

/// The engine whose page this is, by the prefix of its series; `None` when no known engine wrote it.
pub fn engine_of(page: &Exposition<'_>) -> Option<EngineKind> {
    let rules = [&vllm::RULES, &sglang::RULES, &tgi::RULES];
    let wrote = |prefix: &str| page.samples().iter().any(|sample| sample.name.starts_with(prefix));
    rules.into_iter().find(|rules| wrote(rules.prefix)).map(|rules| rules.kind)
}
