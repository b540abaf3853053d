//! A JSON Schema in the dialect of `strict: true`: every property required, nothing else allowed, `$ref`s into `$defs`.

use serde_json::{Map, Value, json};

/// Keywords that strict decoders do not know. Limits among them are told to the model in words instead.
const DROPPED: &[&str] = &["$schema", "$id", "title", "default", "examples", "format"];
/// Limits, checked by us against the original schema when the answer is there.
const LIMITS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// Rewrites `schema` for strict decoding. The flag is false when it cannot be: it holds a map, an untyped value or
/// a root that is no object. The schema is then sent as it is, as advice, and checked by us like every other.
pub(super) fn strict(schema: &Value) -> (Value, bool) {
    let mut rewrite = Rewrite { possible: true };
    let mut strict = rewrite.node(&with_inline_root(schema));
    if strict.get("type").and_then(Value::as_str) != Some("object") {
        rewrite.possible = false;
    }
    if !rewrite.possible {
        return (schema.clone(), false);
    }
    rename_refs(&mut strict);
    (strict, true)
}

/// A root that is only a `$ref` becomes what it points to: strict roots must be objects.
fn with_inline_root(schema: &Value) -> Value {
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| schema.pointer(pointer));
    let (Some(Value::Object(target)), Value::Object(root)) = (target, schema) else {
        return schema.clone();
    };
    let mut inlined = target.clone();
    for name in ["$defs", "definitions"] {
        if let Some(defs) = root.get(name) {
            inlined.insert(name.to_owned(), defs.clone());
        }
    }
    Value::Object(inlined)
}

struct Rewrite {
    possible: bool,
}

impl Rewrite {
    fn node(&mut self, node: &Value) -> Value {
        let Value::Object(node) = node else {
            // `true` allows anything, which no strict decoder can be asked for.
            self.possible = false;
            return node.clone();
        };
        // Words beside a `$ref` are refused.
        if let Some(reference) = node.get("$ref") {
            return json!({ "$ref": reference });
        }
        if let Some(Value::Array(all)) = node.get("allOf") {
            return self.only_one_of_all(node, all);
        }
        let mut out = Map::new();
        for (key, value) in node {
            self.keyword(&mut out, key, value);
        }
        if out.get("type").is_some_and(allows_object) {
            self.close(&mut out, node);
        }
        let typed = ["type", "enum", "anyOf"].iter().any(|key| out.contains_key(*key));
        self.possible &= typed;
        tell_limits(&mut out, node);
        Value::Object(out)
    }

    fn keyword(&mut self, out: &mut Map<String, Value>, key: &str, value: &Value) {
        match (key, value) {
            ("properties" | "$defs" | "definitions", Value::Object(members)) => {
                let members = members.iter().map(|(name, node)| (name.clone(), self.node(node)));
                let key = if key == "definitions" { "$defs" } else { key };
                out.insert(key.to_owned(), Value::Object(members.collect()));
            }
            ("items", node) => {
                out.insert(key.to_owned(), self.node(node));
            }
            ("oneOf" | "anyOf", Value::Array(nodes)) => {
                let nodes = nodes.iter().map(|node| self.node(node)).collect();
                out.insert("anyOf".to_owned(), Value::Array(nodes));
            }
            ("const", value) => {
                out.insert("enum".to_owned(), json!([value]));
            }
            ("prefixItems" | "patternProperties" | "not" | "if", _) => self.possible = false,
            ("required" | "additionalProperties", _) => {}
            (key, _) if DROPPED.contains(&key) || LIMITS.contains(&key) => {}
            (key, value) => {
                out.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// Every property required, nothing beside them.
    fn close(&mut self, out: &mut Map<String, Value>, node: &Map<String, Value>) {
        let names: Vec<Value> = match out.get("properties") {
            Some(Value::Object(members)) => members.keys().cloned().map(Value::String).collect(),
            _ => Vec::new(),
        };
        // An object open to any name is a map: closing it would forbid every answer.
        let open = !matches!(node.get("additionalProperties"), None | Some(Value::Bool(false)));
        self.possible &= !open && !names.is_empty();
        out.insert("required".to_owned(), Value::Array(names));
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }

    /// schemars wraps a described `$ref` in `allOf` of one; more than one cannot be merged safely.
    fn only_one_of_all(&mut self, node: &Map<String, Value>, all: &[Value]) -> Value {
        let [only] = all else {
            self.possible = false;
            return Value::Object(node.clone());
        };
        self.node(only)
    }
}

fn allows_object(kind: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    }
}

/// Appends the dropped limits to the description: `Weight. (minimum 0, maximum 1)`.
fn tell_limits(out: &mut Map<String, Value>, node: &Map<String, Value>) {
    let limits: Vec<String> = LIMITS
        .iter()
        .filter_map(|limit| node.get(*limit).map(|value| format!("{limit} {value}")))
        .collect();
    if limits.is_empty() {
        return;
    }
    let limits = format!("({})", limits.join(", "));
    let words = match node.get("description").and_then(Value::as_str) {
        Some(words) => format!("{words} {limits}"),
        None => limits,
    };
    out.insert("description".to_owned(), Value::String(words));
}

fn rename_refs(node: &mut Value) {
    match node {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                *reference = reference.replacen("#/definitions/", "#/$defs/", 1);
            }
            members.values_mut().for_each(rename_refs);
        }
        Value::Array(nodes) => nodes.iter_mut().for_each(rename_refs),
        _ => {}
    }
}

