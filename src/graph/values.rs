//! Values with templates in them: every template is checked, and every value against what is expected in its place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::data::report;
use super::fields::Word;
use super::finding::{Findings, suggest};
use super::scan;
use super::shape::{Member, Shape};
use super::typing::Scope;
use super::yaml::{At, Data, Entry, Tree};

/// Walks one value.
pub(super) struct Filling<'f, 'a> {
    text: &'f str,
    scope: &'f Scope<'a>,
    used: &'f mut BTreeSet<String>,
    findings: &'f mut Findings,
}

impl<'f, 'a> Filling<'f, 'a> {
    pub(super) fn new(
        text: &'f str,
        scope: &'f Scope<'a>,
        used: &'f mut BTreeSet<String>,
        findings: &'f mut Findings,
    ) -> Self {
        Self { text, scope, used, findings }
    }

    /// Checks the arguments of a call against the tool's schema.
    pub(super) fn arguments(
        &mut self,
        args: Option<&Tree>,
        want: Option<Shape<'_>>,
        (tool, at): Word<'_>,
    ) {
        let entries = match args.map(|tree| &tree.data) {
            Some(Data::Map(entries)) => entries.as_slice(),
            // Anything else was reported where it was read.
            _ => &[],
        };
        let (all, required) = want.map_or((None, Vec::new()), Shape::arguments);
        for entry in entries {
            let member = match want.map(|want| want.member(&entry.key)) {
                Some(Member::Known(shapes)) => only(&shapes),
                Some(Member::Missing(_)) => {
                    let message = format!("`{tool}` has no argument `{}`", entry.key);
                    let hint = suggest(&entry.key, all.iter().flatten().copied());
                    self.findings.add("PA040", entry.at, message, hint);
                    None
                }
                Some(Member::Open) | None => None,
            };
            self.value(&entry.value, member, &format!("argument `{}`", entry.key), "PA042");
        }
        for missing in required.into_iter().filter(|key| !entries.iter().any(|e| e.key == *key)) {
            let message = format!("`{tool}` needs the argument `{missing}`");
            self.findings.add("PA041", at, message, format!("add `{missing}:` to `args`"));
        }
    }

    /// Checks a value that goes to `place`; `want`: what is expected there, where known.
    pub(super) fn value(
        &mut self,
        tree: &Tree,
        want: Option<Shape<'_>>,
        place: &str,
        code: &'static str,
    ) {
        match &tree.data {
            Data::Text(text) => self.template((text, tree.at), want, place, code),
            Data::List(items) => {
                self.refuse(&Value::Array(Vec::new()), tree.at, want, place, code);
                let elements = want.map(Shape::elements).unwrap_or_default();
                items.iter().for_each(|item| self.value(item, only(&elements), place, code));
            }
            Data::Map(entries) => {
                self.refuse(&Value::Object(Default::default()), tree.at, want, place, code);
                self.members(entries, want, place, code);
            }
            Data::Null | Data::Bool(_) | Data::Number(_) => {
                self.refuse(&tree.to_json(), tree.at, want, place, code);
            }
        }
    }

    fn members(
        &mut self,
        entries: &[Entry],
        want: Option<Shape<'_>>,
        place: &str,
        code: &'static str,
    ) {
        for entry in entries {
            let member = match want.map(|want| want.member(&entry.key)) {
                Some(Member::Known(shapes)) => only(&shapes),
                Some(Member::Missing(names)) if !names.is_empty() => {
                    let message = format!("{place} has no `{}`", entry.key);
                    self.findings.add(code, entry.at, message, suggest(&entry.key, names));
                    None
                }
                _ => None,
            };
            self.value(&entry.value, member, &format!("`{}` in {place}", entry.key), code);
        }
    }

    fn template(
        &mut self,
        (text, at): Word<'_>,
        want: Option<Shape<'_>>,
        place: &str,
        code: &'static str,
    ) {
        let scanned = match scan::template(text, self.scope) {
            Ok(scanned) => scanned,
            Err(why) => {
                self.findings.add("PA018", at, format!("not a template: {why}"), "");
                return;
            }
        };
        self.used.extend(scanned.used);
        let sound = scanned.faults.is_empty();
        report(scanned.faults, self.text, text, at, "", self.findings);
        if scanned.literal {
            self.refuse(&Value::String(text.to_owned()), at, want, place, code);
            return;
        }
        let Some(want) = want.filter(|_| sound) else { return };
        let reason = if scanned.ty.shapes.is_empty() {
            let (have, kinds) = (scanned.ty.kinds, want.kinds());
            (!have.meets(kinds)).then(|| format!("{have} where {kinds} is expected"))
        } else {
            let reasons: Option<Vec<String>> =
                scanned.ty.shapes.iter().map(|shape| shape.never_fits(want)).collect();
            reasons.and_then(|reasons| reasons.into_iter().next())
        };
        if let Some(reason) = reason {
            self.findings.add(code, at, format!("{place} does not fit: {reason}"), "");
        }
    }

    fn refuse(
        &mut self,
        value: &Value,
        at: At,
        want: Option<Shape<'_>>,
        place: &str,
        code: &'static str,
    ) {
        if let Some(reason) = want.and_then(|want| want.refuses(value)) {
            self.findings.add(code, at, format!("{place} does not fit: {reason}"), "");
        }
    }
}

/// The schema, where there is no choice.
fn only<'a>(shapes: &[Shape<'a>]) -> Option<Shape<'a>> {
    match shapes {
        [shape] => Some(*shape),
        _ => None,
    }
}
