//! Diagrams, the schema for editors and rendered findings, as golden texts.

use std::path::Path;

use perf_agent::graph::{Source, diagram, load, render, schema};
use serde_json::Value;

use super::vocabulary::vocabulary;
use super::{check_golden, folder, load_text};

#[test]
fn the_optimize_graph_is_drawn() {
    let text = std::fs::read_to_string(folder("good").join("optimize.yaml")).unwrap();
    let graph = load_text("optimize.yaml", &text).unwrap();
    check_golden(&folder("good").join("optimize.mmd"), &diagram::mermaid(&graph));
    check_golden(&folder("good").join("optimize.txt"), &diagram::ascii(&graph));
}

#[test]
fn the_committed_schema_for_editors_is_the_one_of_the_program() {
    let text = format!("{:#}\n", schema());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/graph.schema.json");
    check_golden(&path, &text);
}

#[test]
fn the_schema_for_editors_accepts_the_optimize_graph() {
    let text = std::fs::read_to_string(folder("good").join("optimize.yaml")).unwrap();
    let graph: Value = serde_saphyr::from_str(&text).unwrap();
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&graph).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_schema_for_editors_refuses_unknown_keys() {
    let text = std::fs::read_to_string(folder("bad").join("unknown_keys.yaml")).unwrap();
    let graph: Value = serde_saphyr::from_str(&text).unwrap();
    assert!(!jsonschema::is_valid(&schema(), &graph));
}

#[test]
fn findings_are_shown_beside_their_lines() {
    let text = std::fs::read_to_string(folder("bad").join("conditions.yaml")).unwrap();
    let source = Source { file: "conditions.yaml".to_owned(), text };
    let findings = load(&source, &vocabulary()).unwrap_err();
    check_golden(&folder("bad").join("conditions.rendered"), &render(&source, &findings));
}
