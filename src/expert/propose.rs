//! `propose.md`: search, then the shortlist less what was tried.

use serde_json::{Value, json};

use super::{Move, facts, last_result, result_or_error};
use crate::domain::{Proposal, Trial};
use crate::llm::{ChatRequest, Error};

pub(super) fn next_move(request: &ChatRequest) -> Move {
    if last_result(request, "search_configs").is_some() {
        return Move::Stop;
    }
    let mut arguments = json!({
        "objective": facts::value(request, "objective"),
        "diagnosis": facts::value(request, "diagnosis"),
    });
    let knobs = facts::value(request, "knobs");
    if !knobs.is_null() {
        arguments["knobs"] = knobs;
    }
    Move::Call("search_configs", arguments)
}

pub(super) fn answer(request: &ChatRequest) -> Result<Value, Error> {
    let found = result_or_error(request, "search_configs")?;
    let unusable = |detail: String| Error::Unusable { model: "expert".to_owned(), detail };
    let shortlist: Vec<Proposal> = serde_json::from_value(found["shortlist"].clone())
        .map_err(|error| unusable(format!("the shortlist does not read: {error}")))?;
    let tried: Vec<Trial> = facts::typed(request, "trials").unwrap_or_default();
    let new = |p: &Proposal| !tried.iter().any(|t| t.proposal.config == p.config);
    let proposals: Vec<Proposal> = shortlist.into_iter().filter(new).collect();
    Ok(json!(proposals))
}
