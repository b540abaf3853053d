//! Examples of the OpenAPI document: what a server was really asked and really answered. A test takes the tour again.

use serde_json::Value;

/// By `get /path`: `request`, `status`, `answer`.
const EXAMPLES: &str = include_str!("examples.json");

/// Gives every body and every answer its example.
pub(super) fn add(document: &mut Value) {
    // Written by a test, which would notice if it did not read.
    let examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, operations) in paths {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let example = &examples[format!("{method} {path}")];
            let Some(status) = example["status"].as_u64() else { continue };
            if !example["request"].is_null() {
                illustrate(&mut operation["requestBody"], &example["request"]);
            }
            if !example["answer"].is_null() {
                illustrate(&mut operation["responses"][status.to_string()], &example["answer"]);
            }
        }
    }
}

/// Adds an example to whatever media type a body has.
fn illustrate(body: &mut Value, example: &Value) {
    let Some(content) = body["content"].as_object_mut() else { return };
    for media in content.values_mut() {
        media["example"] = example.clone();
    }
}
