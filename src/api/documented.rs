//! What the descriptions of all operations have in common: said once, here.

use serde_json::{Value, json};

/// Where the shape of a refusal is told.
const PROBLEM: &str = "#/components/schemas/ProblemDetails";
const FORMS: [&str; 2] = [PROBLEM, "#/components/schemas/Detail"];

/// Completes every operation: problems have a media type of their own, and whoever refuses a request at all may refuse one that
/// cannot be read, is too long, or has headers that do not fit.
pub(super) fn complete(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flatten();
    for (_, operation) in operations {
        let has_body = !operation["requestBody"].is_null();
        let Some(responses) = operation["responses"].as_object_mut() else { continue };
        if !responses.contains_key("4XX") {
            let mut refused = json!({"description": "The request is refused"});
            let form = responses.values().find_map(refusal);
            if let Some(form) = form {
                refused["content"] = json!({"application/json": {"schema": {"$ref": form}}});
            }
            // Protocols of others have shapes of their own.
            if form.is_some() || has_body {
                responses.insert("4XX".to_owned(), refused);
            }
        }
        responses.values_mut().for_each(name_media_type);
    }
}

/// The shape of a refusal, where a response is one.
fn refusal(response: &Value) -> Option<&'static str> {
    let form = &response["content"]["application/json"]["schema"]["$ref"];
    FORMS.into_iter().find(|known| *form == **known)
}

/// Problems are `application/problem+json` (RFC 9457).
fn name_media_type(response: &mut Value) {
    if refusal(response) != Some(PROBLEM) {
        return;
    }
    if let Some(content) = response["content"].as_object_mut()
        && let Some(problem) = content.remove("application/json")
    {
        content.insert("application/problem+json".to_owned(), problem);
    }
}
