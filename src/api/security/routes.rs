//! The scope of every route, in one place.

use axum::http::Method;

use super::Scope;

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: whoever looks after the process must be able to ask.
    Nothing,
    /// A key with this scope.
    Scope(Scope),
}

/// Routes that need no key.
const OPEN: [&str; 4] = ["/health", "/health/live", "/health/ready", "/ok"];

/// Routes that start or make something and are answered at once, where an `Idempotency-Key` counts. Not those that answer
/// with a secret, and not those that answer when a run is over: whoever goes from there may have the run cancelled.
const STARTS: [&str; 16] = [
    "/api/v1/workflows",
    "/assistants",
    "/optimize",
    "/optimize/batch",
    "/optimize/kv-cache",
    "/optimize/parallelism",
    "/optimize/quantize",
    "/rollout/start",
    "/runs",
    "/runs/batch",
    "/runs/crons",
    "/test/run",
    "/threads",
    "/threads/{thread_id}/copy",
    "/threads/{thread_id}/runs",
    "/threads/{thread_id}/runs/crons",
];

/// Every other operation than GET, and the GETs that need more than `read`. What is missing here needs `admin`, and a test
/// says so.
const TABLE: [(&str, &str, Scope); 84] = [
    ("DELETE", "/assistants/{assistant_id}", Scope::Operate),
    ("DELETE", "/checkpoints/threads/{thread_id}", Scope::Operate),
    // As much as writing the config file is.
    ("DELETE", "/deployments/{name}", Scope::Admin),
    ("DELETE", "/keys/{id}", Scope::Admin),
    ("DELETE", "/runs/crons/{cron_id}", Scope::Operate),
    ("DELETE", "/store/items", Scope::Operate),
    ("DELETE", "/test/{id}", Scope::Operate),
    ("DELETE", "/threads/{thread_id}", Scope::Operate),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}", Scope::Operate),
    ("GET", "/audit", Scope::Admin),
    ("GET", "/keys", Scope::Admin),
    ("PATCH", "/assistants/{assistant_id}", Scope::Operate),
    ("PATCH", "/runs/crons/{cron_id}", Scope::Operate),
    ("PATCH", "/threads/{thread_id}", Scope::Operate),
    ("POST", "/analyze", Scope::Operate),
    ("POST", "/api/v1/analyze", Scope::Operate),
    ("POST", "/api/v1/collect/{engine}", Scope::Operate),
    ("POST", "/api/v1/optimize", Scope::Operate),
    ("POST", "/api/v1/workflows", Scope::Operate),
    ("POST", "/api/v1/workflows/{id}/approve", Scope::Approve),
    ("POST", "/api/v1/workflows/{id}/reject", Scope::Approve),
    ("POST", "/assistants", Scope::Operate),
    ("POST", "/assistants/count", Scope::Read),
    ("POST", "/assistants/search", Scope::Read),
    ("POST", "/assistants/{assistant_id}/latest", Scope::Operate),
    ("POST", "/assistants/{assistant_id}/versions", Scope::Read),
    ("POST", "/checkpoints", Scope::Operate),
    ("POST", "/checkpoints/copy", Scope::Operate),
    ("POST", "/checkpoints/delete_runs", Scope::Operate),
    ("POST", "/checkpoints/prune", Scope::Operate),
    ("POST", "/checkpoints/search", Scope::Read),
    ("POST", "/checkpoints/writes", Scope::Operate),
    ("POST", "/deployments", Scope::Admin),
    ("POST", "/graphs/check", Scope::Read),
    // An approved run would go on in another version of its graph.
    ("POST", "/graphs/{name}/migrations", Scope::Approve),
    ("POST", "/keys", Scope::Admin),
    // Which tools there are, and that none has consent, is said when the server starts.
    ("POST", "/mcp", Scope::Read),
    ("POST", "/metrics/collect", Scope::Operate),
    ("POST", "/optimize", Scope::Operate),
    ("POST", "/optimize/batch", Scope::Operate),
    ("POST", "/optimize/kv-cache", Scope::Operate),
    ("POST", "/optimize/parallelism", Scope::Operate),
    ("POST", "/optimize/quantize", Scope::Operate),
    ("POST", "/optimize/{thread_id}/approve", Scope::Approve),
    ("POST", "/optimize/{thread_id}/reject", Scope::Approve),
    // Back to the version that served before: whoever may start may stop.
    ("POST", "/rollout/{id}/abort", Scope::Operate),
    // Holding users where they are, too. Giving more of them the new version needs consent.
    ("POST", "/rollout/{id}/pause", Scope::Operate),
    ("POST", "/rollout/{id}/promote", Scope::Approve),
    ("POST", "/rollout/{id}/resume", Scope::Approve),
    ("POST", "/rollout/rollback", Scope::Operate),
    // It asks before anything reaches users; `approved: true` needs consent on every route.
    ("POST", "/rollout/start", Scope::Operate),
    ("POST", "/runs", Scope::Operate),
    ("POST", "/runs/batch", Scope::Operate),
    ("POST", "/runs/cancel", Scope::Operate),
    ("POST", "/runs/crons", Scope::Operate),
    ("POST", "/runs/crons/count", Scope::Read),
    ("POST", "/runs/crons/search", Scope::Read),
    ("POST", "/runs/stream", Scope::Operate),
    ("POST", "/runs/wait", Scope::Operate),
    ("POST", "/store/items/search", Scope::Read),
    ("POST", "/store/namespaces", Scope::Read),
    ("POST", "/task", Scope::Operate),
    ("POST", "/test/run", Scope::Operate),
    ("POST", "/test/validate", Scope::Read),
    ("POST", "/threads", Scope::Operate),
    ("POST", "/threads/count", Scope::Read),
    ("POST", "/threads/prune", Scope::Operate),
    ("POST", "/threads/search", Scope::Read),
    ("POST", "/threads/{thread_id}/copy", Scope::Operate),
    // Nobody's consent goes along, and what was open is held.
    ("POST", "/threads/{thread_id}/fork", Scope::Operate),
    ("POST", "/threads/{thread_id}/history", Scope::Read),
    ("POST", "/threads/{thread_id}/prune", Scope::Operate),
    ("POST", "/threads/{thread_id}/runs", Scope::Operate),
    ("POST", "/threads/{thread_id}/runs/crons", Scope::Operate),
    ("POST", "/threads/{thread_id}/runs/stream", Scope::Operate),
    ("POST", "/threads/{thread_id}/runs/wait", Scope::Operate),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel", Scope::Operate),
    ("POST", "/threads/{thread_id}/signals/{name}", Scope::Operate),
    // What was approved could be swapped for something else here.
    ("POST", "/threads/{thread_id}/state", Scope::Approve),
    ("POST", "/threads/{thread_id}/state/checkpoint", Scope::Read),
    ("PUT", "/deployments/{name}", Scope::Admin),
    ("PUT", "/graphs/{name}", Scope::Admin),
    ("PUT", "/prompts/{name}", Scope::Admin),
    ("PUT", "/store/items", Scope::Operate),
];

