//! Conditions over the state of a run: compiled once, evaluated strictly, always a boolean.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

/// Steps one evaluation may take: a condition is a comparison, not a program.
const FUEL: u64 = 50_000;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
});

/// A compiled condition.
pub struct Expression {
    source: String,
    compiled: minijinja::Expression<'static, 'static>,
}

impl Expression {
    /// Compiles `source`. Errors: the text of the syntax error.
    pub fn compile(source: &str) -> Result<Self, String> {
        let compiled = ENVIRONMENT
            .compile_expression_owned(source.to_owned())
            .map_err(|error| error.to_string())?;
        Ok(Self { source: source.to_owned(), compiled })
    }

    /// The truth of it over `scope`. Errors: an unknown name, or a result that is not a boolean.
    pub fn eval_bool(&self, scope: &BTreeMap<String, Value>) -> Result<bool, String> {
        let scope = minijinja::Value::from(Serde(scope));
        let value = self.compiled.eval(scope).map_err(|error| error.to_string())?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            kind => Err(format!("`{}` must be true or false, and is {kind}", self.source)),
        }
    }
}
