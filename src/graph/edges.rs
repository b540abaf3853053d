//! `edges`: chains, fan-outs and conditional routes, resolved to nodes.

use super::fields::{Fields, Word, shortened, wrong_kind};
use super::finding::Findings;
use super::nodes::Nodes;
use super::yaml::{At, Data, Tree};
use super::{EdgeTarget, NodeIx};

pub(super) const EDGE_KEYS: [&str; 2] = ["from", "to"];
pub(super) const BRANCH_KEYS: [&str; 3] = ["when", "to", "else"];

/// One way on from a node.
pub(super) struct Way<'t> {
    pub(super) target: EdgeTarget,
    pub(super) at: At,
    /// Condition of a conditional route; `None` in it is the `else`.
    pub(super) when: Option<Word<'t>>,
}

/// How a node goes on.
pub(super) enum RouteDraft<'t> {
    /// All of these.
    Always(Vec<Way<'t>>),
    /// The first that holds.
    First(Vec<Way<'t>>),
}

impl<'t> RouteDraft<'t> {
    pub(super) fn ways(&self) -> &[Way<'t>] {
        match self {
            Self::Always(ways) | Self::First(ways) => ways,
        }
    }
}

/// The edges of a graph.
pub(super) struct Edges<'t> {
    /// By node, in file order.
    pub(super) routes: Vec<RouteDraft<'t>>,
    pub(super) start: Vec<NodeIx>,
    /// An edge could not be resolved: what can be reached is not known.
    pub(super) broken: bool,
}

/// Where an edge begins.
#[derive(Clone, Copy)]
enum Origin {
    Start,
    Node(NodeIx),
}

pub(super) fn read<'t>(
    graph: &Fields<'t>,
    text: &str,
    nodes: &Nodes<'t>,
    findings: &mut Findings,
) -> Edges<'t> {
    let routes = nodes.list.iter().map(|_| RouteDraft::Always(Vec::new())).collect();
    let mut reader =
        Reader { text, nodes, edges: Edges { routes, start: Vec::new(), broken: false } };
    let list = graph.require("edges", findings).is_some();
    match graph.list("edges", findings).filter(|_| list) {
        Some(items) => items.iter().for_each(|item| reader.item(item, findings)),
        None => reader.edges.broken = true,
    }
    let edges = reader.edges;
    if edges.start.is_empty() && !edges.broken {
        let at = graph.get("edges").map_or(graph.at, |tree| tree.at);
        findings.add("PA005", at, "no edge begins at `start`", "add `- start -> first_node`");
    }
    edges
}

struct Reader<'r, 't> {
    text: &'r str,
    nodes: &'r Nodes<'t>,
    edges: Edges<'t>,
}

