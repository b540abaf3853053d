//! Proves that no way leads to a tool that needs consent except through an approval or the operator's own word.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use petgraph::algo::dominators::simple_fast;
use petgraph::graph::{DiGraph, NodeIndex};

use super::fields::Word;
use super::finding::Findings;
use super::flow::{Flow, followers, shortest, shown};
use super::kinds::Body;
use super::nodes::Nodes;
use super::syntax;
use super::vocabulary::ToolFacts;

/// Reports each tool that asks for an approval and can be reached without one.
pub(super) fn check(
    flow: &Flow<'_>,
    nodes: &Nodes<'_>,
    tools: &BTreeMap<String, ToolFacts>,
    findings: &mut Findings,
) {
    let guarded: Vec<(usize, Word<'_>)> = nodes
        .list
        .iter()
        .enumerate()
        .flat_map(|(number, node)| {
            let called = node.body.as_ref().map_or_else(Vec::new, Body::tools);
            called.into_iter().map(move |tool| (number, tool))
        })
        .filter(|(_, (tool, _))| tools.get(*tool).is_some_and(|facts| facts.approval))
        .collect();
    if guarded.is_empty() {
        return;
    }
    let open = unconsented(flow, nodes);
    let dominators = simple_fast(&open, flow.start);
    for (number, (tool, at)) in guarded {
        let node = NodeIndex::new(number);
        let Some(before) = dominators.immediate_dominator(node) else { continue };
        let next = |place| open.neighbors(place);
        let way = shortest(&[flow.start], open.node_count(), next, |place| place == node);
        let name =
            |place: &NodeIndex| nodes.list.get(place.index()).map_or("start", |node| node.name);
        let way: Vec<&str> = way.iter().map(name).collect();
        let message = format!("`{tool}` needs an approval, and this way has none: {}", shown(&way));
        let hint = if before == flow.start {
            "put an `approval` node before it".to_owned()
        } else {
            format!("all such ways pass `{}`: put an `approval` node after it", name(&before))
        };
        let hint = format!("{hint}, or let an edge require `context.approval == 'never'`");
        findings.add("PA060", at, message, hint);
    }
}

/// The ways that pass no approval and no edge on which the operator gave consent beforehand.
fn unconsented(flow: &Flow<'_>, nodes: &Nodes<'_>) -> DiGraph<(), ()> {
    let mut open = DiGraph::new();
    for _ in flow.ways.node_indices() {
        open.add_node(());
    }
    for node in flow.ways.node_indices() {
        let draft = nodes.list.get(node.index());
        if draft.is_some_and(|draft| matches!(draft.body, Some(Body::Approval(_)))) {
            continue;
        }
        for follower in followers(flow, node, |when| !when.is_some_and(requires_consent)) {
            open.add_edge(node, follower, ());
        }
    }
    open
}

/// True where the condition can only hold if the operator said that nobody need be asked.
fn requires_consent(when: &str) -> bool {
    syntax::expression(when).is_ok_and(|tree| implies_consent(&tree))
}

fn implies_consent(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::BinOp(binary) => match binary.op {
            BinOpKind::ScAnd => implies_consent(&binary.left) || implies_consent(&binary.right),
            BinOpKind::ScOr => implies_consent(&binary.left) && implies_consent(&binary.right),
            BinOpKind::Eq => is_consent(&binary.left, &binary.right),
            _ => false,
        },
        Expr::Compare(chain) => {
            let sides = std::iter::once(&chain.expr).chain(chain.ops.iter().map(|op| &op.expr));
            let pairs = sides.zip(&chain.ops);
            pairs.into_iter().any(|(left, link)| {
                matches!(link.op, CompareOpKind::Eq) && is_consent(left, &link.expr)
            })
        }
        _ => false,
    }
}

fn is_consent(left: &Expr<'_>, right: &Expr<'_>) -> bool {
    let policy = |expr: &Expr<'_>| match expr {
        Expr::GetAttr(attribute) => {
            attribute.name == "approval"
                && matches!(&attribute.expr, Expr::Var(var) if var.id == "context")
        }
        _ => false,
    };
    let never = |expr: &Expr<'_>| matches!(expr, Expr::Const(constant) if constant.value.as_str() == Some("never"));
    policy(left) && never(right) || never(left) && policy(right)
}

#[cfg(test)]
mod tests {
    use super::requires_consent;

    #[test]
    fn consent_must_be_certain() {
        for certain in [
            "context.approval == 'never'",
            "'never' == context.approval and x > 1",
            "(x and context.approval == 'never') or (context.approval == 'never' and y)",
        ] {
            assert!(requires_consent(certain), "{certain}");
        }
        for doubtful in [
            "context.approval != 'never'",
            "context.approval == 'ask'",
            "context.approval == 'never' or x",
            "not context.approval == 'never'",
            "approval == 'never'",
        ] {
            assert!(!requires_consent(doubtful), "{doubtful}");
        }
    }
}
