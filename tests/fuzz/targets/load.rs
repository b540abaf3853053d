//! Whatever the bytes, the loader answers: with a graph, or with findings that say where. Never with a panic.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use perf_agent::graph::Vocabulary;

// The property tests use both too, so that they still compile when the program changes.
#[path = "../../it/graph/answers.rs"]
mod answers;
#[path = "../../it/graph/vocabulary.rs"]
#[allow(clippy::unwrap_used, reason = "it is a constant")]
mod vocabulary;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(vocabulary::vocabulary);

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    answers::answers(text, &VOCABULARY);
    Corpus::Keep
});
