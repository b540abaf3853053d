//! What a graph file may refer to: its text, and the tools, types and prompts around it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Graph;

/// A graph file as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, for findings.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// The names a graph may use, and what the loader must know about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vocabulary {
    /// Tools by name.
    pub tools: BTreeMap<String, ToolFacts>,
    /// Named types: name → JSON Schema, `$defs` included.
    pub types: BTreeMap<String, Value>,
    /// Prompts: file name → template text.
    pub prompts: BTreeMap<String, String>,
    /// Graphs that may be nodes of others, by name.
    pub graphs: BTreeMap<String, Graph>,
    /// Names of graphs that include each other in a circle, and so are none.
    pub circular: BTreeSet<String>,
}

/// What the loader must know about a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolFacts {
    /// The most it can do to the world.
    pub effect: Effect,
    /// A call needs a granted approval.
    pub approval: bool,
    /// JSON Schema of its arguments.
    pub args: Value,
    /// JSON Schema of its result.
    pub output: Value,
}

/// How far a tool reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Looks only.
    Read,
    /// Changes things no user sees.
    Stage,
    /// Changes what users get.
    Production,
}
