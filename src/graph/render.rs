//! Findings beside the lines they are about.

use std::fmt;
use std::io::IsTerminal;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
    SourceSpan,
};

use super::finding::Finding;
use super::vocabulary::Source;

/// Findings drawn with their lines; who has more than that mends these first.
const DRAWN: usize = 100;

/// The findings with the lines of the file they are about; colours only where a terminal reads them.
pub fn render(source: &Source, findings: &[Finding]) -> String {
    let theme = if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(120).with_links(false);
    let named = NamedSource::new(&source.file, source.text.clone());
    let mut out = String::new();
    for finding in findings.iter().take(DRAWN) {
        let marked = Marked { span: span(&source.text, finding), named: &named, finding };
        if handler.render_report(&mut out, &marked).is_err() {
            // A snippet that cannot be drawn is no reason to hide the finding.
            out.push_str(&format!("{finding}\n"));
        }
    }
    if findings.len() > DRAWN {
        out.push_str(&format!("… and {} more\n", findings.len() - DRAWN));
    }
    out
}

/// The word at the place of a finding [bytes].
fn span(text: &str, finding: &Finding) -> SourceSpan {
    let line = usize::try_from(finding.line).unwrap_or(usize::MAX).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text[start..].lines().next().unwrap_or_default();
    let column = usize::try_from(finding.column).unwrap_or(usize::MAX).saturating_sub(1);
    let before: usize = rest.chars().take(column).map(char::len_utf8).sum();
    let word = rest[before..].find(|c: char| !(c.is_alphanumeric() || "_-./'\"".contains(c)));
    let length = word.unwrap_or(rest.len() - before).max(usize::from(before < rest.len()));
    SourceSpan::new((start + before).into(), length)
}

#[derive(Debug)]
struct Marked<'a> {
    finding: &'a Finding,
    named: &'a NamedSource<String>,
    span: SourceSpan,
}

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Marked<'_> {}

impl Diagnostic for Marked<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = &self.finding.hint;
        (!hint.is_empty()).then(|| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.named)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::underline(self.span))))
    }
}
