//! Nodes that answer from a script: for tests of a graph, where no model, tool or person is asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use super::{error, set, wait};
use crate::base::Problem;
use crate::graph::{self, Kind, ScriptedAnswer, WaitSpec};
use crate::runtime::{
    ErrorClass, Grant, Node, NodeError, NodeFactory, Outcome, StateView, TaskContext, Usage,
};

/// Who "answers" a question of a test.
const TESTER: &str = "test";

/// Builds workers that answer what a test says, each visit the next.
pub struct ScriptedNodes {
    script: Arc<Script>,
}

struct Script {
    answers: Mutex<BTreeMap<String, VecDeque<ScriptedAnswer>>>,
}

impl ScriptedNodes {
    /// Workers with these answers by node.
    pub fn new(answers: &BTreeMap<String, Vec<ScriptedAnswer>>) -> Self {
        let answers =
            answers.iter().map(|(node, each)| (node.clone(), each.iter().cloned().collect()));
        Self { script: Arc::new(Script { answers: Mutex::new(answers.collect()) }) }
    }

    /// Answers nobody asked for: node and how many.
    pub fn left(&self) -> Vec<(String, usize)> {
        let answers = self.script.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let left = answers.iter().filter(|(_, each)| !each.is_empty());
        left.map(|(node, each)| (node.clone(), each.len())).collect()
    }
}

impl NodeFactory for ScriptedNodes {
    fn node(&self, definition: &graph::Node) -> Arc<dyn Node> {
        match definition.kind.clone() {
            Kind::Set(values) => Arc::new(set::SetNode { values }),
            Kind::Wait(spec @ WaitSpec::For(_)) => Arc::new(wait::WaitNode { spec, writes: None }),
            kind => {
                let grants = match kind {
                    Kind::Approval(approval) => approval.grants,
                    _ => Vec::new(),
                };
                let writes = definition.writes.clone();
                Arc::new(ScriptedNode { script: self.script.clone(), writes, grants })
            }
        }
    }
}

struct ScriptedNode {
    script: Arc<Script>,
    writes: Option<String>,
    grants: Vec<Value>,
}

#[async_trait]
impl Node for ScriptedNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let next = {
            let mut answers = self.script.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.get_mut(&cx.node).and_then(VecDeque::pop_front)
        };
        let value = match next {
            Some(ScriptedAnswer::Value(value)) => value,
            Some(ScriptedAnswer::Fails(class)) => return Err(failure(&cx.node, &class)),
            None => {
                let name = cx.node.rsplit('/').next().unwrap_or(&cx.node);
                let visit = view.visits.get(name).copied().unwrap_or(1);
                let message = format!("the test has no answer for visit {visit} of `{}`", cx.node);
                return Err(error::invalid("nodes.no_answer", message, "add it to `answers`"));
            }
        };
        let by = TESTER.to_owned();
        let grant = self.grants.contains(&value).then(|| Grant {
            node: cx.node.clone(),
            by,
            answer: value.clone(),
        });
        let writes = self.writes.iter().map(|channel| (channel.clone(), value.clone())).collect();
        Ok(Outcome::Update { writes, grant, usage: Usage::default() })
    }
}

fn failure(node: &str, class: &str) -> NodeError {
    let class = match class {
        "timeout" => ErrorClass::Timeout,
        "unavailable" => ErrorClass::Unavailable,
        "rate_limited" => ErrorClass::RateLimited,
        "invalid" => ErrorClass::Invalid,
        "denied" => ErrorClass::Denied,
        _ => ErrorClass::Fatal,
    };
    let problem = Problem {
        code: "nodes.scripted".to_owned(),
        message: format!("the test lets `{node}` fail"),
        hint: String::new(),
    };
    NodeError { class, problem, retry_after_ms: None }
}
