//! A graph as clients see it: what leads where, and what it takes and gives.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Agent, Error};
use crate::graph::{Channel, EdgeTarget, Graph, Kind, Lifetime, Node, Route};

/// Nodes, edges and schemas of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphShape {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Nodes, in file order.
    pub nodes: Vec<String>,
    /// Edges, the first from the start; `on_error` routes included.
    pub edges: Vec<ShapeEdge>,
    /// Where a run starts.
    pub start: Vec<String>,
    /// JSON Schema of each channel that is part of its state.
    pub state: BTreeMap<String, Value>,
    /// Channels that a caller writes; true where required.
    pub input: BTreeMap<String, bool>,
    /// Channels that a finished run answers with.
    pub output: Vec<String>,
    /// JSON Schema of each read-only value.
    pub context: BTreeMap<String, Value>,
    /// Subgraphs by the node that calls them.
    pub parts: BTreeMap<String, GraphShape>,
}

/// One edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeEdge {
    /// `None`: the start.
    pub from: Option<String>,
    /// `None`: the end.
    pub to: Option<String>,
    /// The condition; `None`: always taken.
    pub when: Option<String>,
}

impl GraphShape {
    /// JSON Schema of an object with these channels; `required` are those that must be there.
    pub fn schema(&self, channels: &[String], required: &[String]) -> Value {
        let properties: Map<String, Value> = channels
            .iter()
            .filter_map(|name| Some((name.clone(), self.state.get(name)?.clone())))
            .collect();
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    /// The subgraphs by namespace, `node` or `node|node`, down to `depth` levels.
    pub fn subgraphs(&self, depth: u32) -> Vec<(String, &GraphShape)> {
        let mut found = Vec::new();
        for (node, part) in self.parts.iter().filter(|_| depth > 0) {
            found.push((node.clone(), part));
            let below = part.subgraphs(depth - 1).into_iter();
            found.extend(below.map(|(inner, part)| (format!("{node}|{inner}"), part)));
        }
        found
    }

    /// The same graph with its subgraphs drawn in place, down to `depth` levels; their nodes are named `node:inner`.
    pub fn expanded(&self, depth: u32) -> Self {
        let parts = self.parts.iter().filter(|_| depth > 0);
        let parts: BTreeMap<&String, Self> =
            parts.map(|(node, part)| (node, part.expanded(depth - 1).prefixed(node))).collect();
        let mut whole = Self { nodes: Vec::new(), edges: Vec::new(), ..self.clone() };
        for node in &self.nodes {
            match parts.get(node) {
                Some(part) => {
                    whole.nodes.extend(part.nodes.iter().cloned());
                    let inside = |edge: &&ShapeEdge| edge.from.is_some() && edge.to.is_some();
                    whole.edges.extend(part.edges.iter().filter(inside).cloned());
                }
                None => whole.nodes.push(node.clone()),
            }
        }
        let part = |node: &Option<String>| node.as_ref().and_then(|node| parts.get(node));
        for edge in &self.edges {
            let starts: Vec<ShapeEdge> = match part(&edge.from) {
                Some(part) => {
                    part.edges.iter().filter(|inner| inner.to.is_none()).cloned().collect()
                }
                None => vec![edge.clone()],
            };
            let targets: Vec<Option<String>> = match part(&edge.to) {
                Some(part) => {
                    let first = part.edges.iter().filter(|inner| inner.from.is_none());
                    first.map(|inner| inner.to.clone()).collect()
                }
                None => vec![edge.to.clone()],
            };
            for start in &starts {
                let when = edge.when.clone().or_else(|| start.when.clone());
                let joined = |to: &Option<String>| ShapeEdge {
                    from: start.from.clone(),
                    to: to.clone(),
                    when: when.clone(),
                };
                whole.edges.extend(targets.iter().map(joined));
            }
        }
        whole
    }

    fn prefixed(mut self, node: &str) -> Self {
        let name = |inner: &mut String| *inner = format!("{node}:{inner}");
        self.nodes.iter_mut().for_each(name);
        for edge in &mut self.edges {
            edge.from.iter_mut().chain(&mut edge.to).for_each(name);
        }
        self
    }

    /// Whether a finished run answers with all of its state that lasts.
    pub fn answers_with_all(&self) -> bool {
        self.state.keys().all(|name| self.output.contains(name))
    }
}

impl From<&Graph> for GraphShape {
    fn from(graph: &Graph) -> Self {
        let name = |ix: usize| graph.nodes[ix].name.clone();
        let lasts = |channel: &Channel| channel.lifetime != Lifetime::Step;
        Self {
            name: graph.name.clone(),
            description: graph.description.clone(),
            nodes: graph.nodes.iter().map(|node| node.name.clone()).collect(),
            edges: edges(graph),
            start: graph.start.iter().map(|&ix| name(ix)).collect(),
            state: graph
                .channels
                .iter()
                .filter(|(_, channel)| lasts(channel))
                .map(|(name, channel)| (name.clone(), channel.schema.clone()))
                .collect(),
            input: graph.input.clone(),
            output: graph.output.clone(),
            context: graph.context.clone(),
            parts: graph.nodes.iter().filter_map(part).collect(),
        }
    }
}

fn part(node: &Node) -> Option<(String, GraphShape)> {
    match &node.kind {
        Kind::Graph(sub) => Some((node.name.clone(), GraphShape::from(&sub.graph))),
        _ => None,
    }
}

fn edges(graph: &Graph) -> Vec<ShapeEdge> {
    let name = |ix: usize| graph.nodes[ix].name.clone();
    let target = |to: &EdgeTarget| match to {
        EdgeTarget::End => None,
        EdgeTarget::Node(ix) => Some(name(*ix)),
    };
    let start = |&ix: &usize| ShapeEdge { from: None, to: Some(name(ix)), when: None };
    let mut edges: Vec<ShapeEdge> = graph.start.iter().map(start).collect();
    for node in &graph.nodes {
        let edge = |to, when| ShapeEdge { from: Some(node.name.clone()), to, when };
        match &node.route {
            Route::Always(targets) => edges.extend(targets.iter().map(|to| edge(target(to), None))),
            Route::First(ways) => edges.extend(ways.iter().map(|(when, to)| {
                edge(target(to), Some(when.clone().unwrap_or_else(|| "else".to_owned())))
            })),
        }
        for way in &node.on_error {
            let when = way.when.clone().unwrap_or_else(|| "error".to_owned());
            edges.push(edge(way.to.map(name), Some(when)));
        }
    }
    edges
}

impl Agent {
    /// A graph as clients see it.
    ///
    /// Errors: [`Error::UnknownGraph`].
    pub fn graph_shape(&self, graph: &str) -> Result<GraphShape, Error> {
        Ok(GraphShape::from(&*self.graph(graph)?))
    }

    /// Sorts values for a graph into its input and what is written to other channels of its state.
    ///
    /// Errors: [`Error::UnknownGraph`].
    pub fn sorted_input(
        &self,
        graph: &str,
        given: &Map<String, Value>,
    ) -> Result<(Map<String, Value>, BTreeMap<String, Value>), Error> {
        let graph = self.graph(graph)?;
        let (mut input, mut writes) = (Map::new(), BTreeMap::new());
        for (name, value) in given {
            let channel = graph.channels.get(name).filter(|_| !graph.input.contains_key(name));
            if channel.is_some_and(|channel| channel.lifetime != Lifetime::Step) {
                writes.insert(name.clone(), value.clone());
            } else {
                input.insert(name.clone(), value.clone());
            }
        }
        Ok((input, writes))
    }
}
