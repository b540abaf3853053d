//! `approval`: stops the run with a typed question; a granting answer lets production effects through.

use async_trait::async_trait;

use super::error;
use super::factory::scope;
use crate::graph::{ApprovalSpec, render_text};
use crate::runtime::{
    Answer, Grant, Node, NodeError, Outcome, Question, StateView, TaskContext, Usage,
};

/// Reads what its question names; writes the answer to `writes`.
pub(super) struct ApprovalNode {
    pub(super) spec: ApprovalSpec,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for ApprovalNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let Some(answer) = &view.answer else {
            return Ok(Outcome::Ask(self.question(view, cx)?));
        };
        Ok(self.answered(answer, &cx.node))
    }
}

impl ApprovalNode {
    /// What an answer comes to.
    pub(super) fn answered(&self, answer: &Answer, node: &str) -> Outcome {
        let grant = self.spec.grants.contains(&answer.value).then(|| Grant {
            node: node.to_owned(),
            by: answer.by.clone(),
            answer: answer.value.clone(),
        });
        let writes =
            self.writes.iter().map(|channel| (channel.clone(), answer.value.clone())).collect();
        Outcome::Update { writes, grant, usage: Usage::default() }
    }

    /// The question, with its templates filled in.
    pub(super) fn question(
        &self,
        view: &StateView,
        cx: &TaskContext,
    ) -> Result<Question, NodeError> {
        let text = render_text(&self.spec.ask_text, &scope(view))
            .map_err(|message| error::template(&self.spec.ask, message))?;
        let now = cx.clock.now();
        Ok(Question {
            text,
            answer_schema: self.spec.answer.clone(),
            expires_at: self.spec.expires_ms.map(|ms| now.plus(ms).0),
            on_expiry: self.spec.on_expiry.clone(),
        })
    }
}
