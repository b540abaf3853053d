//! Questions to people: which one an answer means, and whether it fits.

use serde_json::Value;

use super::program::{compile, reason};
use super::{Checkpoint, Error, ErrorClass, Interrupt, NodeError};
use crate::base::Problem;

/// Who "answers" when a question expires.
pub const EXPIRY: &str = "expiry";

/// The open question that `wanted` names, or the only one there is; the answer fits it.
///
/// Errors: stale, ambiguous, misfit. Nothing is changed.
pub(super) fn find<'a>(
    state: &'a Checkpoint,
    wanted: Option<&str>,
    answer: &Value,
) -> Result<&'a Interrupt, Error> {
    let open: Vec<&Interrupt> = if state.status.is_over() {
        Vec::new()
    } else {
        state.interrupts().map(|(_, interrupt)| interrupt).collect()
    };
    let stale = |reason: String| Error::InterruptStale { thread: state.thread.clone(), reason };
    let interrupt = match (wanted, open.as_slice()) {
        (_, []) => {
            return Err(stale(format!("nothing is asked; the run is {}", state.status.name())));
        }
        (None, [only]) => *only,
        (None, several) => {
            return Err(Error::InterruptAmbiguous { open: several.len(), ids: ids(several) });
        }
        (Some(id), open) => open
            .iter()
            .copied()
            .find(|interrupt| interrupt.id == id)
            .ok_or_else(|| stale(format!("`{id}` is not open, but {}", ids(open))))?,
    };
    let schema = compile(&interrupt.question.answer_schema)
        .map_err(|reason| Error::AnswerInvalid { reason })?;
    if schema.is_valid(answer) {
        Ok(interrupt)
    } else {
        Err(Error::AnswerInvalid { reason: reason(&schema, answer) })
    }
}

/// The failure of a node whose question nobody answered in time.
pub(super) fn expired(node: &str) -> NodeError {
    let problem = Problem {
        code: "runtime.question_expired".to_owned(),
        message: format!("nobody answered the question of node `{node}` in time"),
        hint: "retry the run, or give the question an `on_expiry` answer".to_owned(),
    };
    NodeError::new(ErrorClass::Timeout, problem)
}

fn ids(interrupts: &[&Interrupt]) -> String {
    let ids: Vec<String> =
        interrupts.iter().map(|interrupt| format!("`{}`", interrupt.id)).collect();
    ids.join(", ")
}
