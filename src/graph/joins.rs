//! `join`: a node that waits for several must be led to by exactly those.

use std::collections::BTreeSet;

use super::edges::Edges;
use super::finding::Findings;
use super::nodes::{JoinDraft, Nodes};
use super::{EdgeTarget, Join, NodeIx};

/// The joins by node, each proven against the edges.
pub(super) fn read(
    nodes: &Nodes<'_>,
    edges: &Edges<'_>,
    on_error: &[Vec<Option<EdgeTarget>>],
    on_limit: Option<NodeIx>,
    findings: &mut Findings,
) -> Vec<Option<Join>> {
    let read = nodes.list.iter().enumerate().map(|(number, node)| {
        let draft = node.join.as_ref()?;
        let join = join(draft, nodes, findings)?;
        if !edges.broken {
            let leading = leading(number, edges, on_error);
            check(node.name, draft, &join, &leading, nodes, findings);
        }
        if edges.start.contains(&number) || on_limit == Some(number) {
            let message =
                format!("`{}` waits for others, but a run may come to it alone", node.name);
            findings.add("PA028", draft.at, message, "put a node of its own there");
        }
        Some(join)
    });
    read.collect()
}

fn join(draft: &JoinDraft<'_>, nodes: &Nodes<'_>, findings: &mut Findings) -> Option<Join> {
    let mut after = Vec::new();
    for word in &draft.after {
        let Some(node) = nodes.resolve(*word, findings) else { continue };
        if after.contains(&node) {
            let message = format!("`{}` is named twice", word.0);
            findings.add("PA028", word.1, message, "leave one out");
        } else {
            after.push(node);
        }
    }
    let need = draft.need.unwrap_or(after.len());
    if after.len() < draft.after.len() {
        return None;
    }
    if after.len() < 2 {
        let message = "a join of fewer than two nodes waits for nothing";
        findings.add("PA028", draft.at, message, "name the nodes it waits for in `after`");
    } else if need > after.len() {
        let message = format!("{need} of {} nodes can never have come", after.len());
        findings.add("PA028", draft.at, message, "write `need: all`");
    }
    Some(Join { after, need })
}

/// The nodes with a way to `node`.
fn leading(
    node: NodeIx,
    edges: &Edges<'_>,
    on_error: &[Vec<Option<EdgeTarget>>],
) -> BTreeSet<NodeIx> {
    let here = EdgeTarget::Node(node);
    let leads = |from: &NodeIx| {
        edges.routes[*from].ways().iter().any(|way| way.target == here)
            || on_error[*from].contains(&Some(here))
    };
    (0..edges.routes.len()).filter(leads).collect()
}

fn check(
    name: &str,
    draft: &JoinDraft<'_>,
    join: &Join,
    leading: &BTreeSet<NodeIx>,
    nodes: &Nodes<'_>,
    findings: &mut Findings,
) {
    for (word, node) in draft.after.iter().zip(&join.after) {
        if !leading.contains(node) {
            let message = format!("`{name}` waits for `{}`, which does not lead to it", word.0);
            findings.add("PA028", word.1, message, format!("add the edge `{} -> {name}`", word.0));
        }
    }
    for from in leading.iter().filter(|from| !join.after.contains(from)) {
        let from = nodes.list[*from].name;
        let message = format!("`{from}` leads to `{name}`, which does not wait for it");
        findings.add("PA028", draft.at, message, format!("add `{from}` to `after`"));
    }
}
