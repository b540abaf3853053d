//! Proves that nobody in an eager graph can tell who beside him is faster: nodes that may run at the same time share no
//! channel that one of them writes, and no two branches start one node.
//!
//! The proof follows the branches in pairs from each fan-out. A branch is at a node, or waits before a join or a deferred node;
//! each side may move while the other stays. A join of all never runs beside a node that must have led to it: which nodes
//! have certainly run before a node is worked out first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::channels::Channels;
use super::edges::{Edges, RouteDraft};
use super::finding::Findings;
use super::kinds::Body;
use super::nodes::Nodes;
use super::parallel::PAIRS;
use super::yaml::At;
use super::{EdgeTarget, Graph, Join, Lifetime, Mode, NodeIx};

/// Findings after which the rest is not worth reading.
const ENOUGH: usize = 100;

/// Pairs looked at in a graph that is refused already.
const PAIRS_REFUSED: usize = 20_000;

/// Rounds after which a tangle of loops counts as too much to prove; a graph takes one more than its loops are nested.
const ROUNDS: usize = 64;

/// Every way a run may go.
pub(super) struct Ways<'d, 't> {
    pub(super) nodes: &'d Nodes<'t>,
    pub(super) edges: &'d Edges<'t>,
    pub(super) on_error: &'d [Vec<Option<EdgeTarget>>],
    pub(super) joins: &'d [Option<Join>],
    pub(super) on_limit: Option<NodeIx>,
}

/// Reports what does not go with the mode of a graph.
pub(super) fn check_parts(
    mode: Mode,
    nodes: &Nodes<'_>,
    channels: &Channels<'_>,
    graphs: &BTreeMap<String, Graph>,
    findings: &mut Findings,
) {
    for node in &nodes.list {
        let Some(Body::Graph(sub)) = &node.body else { continue };
        let (name, at) = sub.name;
        if graphs.get(name).is_some_and(|graph| graph.mode != mode) {
            let message = format!("graph `{name}` has another `mode` than this one");
            findings.add("PA072", at, message, "write the same `mode` in both files");
        }
    }
    let of_a_step = |name: &&str| channels.all[*name].lifetime == Lifetime::Step;
    let known = channels.at.keys().filter(|name| channels.all.contains_key(**name));
    for name in known.filter(|name| mode == Mode::Eager && of_a_step(name)) {
        let message =
            format!("`{name}` lives for one superstep, which an eager graph does not have");
        findings.add("PA072", channels.at[name], message, "make its lifetime `run`");
    }
}

/// Reports what keeps a graph from being eager. `reads` and `looked` are the channels by node that it and its ways read.
pub(super) fn check(
    ways: &Ways<'_, '_>,
    reads: &[BTreeSet<String>],
    looked: &[BTreeSet<String>],
    findings: &mut Findings,
) {
    let names = &ways.nodes.list;
    let Some(walk) = Walk::new(ways).and_then(Walk::run) else {
        let at = names.first().map_or(At::START, |node| node.at);
        let message = "too many nodes may run at once to prove that they share nothing";
        findings.add("PA026", at, message, "fan out in fewer places, or leave out `mode: eager`");
        return;
    };
    for place in &walk.twice {
        let (node, message) = match walk.waits.get(place.wrapping_sub(names.len())) {
            None => (*place, format!("two branches may start `{}`", names[*place].name)),
            Some(wait) => {
                let (from, to) = (names[wait.from].name, names[wait.to].name);
                (wait.to, format!("`{from}` may lead to `{to}` again before that has run"))
            }
        };
        let hint = "let them meet in a node with `join`, or give each a node of its own";
        findings.add("PA071", names[node].at, message, hint);
    }
    let written: Vec<BTreeMap<&str, At>> = names.iter().map(|node| node.written()).collect();
    let mut pairs: Vec<(NodeIx, NodeIx)> = walk
        .seen
        .into_iter()
        .filter(|(first, second)| first != second && *second < names.len())
        .collect();
    pairs.sort_unstable();
    let mut found = 0;
    for (one, other) in pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
        for (channel, at) in &written[one] {
            let (a, b) = (names[one].name, names[other].name);
            let message = if written[other].contains_key(channel) && one > other {
                format!("`{b}` and `{a}` may run at the same time, and both write `{channel}`")
            } else if reads[other].contains(*channel) || looked[other].contains(*channel) {
                format!("`{b}` reads `{channel}`, which `{a}` may write at the same time")
            } else {
                continue;
            };
            let hint = "let one follow the other, or leave out `mode: eager`";
            findings.add("PA070", *at, message, hint);
            found += 1;
        }
        if found >= ENOUGH {
            return;
        }
    }
}

