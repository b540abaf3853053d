//! What must hold whatever the text: the property tests try it, and the fuzz target does.

use perf_agent::graph::{Source, Vocabulary, cases, load, outline, render};

/// The loader answers: with a graph, or with findings that say where.
pub fn answers(text: &str, vocabulary: &Vocabulary) {
    let source = Source { file: "any.yaml".to_owned(), text: text.to_owned() };
    let _ = (outline(&source), cases(&source));
    let findings = match load(&source, vocabulary) {
        Ok(graph) => return assert!(!graph.hash.is_empty()),
        Err(findings) => findings,
    };
    assert!(!findings.is_empty(), "a refusal says why");
    // YAML breaks lines at a lone carriage return too.
    let lines = text.matches(['\n', '\r']).count() as u64 + 1;
    for finding in &findings {
        assert!((1..=lines).contains(&finding.line) && finding.column >= 1, "{finding}");
        assert!(finding.code.starts_with("PA") && !finding.message.is_empty());
    }
    render(&source, &findings);
}
