//! Which codes each operation refuses with: the document lists them under the status they have. The tests hold every refusal
//! that they get to this table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::status_of;

/// Where the codes of a response are listed.
const LISTED: &str = "x-codes";

/// Codes by method (`*`: every) and path (`…*`: what begins so); what fits adds up.
const RULES: &[(&str, &str, &[&str])] = &[
    ("get", "/analyze/*", &["api.not_found"]),
    ("get", "/audit", &["api.invalid_request"]),
    (
        "post",
        "/analyze",
        &["api.unknown_deployment", "serving.not_enough_history", "tools.invalid_arguments"],
    ),
    (
        "*",
        "/assistants*",
        &[
            "api.conflict",
            "api.invalid_request",
            "api.not_found",
            "agent.graph_refused",
            "agent.unknown_graph",
        ],
    ),
    ("post", "/assistants", ONCE),
    ("*", "/checkpoints*", &["api.invalid_request"]),
    ("post", "/checkpoints/copy", &["api.thread_exists"]),
    ("get", "/deployments/*", &["api.unknown_deployment"]),
    (
        "get",
        "/deployments/{name}/observation",
        &["api.invalid_request", "serving.not_enough_history", "tools.invalid_arguments"],
    ),
    (
        "post",
        "/deployments",
        &[
            "agent.deployment_exists",
            "agent.invalid_deployment",
            "agent.not_in_catalogue",
            "agent.simulated_fleet",
            "api.invalid_endpoint",
            "api.launcher_refused",
        ],
    ),
    (
        "put",
        "/deployments/{name}",
        &[
            "agent.declared",
            "agent.deployment_busy",
            "agent.invalid_deployment",
            "agent.not_in_catalogue",
            "agent.simulated_fleet",
            "api.invalid_endpoint",
            "api.invalid_request",
            "api.launcher_refused",
            "tools.unknown_deployment",
        ],
    ),
    (
        "delete",
        "/deployments/{name}",
        &["agent.declared", "agent.deployment_busy", "tools.unknown_deployment"],
    ),
    ("get", "/graphs/*", &["agent.graph_refused", "agent.unknown_graph"]),
    ("get", "/graphs/{name}/diagram", &["api.invalid_request"]),
    (
        "put",
        "/graphs/{name}",
        &[
            "agent.built_in",
            "agent.graph_refused",
            "agent.invalid_name",
            "agent.name_taken",
            "agent.stale",
            "api.invalid_body",
            "api.invalid_request",
            "api.precondition_missing",
        ],
    ),
    ("post", "/keys", &["api.invalid_request"]),
    ("delete", "/keys/{id}", &["api.unknown_key"]),
    (
        "*",
        "/metrics/*",
        &[
            "api.invalid_request",
            "api.unknown_deployment",
            "serving.not_enough_history",
            "tools.invalid_arguments",
        ],
    ),
    ("get", "/ok", &["api.invalid_request"]),
    ("post", "/optimize", RUN_STARTS),
    ("post", "/optimize/batch", RUN_STARTS),
    ("post", "/optimize/kv-cache", RUN_STARTS),
    ("post", "/optimize/parallelism", RUN_STARTS),
    ("post", "/optimize/quantize", RUN_STARTS),
    (
        "get",
        "/optimize/recommendations",
        &[
            "api.invalid_request",
            "api.unknown_deployment",
            "serving.not_enough_history",
            "tools.invalid_arguments",
        ],
    ),
    ("get", "/optimize/{thread_id}", &["agent.unknown_thread"]),
    ("post", "/optimize/{thread_id}/approve", ANSWERS),
    ("post", "/optimize/{thread_id}/reject", ANSWERS),
    ("get", "/prompts/{name}", &["api.not_found"]),
    (
        "put",
        "/prompts/{name}",
        &[
            "agent.built_in",
            "agent.graph_refused",
            "agent.invalid_name",
            "agent.stale",
            "api.invalid_body",
            "api.invalid_request",
            "api.precondition_missing",
        ],
    ),
    ("get", "/rollout/{id}*", &["api.not_found"]),
    (
        "post",
        "/rollout/{id}/abort",
        &["tools.unknown_rollout", "tools.not_possible", "tools.locked"],
    ),
    (
        "post",
        "/rollout/rollback",
        &[
            "api.invalid_request",
            "api.not_found",
            "api.unknown_deployment",
            "tools.not_possible",
            "tools.locked",
        ],
    ),
    ("post", "/rollout/start", RUN_STARTS),
    (
        "post",
        "/rollout/start",
        &["api.invalid_config", "api.rollout_goes_on", "api.unknown_deployment"],
    ),
    ("post", "/rollout/{id}/pause", ORDERS),
    ("post", "/rollout/{id}/promote", ORDERS),
    ("post", "/rollout/{id}/resume", ORDERS),
    ("*", "/runs*", RUNS),
    ("post", "/runs", ONCE),
    ("post", "/runs/batch", ONCE),
    ("post", "/runs/crons", ONCE),
    ("*", "/store*", &["api.invalid_request", "api.not_found"]),
    (
        "post",
        "/task",
        &[
            "api.invalid_request",
            "api.task_exists",
            "api.unknown_deployment",
            "agent.graph_refused",
            "agent.unknown_graph",
            "runtime.input_invalid",
            "serving.not_enough_history",
        ],
    ),
    (
        "post",
        "/test/run",
        &[
            "api.idempotency_busy",
            "api.idempotency_in_doubt",
            "api.idempotency_mismatch",
            "api.unknown_deployment",
            "api.invalid_idempotency_key",
            "api.invalid_request",
            "tools.invalid_arguments",
            "tools.unknown_deployment",
        ],
    ),
    (
        "post",
        "/test/validate",
        &[
            "api.invalid_request",
            "api.unknown_deployment",
            "serving.not_enough_history",
            "tools.invalid_arguments",
        ],
    ),
    ("get", "/test/results/{id}", &["api.not_found"]),
    ("delete", "/test/{id}", &["api.not_found", "api.trial_runs"]),
    ("*", "/threads*", RUNS),
    ("post", "/threads", ONCE),
    ("post", "/threads/{thread_id}/copy", ONCE),
    ("post", "/threads/{thread_id}/runs", ONCE),
    ("post", "/threads/{thread_id}/runs/crons", ONCE),
    (
        "post",
        "/threads/{thread_id}/signals/{name}",
        &["agent.unknown_thread", "runtime.signal_invalid", "runtime.unknown_signal"],
    ),
    ("post", "/threads/{thread_id}/fork", &["agent.unknown_thread"]),
    ("get", "/threads/{thread_id}/journal", &["agent.unknown_thread"]),
    (
        "*",
        "/graphs/{name}/migrations",
        &[
            "agent.graph_refused",
            "agent.unknown_graph",
            "api.invalid_request",
            "runtime.busy",
            "runtime.migration_refused",
            "runtime.unknown_thread",
        ],
    ),
    (
        "*",
        "/api/v1/*",
        &[
            "validation_error",
            "http_400",
            "http_404",
            "http_409",
            "http_413",
            "http_415",
            "http_422",
        ],
    ),
];

