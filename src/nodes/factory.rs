//! From a node's definition to its worker: one line per kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{Kind, Node as Definition};
use crate::llm::ChatModel;
use crate::runtime::{Node, NodeFactory};
use crate::tools::Registry;

/// What nodes need of the world.
#[derive(Clone)]
pub struct Parts {
    /// The only way to a tool.
    pub registry: Arc<Registry>,
    /// The model.
    pub model: Arc<dyn ChatModel>,
    /// Longest answer of one generation [tokens].
    pub completion_tokens_max: u32,
    /// What a type's schema cannot say, by the type's name: an answer that fails is repaired or refused.
    pub checks: BTreeMap<String, Check>,
}

/// Says what is wrong with a value whose schema is right.
pub type Check = fn(&serde_json::Value) -> Result<(), String>;

/// Builds workers over one set of parts.
pub struct Factory {
    parts: Parts,
}

impl Factory {
    /// A factory over `parts`.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }
}

impl NodeFactory for Factory {
    fn node(&self, definition: &Definition) -> Arc<dyn Node> {
        let (parts, writes) = (self.parts.clone(), definition.writes.clone());
        match definition.kind.clone() {
            Kind::Tool(spec) => Arc::new(super::tool::ToolNode { parts, spec, writes }),
            Kind::Agent(spec) => Arc::new(super::agent::AgentNode { parts, spec, writes }),
            Kind::Approval(spec) => Arc::new(super::approval::ApprovalNode { spec, writes }),
            Kind::Foreach(spec) => {
                let retry = definition.retry.clone();
                Arc::new(super::foreach::ForeachNode { parts, spec, retry, writes })
            }
            Kind::Wait(spec) => Arc::new(super::wait::WaitNode { spec, writes }),
            Kind::Set(values) => Arc::new(super::set::SetNode { values }),
            // The runtime lays subgraphs out and makes their doors itself; a door alone fills its inputs.
            Kind::Graph(spec) => Arc::new(super::set::SetNode { values: spec.input }),
        }
    }
}

/// What templates of a node can name: its channels, the run's context, and how often nodes ran.
pub(super) fn scope(view: &crate::runtime::StateView) -> BTreeMap<String, serde_json::Value> {
    let mut scope = view.channels.clone();
    scope.insert("context".to_owned(), serde_json::json!(view.context));
    scope.insert("visits".to_owned(), serde_json::json!(view.visits));
    scope
}
