//! A parser of the Prometheus text format: borrows from the page, and one bad line never loses a scrape.
//!
//! Reads the classic format 0.0.4 and OpenMetrics 1.0 alike: timestamps and exemplars are passed over, `_created`
//! series and comments are skipped, `NaN` and `±Inf` are values. A line that fits neither is counted and left out.
//!
//! Source: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0, "ABNF".

use std::borrow::Cow;

/// One page, parsed.
#[derive(Debug, Clone, Default)]
pub struct Exposition<'a> {
    samples: Vec<Sample<'a>>,
    bad_lines: usize,
}

/// One line with a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Name of the series, suffix (`_bucket`, `_total` …) included.
    pub name: &'a str,
    /// Its labels.
    pub labels: Labels<'a>,
    /// Its value, in the unit its name says.
    pub value: f64,
}

/// The text between the braces, checked but not yet taken apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Labels<'a>(&'a str);

impl<'a> Exposition<'a> {
    /// Parses a page. Never fails: what cannot be read is counted in [`Self::bad_lines`].
    pub fn parse(text: &'a str) -> Self {
        // Real pages carry 80 to 120 bytes a line, comments included.
        let mut page = Self { samples: Vec::with_capacity(text.len() / 96 + 1), bad_lines: 0 };
        for line in text.split('\n') {
            match read_line(line) {
                Line::Sample(sample) => page.samples.push(sample),
                Line::Bad => page.bad_lines += 1,
                Line::Skip => {}
            }
        }
        page
    }

    /// Every sample, in the order of the page.
    pub fn samples(&self) -> &[Sample<'a>] {
        &self.samples
    }

    /// Lines that were neither a sample nor a comment.
    pub fn bad_lines(&self) -> usize {
        self.bad_lines
    }

    /// The samples called `name`, whatever their labels.
    pub fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Sample<'a>> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }
}

impl<'a> Labels<'a> {
    /// Name and raw value of each label; the value keeps its escapes.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, after) = rest.trim_start_matches([',', ' ', '\t']).split_once('=')?;
            let quoted = after.trim_start().strip_prefix('"')?;
            let end = closing_quote(quoted.as_bytes(), 0)?;
            rest = &quoted[end + 1..];
            Some((name.trim_end(), &quoted[..end]))
        })
    }

    /// The value of label `name`, escapes resolved.
    pub fn value(self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(key, _)| *key == name).map(|(_, raw)| unescape(raw))
    }

    /// The text between the braces as it stands on the page.
    pub fn raw(self) -> &'a str {
        self.0
    }
}

enum Line<'a> {
    Skip,
    Bad,
    Sample(Sample<'a>),
}

fn read_line(line: &str) -> Line<'_> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return Line::Skip;
    }
    match read_sample(line) {
        Some(sample) if sample.name.ends_with("_created") => Line::Skip,
        Some(sample) => Line::Sample(sample),
        None => Line::Bad,
    }
}

fn read_sample(line: &str) -> Option<Sample<'_>> {
    let bytes = line.as_bytes();
    let name_end = bytes.iter().position(|byte| !is_name_byte(*byte))?;
    if name_end == 0 || bytes[0].is_ascii_digit() {
        return None;
    }
    let name = &line[..name_end];
    let rest = line[name_end..].trim_ascii_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        None => (Labels::default(), rest),
        Some(inside) => {
            let end = labels_end(inside.as_bytes())?;
            (Labels(&inside[..end]), &inside[end + 1..])
        }
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    // After the value: nothing, a timestamp, an exemplar (`# {…} value`), or both.
    match words.next() {
        Some(word) if !word.starts_with('#') && word.parse::<f64>().is_err() => None,
        _ => Some(Sample { name, labels, value }),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// Position of the `}` that closes a well-formed label list; `None` when it is not well formed.
fn labels_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at = skip_blanks(bytes, at);
        if *bytes.get(at)? == b'}' {
            return Some(at);
        }
        let start = at;
        while is_name_byte(*bytes.get(at)?) {
            at += 1;
        }
        if at == start {
            return None;
        }
        at = expect(bytes, at, b'=')?;
        at = expect(bytes, at, b'"')?;
        at = skip_blanks(bytes, closing_quote(bytes, at)? + 1);
        match *bytes.get(at)? {
            b',' => at += 1,
            b'}' => return Some(at),
            _ => return None,
        }
    }
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// The position after `wanted`, blanks before it allowed.
fn expect(bytes: &[u8], at: usize, wanted: u8) -> Option<usize> {
    let at = skip_blanks(bytes, at);
    (*bytes.get(at)? == wanted).then_some(at + 1)
}

