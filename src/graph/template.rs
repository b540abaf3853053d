//! Templates: arguments of tools, which keep the type of a lone `{{ expression }}`, and texts such as prompts.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::machinery::ast::Expr;
use minijinja::value::Serde;
use minijinja::{Environment, Value as Jinja};
use serde_json::Value;

use super::expression::{environment, reason};
use super::{rewrite, syntax};

/// Instructions one template may take: a prompt over some thousand records.
const FUEL: u64 = 5_000_000;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| environment(FUEL));

/// Fills every text inside `template`; a text that is a lone `{{ expression }}` becomes the value itself.
///
/// Errors: what does not parse, a name that is not set, no fuel left.
pub fn render_args(template: &Value, scope: &BTreeMap<String, Value>) -> Result<Value, String> {
    match template {
        Value::String(text) => render_value(text, scope),
        Value::Array(items) => items.iter().map(|item| render_args(item, scope)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| Ok((key.clone(), render_args(value, scope)?)))
            .collect::<Result<serde_json::Map<_, _>, String>>()
            .map(Value::Object),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(template.clone()),
    }
}

/// Fills a text. Errors: as [`render_args`].
pub fn render_text(template: &str, scope: &BTreeMap<String, Value>) -> Result<String, String> {
    // Measured before it is compiled: the compiler recurses too.
    syntax::template(template)?;
    TEMPLATES.render_str(template, Jinja::from(Serde(scope))).map_err(|error| reason(&error))
}

fn render_value(text: &str, scope: &BTreeMap<String, Value>) -> Result<Value, String> {
    if !text.contains('{') {
        return Ok(Value::String(text.to_owned()));
    }
    let failed = |why: String| format!("`{text}`: {why}");
    let template = syntax::template(text).map_err(failed)?;
    let Some(lone) = syntax::single(&template) else {
        return render_text(text, scope).map(Value::String).map_err(failed);
    };
    if let Some(path) = path_of(lone) {
        // A plain path is copied as it stands: exact numbers, the order of keys, no conversion of large values.
        return follow(&path, scope).cloned().map_err(failed);
    }
    let value = rewrite::plain(lone).and_then(|plain| evaluate(plain, scope));
    value.map_err(failed)
}

fn evaluate(expression: String, scope: &BTreeMap<String, Value>) -> Result<Value, String> {
    let program = TEMPLATES.compile_expression_owned(expression).map_err(|error| reason(&error))?;
    let value = program.eval(Jinja::from(Serde(scope))).map_err(|error| reason(&error))?;
    if value.is_undefined() {
        return Err("a value that is not set".to_owned());
    }
    serde_json::to_value(&value).map_err(|error| error.to_string())
}

/// One step from a value to a part of it.
enum Step<'a> {
    Key(&'a str),
    Index(i64),
}

/// The name and the steps of an expression that is nothing but a path: `a.b[0]`.
fn path_of<'a>(expr: &'a Expr<'_>) -> Option<(&'a str, Vec<Step<'a>>)> {
    match expr {
        Expr::Var(var) => Some((var.id, Vec::new())),
        Expr::GetAttr(attribute) => {
            let (name, mut steps) = path_of(&attribute.expr)?;
            steps.push(Step::Key(attribute.name));
            Some((name, steps))
        }
        Expr::GetItem(item) => {
            let (name, mut steps) = path_of(&item.expr)?;
            let Expr::Const(constant) = &item.subscript_expr else { return None };
            steps.push(match constant.value.as_str() {
                Some(key) => Step::Key(key),
                None => Step::Index(constant.value.as_i64()?),
            });
            Some((name, steps))
        }
        _ => None,
    }
}

fn follow<'s>(
    (name, steps): &(&str, Vec<Step<'_>>),
    scope: &'s BTreeMap<String, Value>,
) -> Result<&'s Value, String> {
    let mut here = scope.get(*name).ok_or_else(|| format!("`{name}` is not set"))?;
    for step in steps {
        let next = match step {
            Step::Key(key) => here.get(key),
            Step::Index(index) => here.as_array().and_then(|items| {
                let from_end = items.len() as i64 + index;
                let index = if *index < 0 { from_end } else { *index };
                items.get(usize::try_from(index).ok()?)
            }),
        };
        here = next.ok_or_else(|| match step {
            Step::Key(key) => format!("`{name}` has no `{key}` where it is looked for"),
            Step::Index(index) => format!("`{name}` has no element {index} where it is looked for"),
        })?;
    }
    Ok(here)
}