/// Where a branch is: at a node, or, counted on from the nodes, before one that waits for others.
type Place = usize;

/// A branch that came from one node and waits before another.
struct Wait {
    /// The number of nodes: the start.
    from: NodeIx,
    to: NodeIx,
}

struct Walk {
    nodes: usize,
    waits: Vec<Wait>,
    /// Where a branch may go on to, by place.
    moves: Vec<Vec<Place>>,
    /// Places of branches that begin together.
    fan_outs: Vec<Vec<Place>>,
    /// The node is a join, or waits until it is alone.
    gathers: Vec<bool>,
    is_join: Vec<bool>,
    defers: Vec<bool>,
    /// Joins of all: the nodes that have certainly run before.
    before: HashMap<NodeIx, Set>,
    /// Pairs of places, the smaller first.
    seen: HashSet<(Place, Place)>,
    open: Vec<(Place, Place)>,
    /// Places that two branches may be at where there is room for one.
    twice: BTreeSet<Place>,
}

impl Walk {
    fn new(ways: &Ways<'_, '_>) -> Option<Self> {
        let nodes = ways.nodes.list.len();
        let is_join: Vec<bool> = ways.joins.iter().map(Option::is_some).collect();
        let defers: Vec<bool> = ways.nodes.list.iter().map(|node| node.defer).collect();
        let gathers = is_join.iter().zip(&defers).map(|(joins, defers)| *joins || *defers);
        let mut walk = Self {
            nodes,
            waits: Vec::new(),
            moves: vec![Vec::new(); nodes],
            fan_outs: Vec::new(),
            gathers: gathers.collect(),
            is_join,
            defers,
            before: HashMap::new(),
            seen: HashSet::new(),
            open: Vec::new(),
            twice: BTreeSet::new(),
        };
        let followers = followers(ways);
        let mut known = HashMap::new();
        for (node, next) in followers.iter().enumerate() {
            walk.moves[node] = next.iter().map(|to| walk.place(&mut known, node, *to)).collect();
        }
        let together =
            ways.edges.routes.iter().enumerate().filter_map(|(node, route)| match route {
                RouteDraft::Always(ways) => {
                    Some((node, nodes_of(ways.iter().map(|way| &way.target))))
                }
                RouteDraft::First(_) => None,
            });
        for (from, to) in together.chain([(nodes, ways.edges.start.clone())]) {
            if to.len() > 1 {
                let places = to.iter().map(|to| walk.place(&mut known, from, *to)).collect();
                walk.fan_outs.push(places);
            }
        }
        walk.moves.extend(walk.waits.iter().map(|wait| vec![wait.to]));
        walk.before = certain(ways, &followers)?;
        Some(walk)
    }

    /// Where a branch that `from` leads to `to` is.
    fn place(
        &mut self,
        known: &mut HashMap<(NodeIx, NodeIx), Place>,
        from: NodeIx,
        to: NodeIx,
    ) -> Place {
        if !self.gathers[to] {
            return to;
        }
        *known.entry((from, to)).or_insert_with(|| {
            self.waits.push(Wait { from, to });
            self.nodes + self.waits.len() - 1
        })
    }

    /// Finds every pair; `None`: too many.
    fn run(mut self) -> Option<Self> {
        for together in std::mem::take(&mut self.fan_outs) {
            for (position, first) in together.iter().enumerate() {
                together[position + 1..].iter().for_each(|second| self.add(*first, *second));
            }
        }
        while let Some((first, second)) = self.open.pop() {
            for (moving, staying) in [(first, second), (second, first)] {
                if self.may_leave(moving, staying) {
                    for to in self.moves[moving].clone() {
                        self.add(to, staying);
                    }
                }
            }
            if self.seen.len() > PAIRS {
                return None;
            }
            // Branches that do not meet are everywhere from there on: that they do not is enough to say.
            if !self.twice.is_empty() && self.seen.len() > PAIRS_REFUSED {
                break;
            }
        }
        Some(self)
    }

    fn add(&mut self, first: Place, second: Place) {
        if first == second {
            let has_room = match self.waits.get(first.wrapping_sub(self.nodes)) {
                // A second way to a deferred node is the same way; a start that is due twice is one start.
                Some(wait) => !self.is_join[wait.to],
                // Whoever waits before it waits until it is done.
                None => self.gathers[first],
            };
            if !has_room {
                self.twice.insert(first);
            }
            return;
        }
        let pair = (first.min(second), first.max(second));
        if self.seen.insert(pair) {
            self.open.push(pair);
        }
    }

