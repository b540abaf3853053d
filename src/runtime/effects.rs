//! The ledger of side effects as one task sees it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Begun, Checkpoint, CheckpointStore, Effects, Epoch, ErrorClass, NodeError, Question};
use crate::base::{EffectKey, Problem, ThreadId, stable_hash};

/// The policy under which an unknown outcome stops the run.
const AT_MOST_ONCE: &str = "at_most_once";

/// Code of the failure of a task whose thread has another owner: it must stop, not fail.
pub(super) const FENCED: &str = "runtime.fenced";

/// The ledger, bound to a task.
pub(super) struct Ledger {
    pub(super) store: Arc<dyn CheckpointStore>,
    /// The checkpoint that the task runs on.
    pub(super) state: Arc<Checkpoint>,
    pub(super) epoch: Epoch,
    pub(super) task: String,
    /// The effect that is in doubt, once one is.
    pub(super) doubt: Mutex<Option<EffectKey>>,
    /// Why the store could not keep the ledger, once it could not.
    pub(super) broken: Mutex<Option<Problem>>,
}

impl Ledger {
    /// The effect that made the task stop, if one did.
    pub(super) fn take_doubt(&self) -> Option<EffectKey> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The store's failure that made the task stop, if one did: no fault of the node.
    pub(super) fn take_broken(&self) -> Option<Problem> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn unavailable(&self, problem: Problem) -> NodeError {
        let broken = Some(problem.clone());
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
        NodeError::new(ErrorClass::Unavailable, problem)
    }
}

#[async_trait]
impl Effects for Ledger {
    fn key(&self, call: u32) -> EffectKey {
        let run = self.state.run.effects_of().as_str();
        EffectKey(stable_hash(&[run, &self.task, &call.to_string()]))
    }

    async fn begin(&self, key: &EffectKey, policy: &str) -> Result<Option<Value>, NodeError> {
        let thread = &self.state.thread;
        let begun = self.store.effect_begin(thread, self.epoch, key, policy).await;
        match begun.map_err(|problem| self.unavailable(problem))? {
            Begun::Fresh => Ok(None),
            Begun::Done(result) => Ok(Some(result)),
            Begun::InDoubt if policy != AT_MOST_ONCE => Ok(None),
            Begun::InDoubt => {
                *self.doubt.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
                Err(in_doubt(&self.task))
            }
            Begun::Fenced => Err(fenced(thread)),
        }
    }

    async fn finish(&self, key: &EffectKey, result: &Value) -> Result<(), NodeError> {
        let finished = self.store.effect_finish(key, result, None).await;
        finished.map_err(|problem| self.unavailable(problem))
    }
}

/// What a person is asked about an effect in doubt.
pub(super) fn doubt_question(node: &str) -> Question {
    Question {
        text: format!(
            "Node `{node}` began a side effect that must not happen twice, and was cut off before \
             it could note the outcome. Look at the target: did it happen?"
        ),
        answer_schema: json!({
            "type": "object",
            "properties": {
                "happened": { "type": "boolean" },
                "result": { "description": "What the call would have returned, if it happened." },
            },
            "required": ["happened"],
            "additionalProperties": false,
        }),
        expires_at: None,
        on_expiry: None,
    }
}

fn in_doubt(task: &str) -> NodeError {
    let problem = Problem {
        code: "runtime.effect_in_doubt".to_owned(),
        message: format!("a side effect of task `{task}` was begun and may have happened"),
        hint: "look at the target, then answer the thread's question".to_owned(),
    };
    NodeError::new(ErrorClass::InDoubt, problem)
}

/// Another owner has the thread.
pub(super) fn fenced(thread: &ThreadId) -> NodeError {
    let problem = Problem {
        code: FENCED.to_owned(),
        message: format!("another owner has taken over thread `{thread}`"),
        hint: "nothing was lost: the other owner goes on from the last checkpoint".to_owned(),
    };
    NodeError::new(ErrorClass::Cancelled, problem)
}
