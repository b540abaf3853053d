//! The examples and error codes of the OpenAPI document: real ones, that fit its own schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::support::Served;
use super::tour;

const FILE: &str = "src/api/examples.json";

/// Every operation of the document: `get /path`, with its description.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.push((format!("{method} {path}"), operation));
        }
    }
    found
}

/// What speaks against `value` as `schema` says.
fn misfits(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let schema = json!({"allOf": [schema], "components": document["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let told =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(value).map(told).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn the_examples_are_what_a_server_was_asked_and_answered() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let seen = tour::whole().await;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, serde_json::to_string_pretty(&seen).unwrap() + "\n").unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    let kept: BTreeMap<String, Value> = serde_json::from_str(&kept).unwrap();
    let names = |map: &BTreeMap<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&seen), names(&kept), "UPDATE_GOLDEN=1 writes {FILE}");
    for (operation, kept) in &kept {
        let seen = &seen[operation];
        assert_eq!(kept["status"], seen["status"], "{operation}");
        for part in ["request", "answer"] {
            assert_eq!(keys(&kept[part]), keys(&seen[part]), "{operation}: UPDATE_GOLDEN=1");
        }
    }
}

#[test]
fn every_body_and_every_answer_in_json_has_an_example_that_fits_its_schema() {
    let document = perf_agent::api::document();
    let mut wrong = Vec::new();
    let mut check = |what: String, media: &Value| match media.get("example") {
        None => wrong.push(format!("{what} has no example")),
        Some(example) => {
            let misfits = misfits(&document, &media["schema"], example);
            wrong.extend(misfits.into_iter().map(|misfit| format!("{what}: {misfit}")));
        }
    };
    for (name, operation) in operations(&document) {
        for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            check(format!("{name}: its body in {kind}"), media);
        }
        let good: Vec<_> = operation["responses"].as_object().unwrap().iter().collect();
        let good = good.into_iter().filter(|(status, _)| status.starts_with('2'));
        // One that says what was done; another 2xx with the same schema needs no other.
        let mut answers =
            good.flat_map(|(_, response)| response["content"].get("application/json"));
        if let Some(first) =
            answers.clone().find(|media| media.get("example").is_some()).or(answers.next())
        {
            check(format!("{name}: its answer"), first);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_refusal_lists_its_codes_under_the_status_they_have() {
    let document = perf_agent::api::document();
    let page = include_str!("../../../docs/errors.md");
    let known: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut wrong = Vec::new();
    for (name, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            // What refuses a message of MCP is a library, in words alone.
            let words = response["content"]["text/plain"].is_object();
            // A failure that is told in an answer's own shape has its code in there.
            let media = response["content"].as_object().into_iter().flatten();
            let mut forms = media.filter_map(|(_, media)| media["schema"]["$ref"].as_str());
            let told = forms.any(|f| f.ends_with("/ProblemDetails") || f.ends_with("/Detail"));
            let failed = status.starts_with('5') && told;
            if !(status.starts_with('4') || failed) || words {
                continue;
            }
            let codes = response["x-codes"].as_array().cloned().unwrap_or_default();
            if codes.is_empty() {
                wrong.push(format!("{name}: {status} lists no codes"));
            }
            // The seed has words of its own.
            let own = name.contains(" /api/v1/");
            let codes = codes.iter().map(|code| code.as_str().unwrap());
            let unknown = codes.filter(|code| !own && !known.contains(code));
            wrong.extend(
                unknown.map(|code| format!("{name}: {status}: docs/errors.md lacks {code}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_deployment_of_which_nothing_is_seen_is_answered_as_the_document_says() {
    let served = Served::start().await;
    let (status, seen) = served.get("/metrics/deployments?window_s=0").await;
    assert_eq!((status, &seen[0]["error"]["code"]), (200, &json!("tools.invalid_arguments")));
    let document = perf_agent::api::document();
    let answers = &document["paths"]["/metrics/deployments"]["get"]["responses"];
    let schema = &answers["200"]["content"]["application/json"]["schema"];
    assert_eq!(misfits(&document, schema, &seen), Vec::<String>::new());
}
