//! The page about graphs says what is.

use std::collections::BTreeSet;
use std::path::Path;

use perf_agent::graph::{Effect, Source, ToolFacts, Vocabulary, load};
use serde_json::json;

use super::folder;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/graphs.md")).unwrap()
}

fn codes(text: &str) -> BTreeSet<String> {
    let places = text.match_indices("PA0").map(|(start, _)| text[start..start + 5].to_owned());
    places.collect()
}

#[test]
fn every_code_is_on_the_page_and_has_a_bad_graph() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder("bad")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "expected") {
            seen.extend(codes(&std::fs::read_to_string(path).unwrap()));
        }
    }
    // It takes a graph of thousands of nodes that all run at once: `laws` makes one.
    seen.insert("PA026".to_owned());
    assert_eq!(codes(&page()), seen);
}

#[test]
fn the_graph_on_the_page_is_valid() {
    let page = page();
    let text = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let tool = |effect| ToolFacts {
        effect,
        approval: effect == Effect::Production,
        args: json!(true),
        output: json!({ "type": ["object", "null"] }),
    };
    let vocabulary = Vocabulary {
        tools: [
            ("propose_change".to_owned(), tool(Effect::Read)),
            ("apply_change".to_owned(), tool(Effect::Production)),
        ]
        .into(),
        types: Default::default(),
        prompts: [("sure.md".to_owned(), "Apply {{ answer | tojson }}?".to_owned())].into(),
        ..Vocabulary::default()
    };
    let result = load(&Source { file: "page.yaml".to_owned(), text }, &vocabulary);
    let complaints: Vec<String> = result.err().iter().flatten().map(ToString::to_string).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
