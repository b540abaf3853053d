//! What the OpenAPI document says of keys: the scope of every operation, from the table that is enforced.

use axum::http::Method;
use serde_json::{Value, json};

use super::routes::{self, Need};

/// Adds the two ways to send a key, the scope of every operation, and how a key is refused.
pub(in crate::api) fn describe(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    });
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, operations) in paths {
        let Some(operations) = operations.as_object_mut() else { continue };
        for (verb, operation) in operations {
            let Ok(method) = verb.to_uppercase().parse::<Method>() else { continue };
            match routes::need(&method, Some(path)) {
                Need::Nothing => operation["security"] = json!([]),
                Need::Scope(scope) => {
                    operation["security"] = json!([{"bearer": [scope]}, {"api_key": [scope]}]);
                    refusals(&mut operation["responses"], path.starts_with("/api/v1/"));
                }
            }
        }
    }
}

/// `seed`: in the shape of the system that this one replaces.
fn refusals(responses: &mut Value, seed: bool) {
    let problem = json!({"application/problem+json": {
        "schema": {"$ref": "#/components/schemas/ProblemDetails"},
    }});
    let shaped = json!({"application/json": {"schema": {"type": "object"}}});
    let content = if seed { shaped } else { problem };
    for (status, description) in [
        ("401", "No key, or none that counts"),
        ("403", "The key does not allow this, or the request comes from another site"),
        ("429", "The key asks too often; `Retry-After` says when to ask again"),
    ] {
        if responses.get(status).is_none() {
            responses[status] = json!({"description": description, "content": content.clone()});
        }
    }
}
