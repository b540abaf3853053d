//! Proves that no two nodes write one `replace` channel in the same superstep.
//!
//! A run is in several places at once after a fan-out. The pairs of nodes that can run in one superstep are those a
//! walk finds that starts at the pairs each fan-out makes and moves both sides one edge at a time; a node that may
//! wait (an approval, a timer, a repeat) may also stay where it is while the other side moves. Branches that meet in one
//! node become one.

use std::collections::{BTreeMap, HashSet};

use super::edges::{Edges, RouteDraft};
use super::finding::Findings;
use super::kinds::Body;
use super::nodes::Nodes;
use super::yaml::At;
use super::{Channel, EdgeTarget, NodeIx, Reducer};

/// Pairs looked at before a graph counts as too parallel to prove: about a second of work.
pub(super) const PAIRS: usize = 4_000_000;

pub(super) fn check(
    nodes: &Nodes<'_>,
    edges: &Edges<'_>,
    on_error: &[Vec<Option<EdgeTarget>>],
    channels: &BTreeMap<String, Channel>,
    findings: &mut Findings,
) {
    let writers = shared_writers(nodes, channels);
    if writers.is_empty() {
        return;
    }
    let walk = Walk::new(nodes, edges, on_error, &writers);
    let Some(pairs) = walk.pairs(edges) else {
        let at = nodes.list.first().map_or(At::START, |node| node.at);
        let message =
            format!("more than {PAIRS} pairs of nodes may run at once: too many to prove");
        findings.add("PA026", at, message, "split the graph, or fan out in fewer places");
        return;
    };
    for (channel, writers) in writers {
        for (position, (second, at)) in writers.iter().enumerate() {
            for (first, _) in &writers[..position] {
                if !pairs.contains(&ordered(*first, *second)) {
                    continue;
                }
                let message = format!(
                    "`{}` and `{}` may write `{channel}` in the same superstep",
                    nodes.list[*first].name, nodes.list[*second].name
                );
                let hint = format!("give `{channel}` a reducer, or let one node follow the other");
                findings.add("PA024", *at, message, hint);
            }
        }
    }
}

type Writers<'t> = BTreeMap<&'t str, Vec<(NodeIx, At)>>;

/// The `replace` channels that more than one node writes.
fn shared_writers<'t>(nodes: &Nodes<'t>, channels: &BTreeMap<String, Channel>) -> Writers<'t> {
    let mut writers = Writers::new();
    for (number, node) in nodes.list.iter().enumerate() {
        // One node is one writer, however many of its ways write the channel.
        for (channel, at) in node.written() {
            if channels.get(channel).is_some_and(|c| c.reducer == Reducer::Replace) {
                writers.entry(channel).or_default().push((number, at));
            }
        }
    }
    writers.retain(|_, writers| writers.len() > 1);
    writers
}

struct Walk {
    /// All nodes that may follow a node, by node.
    followers: Vec<Vec<NodeIx>>,
    /// Nodes that may run together after a node, by node.
    fan_outs: Vec<Vec<NodeIx>>,
    /// The node may wait while others go on.
    waits: Vec<bool>,
    /// A writer of a shared channel may still come.
    matters: Vec<bool>,
}

impl Walk {
    fn new(
        nodes: &Nodes<'_>,
        edges: &Edges<'_>,
        on_error: &[Vec<Option<EdgeTarget>>],
        writers: &Writers<'_>,
    ) -> Self {
        let node = |target: &EdgeTarget| match target {
            EdgeTarget::Node(node) => Some(*node),
            EdgeTarget::End => None,
        };
        let followers: Vec<Vec<NodeIx>> = edges
            .routes
            .iter()
            .zip(on_error)
            .map(|(route, errors)| {
                let errors = errors.iter().flatten();
                let ways = route.ways().iter().map(|way| &way.target).chain(errors);
                let mut all: Vec<NodeIx> = ways.filter_map(node).collect();
                all.sort_unstable();
                all.dedup();
                all
            })
            .collect();
        let fan_out = |route: &RouteDraft<'_>| match route {
            RouteDraft::Always(ways) => ways.iter().filter_map(|way| node(&way.target)).collect(),
            RouteDraft::First(_) => Vec::new(),
        };
        let waits = nodes.list.iter().map(|node| {
            let waiting = matches!(
                node.body,
                Some(Body::Approval(_) | Body::Wait(_) | Body::Graph(_)) | None
            );
            waiting || node.repeat.is_some() || node.defer || node.join.is_some()
        });
        let matters = reaching(&followers, writers.values().flatten().map(|(node, _)| *node));
        Self {
            fan_outs: edges.routes.iter().map(fan_out).collect(),
            waits: waits.collect(),
            followers,
            matters,
        }
    }

    /// Every pair that may run in one superstep and matters; `None`: too many.
    fn pairs(&self, edges: &Edges<'_>) -> Option<HashSet<(NodeIx, NodeIx)>> {
        let mut seen = HashSet::new();
        let mut open = Vec::new();
        let mut add = |first: NodeIx, second: NodeIx, open: &mut Vec<(NodeIx, NodeIx)>| {
            let matters = first != second && self.matters[first] && self.matters[second];
            let pair = ordered(first, second);
            if matters && seen.insert(pair) {
                open.push(pair);
            }
            seen.len() <= PAIRS
        };
        for together in self.fan_outs.iter().chain([&edges.start]) {
            for (position, first) in together.iter().enumerate() {
                for second in &together[position + 1..] {
                    if !add(*first, *second, &mut open) {
                        return None;
                    }
                }
            }
        }
        while let Some((first, second)) = open.pop() {
            let stay = |node: NodeIx| self.waits[node].then_some(node);
            for left in self.followers[first].iter().copied().chain(stay(first)) {
                for right in self.followers[second].iter().copied().chain(stay(second)) {
                    if !add(left, right, &mut open) {
                        return None;
                    }
                }
            }
        }
        Some(seen)
    }
}

/// The nodes from which one of `goals` can be reached, the goals included.
fn reaching(followers: &[Vec<NodeIx>], goals: impl Iterator<Item = NodeIx>) -> Vec<bool> {
    let mut before: Vec<Vec<NodeIx>> = vec![Vec::new(); followers.len()];
    for (node, next) in followers.iter().enumerate() {
        next.iter().for_each(|follower| before[*follower].push(node));
    }
    let mut reaching = vec![false; followers.len()];
    let mut open: Vec<NodeIx> = goals.collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut reaching[node], true) {
            open.extend(&before[node]);
        }
    }
    reaching
}

fn ordered(first: NodeIx, second: NodeIx) -> (NodeIx, NodeIx) {
    (first.min(second), first.max(second))
}
