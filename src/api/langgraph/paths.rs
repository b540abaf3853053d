//! Nodes and channels of subgraphs as LangGraph names them: by what they are called in their own graph, in the namespace of the
//! calls that lead there (`review:id|draft:id`). Here they have paths (`review/draft`), and a call is two nodes: `review` fills
//! the inputs, `review/end` hands the outputs back.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::protocol::call_id;
use crate::agent::GraphShape;
use crate::base::{RunId, ThreadId};

/// What the node of a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Work,
    /// Begins the call of a subgraph.
    Enter,
    /// Ends one.
    Leave,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// Path of the subgraph that it belongs to; empty: the graph itself.
    pub(super) frame: String,
    /// Its name there.
    pub(super) node: String,
    pub(super) role: Role,
}

/// The subgraphs of a run.
pub(super) struct Paths {
    thread: ThreadId,
    run: RunId,
    /// `None`: the graph is gone, and so is what was known of its subgraphs.
    shape: Option<GraphShape>,
}

impl Paths {
    pub(super) fn new(thread: &ThreadId, run: &RunId, shape: Option<GraphShape>) -> Self {
        Self { thread: thread.clone(), run: run.clone(), shape }
    }

    /// Where the node of a path stands.
    pub(super) fn spot(&self, path: &str) -> Spot {
        let (path, role) = match path.strip_suffix("/end").filter(|call| self.is_call(call)) {
            Some(call) => (call, Role::Leave),
            None if self.is_call(path) => (path, Role::Enter),
            None => (path, Role::Work),
        };
        let (frame, node) = path.rsplit_once('/').unwrap_or(("", path));
        Spot { frame: frame.to_owned(), node: node.to_owned(), role }
    }

    /// The namespace of a subgraph by its path; empty: of the graph itself.
    pub(super) fn namespace(&self, frame: &str) -> String {
        let ends = frame.match_indices('/').map(|(at, _)| at).chain([frame.len()]);
        let calls = ends.filter(|_| !frame.is_empty()).map(|end| {
            let path = &frame[..end];
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            format!("{name}:{}", self.call(path))
        });
        calls.collect::<Vec<_>>().join("|")
    }

    /// The id of the call of a subgraph: the same through all of it.
    pub(super) fn call(&self, path: &str) -> String {
        call_id(self.thread.as_str(), self.run.as_str(), path)
    }

    fn is_call(&self, path: &str) -> bool {
        let mut shape = self.shape.as_ref();
        for name in path.split('/') {
            shape = shape.and_then(|shape| shape.parts.get(name));
        }
        shape.is_some()
    }
}

/// What a subgraph (empty: the graph itself) has of these channels, by their names there.
pub(super) fn inside<'a>(
    frame: &str,
    channels: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> Map<String, Value> {
    let prefix = if frame.is_empty() { String::new() } else { format!("{frame}/") };
    let own = channels.into_iter().filter_map(|(path, value)| {
        let name = path.strip_prefix(&prefix)?;
        (!name.contains('/')).then(|| (name.to_owned(), value.clone()))
    });
    own.collect()
}

/// The nodes of a subgraph (empty: of the graph itself) that these paths belong to, each with those inside it.
pub(super) fn nodes_of<'a>(frame: &str, paths: &'a [String]) -> Vec<(String, Vec<&'a String>)> {
    let prefix = if frame.is_empty() { String::new() } else { format!("{frame}/") };
    let mut order: Vec<String> = Vec::new();
    let mut nodes: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for path in paths {
        let Some(local) = path.strip_prefix(&prefix) else { continue };
        let (node, deeper) = local.split_once('/').unwrap_or((local, ""));
        if !nodes.contains_key(node) {
            order.push(node.to_owned());
        }
        let inside = nodes.entry(node.to_owned()).or_default();
        if !deeper.is_empty() {
            inside.push(path);
        }
    }
    let taken = order.into_iter().map(|node| {
        let inside = nodes.remove(&node).unwrap_or_default();
        (node, inside)
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_grouped_by_the_node_they_lie_in() {
        let paths = ["call/in/a", "b", "call/c"].map(str::to_owned);
        let names = |frame: &str| -> Vec<(String, usize)> {
            let nodes = nodes_of(frame, &paths).into_iter();
            nodes.map(|(node, inside)| (node, inside.len())).collect()
        };
        assert_eq!(names(""), [("call".to_owned(), 2), ("b".to_owned(), 0)]);
        assert_eq!(names("call"), [("in".to_owned(), 1), ("c".to_owned(), 0)]);
        assert_eq!(names("call/in"), [("a".to_owned(), 0)]);
    }
}