/// Refusals of an `Idempotency-Key`.
const ONCE: &[&str] = &[
    "api.idempotency_busy",
    "api.idempotency_in_doubt",
    "api.idempotency_mismatch",
    "api.invalid_idempotency_key",
];

/// Starts of a tuning run.
const RUN_STARTS: &[&str] = &[
    "agent.graph_refused",
    "agent.unknown_graph",
    "api.idempotency_busy",
    "api.idempotency_in_doubt",
    "api.idempotency_mismatch",
    "api.invalid_idempotency_key",
    "api.invalid_request",
    "runtime.input_invalid",
];

/// A person's orders to a rollout.
const ORDERS: &[&str] =
    &["api.invalid_request", "tools.locked", "tools.order_refused", "tools.unknown_rollout"];

/// Answers to a question.
const ANSWERS: &[&str] = &[
    "agent.unknown_thread",
    "api.nothing_asked",
    "runtime.answer_invalid",
    "runtime.interrupt_ambiguous",
    "runtime.interrupt_answered",
    "runtime.interrupt_stale",
    "runtime.no_run",
];

/// Threads and their runs, in LangGraph's protocol: the code is in the header `x-error-code`.
const RUNS: &[&str] = &[
    "agent.graph_refused",
    "agent.unknown_graph",
    "api.conflict",
    "api.invalid_request",
    "api.not_found",
    "runtime.answer_invalid",
    "runtime.busy",
    "runtime.context_invalid",
    "runtime.fork_in_doubt",
    "runtime.fork_incomplete",
    "runtime.goto_undeclared",
    "runtime.input_invalid",
    "runtime.interrupt_ambiguous",
    "runtime.interrupt_answered",
    "runtime.interrupt_stale",
    "runtime.no_run",
    "runtime.state_incompatible",
    "runtime.thread_exists",
    "runtime.unknown_checkpoint",
    "runtime.unknown_node",
    "runtime.unknown_thread",
    "runtime.write_invalid",
    "runtime.write_undeclared",
    "runtime.write_unknown",
];