/// Position of the first quote at or after `from` that no backslash escapes. Always the position of an ASCII byte,
/// so cutting there never splits a character.
fn closing_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Resolves `\\`, `\"` and `\n`; any other escape stays as it is.
fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut plain = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some(escaped @ ('\\' | '"')) => plain.push(escaped),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
mod tests {
    use super::*;

    fn one(line: &str) -> (String, Vec<(String, String)>, f64) {
        let page = Exposition::parse(line);
        assert_eq!((page.samples().len(), page.bad_lines()), (1, 0), "{line}");
        let sample = page.samples()[0];
        let labels =
            sample.labels.iter().map(|(k, v)| (k.to_owned(), unescape(v).into_owned())).collect();
        (sample.name.to_owned(), labels, sample.value)
    }

    #[test]
    fn labels_may_hold_braces_commas_escapes_and_any_character() {
        let (name, labels, value) =
            one(r#"a:b_total { path = "C:\\x\"}\n", other="é, {#}",} 1.5e+03 "#);
        assert_eq!((name.as_str(), value), ("a:b_total", 1500.0));
        assert_eq!(labels[0], ("path".to_owned(), "C:\\x\"}\n".to_owned()));
        assert_eq!(labels[1], ("other".to_owned(), "é, {#}".to_owned()));
    }

    #[test]
    fn infinities_timestamps_and_exemplars_are_understood() {
        assert_eq!(one("x -Inf").2, f64::NEG_INFINITY);
        assert_eq!(one("x +Inf 1712345678901").2, f64::INFINITY);
        assert!(one("x{} NaN").2.is_nan());
        assert_eq!(one(r#"x_bucket{le="1"} 7 # {trace_id="}"} 0.3 1712345678.9"#).2, 7.0);
        assert_eq!(one("x 3 1712345678.5 # {a=\"b\"} 1").2, 3.0);
    }

    #[test]
    fn one_bad_line_never_loses_the_page() {
        let text =
            "good 1\r\n0bad 1\nbad{a=1} 2\nbad{a=\"1\" 3\nbad\nbad 1x\nbad 1 2x\n{} 4\nlate 5";
        let page = Exposition::parse(text);
        let names: Vec<_> = page.samples().iter().map(|sample| sample.name).collect();
        assert_eq!((names, page.bad_lines()), (vec!["good", "late"], 7));
    }

    #[test]
    fn comments_created_series_and_the_end_mark_are_skipped_without_complaint() {
        let page =
            Exposition::parse("# HELP a b\n# TYPE a counter\na_total 1\na_created 1e9\n# EOF\n");
        assert_eq!((page.samples().len(), page.bad_lines()), (1, 0));
        assert_eq!(page.named("a_total").next().unwrap().labels.value("x"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let text = String::from_utf8_lossy(&bytes);
            for sample in Exposition::parse(&text).samples() {
                sample.labels.iter().for_each(|(_, raw)| drop(unescape(raw)));
            }
        }

        #[test]
        fn near_misses_do_not_make_it_panic(line in "[a{}=\",\\\\ #é1\n]{0,60}") {
            for sample in Exposition::parse(&line).samples() {
                sample.labels.iter().for_each(|(_, raw)| drop(unescape(raw)));
            }
        }

        #[test]
        fn what_is_written_is_read_back(name in "[a-z_:][a-z0-9_:]{0,12}x", label in ".{0,20}", value: f64) {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let (read_name, labels, read) = one(&format!("{name}{{l=\"{escaped}\"}} {value:e}"));
            proptest::prop_assert_eq!(read_name, name);
            proptest::prop_assert_eq!(&labels[0].1, &label);
            proptest::prop_assert!(read == value || value.is_nan());
        }
    }
}
