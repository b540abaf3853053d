//! A graph with its subgraphs laid out flat: one list of nodes and channels, each named by its path (`review/draft`).
//!
//! So a subgraph is a nested path of tasks of the same supersteps: whatever holds for tasks (results kept one by one, questions,
//! time travel, the effect ledger) holds inside it. A node `graph` becomes two: one that fills the inputs, named as it is, and
//! one that hands the outputs back, named `path/end`.

use std::sync::Arc;

use crate::graph::{
    Channel, EdgeTarget, Graph, Kind, Lifetime, Limits, Memory, Node, NodeIx, Pause, RetryPolicy,
    Route, SubgraphSpec,
};

/// The outermost graph.
pub(super) const ROOT: usize = 0;

/// One graph of the layout.
pub(super) struct Frame {
    /// Path of its node; empty for the outermost.
    pub(super) path: String,
    /// What its names begin with: `review/`.
    pub(super) prefix: String,
    pub(super) parent: usize,
    /// The node that fills its inputs, and the one that hands its outputs back; `None`: the outermost.
    pub(super) doors: Option<(NodeIx, NodeIx)>,
    pub(super) limits: Limits,
    pub(super) memory: Memory,
    /// Nodes and channels by their name in the graph's own file, with their path.
    pub(super) nodes: Vec<(String, String)>,
    pub(super) channels: Vec<(String, String)>,
    /// Names of its context.
    pub(super) context: Vec<String>,
}

/// What a node is in the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Work,
    /// Fills the inputs of that frame.
    Enter(usize),
    /// Hands the outputs of that frame back.
    Leave(usize),
}

/// Where a node stands.
pub(super) struct Place {
    /// The frame it belongs to.
    pub(super) frame: usize,
    pub(super) role: Role,
    /// The node as its own file has it, where that differs.
    pub(super) local: Option<Node>,
}

/// The layout.
pub(super) struct Flat {
    pub(super) graph: Arc<Graph>,
    pub(super) frames: Vec<Frame>,
    pub(super) places: Vec<Place>,
}

impl Flat {
    /// Lays `graph` out.
    pub(super) fn of(graph: Arc<Graph>) -> Self {
        let root = frame("", ROOT, None, Memory::Thread, &graph);
        let nested = graph.nodes.iter().any(|node| matches!(node.kind, Kind::Graph(_)));
        if !nested {
            let place = |_: &Node| Place { frame: ROOT, role: Role::Work, local: None };
            let places = graph.nodes.iter().map(place).collect();
            return Self { graph, frames: vec![root], places };
        }
        let flat = Graph { nodes: Vec::new(), ..(*graph).clone() };
        let mut layout = Layout { graph: flat, frames: vec![root], places: Vec::new() };
        layout.add(&graph, ROOT);
        Self { graph: Arc::new(layout.graph), frames: layout.frames, places: layout.places }
    }
}

struct Layout {
    graph: Graph,
    frames: Vec<Frame>,
    places: Vec<Place>,
}

impl Layout {
    /// Adds the nodes of `graph`, which is that frame; returns where they begin.
    fn add(&mut self, graph: &Graph, frame: usize) -> NodeIx {
        let (base, prefix) = (self.graph.nodes.len(), self.frames[frame].prefix.clone());
        for node in &graph.nodes {
            self.graph.nodes.push(placed(node, base, &prefix));
            let local = (frame != ROOT).then(|| node.clone());
            self.places.push(Place { frame, role: Role::Work, local });
        }
        self.frames[frame].limits.on_limit = graph.limits.on_limit.map(|node| base + node);
        for (number, node) in graph.nodes.iter().enumerate() {
            if let Kind::Graph(sub) = &node.kind {
                self.nest(base + number, sub, frame);
            }
        }
        base
    }

    /// Lays a subgraph out behind its node.
    fn nest(&mut self, enter: NodeIx, sub: &SubgraphSpec, parent: usize) {
        let path = self.graph.nodes[enter].name.clone();
        let child = self.frames.len();
        self.frames.push(frame(&path, parent, Some((enter, enter)), sub.memory, &sub.graph));
        let prefix = self.frames[child].prefix.clone();
        for (name, channel) in &sub.graph.channels {
            let lifetime = match (sub.memory, channel.lifetime) {
                (Memory::Thread, lifetime) => lifetime,
                (_, Lifetime::Step) => Lifetime::Step,
                _ => Lifetime::Run,
            };
            let channel = Channel { lifetime, ..channel.clone() };
            self.graph.channels.insert(format!("{prefix}{name}"), channel);
        }
        let base = self.add(&sub.graph, child);
        let leave = self.graph.nodes.len();
        self.frames[child].doors = Some((enter, leave));
        let out = Node {
            name: format!("{prefix}end"),
            kind: Kind::Set(sub.output.clone()),
            reads: sub.graph.output.iter().map(|name| format!("{prefix}{name}")).collect(),
            writes: None,
            timeout_ms: self.graph.nodes[enter].timeout_ms,
            retry: RetryPolicy { max: 0, ..self.graph.nodes[enter].retry.clone() },
            repeat: None,
            on_error: Vec::new(),
            cache: None,
            pause: self.graph.nodes[enter].pause.filter(|pause| *pause == Pause::After),
            join: None,
            defer: false,
            route: self.graph.nodes[enter].route.clone(),
        };
        self.graph.nodes.push(out);
        self.places.push(Place { frame: child, role: Role::Leave(child), local: None });
        let entry = &mut self.graph.nodes[enter];
        entry.pause = entry.pause.filter(|pause| *pause == Pause::Before);
        let starts = sub.graph.start.iter().map(|node| EdgeTarget::Node(base + node));
        entry.route = Route::Always(starts.collect());
        self.places[enter].role = Role::Enter(child);
        self.places[enter].local = None;
    }
}

fn frame(
    path: &str,
    parent: usize,
    doors: Option<(NodeIx, NodeIx)>,
    memory: Memory,
    graph: &Graph,
) -> Frame {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let placed = |name: &String| (name.clone(), format!("{prefix}{name}"));
    Frame {
        path: path.to_owned(),
        parent,
        doors,
        limits: graph.limits.clone(),
        memory,
        nodes: graph.nodes.iter().map(|node| placed(&node.name)).collect(),
        channels: graph.channels.keys().map(placed).collect(),
        context: graph.context.keys().cloned().collect(),
        prefix,
    }
}

/// A node under its path: names of nodes, channels and numbers of nodes as the layout has them.
fn placed(node: &Node, base: NodeIx, prefix: &str) -> Node {
    let name = |name: &String| format!("{prefix}{name}");
    let target = |target: &EdgeTarget| match target {
        EdgeTarget::End => EdgeTarget::End,
        EdgeTarget::Node(node) => EdgeTarget::Node(base + node),
    };
    let mut placed = node.clone();
    placed.name = name(&node.name);
    placed.reads = node.reads.iter().map(name).collect();
    placed.writes = node.writes.as_ref().map(name);
    placed.route = match &node.route {
        Route::Always(targets) => Route::Always(targets.iter().map(target).collect()),
        Route::First(arms) => {
            Route::First(arms.iter().map(|(when, to)| (when.clone(), target(to))).collect())
        }
    };
    for route in &mut placed.on_error {
        route.to = route.to.map(|node| base + node);
        route.set =
            std::mem::take(&mut route.set).into_iter().map(|(k, v)| (name(&k), v)).collect();
    }
    if let Some(join) = &mut placed.join {
        join.after.iter_mut().for_each(|node| *node += base);
    }
    placed
}
