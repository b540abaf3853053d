//! The state of a graph: `input`, `context`, `state` and `output`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Fields, Word, mapping, shortened};
use super::finding::{Findings, suggest};
use super::shape::{Kinds, Shape};
use super::types::{self, Type};
use super::words::FUNCTIONS;
use super::yaml::{At, Data, Entry, Tree};
use super::{Channel, Lifetime, Reducer};

/// Keys of a channel beside those of its type.
pub(super) const CHANNEL_KEYS: [&str; 3] = ["reducer", "lifetime", "default"];

pub(super) const REDUCERS: [(&str, Reducer); 8] = [
    ("replace", Reducer::Replace),
    ("append", Reducer::Append),
    ("merge", Reducer::Merge),
    ("union", Reducer::Union),
    ("sum", Reducer::Sum),
    ("min", Reducer::Min),
    ("max", Reducer::Max),
    ("messages", Reducer::Messages),
];

pub(super) const LIFETIMES: [(&str, Lifetime); 3] =
    [("thread", Lifetime::Thread), ("run", Lifetime::Run), ("step", Lifetime::Step)];

/// Names that expressions keep for themselves.
const RESERVED: [&str; 18] = [
    "context", "visits", "limits", "error", "loop", "true", "false", "none", "True", "False",
    "None", "and", "or", "not", "in", "is", "if", "else",
];

/// The state as read.
#[derive(Default)]
pub(super) struct Channels<'t> {
    pub(super) all: BTreeMap<String, Channel>,
    /// Where each was declared.
    pub(super) at: BTreeMap<&'t str, At>,
    pub(super) input: BTreeMap<String, bool>,
    pub(super) context: BTreeMap<String, Value>,
    pub(super) output: Vec<Word<'t>>,
    /// Channels that start with a value the author gave.
    pub(super) given: Vec<&'t str>,
}

pub(super) fn read<'t>(
    graph: &Fields<'t>,
    known: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Channels<'t> {
    let mut channels = Channels::default();
    for entry in section(graph, "input", findings) {
        let kind = types::read(&entry.value, &[], known, findings).unwrap_or_else(Type::unknown);
        channels.input.insert(entry.key.clone(), !kind.optional);
        let channel = Channel {
            schema: kind.schema,
            reducer: Reducer::Replace,
            lifetime: Lifetime::Run,
            default: None,
        };
        channels.declare(entry, channel, findings);
    }
    for entry in section(graph, "state", findings) {
        let channel = state_channel(entry, known, &mut channels.given, findings);
        channels.declare(entry, channel, findings);
    }
    for entry in section(graph, "context", findings) {
        let kind = types::read(&entry.value, &[], known, findings).unwrap_or_else(Type::unknown);
        channels.context.insert(entry.key.clone(), kind.schema);
    }
    channels.output = graph.words("output", findings).unwrap_or_default();
    for (name, at) in &channels.output {
        if !channels.all.contains_key(*name) {
            let hint = suggest(name, channels.all.keys().map(String::as_str));
            findings.add("PA030", *at, format!("output `{name}` is no channel"), hint);
        }
    }
    channels
}

/// The entries of a section that may be absent, those with impossible names apart.
fn section<'t>(graph: &Fields<'t>, key: &str, findings: &mut Findings) -> Vec<&'t Entry> {
    let entries = graph.get(key).and_then(|tree| mapping(tree, key, findings));
    let entries = entries.unwrap_or_default().iter();
    entries.filter(|entry| is_name(&entry.key, entry.at, key, findings)).collect()
}

/// Reports a name that expressions could not use.
pub(super) fn is_name(name: &str, at: At, what: &str, findings: &mut Findings) -> bool {
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let reserved = RESERVED.contains(&name) || FUNCTIONS.contains(&name);
    if !word {
        let message = format!("`{}` cannot be a name in {what}", shortened(name));
        findings.add("PA008", at, message, "a name is a letter, then letters, digits and `_`");
    } else if reserved {
        let message = format!("`{name}` cannot be a name in {what}: expressions use it themselves");
        findings.add("PA008", at, message, "choose another name");
    }
    word && !reserved
}

