//! What the edges of a graph lead to: nodes nothing reaches, nodes without a way to the end, loops.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, EdgeRef, Reversed};

use super::edges::Edges;
use super::finding::Findings;
use super::limits::LimitsDraft;
use super::nodes::Nodes;
use super::yaml::At;
use super::{EdgeTarget, NodeIx};

/// Every way a run may go: the nodes by their number, then the start and the end.
pub(super) struct Flow<'t> {
    /// An edge carries the condition that is known to hold on it.
    pub(super) ways: DiGraph<(), Option<&'t str>>,
    pub(super) start: NodeIndex,
    end: NodeIndex,
}

impl<'t> Flow<'t> {
    /// The ways of a graph; an error is a way, and so is a limit that is reached, which may be at any node.
    pub(super) fn new(
        nodes: &Nodes<'t>,
        edges: &Edges<'t>,
        on_error: &[Vec<Option<EdgeTarget>>],
        on_limit: Option<NodeIx>,
    ) -> Self {
        let mut ways = DiGraph::new();
        for _ in &nodes.list {
            ways.add_node(());
        }
        let (start, end) = (ways.add_node(()), ways.add_node(()));
        let place = |target: EdgeTarget| match target {
            EdgeTarget::End => end,
            EdgeTarget::Node(node) => NodeIndex::new(node),
        };
        for node in edges.start.iter().copied().chain(on_limit) {
            ways.add_edge(start, NodeIndex::new(node), None);
        }
        for (node, route) in edges.routes.iter().enumerate() {
            for way in route.ways() {
                let when = way.when.map(|(text, _)| text);
                ways.add_edge(NodeIndex::new(node), place(way.target), when);
            }
            for target in on_error[node].iter().flatten() {
                ways.add_edge(NodeIndex::new(node), place(*target), None);
            }
        }
        Self { ways, start, end }
    }

    /// Reports nodes nothing reaches and nodes that cannot reach the end.
    pub(super) fn check_reach(&self, nodes: &Nodes<'_>, findings: &mut Findings) {
        let mut reached = Dfs::new(&self.ways, self.start);
        while reached.next(&self.ways).is_some() {}
        let backwards = Reversed(&self.ways);
        let mut ending = Dfs::new(backwards, self.end);
        while ending.next(backwards).is_some() {}
        for (number, node) in nodes.list.iter().enumerate() {
            let leads_somewhere = self.ways.edges(NodeIndex::new(number)).next().is_some();
            if !reached.discovered.contains(number) {
                let message = format!("nothing leads to `{}`", node.name);
                findings.add("PA020", node.at, message, "add an edge to it, or remove it");
            } else if !leads_somewhere {
                let message = format!("`{}` leads nowhere", node.name);
                let hint = format!("add `- {} -> end`, or another node", node.name);
                findings.add("PA021", node.at, message, hint);
            } else if !ending.discovered.contains(number) {
                let message = format!("there is no way from `{}` to `end`", node.name);
                findings.add("PA021", node.at, message, "add an edge that leaves the loop");
            }
        }
    }

    /// Reports loops that nothing ends.
    pub(super) fn check_loops(
        &self,
        nodes: &Nodes<'_>,
        limits: &LimitsDraft<'_>,
        limits_at: Option<At>,
        findings: &mut Findings,
    ) {
        let hint = match limits_at {
            Some(_) => "add `supersteps` or `visits_per_node` to `limits`",
            None => "add `limits: { supersteps: 80 }`, or `visits_per_node`",
        };
        for component in kosaraju_scc(&self.ways) {
            let mut members: Vec<usize> = component.iter().map(|node| node.index()).collect();
            members.sort_unstable();
            let first = NodeIndex::new(members[0]);
            let circles = members.len() > 1 || self.ways.find_edge(first, first).is_some();
            if circles && !limits.ends_loops() {
                let round = self.round(first, &component);
                let names: Vec<&str> =
                    round.iter().map(|node| nodes.list[node.index()].name).collect();
                let message = format!("a loop without a limit: {}", shown(&names));
                findings.add("PA025", nodes.list[first.index()].at, message, hint);
            }
        }
        for node in nodes.list.iter().filter(|node| node.repeat.is_some()) {
            if !limits.ends_loops() && limits.wall_ms.is_none() {
                let message = format!("`{}` repeats without a limit", node.name);
                findings.add("PA025", node.at, message, "add `wall` or `supersteps` to `limits`");
            }
        }
    }

    /// A shortest way from a node of a loop back to it.
    fn round(&self, first: NodeIndex, component: &[NodeIndex]) -> Vec<NodeIndex> {
        let inside: std::collections::HashSet<NodeIndex> = component.iter().copied().collect();
        let next = |node| self.ways.neighbors(node).filter(|node| inside.contains(node));
        let starts: Vec<NodeIndex> = next(first).collect();
        let mut round = shortest(&starts, self.ways.node_count(), next, |node| node == first);
        round.insert(0, first);
        round
    }
}

/// A shortest way over `next` from one of `starts` to a node that is `wanted`; empty when there is none.
pub(super) fn shortest<I: Iterator<Item = NodeIndex>>(
    starts: &[NodeIndex],
    count: usize,
    next: impl Fn(NodeIndex) -> I,
    wanted: impl Fn(NodeIndex) -> bool,
) -> Vec<NodeIndex> {
    let mut before: Vec<Option<NodeIndex>> = vec![None; count];
    let mut seen = vec![false; count];
    let mut queue: std::collections::VecDeque<NodeIndex> = starts.iter().copied().collect();
    starts.iter().for_each(|start| seen[start.index()] = true);
    while let Some(node) = queue.pop_front() {
        if wanted(node) {
            let mut way = vec![node];
            while let Some(previous) = before[way[way.len() - 1].index()] {
                way.push(previous);
            }
            way.reverse();
            return way;
        }
        for follower in next(node) {
            if !std::mem::replace(&mut seen[follower.index()], true) {
                before[follower.index()] = Some(node);
                queue.push_back(follower);
            }
        }
    }
    Vec::new()
}

/// A way as text; the middle of a long one is left out.
pub(super) fn shown(names: &[&str]) -> String {
    const ENDS: usize = 6;
    if names.len() <= 2 * ENDS {
        return names.join(" -> ");
    }
    let (head, tail) = (&names[..ENDS], &names[names.len() - ENDS..]);
    format!("{} -> … -> {}", head.join(" -> "), tail.join(" -> "))
}

/// Followers of a node over the edges that `keep` lets pass.
pub(super) fn followers<'f>(
    flow: &'f Flow<'_>,
    node: NodeIndex,
    keep: impl Fn(Option<&str>) -> bool + 'f,
) -> impl Iterator<Item = NodeIndex> + 'f {
    flow.ways.edges(node).filter(move |edge| keep(*edge.weight())).map(|edge| edge.target())
}