/// What the operation needs. `route` is the path with its parameters unfilled; `None`: there is no such path.
pub(super) fn need(method: &Method, route: Option<&str>) -> Need {
    // A path that there is not tells whoever has a key no more than that.
    let Some(route) = route else { return Need::Scope(Scope::Read) };
    let verb = if method == Method::HEAD { "GET" } else { method.as_str() };
    if verb == "GET" && OPEN.contains(&route) {
        return Need::Nothing;
    }
    let listed = TABLE.iter().find(|(listed, path, _)| *listed == verb && *path == route);
    match listed {
        Some((_, _, scope)) => Need::Scope(*scope),
        None if verb == "GET" => Need::Scope(Scope::Read),
        None => Need::Scope(Scope::Admin),
    }
}

/// Whether the operation starts something, so that a repetition must not start it again.
pub(super) fn starts_something(method: &Method, route: Option<&str>) -> bool {
    method == Method::POST && route.is_some_and(|route| STARTS.contains(&route))
}

/// Whether a body may hold values that are never looked into: a whole checkpoint of another program.
pub(super) fn is_opaque(route: Option<&str>) -> bool {
    route.is_some_and(|route| route.starts_with("/checkpoints"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn operations() -> BTreeSet<(String, String)> {
        let document = crate::api::document();
        let paths = document["paths"].as_object().unwrap().clone();
        let verbs = |methods: &serde_json::Value| {
            methods.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect::<Vec<_>>()
        };
        let all = paths.iter().flat_map(|(path, methods)| {
            verbs(methods).into_iter().map(move |verb| (verb, path.clone()))
        });
        all.collect()
    }

    #[test]
    fn every_operation_that_is_no_get_has_its_scope_in_the_table() {
        let listed: BTreeSet<(String, String)> =
            TABLE.iter().map(|(verb, path, _)| ((*verb).to_owned(), (*path).to_owned())).collect();
        let operations = operations();
        let missing: Vec<_> = operations
            .iter()
            .filter(|operation| operation.0 != "GET" && !listed.contains(operation))
            .collect();
        assert!(missing.is_empty(), "no scope in the table: {missing:?}");
        let stale: Vec<_> = listed.difference(&operations).collect();
        assert!(stale.is_empty(), "in the table and not served: {stale:?}");
        assert_eq!(listed.len(), TABLE.len(), "an operation is listed twice");
    }

    #[test]
    fn what_is_not_listed_needs_everything() {
        let unlisted = need(&Method::PUT, Some("/tools"));
        assert_eq!(unlisted, Need::Scope(Scope::Admin));
        assert_eq!(need(&Method::HEAD, Some("/health")), Need::Nothing);
        assert_eq!(need(&Method::POST, Some("/health")), Need::Scope(Scope::Admin));
    }
}
