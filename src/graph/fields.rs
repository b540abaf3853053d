//! Reads mappings key by key: unknown keys, missing keys and values of the wrong kind become findings.

use super::finding::{Findings, suggest};
use super::yaml::{At, Data, Entry, Tree};

/// Keys that readers of the design will try.
const UNBUILT: [&str; 1] = ["mode"];

/// A text and where it stood.
pub(super) type Word<'t> = (&'t str, At);

/// A mapping whose keys are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'t> {
    entries: &'t [Entry],
    /// Where the mapping began.
    pub(super) at: At,
    what: &'static str,
}

impl<'t> Fields<'t> {
    /// The mapping `tree`, which is a `what`, with no keys but `known`.
    pub(super) fn of(
        tree: &'t Tree,
        what: &'static str,
        known: &[&str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let entries = mapping(tree, what, findings)?;
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = if UNBUILT.contains(&entry.key.as_str()) {
                "it is in the plan of the language and not built yet; leave it out".to_owned()
            } else {
                suggest(&entry.key, known.iter().copied())
            };
            let message = format!("unknown key `{}` in {what}", entry.key);
            findings.add("PA004", entry.at, message, hint);
        }
        Some(Self { entries, at: tree.at, what })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'t Tree> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &str, findings: &mut Findings) -> Option<&'t Tree> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("{} lacks the key `{key}`", self.what);
            findings.add("PA005", self.at, message, format!("add `{key}:`"));
        }
        found
    }

    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<Word<'t>> {
        self.get(key).and_then(|tree| text(tree, key, findings))
    }

    pub(super) fn require_text(&self, key: &str, findings: &mut Findings) -> Option<Word<'t>> {
        self.require(key, findings).and_then(|tree| text(tree, key, findings))
    }

    pub(super) fn bool(&self, key: &str, findings: &mut Findings) -> Option<bool> {
        let tree = self.get(key)?;
        match tree.data {
            Data::Bool(flag) => Some(flag),
            _ => wrong_kind(tree, key, "true or false", findings),
        }
    }

    /// A whole number of at least `least`.
    pub(super) fn whole(&self, key: &str, least: u64, findings: &mut Findings) -> Option<u64> {
        let tree = self.get(key)?;
        match &tree.data {
            Data::Number(number) if number.as_u64().is_some_and(|n| n >= least) => number.as_u64(),
            _ => wrong_kind(tree, key, &format!("a whole number, at least {least}"), findings),
        }
    }

    /// A number of at least `least`.
    pub(super) fn number(&self, key: &str, least: f64, findings: &mut Findings) -> Option<f64> {
        let tree = self.get(key)?;
        match &tree.data {
            Data::Number(number) if number.as_f64().is_some_and(|n| n >= least) => number.as_f64(),
            _ => wrong_kind(tree, key, &format!("a number, at least {least}"), findings),
        }
    }

    /// A span of time [ms].
    pub(super) fn duration_ms(&self, key: &str, findings: &mut Findings) -> Option<u64> {
        let tree = self.get(key)?;
        let parsed = match &tree.data {
            Data::Text(text) => parse_duration_ms(text),
            _ => None,
        };
        if parsed.is_none() {
            return wrong_kind(
                tree,
                key,
                "a span of time with its unit, such as 500ms, 5s, 2m, 4h or 1d",
                findings,
            );
        }
        parsed
    }

    /// One text, or a list of texts.
    pub(super) fn words(&self, key: &str, findings: &mut Findings) -> Option<Vec<Word<'t>>> {
        Some(words(self.get(key)?, key, findings))
    }

    /// A list of anything.
    pub(super) fn list(&self, key: &str, findings: &mut Findings) -> Option<&'t [Tree]> {
        let tree = self.get(key)?;
        match &tree.data {
            Data::List(items) => Some(items),
            _ => wrong_kind(tree, key, "a list", findings),
        }
    }
}

/// The entries of a mapping whose keys are names of the author.
pub(super) fn mapping<'t>(
    tree: &'t Tree,
    what: &str,
    findings: &mut Findings,
) -> Option<&'t [Entry]> {
    match &tree.data {
        Data::Map(entries) => Some(entries),
        _ => wrong_kind(tree, what, "a mapping (`key: value`)", findings),
    }
}

pub(super) fn text<'t>(tree: &'t Tree, what: &str, findings: &mut Findings) -> Option<Word<'t>> {
    match &tree.data {
        Data::Text(text) => Some((text, tree.at)),
        _ => wrong_kind(tree, what, "text", findings),
    }
}

/// One text, or a list of texts; whatever is neither becomes a finding.
pub(super) fn words<'t>(tree: &'t Tree, what: &str, findings: &mut Findings) -> Vec<Word<'t>> {
    match &tree.data {
        Data::List(items) => items.iter().filter_map(|item| text(item, what, findings)).collect(),
        Data::Text(text) => vec![(text, tree.at)],
        _ => {
            wrong_kind::<()>(tree, what, "a name or a list of names", findings);
            Vec::new()
        }
    }
}

/// Reports a value of the wrong kind; always `None`.
pub(super) fn wrong_kind<T>(
    tree: &Tree,
    what: &str,
    expected: &str,
    findings: &mut Findings,
) -> Option<T> {
    let found = match &tree.data {
        Data::Text(text) => format!("`{}`", shortened(text)),
        Data::Number(number) => format!("`{number}`"),
        Data::Bool(flag) => format!("`{flag}`"),
        Data::Null | Data::List(_) | Data::Map(_) => tree.kind().to_owned(),
    };
    let what = if what.contains([' ', '`']) { what.to_owned() } else { format!("`{what}`") };
    findings.add("PA006", tree.at, format!("{what} is {found}; expected {expected}"), "");
    None
}

/// A text cut to a length that a message can bear.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN && line.len() == text.trim_end().len() {
        return line.to_owned();
    }
    line.chars().take(SHOWN).chain(['…']).collect()
}

/// `500ms`, `5s`, `1.5m`, `4h`, `1d` in ms; `None` for anything else, and for more than a century.
fn parse_duration_ms(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let ms = (digits.parse::<f64>().ok()? * unit_ms).round();
    const CENTURY_MS: f64 = 100.0 * 366.0 * 86_400e3;
    (0.0..=CENTURY_MS).contains(&ms).then_some(ms as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_needs_its_unit() {
        assert_eq!(parse_duration_ms("500ms"), Some(500));
        assert_eq!(parse_duration_ms("1.5m"), Some(90_000));
        assert_eq!(parse_duration_ms("1d"), Some(86_400_000));
        for wrong in ["5", "s", "-5s", "5 s", "5sec", "1e3s", "999999d", ".s", ""] {
            assert_eq!(parse_duration_ms(wrong), None, "{wrong}");
        }
    }
}
