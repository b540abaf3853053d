//! Pages the tests read: small extracts that are part of the repository, and larger recordings where they are there.

use std::path::PathBuf;

use perf_agent::base::Millis;
use perf_agent::domain::{Knob, KnobValue, Observation, ServingConfig};
use perf_agent::serving::{Error, ObserveContext, Page, dialect};

/// Text of a page in `tests/it/serving/pages`.
pub fn committed(name: &str) -> String {
    let path = here().join("pages").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder of recordings, or `None` with a loud line when this machine has none.
pub fn recordings() -> Option<PathBuf> {
    crate::material::shared("data/metrics")
}

/// A page of `backend` at `at_s` [s].
pub fn page(backend: &str, at_s: f64, text: &str) -> Page {
    Page { at: Millis((at_s * 1000.0) as u64), backend: backend.to_owned(), text: text.into() }
}

/// What an engine's dialect makes of pages, for a deployment `chat` with four seats.
pub fn observe(kind: perf_agent::domain::EngineKind, pages: &[Page]) -> Result<Observation, Error> {
    let config = ServingConfig::default().with(Knob::MaxNumSeqs, KnobValue::Int(4));
    dialect(kind).observe(pages, &ObserveContext { deployment: "chat".to_owned(), config })
}

/// Compares with `tests/it/serving/golden/<name>`; `UPDATE_GOLDEN=1` accepts what is there now.
pub fn check_golden(name: &str, actual: &str) {
    let path = here().join("golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; UPDATE_GOLDEN=1 accepts it", path.display());
}

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/serving")
}