impl<'t> Channels<'t> {
    fn declare(&mut self, entry: &'t Entry, channel: Channel, findings: &mut Findings) {
        if let Some(first) = self.at.get(entry.key.as_str()) {
            let message =
                format!("channel `{}` was declared before, on line {}", entry.key, first.line);
            findings.add(
                "PA008",
                entry.at,
                message,
                "inputs are channels too; keep one of the two",
            );
            return;
        }
        self.at.insert(&entry.key, entry.at);
        self.all.insert(entry.key.clone(), channel);
    }
}

fn state_channel<'t>(
    entry: &'t Entry,
    known: &BTreeMap<String, Value>,
    given: &mut Vec<&'t str>,
    findings: &mut Findings,
) -> Channel {
    let kind = types::read(&entry.value, &CHANNEL_KEYS, known, findings);
    let kind = kind.unwrap_or_else(Type::unknown);
    let Data::Map(entries) = &entry.value.data else {
        return initial(kind, Reducer::Replace, Lifetime::Thread);
    };
    let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let (mut reducer, mut sound) = (Reducer::Replace, true);
    if let Some(tree) = get("reducer") {
        let read = one_of(tree, "reducer", "PA014", &REDUCERS, findings);
        sound = read.is_some();
        // Whatever it was meant to be, it was not `replace`: that needs no writing.
        reducer = read.unwrap_or(Reducer::Append);
    }
    let lifetime = get("lifetime")
        .and_then(|tree| one_of(tree, "lifetime", "PA015", &LIFETIMES, findings))
        .unwrap_or(Lifetime::Thread);
    if sound {
        reducer_fits(get("reducer").unwrap_or(&entry.value), &kind.schema, reducer, findings);
    }
    let default = get("default");
    let mut channel = initial(kind, reducer, lifetime);
    if let Some(tree) = default {
        let value = tree.to_json();
        check_default(tree, &value, &channel.schema, findings);
        channel.default = Some(value);
        given.push(&entry.key);
    }
    channel
}

/// A channel with the value it starts with where nobody gave one: a list to add to is empty at first, and what may be
/// null is null until someone says otherwise.
fn initial(kind: Type, reducer: Reducer, lifetime: Lifetime) -> Channel {
    let default = match reducer {
        Reducer::Append | Reducer::Union | Reducer::Messages => Some(json!([])),
        Reducer::Merge => Some(json!({})),
        _ => kind.nullable.then_some(Value::Null),
    };
    Channel { schema: kind.schema, reducer, lifetime, default }
}

/// The value of that name, or a finding.
pub(super) fn one_of<T: Copy>(
    tree: &Tree,
    what: &str,
    code: &'static str,
    known: &[(&str, T)],
    findings: &mut Findings,
) -> Option<T> {
    let (name, at) = super::fields::text(tree, what, findings)?;
    let found = known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    if found.is_none() {
        let hint = suggest(name, known.iter().map(|(name, _)| *name));
        findings.add(code, at, format!("unknown {what} `{}`", shortened(name)), hint);
    }
    found
}

fn reducer_fits(at: &Tree, schema: &Value, reducer: Reducer, findings: &mut Findings) {
    let needed = match reducer {
        Reducer::Replace => return,
        Reducer::Append | Reducer::Union | Reducer::Messages => Kinds::LIST,
        Reducer::Merge => Kinds::OBJECT,
        Reducer::Sum | Reducer::Min | Reducer::Max => Kinds::NUMBER,
    };
    let kinds = Shape::new(schema).kinds();
    if !kinds.meets(needed) {
        let name =
            REDUCERS.iter().find(|(_, known)| *known == reducer).map_or("", |(name, _)| name);
        let message = format!("reducer `{name}` folds {needed}, but the channel holds {kinds}");
        findings.add("PA033", at.at, message, "change the channel's type or its reducer");
    }
}

fn check_default(tree: &Tree, value: &Value, schema: &Value, findings: &mut Findings) {
    let misfit = match jsonschema::validator_for(schema) {
        Ok(validator) => validator.validate(value).err().map(|error| error.to_string()),
        // An inline schema was checked where it stands; a named one is the vocabulary's.
        Err(_) => None,
    };
    if let Some(misfit) = misfit {
        let message = format!("the default does not fit its type: {}", shortened(&misfit));
        findings.add("PA034", tree.at, message, "");
    }
}