/// Lists the codes of every operation.
pub(super) fn list(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, operations) in paths {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let codes = codes(method, path, &operation["requestBody"]);
            let Some(responses) = operation["responses"].as_object_mut() else { continue };
            // Nothing but what is said of every operation.
            responses.retain(|status, _| status != "4XX" || !under(&codes, status).is_empty());
            for (status, response) in responses {
                if status.starts_with('4') {
                    say(response, &under(&codes, status));
                } else if status.starts_with('5') && is_problem(response) {
                    say(response, failures(path, status));
                }
            }
        }
    }
}

/// Whether a response says what went wrong, and nothing of its own.
fn is_problem(response: &Value) -> bool {
    let media = response["content"].as_object().into_iter().flatten();
    let mut forms = media.filter_map(|(_, media)| media["schema"]["$ref"].as_str());
    forms.any(|form| form.ends_with("/ProblemDetails") || form.ends_with("/Detail"))
}

/// What failed here and not at the caller, by status.
fn failures(path: &str, status: &str) -> &'static [&'static str] {
    match (path, status) {
        (_, "502") => &["serving.bad_answer", "serving.unreachable", "serving.wrong_engine"],
        ("/health/ready", "503") => STORE_FAILS,
        (_, "503") => &["api.stopping", "store.closed", "store.full", "store.io"],
        _ => &[],
    }
}

/// The store does not answer.
const STORE_FAILS: &[&str] = &["store.closed", "store.full", "store.io"];

/// Every code of an operation, with the statuses it comes with.
fn codes(method: &str, path: &str, body: &Value) -> BTreeMap<&'static str, Vec<u16>> {
    let mut codes: BTreeMap<&'static str, Vec<u16>> = BTreeMap::new();
    for (methods, paths, listed) in RULES {
        let under = |start: &str| path.starts_with(start);
        let fits = path == *paths || paths.strip_suffix('*').is_some_and(under);
        if fits && (*methods == "*" || *methods == method) {
            codes.extend(listed.iter().map(|code| (*code, vec![status(code)])));
        }
    }
    if !body.is_null() || codes.contains_key("api.invalid_body") {
        codes.insert("api.invalid_body", vec![400, 408, 413, 415, 422]);
    }
    let gate = [
        ("api.unauthenticated", 401),
        ("api.foreign", 403),
        ("api.forbidden", 403),
        ("api.rate_limited", 429),
    ];
    match path.starts_with("/api/v1/") {
        true => codes.extend([
            ("http_401", vec![401]),
            ("http_403", vec![403]),
            ("http_429", vec![429]),
        ]),
        false => codes.extend(gate.map(|(code, status)| (code, vec![status]))),
    }
    codes
}

/// The status that a code comes with.
fn status(code: &str) -> u16 {
    // The seed's own words name it.
    let seed = code.strip_prefix("http_").and_then(|status| status.parse().ok());
    match code {
        "validation_error" => 422,
        "api.conflict" => 409,
        _ => seed.unwrap_or_else(|| status_of(code).as_u16()),
    }
}

/// The codes of one response; `4XX` stands for all that no other response tells of.
fn under(codes: &BTreeMap<&'static str, Vec<u16>>, status: &str) -> Vec<&'static str> {
    let told = |statuses: &[u16]| match status.parse() {
        Ok(one) => statuses.contains(&one),
        Err(_) => statuses.iter().any(|status| ![401, 403, 429].contains(status)),
    };
    codes.iter().filter(|(_, statuses)| told(statuses)).map(|(code, _)| *code).collect()
}

/// Writes codes into a response, for programs and for readers.
fn say(response: &mut Value, codes: &[&'static str]) {
    response[LISTED] = json!(codes);
    let words = response["description"].as_str().unwrap_or_default().to_owned();
    let quoted: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let words = if words.is_empty() { "Refused".to_owned() } else { words };
    response["description"] = json!(format!("{words}: {}", quoted.join(", ")));
}
