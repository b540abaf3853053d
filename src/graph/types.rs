//! Type expressions of graph files → JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{shortened, wrong_kind};
use super::finding::{Findings, suggest};
use super::yaml::{Data, Entry, Tree};

/// The types every graph knows without a vocabulary.
pub(super) const BUILTIN: [&str; 5] = ["string", "integer", "number", "boolean", "object"];

/// Keys of a type written out.
pub(super) const TYPE_KEYS: [&str; 5] = ["type", "array", "enum", "nullable", "optional"];

/// Keywords of JSON Schema 2020-12 an inline schema may use.
const SCHEMA_KEYWORDS: [&str; 45] = [
    "$comment",
    "$defs",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "default",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedProperties",
    "uniqueItems",
];

/// A type as read.
pub(super) struct Type {
    /// JSON Schema; `null` admitted where nullable.
    pub(super) schema: Value,
    /// The name of the type, where it has one.
    pub(super) name: Option<String>,
    /// The caller may leave it out.
    pub(super) optional: bool,
    /// It may be `null`.
    pub(super) nullable: bool,
}

impl Type {
    /// Stands in for a type that could not be read: nothing more is found wrong on its account.
    pub(super) fn unknown() -> Self {
        Self::plain(Value::Bool(true))
    }

    fn plain(schema: Value) -> Self {
        Self { schema, name: None, optional: false, nullable: false }
    }
}

