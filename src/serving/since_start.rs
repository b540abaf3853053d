//! One page alone: what a server has counted since it was started.

use super::{Error, ObserveContext, Page, dialect};
use crate::base::Millis;
use crate::domain::{EngineKind, Observation};

/// The window over which everything is counted [ms]: over one second a rate is a count.
const SECOND_MS: u64 = 1000;

/// What `page` counts since the start of its server, as an observation over one second: its rates are totals, its
/// histograms those of the server's whole life, its gauges those of the moment.
///
/// Errors: [`Error::WrongEngine`] when the page has none of the engine's names.
pub fn since_start(
    engine: EngineKind,
    page: &Page,
    cx: &ObserveContext,
) -> Result<Observation, Error> {
    // Counters that a first page lacks began at zero there; it needs one of the engine's names to be read at all.
    let text = match engine {
        EngineKind::Vllm => "vllm:prompt_tokens_total 0\n",
        EngineKind::Sglang => "sglang:prompt_tokens_total 0\n",
        EngineKind::Tgi => "tgi_request_count 0\n",
    };
    let at = Millis(page.at.0.saturating_sub(SECOND_MS));
    let before = Page { at, backend: page.backend.clone(), text: text.into() };
    dialect(engine).observe(&[before, page.clone()], cx)
}
