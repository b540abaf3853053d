//! Nodes that answer from a script: for tests of a graph, where no model, tool or person is asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::approval::ApprovalNode;
use super::factory::scope;
use super::wait::WaitNode;
use super::{agent, call, error, foreach, set};
use crate::base::Problem;
use crate::graph::{self, Kind, ScriptedAnswer, WaitSpec};
use crate::runtime::{
    Answer, ErrorClass, Node, NodeError, NodeFactory, Outcome, StateView, TaskContext, Usage,
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
        let writes = definition.writes.clone();
        match definition.kind.clone() {
            Kind::Set(values) => Arc::new(set::SetNode { values }),
            Kind::Wait(spec @ WaitSpec::For(_)) => Arc::new(WaitNode { spec, writes }),
            kind => Arc::new(ScriptedNode { script: self.script.clone(), kind, writes }),
        }
    }
}

/// Fills in the templates of its node as that would, and says what the script has instead of asking anybody.
struct ScriptedNode {
    script: Arc<Script>,
    kind: Kind,
    writes: Option<String>,
}

#[async_trait]
impl Node for ScriptedNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        // Its time ran out: nobody is asked again.
        let over = view.answer.is_some() || view.woken.is_some();
        let next = match over {
            true => None,
            false => {
                self.fill(view, cx)?;
                self.next(&cx.node)
            }
        };
        let writes = self.writes.clone();
        match (&self.kind, next) {
            (_, Some(ScriptedAnswer::Fails(class))) => Err(failure(&cx.node, &class)),
            (Kind::Approval(spec), next) => {
                let node = ApprovalNode { spec: spec.clone(), writes };
                match next {
                    Some(ScriptedAnswer::Value(value)) => {
                        Ok(node.answered(&Answer { value, by: TESTER.to_owned() }, &cx.node))
                    }
                    _ => node.run(view, cx).await,
                }
            }
            (Kind::Wait(spec), next) => {
                let node = WaitNode { spec: spec.clone(), writes };
                match next {
                    Some(ScriptedAnswer::Value(payload)) => Ok(node.heard(Some(&payload))),
                    _ => node.run(view, cx).await,
                }
            }
            (_, Some(ScriptedAnswer::Value(value))) => {
                let writes = writes.into_iter().map(|channel| (channel, value.clone())).collect();
                Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
            }
            (_, None) => Err(no_answer(view, cx)),
        }
    }
}

impl ScriptedNode {
    fn next(&self, node: &str) -> Option<ScriptedAnswer> {
        let mut answers = self.script.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get_mut(node).and_then(VecDeque::pop_front)
    }

    /// Arguments, prompts and questions must render, whatever is answered.
    fn fill(&self, view: &StateView, cx: &TaskContext) -> Result<(), NodeError> {
        match &self.kind {
            Kind::Tool(spec) => drop(call::arguments(spec, &scope(view), &cx.node)?),
            Kind::Agent(spec) => drop(agent::prompt(spec, view)?),
            Kind::Approval(spec) => {
                let node = ApprovalNode { spec: spec.clone(), writes: None };
                drop(node.question(view, cx)?);
            }
            Kind::Foreach(spec) => {
                for item in foreach::items(spec, view)? {
                    foreach::arguments(spec, view, item, &cx.node)?;
                }
            }
            Kind::Wait(_) | Kind::Set(_) | Kind::Graph(_) => {}
        }
        Ok(())
    }
}

fn no_answer(view: &StateView, cx: &TaskContext) -> NodeError {
    let name = cx.node.rsplit('/').next().unwrap_or(&cx.node);
    let visit = view.visits.get(name).copied().unwrap_or(1);
    let message = format!("the test has no answer for visit {visit} of `{}`", cx.node);
    error::invalid("nodes.no_answer", message, "add it to `answers`")
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
    NodeError::new(class, problem)
}
