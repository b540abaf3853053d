//! `migrations`: how a thread of an earlier version of the graph becomes one of this.

use serde_json::Value;

use super::channels::Channels;
use super::fields::{Fields, mapping, text};
use super::finding::{Findings, suggest};
use super::nodes::Nodes;
use super::yaml::Tree;
use super::{Migration, syntax};

pub(super) const MIGRATION_KEYS: [&str; 5] = ["from", "rename", "default", "set", "nodes"];

/// The migrations, by the version they lead away from.
pub(super) fn read(
    graph: &Fields<'_>,
    version: u64,
    channels: &Channels<'_>,
    nodes: &Nodes<'_>,
    findings: &mut Findings,
) -> Vec<Migration> {
    let mut read: Vec<Migration> = Vec::new();
    for item in graph.list("migrations", findings).unwrap_or_default() {
        let Some(migration) = migration(item, version, channels, nodes, findings) else { continue };
        if read.iter().any(|known| known.from == migration.from) {
            let message = format!("there are two migrations from version {}", migration.from);
            findings.add("PA063", item.at, message, "make one of them");
        }
        read.push(migration);
    }
    read.sort_by_key(|migration| migration.from);
    read
}

fn migration(
    item: &Tree,
    version: u64,
    channels: &Channels<'_>,
    nodes: &Nodes<'_>,
    findings: &mut Findings,
) -> Option<Migration> {
    let fields = Fields::of(item, "a migration", &MIGRATION_KEYS, findings)?;
    fields.require("from", findings);
    let from = fields.whole("from", 0, findings);
    if let (Some(from), Some(tree)) = (from, fields.get("from"))
        && from >= version
    {
        let message = format!("a migration from version {from} in version {version} of the graph");
        findings.add("PA063", tree.at, message, "raise the `version` of the graph");
    }
    let mut migration = Migration { from: u32::try_from(from?).ok()?, ..Migration::default() };
    let mut section = |key: &str| {
        fields.get(key).and_then(|tree| mapping(tree, key, findings)).unwrap_or_default()
    };
    let (rename, default, set, moved) =
        (section("rename"), section("default"), section("set"), section("nodes"));
    for entry in rename {
        let Some((to, at)) = text(&entry.value, "rename", findings) else { continue };
        known(to, at, channels, findings);
        if let Some((other, _)) = migration.rename.iter().find(|(_, taken)| *taken == to) {
            let message = format!("`{other}` and `{}` would both become `{to}`", entry.key);
            findings.add("PA063", at, message, "rename one, and put the two together under `set`");
        }
        migration.rename.insert(entry.key.clone(), to.to_owned());
    }
    for entry in default {
        known(&entry.key, entry.at, channels, findings);
        let value = entry.value.to_json();
        let schema = channels.all.get(&entry.key).map(|channel| &channel.schema);
        let misfit = schema
            .and_then(|schema| jsonschema::validator_for(schema).ok())
            .and_then(|schema| schema.validate(&value).err().map(|error| error.to_string()));
        if let Some(why) = misfit {
            let message = format!("the default of `{}` does not fit: {why}", entry.key);
            findings.add("PA034", entry.value.at, message, "");
        }
        migration.default.insert(entry.key.clone(), value);
    }
    for entry in set {
        known(&entry.key, entry.at, channels, findings);
        let value = entry.value.to_json();
        if let Err(why) = parses(&value) {
            findings.add("PA018", entry.value.at, format!("not a template: {why}"), "");
        }
        migration.set.insert(entry.key.clone(), value);
    }
    for entry in moved {
        let Some(word) = text(&entry.value, "nodes", findings) else { continue };
        nodes.resolve(word, findings);
        migration.nodes.insert(entry.key.clone(), word.0.to_owned());
    }
    Some(migration)
}

fn known(name: &str, at: super::yaml::At, channels: &Channels<'_>, findings: &mut Findings) {
    if !channels.all.contains_key(name) {
        let hint = suggest(name, channels.all.keys().map(String::as_str));
        findings.add("PA031", at, format!("`{name}` is written but not declared"), hint);
    }
}

/// Whether every text in a value is a template. The names in it are those of another version: nobody knows them here.
fn parses(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => syntax::template(text).map(drop),
        Value::Array(items) => items.iter().try_for_each(parses),
        Value::Object(entries) => entries.values().try_for_each(parses),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