impl<'t> Reader<'_, 't> {
    fn item(&mut self, item: &'t Tree, findings: &mut Findings) {
        match &item.data {
            Data::Text(chain) => self.chain(chain, item.at, findings),
            Data::Map(_) => self.branching(item, findings),
            _ => {
                self.edges.broken = true;
                let expected = "a chain `a -> b`, or a mapping with `from` and `to`";
                wrong_kind::<()>(item, "edge", expected, findings);
            }
        }
    }

    fn chain(&mut self, chain: &'t str, at: At, findings: &mut Findings) {
        let places: Vec<Word<'t>> = chain
            .split("->")
            .map(str::trim)
            .map(|place| (place, at.inside(self.text, chain, place)))
            .collect();
        if places.len() < 2 || places.iter().any(|(place, _)| place.is_empty()) {
            self.edges.broken = true;
            let message = format!("`{}` is no chain of nodes", shortened(chain));
            findings.add("PA006", at, message, "write `a -> b -> c`");
            return;
        }
        for pair in places.windows(2) {
            let (from, to) = (self.origin(pair[0], findings), self.target(pair[1], findings));
            if let (Some(from), Some(target)) = (from, to) {
                self.always(from, Way { target, at: pair[1].1, when: None }, findings);
            }
        }
    }

    fn branching(&mut self, item: &'t Tree, findings: &mut Findings) {
        let Some(fields) = Fields::of(item, "an edge", &EDGE_KEYS, findings) else { return };
        let from = fields.require_text("from", findings);
        let from = from.and_then(|from| self.origin(from, findings));
        let Some(to) = fields.require("to", findings) else {
            self.edges.broken = true;
            return;
        };
        let single = std::slice::from_ref(to);
        let targets = if let Data::List(items) = &to.data { items.as_slice() } else { single };
        let conditional = targets.iter().any(|target| matches!(target.data, Data::Map(_)));
        if conditional {
            let ways = self.branches(to, targets, findings);
            if let Some(from) = from {
                self.first(from, ways, to.at, findings);
            }
            return;
        }
        for target in targets {
            let way = self.plain_target(target, findings);
            if let (Some(from), Some(way)) = (from, way) {
                self.always(from, way, findings);
            }
        }
    }

    fn plain_target(&mut self, tree: &'t Tree, findings: &mut Findings) -> Option<Way<'t>> {
        let Some(word) = super::fields::text(tree, "to", findings) else {
            self.edges.broken = true;
            return None;
        };
        let target = self.target(word, findings)?;
        Some(Way { target, at: word.1, when: None })
    }

    fn branches(
        &mut self,
        to: &'t Tree,
        targets: &'t [Tree],
        findings: &mut Findings,
    ) -> Vec<Way<'t>> {
        let (mut ways, mut otherwise) = (Vec::new(), false);
        for branch in targets {
            if !matches!(branch.data, Data::Map(_)) {
                self.edges.broken = true;
                let message = "a target without a condition among targets with conditions";
                findings.add(
                    "PA023",
                    branch.at,
                    message,
                    "write `{ else: node }`, as the last one",
                );
                continue;
            }
            let fields = Fields::of(branch, "a branch", &BRANCH_KEYS, findings);
            let Some(fields) = fields else { continue };
            if otherwise {
                let message = "nothing comes after `else`: this branch is never taken";
                findings.add("PA022", branch.at, message, "move `else` to the end");
            }
            let way = self.branch(&fields, &mut otherwise, findings);
            self.edges.broken |= way.is_none();
            ways.extend(way);
        }
        if !otherwise {
            let message = "a conditional edge without `else`: the run could get stuck here";
            findings.add("PA022", to.at, message, "add `{ else: node }` as the last branch");
        }
        ways
    }

    fn branch(
        &mut self,
        fields: &Fields<'t>,
        otherwise: &mut bool,
        findings: &mut Findings,
    ) -> Option<Way<'t>> {
        if let Some(entry) = fields.entry("else") {
            *otherwise = true;
            for key in ["when", "to"] {
                if let Some(stray) = fields.entry(key) {
                    let message = format!("`{key}` beside `else`");
                    findings.add(
                        "PA022",
                        stray.at,
                        message,
                        "an `else` branch is `{ else: node }`",
                    );
                }
            }
            return self.plain_target(&entry.value, findings);
        }
        let when = fields.require_text("when", findings);
        let to = fields.require("to", findings);
        let way = to.and_then(|tree| self.plain_target(tree, findings))?;
        Some(Way { when: Some(when?), ..way })
    }

    fn origin(&mut self, word: Word<'_>, findings: &mut Findings) -> Option<Origin> {
        match word.0 {
            "start" => Some(Origin::Start),
            "end" => {
                self.edges.broken = true;
                findings.add("PA023", word.1, "nothing follows `end`", "");
                None
            }
            _ => {
                let node = self.nodes.resolve(word, findings).map(Origin::Node);
                self.edges.broken |= node.is_none();
                node
            }
        }
    }

    fn target(&mut self, word: Word<'_>, findings: &mut Findings) -> Option<EdgeTarget> {
        match word.0 {
            "end" => Some(EdgeTarget::End),
            "start" => {
                self.edges.broken = true;
                findings.add("PA023", word.1, "nothing leads to `start`", "name the first node");
                None
            }
            _ => {
                let node = self.nodes.resolve(word, findings).map(EdgeTarget::Node);
                self.edges.broken |= node.is_none();
                node
            }
        }
    }

    fn always(&mut self, from: Origin, way: Way<'t>, findings: &mut Findings) {
        let from = match (from, way.target) {
            (Origin::Node(from), _) => from,
            (Origin::Start, EdgeTarget::End) => {
                findings.add("PA023", way.at, "`start -> end` does nothing", "name a node");
                return;
            }
            (Origin::Start, EdgeTarget::Node(node)) => {
                if self.edges.start.contains(&node) {
                    self.twice(way.at, findings);
                } else {
                    self.edges.start.push(node);
                }
                return;
            }
        };
        match &mut self.edges.routes[from] {
            RouteDraft::Always(ways) if ways.iter().any(|known| known.target == way.target) => {
                self.twice(way.at, findings);
            }
            RouteDraft::Always(ways) => ways.push(way),
            RouteDraft::First(_) => self.contradiction(from, way.at, findings),
        }
    }

    fn first(&mut self, from: Origin, ways: Vec<Way<'t>>, at: At, findings: &mut Findings) {
        let Origin::Node(from) = from else {
            self.edges.broken = true;
            let hint = "begin with a node that decides nothing, such as `set: {}`";
            findings.add("PA023", at, "a run begins without a condition", hint);
            return;
        };
        match &self.edges.routes[from] {
            RouteDraft::Always(known) if known.is_empty() => {
                self.edges.routes[from] = RouteDraft::First(ways);
            }
            _ => self.contradiction(from, at, findings),
        }
    }

    fn twice(&self, at: At, findings: &mut Findings) {
        findings.add("PA023", at, "this edge is given twice", "leave one out");
    }

    fn contradiction(&mut self, from: NodeIx, at: At, findings: &mut Findings) {
        let name = self.nodes.list[from].name;
        let message = format!("`{name}` has a conditional edge and another edge besides");
        findings.add("PA023", at, message, "put all ways on from a node into one `to` list");
    }
}
