//! Whatever the bytes, the loader answers: with a graph, or with findings that say where. Never with a panic.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use perf_agent::graph::{Source, Vocabulary, cases, load, outline, render};

#[path = "../../it/graph/vocabulary.rs"]
#[allow(clippy::unwrap_used, reason = "it is a constant")]
mod vocabulary;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(vocabulary::vocabulary);

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let source = Source { file: "any.yaml".to_owned(), text: text.to_owned() };
    let _ = (outline(&source.text), cases(&source));
    match load(&source, &VOCABULARY) {
        Ok(graph) => assert!(!graph.hash.is_empty()),
        Err(findings) => {
            assert!(!findings.is_empty(), "a refusal says why");
            render(&source, &findings);
        }
    }
    Corpus::Keep
});
