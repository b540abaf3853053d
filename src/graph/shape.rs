//! Questions to a JSON Schema: which kinds of value it admits, what lies under a key, whether one fits another.
//!
//! The answers err on the side of "may be": a schema this file cannot read to the bottom admits anything, so the loader
//! refuses only what is certainly wrong. The runtime validates every value against the whole schema.

use serde_json::{Map, Value};

/// Kinds of JSON value, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Kinds = Kinds(0);
    pub(super) const NULL: Kinds = Kinds(1);
    pub(super) const BOOL: Kinds = Kinds(2);
    pub(super) const NUMBER: Kinds = Kinds(4);
    pub(super) const TEXT: Kinds = Kinds(8);
    pub(super) const LIST: Kinds = Kinds(16);
    pub(super) const OBJECT: Kinds = Kinds(32);
    pub(super) const ANY: Kinds = Kinds(63);
    const EACH: [Kinds; 6] =
        [Self::NULL, Self::BOOL, Self::NUMBER, Self::TEXT, Self::LIST, Self::OBJECT];

    pub(super) fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(super) fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    pub(super) fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn within(self, other: Kinds) -> bool {
        self.0 & !other.0 == 0
    }

    pub(super) fn of(value: &Value) -> Kinds {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::TEXT,
            Value::Array(_) => Self::LIST,
            Value::Object(_) => Self::OBJECT,
        }
    }

    fn named(name: &str) -> Kinds {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOL,
            "number" | "integer" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::LIST,
            "object" => Self::OBJECT,
            _ => Self::ANY,
        }
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            (Self::BOOL, "boolean"),
            (Self::NUMBER, "number"),
            (Self::TEXT, "string"),
            (Self::LIST, "list"),
            (Self::OBJECT, "object"),
            (Self::NULL, "null"),
        ];
        if *self == Self::ANY {
            return f.write_str("anything");
        }
        let names: Vec<&str> =
            all.iter().filter(|(kind, _)| self.meets(*kind)).map(|(_, name)| *name).collect();
        f.write_str(&names.join(" or "))
    }
}

/// How deep references and unions are followed.
const DEPTH: usize = 12;

/// A schema and the document its references point into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    root: &'a Value,
    here: &'a Value,
    /// The kinds asked about, where the schema admits several: each is an alternative of its own.
    mask: Kinds,
}