/// Reads a type; keys named in `beside` belong to the reader of the mapping around it.
pub(super) fn read(
    tree: &Tree,
    beside: &[&str],
    known: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Type> {
    match &tree.data {
        Data::Text(name) => named(name, tree, known, findings),
        Data::Map(entries) => {
            let own: Vec<&Entry> =
                entries.iter().filter(|entry| !beside.contains(&entry.key.as_str())).collect();
            written_out(tree, &own, beside, known, findings)
        }
        _ => wrong_kind(tree, "type", "the name of a type, or a type written out", findings),
    }
}

fn named(
    name: &str,
    tree: &Tree,
    known: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Type> {
    if BUILTIN.contains(&name) {
        return Some(Type::plain(json!({ "type": name })));
    }
    if let Some(schema) = known.get(name) {
        let plain = Type::plain(schema.clone());
        return Some(Type { name: Some(name.to_owned()), ..plain });
    }
    let hint = suggest(name, BUILTIN.into_iter().chain(known.keys().map(String::as_str)));
    findings.add("PA012", tree.at, format!("unknown type `{}`", shortened(name)), hint);
    None
}

fn written_out(
    tree: &Tree,
    entries: &[&Entry],
    beside: &[&str],
    known: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Type> {
    let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let flag = |key: &str, findings: &mut Findings| match get(key).map(|tree| (&tree.data, tree)) {
        None => false,
        Some((Data::Bool(flag), _)) => *flag,
        Some((_, tree)) => wrong_kind(tree, key, "true or false", findings).unwrap_or(false),
    };
    let (nullable, optional) = (flag("nullable", findings), flag("optional", findings));
    let is_schema = entries.iter().any(|entry| !TYPE_KEYS.contains(&entry.key.as_str()));
    let typed_enum = get("type").is_some() && get("enum").is_some();
    let inner = if is_schema && !is_slip(entries) || typed_enum {
        inline_schema(tree, entries, findings)?
    } else {
        report_unknown_keys(entries, beside, findings);
        if is_schema && !["type", "array", "enum"].iter().any(|key| get(key).is_some()) {
            // The slip was in the one key that says what the type is; one finding is enough.
            return None;
        }
        wrapped(tree, get, known, findings)?
    };
    let schema = if nullable { or_null(inner.schema) } else { inner.schema };
    Some(Type {
        schema,
        name: inner.name,
        optional: optional || inner.optional,
        nullable: nullable || inner.nullable,
    })
}

/// A mapping whose strange keys are no keywords of JSON Schema either is a type with a slip in it.
fn is_slip(entries: &[&Entry]) -> bool {
    !entries.iter().any(|entry| {
        SCHEMA_KEYWORDS.contains(&entry.key.as_str()) && !TYPE_KEYS.contains(&entry.key.as_str())
    })
}

fn report_unknown_keys(entries: &[&Entry], beside: &[&str], findings: &mut Findings) {
    for entry in entries.iter().filter(|entry| !TYPE_KEYS.contains(&entry.key.as_str())) {
        let known = TYPE_KEYS.iter().chain(beside).copied();
        let hint = suggest(&entry.key, known.chain(SCHEMA_KEYWORDS));
        findings.add("PA004", entry.at, format!("unknown key `{}` in a type", entry.key), hint);
    }
}

/// `{type: T}`, `{array: T}` or `{enum: [...]}`.
fn wrapped<'t>(
    tree: &Tree,
    get: impl Fn(&str) -> Option<&'t Tree>,
    known: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Type> {
    match (get("type"), get("array"), get("enum")) {
        (Some(inner), None, None) => read(inner, &[], known, findings),
        (None, Some(element), None) => {
            let element = read(element, &[], known, findings)?;
            let plain = Type::plain(array_of(element.schema));
            Some(Type { name: element.name.map(|name| format!("{name} list")), ..plain })
        }
        (None, None, Some(values)) => match &values.data {
            Data::List(items) if !items.is_empty() => {
                Some(Type::plain(json!({ "enum": values.to_json() })))
            }
            _ => wrong_kind(values, "enum", "a list of at least one value", findings),
        },
        (None, None, None) => {
            findings.add(
                "PA005",
                tree.at,
                "a type lacks the key `type`",
                "add `type:`, `array:` or `enum:`",
            );
            None
        }
        _ => {
            let message = "a type has one of `type`, `array` and `enum`";
            findings.add("PA006", tree.at, message, "nest them: `{ type: { array: T } }`");
            None
        }
    }
}

fn inline_schema(tree: &Tree, entries: &[&Entry], findings: &mut Findings) -> Option<Type> {
    let mut sound = true;
    for entry in entries {
        let own = ["nullable", "optional"].contains(&entry.key.as_str());
        if !own && !SCHEMA_KEYWORDS.contains(&entry.key.as_str()) {
            let hint = suggest(&entry.key, SCHEMA_KEYWORDS);
            let message = format!("unknown key `{}` in an inline JSON Schema", entry.key);
            findings.add("PA004", entry.at, message, hint);
            sound = false;
        }
    }
    let schema: Map<String, Value> = entries
        .iter()
        .filter(|entry| !["nullable", "optional"].contains(&entry.key.as_str()))
        .map(|entry| (entry.key.clone(), entry.value.to_json()))
        .collect();
    let schema = Value::Object(schema);
    if sound && let Err(error) = jsonschema::validator_for(&schema) {
        let message = format!("not a valid JSON Schema: see `{}` in it", error.instance_path());
        findings.add("PA035", tree.at, message, "see json-schema.org, draft 2020-12");
        return None;
    }
    Some(Type::plain(schema))
}

/// The schema of a list of these.
pub(super) fn array_of(element: Value) -> Value {
    let (element, definitions) = hoist(element);
    with_definitions(json!({ "type": "array", "items": element }), definitions)
}

/// The schema that admits `null` besides.
fn or_null(schema: Value) -> Value {
    let (schema, definitions) = hoist(schema);
    with_definitions(json!({ "anyOf": [schema, { "type": "null" }] }), definitions)
}

/// Takes the definitions out of a schema that moves inside another: references start at the root.
fn hoist(mut schema: Value) -> (Value, Option<Value>) {
    let definitions = schema.as_object_mut().and_then(|object| {
        object.shift_remove("$schema");
        object.shift_remove("$defs")
    });
    (schema, definitions)
}

fn with_definitions(mut schema: Value, definitions: Option<Value>) -> Value {
    if let (Some(object), Some(definitions)) = (schema.as_object_mut(), definitions) {
        object.insert("$defs".to_owned(), definitions);
    }
    schema
}
