//! Valid graphs.

use perf_agent::graph::{EdgeTarget, Kind, Reducer, Route};
use serde_json::json;

use super::{folder, load_text};

fn optimize() -> String {
    std::fs::read_to_string(folder("good").join("optimize.yaml")).unwrap()
}

fn complain(findings: &[perf_agent::graph::Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn the_optimize_graph_is_valid() {
    let graph =
        load_text("optimize.yaml", &optimize()).unwrap_or_else(|f| panic!("{}", complain(&f)));
    assert_eq!((graph.name.as_str(), graph.version, graph.nodes.len()), ("optimize", 3, 10));
    assert_eq!(graph.input, [("deployment".to_owned(), false), ("goal".to_owned(), true)].into());
    assert_eq!(graph.channels["trials"].reducer, Reducer::Append);
    assert_eq!(graph.channels["trials"].default, Some(json!([])));
    assert_eq!(graph.limits.wall_ms, Some(4 * 3_600_000));
    let (approve, node) = graph.node("approve").unwrap();
    let Kind::Approval(approval) = &node.kind else { panic!("{node:?}") };
    assert_eq!(approval.grants, [json!("approve")]);
    assert_eq!(node.reads, ["chosen"], "inferred from its question");
    let Route::First(ways) = &graph.node("choose").unwrap().1.route else { panic!() };
    assert_eq!(ways[3], (None, EdgeTarget::Node(approve)));
}