/// What lies under a key.
pub(super) enum Member<'a> {
    /// These schemas, one per alternative.
    Known(Vec<Shape<'a>>),
    /// Nobody knows.
    Open,
    /// Certainly no such key; here are those there are.
    Missing(Vec<&'a str>),
}

impl<'a> Shape<'a> {
    pub(super) fn new(schema: &'a Value) -> Self {
        Self { root: schema, here: schema, mask: Kinds::ANY }
    }

    fn at(self, here: &'a Value) -> Self {
        Self { root: self.root, here, mask: Kinds::ANY }
    }

    fn object(self) -> Option<&'a Map<String, Value>> {
        self.here.as_object()
    }

    /// The alternatives this schema is made of, references resolved.
    pub(super) fn variants(self) -> Vec<Shape<'a>> {
        let mut found = Vec::new();
        self.collect_variants(DEPTH, &mut found);
        found
    }

    fn collect_variants(self, depth: usize, found: &mut Vec<Shape<'a>>) {
        let Some(object) = self.object().filter(|_| depth > 0) else {
            found.push(self);
            return;
        };
        if let Some(target) = object.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            match target {
                Some(target) => self.at(target).collect_variants(depth - 1, found),
                None => found.push(self.at(&Value::Bool(true))),
            }
            return;
        }
        let union = ["anyOf", "oneOf"].iter().find_map(|key| object.get(*key)?.as_array());
        match union {
            Some(parts) => {
                parts.iter().for_each(|part| self.at(part).collect_variants(depth - 1, found));
            }
            None => self.collect_kinds(found),
        }
    }

    /// One alternative per kind: `type: [string, null]` is a string or null.
    fn collect_kinds(self, found: &mut Vec<Shape<'a>>) {
        let kinds = self.own_kinds();
        if kinds == Kinds::ANY || kinds == Kinds::NONE {
            found.push(self);
            return;
        }
        let each = Kinds::EACH.iter().filter(|kind| kinds.meets(**kind));
        found.extend(each.map(|mask| Shape { mask: *mask, ..self }));
    }

    /// The kinds of value it admits.
    pub(super) fn kinds(self) -> Kinds {
        self.variants().iter().fold(Kinds::NONE, |kinds, shape| kinds.or(shape.own_kinds()))
    }

    fn own_kinds(self) -> Kinds {
        self.written_kinds().and(self.mask)
    }

    fn written_kinds(self) -> Kinds {
        let Some(object) = self.object() else { return Kinds::ANY };
        if let Some(value) = object.get("const") {
            return Kinds::of(value);
        }
        if let Some(values) = object.get("enum").and_then(Value::as_array) {
            return values.iter().fold(Kinds::NONE, |kinds, value| kinds.or(Kinds::of(value)));
        }
        match object.get("type") {
            Some(Value::String(name)) => Kinds::named(name),
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .fold(Kinds::NONE, |kinds, name| kinds.or(Kinds::named(name))),
            _ if object.contains_key("properties") => Kinds::OBJECT,
            _ => Kinds::ANY,
        }
    }

    fn is_null(self) -> bool {
        self.own_kinds() == Kinds::NULL
    }

    /// The values it admits, where it lists them all (`null` apart).
    pub(super) fn values(self) -> Option<Vec<&'a Value>> {
        let mut all = Vec::new();
        for shape in self.variants().into_iter().filter(|shape| !shape.is_null()) {
            let object = shape.object()?;
            match (object.get("const"), object.get("enum").and_then(Value::as_array)) {
                (Some(value), _) => all.push(value),
                (None, Some(values)) => {
                    all.extend(values.iter().filter(|value| Kinds::of(value).within(shape.mask)));
                }
                (None, None) => return None,
            }
        }
        Some(all)
    }

    /// What lies under `key`.
    pub(super) fn member(self, key: &str) -> Member<'a> {
        let (mut found, mut names) = (Vec::new(), Vec::new());
        let objects = |shape: &Shape<'_>| shape.own_kinds().meets(Kinds::OBJECT);
        for shape in self.variants().into_iter().filter(objects) {
            let Some(properties) = shape.closed_properties() else { return Member::Open };
            match properties.get(key) {
                Some(schema) => found.push(shape.at(schema)),
                None => names.extend(properties.keys().map(String::as_str)),
            }
        }
        if found.is_empty() { Member::Missing(names) } else { Member::Known(found) }
    }

    /// Its properties, where there can be no others. A schema that lists properties and says nothing about more is
    /// taken as complete: that is what the schema of a Rust struct looks like.
    fn closed_properties(self) -> Option<&'a Map<String, Value>> {
        let object = self.object()?;
        let open = ["patternProperties", "allOf", "if", "dependentSchemas", "propertyNames"];
        let more = object.get("additionalProperties");
        if more.is_some_and(|more| more != &Value::Bool(false))
            || open.iter().any(|key| object.contains_key(*key))
        {
            return None;
        }
        match object.get("properties").and_then(Value::as_object) {
            Some(properties) => Some(properties),
            None if more.is_some() => Some(empty()),
            None => None,
        }
    }

    /// Keys an object must have.
    fn required(self) -> impl Iterator<Item = &'a str> {
        let list = self.object().and_then(|object| object.get("required")?.as_array());
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Names of the arguments: (all of them where closed, the required ones).
    pub(super) fn arguments(self) -> (Option<Vec<&'a str>>, Vec<&'a str>) {
        let variants = self.variants();
        let objects = variants.iter().filter(|shape| shape.own_kinds().meets(Kinds::OBJECT));
        let [only] = objects.collect::<Vec<_>>()[..] else { return (None, Vec::new()) };
        let all = only.closed_properties().map(|all| all.keys().map(String::as_str).collect());
        (all, only.required().collect())
    }

    /// The schemas of a list's elements; empty: unknown.
    pub(super) fn elements(self) -> Vec<Shape<'a>> {
        let items = |shape: Shape<'a>| Some(shape.at(shape.object()?.get("items")?));
        let lists =
            self.variants().into_iter().filter(|shape| shape.own_kinds().meets(Kinds::LIST));
        lists.map(items).collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// The schema of a list's elements as a document of its own; `None`: unknown.
    pub(super) fn element_schema(self) -> Option<Value> {
        let elements = self.elements();
        let [only] = elements.as_slice() else { return None };
        let mut schema = only.here.clone();
        let definitions = self.root.get("$defs");
        if let (Some(object), Some(definitions)) = (schema.as_object_mut(), definitions) {
            object.insert("$defs".to_owned(), definitions.clone());
        }
        Some(schema)
    }

    /// Why a value of this schema may not do where `want` is expected; `None` when it fits, as far as can be told.
    pub(super) fn misfit(self, want: Shape<'_>) -> Option<String> {
        self.misfit_at(want, "", DEPTH)
    }

    /// Why no value of this schema but `null` does where `want` is expected; `None` when one may.
    pub(super) fn never_fits(self, want: Shape<'_>) -> Option<String> {
        let variants = self.variants().into_iter().filter(|shape| !shape.is_null());
        let reasons: Option<Vec<String>> = variants.map(|shape| shape.misfit(want)).collect();
        reasons.and_then(|reasons| reasons.into_iter().next())
    }

    /// Why this very value does not do here; `None` when it does, as far as can be told. Parts are not looked into.
    pub(super) fn refuses(self, value: &Value) -> Option<String> {
        let kind = Kinds::of(value);
        if !kind.within(self.kinds()) {
            return Some(format!("{kind} where {} is expected", self.kinds()));
        }
        if let Some(values) = self.values()
            && !value.is_null()
            && !values.contains(&value)
        {
            let listed: Vec<String> = values.iter().map(ToString::to_string).collect();
            return Some(format!("{value} is not one of {}", listed.join(", ")));
        }
        let variants = self.variants();
        let numbers = variants.iter().filter(|shape| shape.own_kinds().meets(Kinds::NUMBER));
        let [only] = numbers.collect::<Vec<_>>()[..] else { return None };
        only.refuses_number(value.as_f64()?)
    }

    fn refuses_number(self, number: f64) -> Option<String> {
        let object = self.object()?;
        let whole = match object.get("type") {
            Some(Value::Array(names)) => !names.iter().any(|name| name == "number"),
            Some(name) => name == "integer",
            None => false,
        };
        if whole && number.fract() != 0.0 {
            return Some(format!("{number} where a whole number is expected"));
        }
        let bound = |key: &str| object.get(key).and_then(Value::as_f64);
        let below = bound("minimum").filter(|least| number < *least);
        let above = bound("maximum").filter(|most| number > *most);
        match (below, above) {
            (Some(least), _) => Some(format!("{number} is below the least allowed, {least}")),
            (_, Some(most)) => Some(format!("{number} is above the most allowed, {most}")),
            _ => None,
        }
    }

    fn misfit_at(self, want: Shape<'_>, path: &str, depth: usize) -> Option<String> {
        if depth == 0 || std::ptr::eq(self.here, want.here) {
            return None;
        }
        let wanted = want.variants();
        self.variants().into_iter().find_map(|have| {
            let reasons: Option<Vec<String>> =
                wanted.iter().map(|want| have.variant_misfit(*want, path, depth)).collect();
            // It fits if it fits one alternative; the last reason is as good as any other.
            reasons.and_then(|reasons| reasons.into_iter().next())
        })
    }

    fn variant_misfit(self, want: Shape<'_>, path: &str, depth: usize) -> Option<String> {
        let place = if path.is_empty() { String::new() } else { format!(" at `{path}`") };
        let (have_kinds, want_kinds) = (self.own_kinds(), want.own_kinds());
        let unknown = have_kinds == Kinds::ANY;
        if !unknown && !have_kinds.within(want_kinds) {
            return Some(format!("{have_kinds} where {want_kinds} is expected{place}"));
        }
        if let (Some(have), Some(want)) = (self.values(), want.values()) {
            let stranger = have.into_iter().find(|value| !want.contains(value));
            return stranger
                .map(|value| format!("the value {value} is not among those expected{place}"));
        }
        let want_items = want.object().and_then(|object| object.get("items"));
        if let (Some(items), Some(have)) = (want_items, self.object().and_then(|o| o.get("items")))
        {
            let misfit = self.at(have).misfit_at(want.at(items), &format!("{path}[]"), depth - 1);
            if misfit.is_some() {
                return misfit;
            }
        }
        let have_properties = self.closed_properties()?;
        if let Some(key) = want.required().find(|key| !have_properties.contains_key(*key)) {
            return Some(format!("`{}` is missing", join(path, key)));
        }
        let want_properties = want.object()?.get("properties")?.as_object()?;
        want_properties.iter().find_map(|(key, schema)| {
            let have = self.at(have_properties.get(key)?);
            have.misfit_at(want.at(schema), &join(path, key), depth - 1)
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn empty() -> &'static Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    &EMPTY
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn misfit(have: Value, want: Value) -> Option<String> {
        Shape::new(&have).misfit(Shape::new(&want))
    }

    #[test]
    fn equal_and_wider_schemas_fit() {
        assert_eq!(misfit(json!({"type": "string"}), json!({"type": ["string", "null"]})), None);
        assert_eq!(misfit(json!({"type": "integer"}), json!({"type": "number"})), None);
        assert_eq!(misfit(json!({"enum": ["a"]}), json!({"enum": ["a", "b"]})), None);
        assert_eq!(misfit(json!(true), json!({"type": "string"})), None);
    }

    #[test]
    fn what_may_be_null_does_not_fit_where_null_may_not_be() {
        let nullable = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        let reason = misfit(nullable, json!({"type": "string"}));
        assert_eq!(reason.as_deref(), Some("null where string is expected"));
    }

    #[test]
    fn one_of_several_kinds_fits_the_alternative_it_is_meant_for() {
        let list = json!({"type": ["object", "null"]});
        let union = json!({"anyOf": [{"type": "object"}, {"type": "null"}]});
        assert_eq!(misfit(list.clone(), union.clone()), None);
        assert_eq!(misfit(union, list), None);
        let values = json!({"enum": ["a", null]});
        let nullable = json!({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]});
        assert_eq!(misfit(values.clone(), nullable), None);
        assert!(misfit(json!({"enum": ["c", null]}), values).is_some());
    }

    #[test]
    fn the_reason_names_the_path() {
        let have = json!({"properties": {"a": {"items": {"type": "string"}, "type": "array"}}});
        let want = json!({"properties": {"a": {"items": {"type": "number"}, "type": "array"}}});
        assert_eq!(misfit(have, want).as_deref(), Some("string where number is expected at `a[]`"));
    }

    #[test]
    fn references_are_followed_and_rings_end() {
        let ring = json!({"$defs": {"T": {"type": "object", "properties": {"next": {"$ref": "#/$defs/T"}}}},
            "$ref": "#/$defs/T"});
        assert_eq!(Shape::new(&ring).kinds(), Kinds::OBJECT);
        assert_eq!(misfit(ring.clone(), ring), None);
        let endless = json!({"$defs": {"T": {"$ref": "#/$defs/T"}}, "$ref": "#/$defs/T"});
        assert_eq!(Shape::new(&endless).kinds(), Kinds::ANY);
    }
}
