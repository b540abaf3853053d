//! YAML as a tree that remembers where everything stood.
//!
//! The tree is loose on purpose: a file that fits no type can still be read to its end, so all of its faults are
//! found in one pass. The parser works on a budget, so a small file cannot expand into a large one.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, Options};
use serde_saphyr::{Budget, Location, Spanned};

use super::finding::Findings;

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct At {
    /// Line, from 1.
    pub(super) line: u64,
    /// Column in characters, from 1.
    pub(super) column: u64,
    /// Where it starts [bytes], where known.
    offset: Option<usize>,
}

impl At {
    pub(super) const START: At = At { line: 1, column: 1, offset: Some(0) };

    fn of(location: Location) -> Self {
        Self {
            line: location.line().max(1),
            column: location.column().max(1),
            offset: location.span().byte_offset().and_then(|offset| usize::try_from(offset).ok()),
        }
    }

    /// The place of `word` inside the scalar that starts here and reads `scalar`; this place when it cannot be told
    /// (escapes, folded lines).
    pub(super) fn inside(self, text: &str, scalar: &str, word: &str) -> Self {
        let Some(offset) = self.offset else { return self };
        let Some(tail) = text.get(offset..) else { return self };
        let skip = tail.len() - tail.trim_start_matches(['"', '\'']).len();
        let Some(within) = tail.get(skip..).filter(|tail| tail.starts_with(scalar)) else {
            return self;
        };
        let Some(found) = find_word(&within[..scalar.len()], word) else { return self };
        let before = &tail[..skip + found];
        let breaks = before.matches('\n').count() as u64;
        let column = match before.rfind('\n') {
            Some(newline) => before[newline + 1..].chars().count() as u64 + 1,
            None => self.column + before.chars().count() as u64,
        };
        Self { line: self.line + breaks, column, offset: Some(offset + skip + found) }
    }
}

/// First byte of `word` in `text` where it stands alone; as an attribute of something else if nowhere as itself.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let before = |start: usize| text[..start].chars().next_back();
    let alone = |start: &usize| {
        let after = text[start + word.len()..].chars().next();
        !before(*start).is_some_and(in_word) && !after.is_some_and(in_word)
    };
    let places = || text.match_indices(word).map(|(start, _)| start).filter(alone);
    places().find(|start| before(*start) != Some('.')).or_else(|| places().next())
}

/// A value and where it stood.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) at: At,
    pub(super) data: Data,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) value: Tree,
}

/// Reads one YAML document; `None` when it is no YAML at all or breaks the budget (one finding says so).
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Tree> {
    match serde_saphyr::from_str_with_options::<Spanned<Data>>(text, options()) {
        Ok(root) => {
            let mut tree = Tree::from(root);
            drop_duplicates(&mut tree, findings);
            Some(tree)
        }
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map_or(At::START, At::of);
            let at =
                if at.offset.is_some_and(|offset| offset > text.len()) { At::START } else { at };
            let (code, hint) = if is_budget(error) {
                (
                    "PA003",
                    "write it out in plain; a graph file needs few anchors and little nesting",
                )
            } else {
                ("PA001", "mend the YAML here; nothing after this place was read")
            };
            let message = error.render_with_formatter(&serde_saphyr::DefaultMessageFormatter);
            findings.add(code, at, first_line(&message), hint);
            None
        }
    }
}

/// Room for some ten thousand nodes, and for no bomb.
fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        budget: budget(),
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
    }
}

fn budget() -> Option<Budget> {
    serde_saphyr::budget! {
        max_depth: 32,
        max_documents: 1,
        max_aliases: 1_000,
        max_anchors: 1_000,
        max_nodes: 1_000_000,
        max_events: 2_000_000,
        max_total_scalar_bytes: 16 * 1024 * 1024,
    }
}

fn is_budget(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error as E;
    match error {
        E::Budget { .. }
        | E::AliasReplayLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. } => true,
        E::AliasError { error, .. } => is_budget(error),
        _ => false,
    }
}

/// The message without the places in it: a finding has its own.
fn first_line(message: &str) -> &str {
    let line = message.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("not readable as YAML").trim();
    line.split(" at line ").next().unwrap_or(line)
}

/// Reports keys given twice and keeps the first of each.
fn drop_duplicates(tree: &mut Tree, findings: &mut Findings) {
    match &mut tree.data {
        Data::List(items) => items.iter_mut().for_each(|item| drop_duplicates(item, findings)),
        Data::Map(entries) => {
            let mut seen = HashSet::new();
            entries.retain(|entry| {
                let fresh = seen.insert(entry.key.clone());
                if !fresh {
                    let message = format!("key `{}` is given twice", entry.key);
                    findings.add("PA002", entry.at, message, "keep one of the two");
                }
                fresh
            });
            entries.iter_mut().for_each(|entry| drop_duplicates(&mut entry.value, findings));
        }
        _ => {}
    }
}

impl Tree {
    /// The same as JSON.
    pub(super) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => items.iter().map(Tree::to_json).collect(),
            Data::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
        }
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

impl From<Spanned<Data>> for Tree {
    fn from(spanned: Spanned<Data>) -> Self {
        Self { at: At::of(spanned.referenced), data: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        Data::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(Data::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Data, E> {
        Ok(serde_json::Number::from_f64(value)
            .map_or_else(|| Data::Text(value.to_string()), Data::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Data, E> {
        Ok(Data::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Data, E> {
        Ok(Data::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Data>>()? {
            items.push(Tree::from(item));
        }
        Ok(Data::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Data>>()? {
            let at = At::of(key.referenced);
            entries.push(Entry { key: key.value, at, value: value.into() });
        }
        Ok(Data::Map(entries))
    }
}
