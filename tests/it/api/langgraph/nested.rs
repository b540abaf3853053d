//! Graphs with subgraphs, as LangGraph's clients see them.

use serde_json::{Value, json};

use crate::api::support::{Served, settings};

pub const PART: &str = "schema: graph/v1
name: part
input: { n: integer }
state: { twice: integer }
output: [twice]
nodes: { double: { set: { twice: \"{{ n }}\" } } }
edges: [start -> double -> end]
";

pub const WHOLE: &str = "schema: graph/v1
name: whole
input: { given: integer }
state: { found: integer }
output: [found]
nodes: { call: { graph: { name: part, in: { n: \"{{ given }}\" }, out: { found: \"{{ twice }}\" } } } }
edges: [start -> call -> end]
";

#[tokio::test]
async fn subgraphs_are_listed_and_drawn_in_place() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("part.yaml", PART), ("whole.yaml", WHOLE)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let graphs = Some(folder.path().to_owned());
    let served = Served::of(perf_agent::agent::Settings { graphs, ..settings("memory:") }).await;
    let (_, found) = served.post("/assistants/search", json!({"graph_id": "whole"})).await;
    let id = found[0]["assistant_id"].as_str().unwrap();
    let (status, parts) = served.get(&format!("/assistants/{id}/subgraphs")).await;
    assert_eq!((status, &parts["call"]["graph_id"]), (200, &json!("part")), "{parts}");
    let (_, flat) = served.get(&format!("/assistants/{id}/graph")).await;
    let (_, deep) = served.get(&format!("/assistants/{id}/graph?xray=true")).await;
    let names = |drawn: &Value| -> Vec<String> {
        let nodes = drawn["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&flat), ["__start__", "call", "__end__"]);
    assert_eq!(names(&deep), ["__start__", "call:double", "__end__"]);
    let edges = json!([
        {"source": "__start__", "target": "call:double"},
        {"source": "call:double", "target": "__end__"},
    ]);
    assert_eq!(deep["edges"], edges);
    let (status, _) = served.get(&format!("/assistants/{id}/graph?xray=deep")).await;
    assert_eq!(status, 422);
}
