//! Conditions: minijinja expressions, made strict.
//!
//! As they are, a bare undefined name is a fine answer, `[1] > 3` is true, `true == 1` is true, and `a and b` is whichever
//! it stopped at. So an expression is rewritten before it is compiled: each comparison becomes a guarded one that
//! refuses to compare different kinds, each operand of `and`, `or`, `not` and `if` must be a boolean, and so must the
//! result. Evaluation runs on fuel, so no expression runs away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde_json::Value;

use super::plain::Plain;
use super::{rewrite, syntax};

/// Instructions one condition may take: some thousand elements looked at, far below a millisecond.
const FUEL: u64 = 100_000;

/// The filter that compares.
pub(super) const COMPARE: &str = "_compare";
/// The filter that insists on a boolean.
pub(super) const BOOLEAN: &str = "_boolean";

static CONDITIONS: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = environment(FUEL);
    environment.add_filter(COMPARE, compare);
    environment.add_filter(BOOLEAN, boolean);
    environment
});

/// An environment with nothing in it but what the language brings.
pub(super) fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(fuel));
    environment.remove_global("debug");
    environment
}

/// A compiled condition.
pub struct Expression {
    text: String,
    names: BTreeSet<String>,
    plain: Option<Plain>,
    program: minijinja::Expression<'static, 'static>,
}

impl Expression {
    /// Compiles `text`. Errors: what does not parse, and what is too long to be a condition.
    pub fn compile(text: &str) -> Result<Self, String> {
        let tree = syntax::expression(text)?;
        let names = syntax::free_names(&tree);
        let plain = Plain::of(&tree);
        let guarded = rewrite::guarded(&tree)?;
        let program =
            CONDITIONS.compile_expression_owned(guarded).map_err(|error| reason(&error))?;
        Ok(Self { text: text.to_owned(), names, plain, program })
    }

    /// The names it looks up at the root of its scope.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its truth in `scope`.
    ///
    /// Errors: a value that is not set, a comparison of different kinds, a result that is no boolean, no fuel left.
    pub fn eval_bool(&self, scope: &BTreeMap<String, Value>) -> Result<bool, String> {
        match self.decide(|name| scope.get(name)) {
            Some(truth) => Ok(truth),
            None => self.eval_in_full(scope),
        }
    }

    /// Its truth where names mean what `look` says, if it is simple enough to tell without a scope. `None` says nothing.
    pub fn decide<'v>(&'v self, look: impl Fn(&str) -> Option<&'v Value>) -> Option<bool> {
        self.plain.as_ref()?.decide(&look)
    }

    /// Like [`Expression::eval_bool`], by the template machinery alone: what it is held against.
    pub fn eval_in_full(&self, scope: &BTreeMap<String, Value>) -> Result<bool, String> {
        // Only what is looked up is converted: state may be large, conditions are small.
        let used: BTreeMap<&str, &Value> =
            self.names.iter().filter_map(|name| Some((name.as_str(), scope.get(name)?))).collect();
        let failed = |why: String| format!("`{}`: {why}", self.text);
        let result = self.program.eval(Jinja::from(Serde(&used)));
        let value = result.map_err(|error| failed(reason(&error)))?;
        boolean(&value).map_err(|error| failed(reason(&error)))?;
        Ok(value.is_true())
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// What went wrong, without the name of a template nobody knows.
pub(super) fn reason(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        ErrorKind::UndefinedError => match error.detail() {
            Some(detail) => format!("a value that is not set: {detail}"),
            None => "it uses a value that is not set".to_owned(),
        },
        _ => detail,
    }
}

fn refuse(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

fn boolean(value: &Jinja) -> Result<Jinja, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(value.clone()),
        ValueKind::Undefined => {
            Err(refuse("expected a boolean, found a value that is not set".to_owned()))
        }
        kind => Err(refuse(format!("expected a boolean, found {kind}"))),
    }
}

fn compare(left: &Jinja, operator: &str, right: &Jinja) -> Result<bool, Error> {
    use ValueKind as K;
    if left.is_undefined() || right.is_undefined() {
        return Err(refuse(format!("a side of `{operator}` is not set")));
    }
    let kinds = (class(left), class(right));
    match operator {
        "==" | "!=" => {
            if kinds.0 != kinds.1 && kinds.0 != K::None && kinds.1 != K::None {
                return Err(unlike(operator, kinds));
            }
            Ok((left == right) == (operator == "=="))
        }
        "in" | "not in" => {
            let found = match right.kind() {
                K::String => match (left.as_str(), right.as_str()) {
                    (Some(part), Some(whole)) => whole.contains(part),
                    _ => return Err(unlike(operator, kinds)),
                },
                K::Map => right.get_item(left).is_ok_and(|value| !value.is_undefined()),
                K::Seq | K::Iterable => right.try_iter()?.any(|item| item == *left),
                _ => return Err(unlike(operator, kinds)),
            };
            Ok(found == (operator == "in"))
        }
        _ if kinds.0 != kinds.1 || !matches!(kinds.0, K::Number | K::String) => {
            Err(unlike(operator, kinds))
        }
        "<" => Ok(left < right),
        "<=" => Ok(left <= right),
        ">" => Ok(left > right),
        _ => Ok(left >= right),
    }
}

/// Kinds that may meet: a tuple is a list.
fn class(value: &Jinja) -> ValueKind {
    match value.kind() {
        ValueKind::Iterable => ValueKind::Seq,
        kind => kind,
    }
}

fn unlike(operator: &str, (left, right): (ValueKind, ValueKind)) -> Error {
    refuse(format!("`{operator}` cannot compare {left} with {right}"))
}
