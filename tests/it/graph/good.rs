//! Valid graphs.

use perf_agent::graph::{EdgeTarget, Join, Kind, Memory, Mode, Pause, Reducer, Route};
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

#[test]
fn the_hash_is_of_the_meaning_and_not_of_the_layout() {
    let hash = |text: &str| load_text("optimize.yaml", text).unwrap().hash;
    let text = optimize();
    let first = hash(&text);
    assert_eq!(first, hash(&text.replace("  # the best accepted trial, or null", "")));
    assert_eq!(first, hash(&format!("\n\n{}", text.replace("window_s: 60 }", "window_s: 60   }"))));
    assert_ne!(first, hash(&text.replace("window_s: 60", "window_s: 61")));
}

#[test]
fn a_graph_survives_its_own_json() {
    let graph = load_text("optimize.yaml", &optimize()).unwrap();
    let json = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<perf_agent::graph::Graph>(&json).unwrap(), graph);
}

#[test]
fn branches_that_meet_or_that_exclude_each_other_may_write_one_channel() {
    let text = "schema: graph/v1\nname: ok\ninput: { goal: string }\nstate: { a: { type: string, default: '' } }\nnodes:
  fork: { set: {} }\n  left: { tool: any }\n  right: { tool: any }\n  meet: { tool: any, writes: a }
  one: { tool: any, writes: a }\n  other: { tool: any, writes: a }\nedges:\n  - start -> fork\n  - { from: fork, to: [left, right] }
  - left -> meet\n  - right -> meet\n  - from: meet\n    to: [{ when: \"goal == 'x'\", to: one }, { else: other }]
  - one -> end\n  - other -> end\n";
    assert!(
        load_text("ok.yaml", text).is_ok(),
        "{}",
        complain(&load_text("ok.yaml", text).unwrap_err())
    );
}

#[test]
fn subgraphs_joins_pauses_and_caches_are_read() {
    let text = "schema: graph/v1\nname: ok\ninput: { goal: string }\ncontext: { operator: string }
state: { a: { type: string, default: '' } }\nnodes:
  fork: { set: {} }
  sub: { graph: { name: part, in: { draft: '{{ goal }}' }, out: { a: '{{ verdict }}' }, memory: thread }, pause: before }
  side: { tool: any, args: { goal: '{{ goal }}' }, cache: { ttl: 5m, key: '{{ goal }}' }, on_error: [{ to: meet, set: { a: '{{ error.code }}' } }] }
  meet: { set: {}, join: { after: [sub, side], need: any }, defer: true }
edges: [start -> fork, { from: fork, to: [sub, side] }, sub -> meet, side -> meet, meet -> end]\n";
    let refused = load_text("ok.yaml", text).unwrap_err();
    assert!(
        complain(&refused).contains("may write `a` in the same superstep"),
        "{}",
        complain(&refused)
    );
    let text = text.replace("set: { a:", "set: { b:").replace("state: {", "state: { b: string,");
    let graph = load_text("ok.yaml", &text).unwrap_or_else(|f| panic!("{}", complain(&f)));
    let Kind::Graph(sub) = &graph.nodes[1].kind else { panic!("{:?}", graph.nodes[1]) };
    assert_eq!((sub.graph.name.as_str(), sub.memory), ("part", Memory::Thread));
    assert_eq!(graph.nodes[1].pause, Some(Pause::Before));
    assert_eq!(graph.nodes[2].cache.as_ref().unwrap().ttl_ms, 300_000);
    assert_eq!(graph.nodes[3].join, Some(Join { after: vec![1, 2], need: 1 }));
    assert!(graph.nodes[3].defer);
    let json = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<perf_agent::graph::Graph>(&json).unwrap(), graph);
}

#[test]
fn waits_sets_and_errors_are_read() {
    let text = "schema: graph/v1\nname: ok\ninput: { goal: string }\nstate: { a: { type: object, reducer: merge }, n: { type: integer, reducer: sum, default: 0 } }
output: a\nnodes:
  fill: { set: { a: { k: '{{ goal }}', fixed: [1, null] }, n: 1 } }
  hold: { wait: { for: 1.5s } }
  hear: { wait: { signal: go, timeout: 1h }, writes: a, timeout: 5s, retry: { max: 2 }, on_error: [{ when: \"error.class == 'timeout'\", to: fill2 }, { to: end }] }
  fill2: { set: { n: '{{ visits.hear }}' } }
edges: [start -> fill -> hold -> hear -> fill2 -> end]\n";
    let graph = load_text("ok.yaml", text).unwrap_or_else(|f| panic!("{}", complain(&f)));
    let hear = graph.node("hear").unwrap().1;
    assert_eq!((hear.timeout_ms, hear.retry.max, hear.retry.initial_ms), (5_000, 2, 500));
    assert_eq!(hear.on_error[0].to, Some(3));
    assert_eq!(hear.on_error[1].to, None);
    assert_eq!(graph.nodes[0].reads, ["goal"]);
    assert_eq!(graph.channels["a"].default, Some(json!({})));
    assert_eq!((graph.limits.supersteps, graph.limits.visits_per_node), (8, 8));
}

#[test]
fn branches_of_an_eager_graph_that_share_nothing_are_proven_apart() {
    let text = "schema: graph/v1\nname: ok\nmode: eager\ninput: { goal: string }
state: { a: { type: string, default: '' }, b: { type: string, default: '' }, c: { type: string, default: '' }, n: { type: integer, default: 0 } }
limits: { supersteps: 50 }
nodes:
  fork: { set: {} }
  left: { set: { a: '{{ goal }}' } }
  more: { set: { b: '{{ a }}', n: '{{ n + 1 }}' } }
  right: { set: { c: '{{ goal }}' }, on_error: [{ to: meet }] }
  meet: { tool: any, args: { x: '{{ a }}{{ b }}{{ c }}' }, join: { after: [more, right] } }
  last: { set: { a: done }, defer: true }
edges:
  - start -> fork
  - { from: fork, to: [left, right, last] }
  - left -> more
  - { from: more, to: [{ when: 'n < 3', to: left }, { else: meet }] }
  - right -> meet
  - { from: meet, to: [{ when: \"c == ''\", to: fork }, { else: end }] }
  - last -> end\n";
    let graph = load_text("ok.yaml", text).unwrap_or_else(|f| panic!("{}", complain(&f)));
    assert_eq!(graph.mode, Mode::Eager);
    let json = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<perf_agent::graph::Graph>(&json).unwrap(), graph);
    // As soon as one has come, the other may still be writing.
    let any = text.replace("after: [more, right] }", "after: [more, right], need: any }");
    let refused = complain(&load_text("ok.yaml", &any).unwrap_err());
    assert!(
        refused.contains("`meet` reads `c`, which `right` may write at the same time"),
        "{refused}"
    );
}