    /// Whether a branch may move on from `place` while another is at `other`.
    fn may_leave(&self, place: Place, other: Place) -> bool {
        let Some(wait) = self.waits.get(place.wrapping_sub(self.nodes)) else { return true };
        let needs_all = self.before.get(&wait.to);
        match self.waits.get(other.wrapping_sub(self.nodes)) {
            None => {
                // A deferred node runs alone.
                let alone = self.defers[wait.to] || self.defers[other];
                !alone && needs_all.is_none_or(|before| !before.has(other))
            }
            // The two go on as one.
            Some(beside) => beside.to != wait.to || !(self.defers[wait.to] || needs_all.is_some()),
        }
    }
}

fn nodes_of<'e>(targets: impl Iterator<Item = &'e EdgeTarget>) -> Vec<NodeIx> {
    let nodes = targets.filter_map(|target| match target {
        EdgeTarget::Node(node) => Some(*node),
        EdgeTarget::End => None,
    });
    nodes.collect()
}

/// All nodes that may follow a node, by node.
fn followers(ways: &Ways<'_, '_>) -> Vec<Vec<NodeIx>> {
    let follow = |(route, errors): (&RouteDraft<'_>, &Vec<Option<EdgeTarget>>)| {
        let ways = route.ways().iter().map(|way| &way.target);
        let mut all = nodes_of(ways.chain(errors.iter().flatten()));
        all.sort_unstable();
        all.dedup();
        all
    };
    ways.edges.routes.iter().zip(ways.on_error).map(follow).collect()
}

/// For each join of all, the nodes that have certainly run before it does; `None`: too tangled to say.
fn certain(ways: &Ways<'_, '_>, followers: &[Vec<NodeIx>]) -> Option<HashMap<NodeIx, Set>> {
    let count = followers.len();
    let needs_all =
        |node: NodeIx| ways.joins[node].as_ref().is_some_and(|join| join.need == join.after.len());
    let joins: Vec<NodeIx> = (0..count).filter(|node| needs_all(*node)).collect();
    if joins.is_empty() {
        return Some(HashMap::new());
    }
    let mut leading: Vec<Vec<NodeIx>> = vec![Vec::new(); count];
    for (node, next) in followers.iter().enumerate() {
        next.iter().for_each(|to| leading[*to].push(node));
    }
    let mut before: Vec<Set> = vec![Set::all(count); count];
    let roots: Vec<NodeIx> = ways.edges.start.iter().copied().chain(ways.on_limit).collect();
    roots.iter().for_each(|root| before[*root] = Set::none(count));
    let order = onwards(&roots, followers);
    for _ in 0..ROUNDS {
        let mut changed = false;
        for node in order.iter().copied() {
            let mut certain = before[node].clone();
            if needs_all(node) {
                let mut any = Set::none(count);
                leading[node].iter().for_each(|from| any.join(&before[*from], *from));
                certain.meet(&any, None);
            } else {
                leading[node].iter().for_each(|from| certain.meet(&before[*from], Some(*from)));
            }
            if certain != before[node] {
                before[node] = certain;
                changed = true;
            }
        }
        if !changed {
            return Some(joins.into_iter().map(|node| (node, before[node].clone())).collect());
        }
    }
    None
}

/// The nodes that are reached, each after those that lead to it, loops aside.
fn onwards(roots: &[NodeIx], followers: &[Vec<NodeIx>]) -> Vec<NodeIx> {
    let mut order = Vec::new();
    let mut seen = vec![false; followers.len()];
    for root in roots {
        let mut path = vec![(*root, 0)];
        seen[*root] = true;
        while let Some((node, next)) = path.last_mut() {
            match followers[*node].get(*next) {
                Some(to) => {
                    *next += 1;
                    if !std::mem::replace(&mut seen[*to], true) {
                        path.push((*to, 0));
                    }
                }
                None => {
                    order.push(*node);
                    path.pop();
                }
            }
        }
    }
    order.reverse();
    order
}

/// A set of nodes.
#[derive(Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn all(count: usize) -> Self {
        Self(vec![u64::MAX; count.div_ceil(64)])
    }

    fn has(&self, node: NodeIx) -> bool {
        self.0[node / 64] & (1 << (node % 64)) != 0
    }

    /// Adds `other` and `node`.
    fn join(&mut self, other: &Self, node: NodeIx) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
        self.0[node / 64] |= 1 << (node % 64);
    }

    /// Leaves what is in `other` too, or is `node`.
    fn meet(&mut self, other: &Self, node: Option<NodeIx>) {
        let kept = node.filter(|node| self.has(*node));
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine &= theirs);
        if let Some(node) = kept {
            self.0[node / 64] |= 1 << (node % 64);
        }
    }
}
