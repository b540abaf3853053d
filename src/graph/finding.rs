//! A finding: one thing wrong in a graph file, where, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::yaml::At;

/// One thing wrong in a graph file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `PA0xx`, never changed once released; the table is in `docs/graphs.md`.
    pub code: &'static str,
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, message, hint } = self;
        write!(f, "{file}:{line}:{column}: [{code}] {message}")?;
        if hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {hint}") }
    }
}

/// Collects everything wrong with one file.
pub(super) struct Findings {
    file: String,
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        code: &'static str,
        at: At,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.list.push(Finding {
            code,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// The nearest of many names, as [`suggest`] finds it; nothing once there are more findings than anyone reads, for
    /// comparing each of some thousand wrong names with some thousand right ones takes its time.
    pub(super) fn suggest<'a>(
        &self,
        wrong: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> String {
        const READ: usize = 100;
        if self.list.len() < READ { suggest(wrong, known) } else { String::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them in the order of the file, each once.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.list.sort_by(|a, b| {
            (a.line, a.column, a.code, &a.message).cmp(&(b.line, b.column, b.code, &b.message))
        });
        self.list.dedup();
        self.list
    }
}

/// `did you mean …?`, or the list of what there is when nothing is near; empty when there is nothing at all.
pub(super) fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    // Three edits on a long word are a slip, on a short word another word.
    let tolerance = (wrong.chars().count() / 3).clamp(1, 3);
    let nearest = known
        .iter()
        .map(|name| (distance(wrong, name), *name))
        .filter(|(edits, _)| *edits <= tolerance)
        .min();
    if let Some((_, name)) = nearest {
        return format!("did you mean `{name}`?");
    }
    known.sort_unstable();
    known.dedup();
    const LISTED: usize = 24;
    match known.len() {
        0 => String::new(),
        n if n <= LISTED => format!("known here: {}", known.join(", ")),
        n => format!("known here: {} and {} more", known[..LISTED].join(", "), n - LISTED),
    }
}

/// Edits from `a` to `b`: insert, delete, replace, or swap two neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Names that differ by more than the widest tolerance in length alone need no table.
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_named() {
        assert_eq!(suggest("wirtes", ["reads", "writes"]), "did you mean `writes`?");
        assert_eq!(suggest("retr", ["retry", "reads"]), "did you mean `retry`?");
    }

    #[test]
    fn another_word_gets_the_list() {
        assert_eq!(suggest("banana", ["writes", "reads"]), "known here: reads, writes");
        assert_eq!(suggest("banana", []), "");
    }
}
