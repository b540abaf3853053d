//! `understand.md`: the goal in plain words → an objective.

use serde_json::{Value, json};

use super::{Move, facts, goal, last_result};
use crate::llm::{ChatRequest, Error};

pub(super) fn next_move(request: &ChatRequest) -> Move {
    let named = facts::typed::<String>(request, "deployment").is_some();
    if named || last_result(request, "list_deployments").is_some() {
        return Move::Stop;
    }
    Move::Call("list_deployments", json!({}))
}

pub(super) fn answer(request: &ChatRequest) -> Result<Value, Error> {
    let text: String = facts::typed(request, "goal").unwrap_or_default();
    let read = goal::read_goal(&text).map_err(|why| unclear(why.to_string(), GOAL))?;
    let deployment = match facts::typed::<String>(request, "deployment") {
        Some(name) => name,
        None => pick(&text, &known(request))?,
    };
    Ok(json!({
        "deployment": deployment,
        "targets": read.targets,
        "keep": read.keep,
        "improve": read.improve,
    }))
}

/// How to say a goal.
const GOAL: &str = "a goal bounds a latency or names what to improve: \"p95 TTFT under 300 ms, no less throughput\"";

fn unclear(detail: String, hint: &str) -> Error {
    Error::TaskUnclear { detail, hint: hint.to_owned() }
}

/// Names of the deployments that `list_deployments` showed.
fn known(request: &ChatRequest) -> Vec<String> {
    let listed = last_result(request, "list_deployments").unwrap_or(Value::Null);
    let list = listed["deployments"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|d| d["deployment"]["name"].as_str().map(str::to_owned)).collect()
}

/// The one that the goal names, or the only one.
fn pick(goal: &str, known: &[String]) -> Result<String, Error> {
    let named: Vec<&String> = known.iter().filter(|name| goal.contains(name.as_str())).collect();
    match (named.as_slice(), known) {
        ([one], _) => Ok((*one).clone()),
        ([], [one]) => Ok(one.clone()),
        ([], []) => {
            Err(unclear("no deployment is declared".to_owned(), "add one to the config file"))
        }
        _ => {
            let detail =
                format!("the goal must say which deployment; there are: {}", known.join(", "));
            Err(unclear(detail, "name it in the goal or with --target"))
        }
    }
}