/// Checks `value` against `schema`; the error names the places that do not fit, for the model to read.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| format!("the schema itself is invalid: {error}"))?;
    let faults: Vec<String> = validator
        .iter_errors(value)
        .take(3)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "/".to_owned() } else { place };
            let words: String = error.to_string().chars().take(200).collect();
            format!("at `{place}`: {words}")
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code, reason = "only its schema is read")]
    struct Verdict {
        /// How sure.
        #[schemars(range(min = 0.0, max = 1.0))]
        confidence: f64,
        cause: Cause,
        note: Option<String>,
        steps: Vec<Step>,
    }

    #[derive(schemars::JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its schema is read")]
    enum Cause {
        /// Too few blocks.
        KvCache,
        /// Too many at once.
        Queue,
    }

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code, reason = "only its schema is read")]
    struct Step {
        #[schemars(default)]
        percent: u32,
        next: Option<Box<Step>>,
    }

    fn schema() -> Value {
        schemars::schema_for!(Verdict).to_value()
    }

    /// Every object closed, every property required, no unknown keyword, every `$ref` resolvable.
    fn assert_strict(node: &Value, root: &Value) {
        if let Value::Object(members) = node {
            if let Some(Value::Object(properties)) = members.get("properties") {
                let required: Vec<_> = members["required"].as_array().unwrap().iter().collect();
                assert_eq!(required.len(), properties.len(), "{node}");
                assert_eq!(members["additionalProperties"], false);
            }
            if let Some(Value::String(reference)) = members.get("$ref") {
                assert!(reference.starts_with("#/$defs/"));
                assert!(root.pointer(&reference[1..]).is_some(), "{reference}");
                assert_eq!(members.len(), 1);
            }
            assert!(!members.contains_key("format") && !members.contains_key("oneOf"), "{node}");
        }
        match node {
            Value::Object(members) => members.values().for_each(|node| assert_strict(node, root)),
            Value::Array(nodes) => nodes.iter().for_each(|node| assert_strict(node, root)),
            _ => {}
        }
    }

    #[test]
    fn a_derived_schema_becomes_strict_and_keeps_its_refs() {
        let (strict, possible) = strict(&schema());
        assert!(possible);
        assert_strict(&strict, &strict);
        let words = strict["properties"]["confidence"]["description"].as_str().unwrap();
        assert_eq!(words, "How sure. (minimum 0.0, maximum 1.0)");
        assert_eq!(strict["properties"]["note"]["type"], json!(["string", "null"]));
        assert!(strict["$defs"]["Step"].is_object());
    }

    #[test]
    fn what_fits_the_strict_schema_fits_the_original() {
        let answer = json!({"confidence": 0.5, "cause": "queue", "note": null,
            "steps": [{"percent": 5, "next": null}]});
        let (strict, _) = strict(&schema());
        assert_eq!(check(&strict, &answer), Ok(()));
        assert_eq!(check(&schema(), &answer), Ok(()));
    }

    #[test]
    fn limits_are_still_checked_by_the_original() {
        let answer = json!({"confidence": 7, "cause": "queue", "note": null, "steps": []});
        let fault = check(&schema(), &answer).unwrap_err();
        assert!(fault.starts_with("at `/confidence`"), "{fault}");
    }

    #[test]
    fn maps_untyped_values_and_bare_roots_are_sent_as_advice() {
        for schema in [
            json!({"type": "object", "properties": {"m": {"type": "object",
                "additionalProperties": {"type": "number"}}}}),
            json!({"type": "object", "properties": {"any": true}}),
            json!({"type": "object", "properties": {"any": {}}}),
            json!({"type": "array", "items": {"type": "string"}}),
        ] {
            assert_eq!(strict(&schema), (schema.clone(), false));
        }
    }

    #[test]
    fn old_definitions_move_under_defs() {
        let (strict, possible) = strict(&json!({"$ref": "#/definitions/A", "definitions": {
            "A": {"type": "object", "properties": {"b": {"allOf": [{"$ref": "#/definitions/B"}]}}},
            "B": {"type": "object", "properties": {"c": {"const": "x"}}},
        }}));
        assert!(possible);
        assert_strict(&strict, &strict);
        assert_eq!(strict["properties"]["b"]["$ref"], "#/$defs/B");
    }
}
