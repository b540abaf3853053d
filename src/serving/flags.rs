//! Builds an engine's command line from typed knobs: what does not fit is refused before anything starts.

use super::{Error, Launch};
use crate::domain::{EngineKind, Knob, KnobValue};

/// Flags under construction.
pub(super) struct Flags {
    engine: EngineKind,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Flags {
    /// No flags yet.
    pub(super) fn new(engine: EngineKind) -> Self {
        Self { engine, args: Vec::new(), env: Vec::new() }
    }

    /// `--flag value`.
    pub(super) fn option(&mut self, flag: &str, value: impl ToString) {
        self.args.extend([flag.to_owned(), value.to_string()]);
    }

    /// `--flag`.
    pub(super) fn switch(&mut self, flag: &str) {
        self.args.push(flag.to_owned());
    }

    /// An environment variable.
    pub(super) fn env(&mut self, name: &str, value: impl ToString) {
        self.env.push((name.to_owned(), value.to_string()));
    }

    /// The finished command line.
    pub(super) fn done(self) -> Launch {
        Launch { args: self.args, env: self.env }
    }

    /// A whole number of at least `min`.
    pub(super) fn int(&self, knob: Knob, value: &KnobValue, min: i64) -> Result<i64, Error> {
        let number = match value {
            KnobValue::Int(number) => Some(*number),
            KnobValue::Float(number) if number.fract() == 0.0 => Some(*number as i64),
            _ => None,
        };
        let fits = number.filter(|number| *number >= min);
        fits.ok_or_else(|| self.refuse(knob, value, &format!("a whole number ≥ {min} is needed")))
    }

    /// A real number in `min..=max`.
    pub(super) fn float(
        &self,
        knob: Knob,
        value: &KnobValue,
        (min, max): (f64, f64),
    ) -> Result<f64, Error> {
        let number = match value {
            KnobValue::Int(number) => Some(*number as f64),
            KnobValue::Float(number) => Some(*number),
            _ => None,
        };
        let fits = number.filter(|number| (min..=max).contains(number));
        fits.ok_or_else(|| self.refuse(knob, value, &format!("a number in {min}–{max} is needed")))
    }

    /// On or off.
    pub(super) fn bool(&self, knob: Knob, value: &KnobValue) -> Result<bool, Error> {
        match value {
            KnobValue::Bool(on) => Ok(*on),
            _ => Err(self.refuse(knob, value, "true or false is needed")),
        }
    }

    /// A name: one word, so that it can never smuggle in another flag.
    pub(super) fn text<'v>(&self, knob: Knob, value: &'v KnobValue) -> Result<&'v str, Error> {
        match value {
            KnobValue::Text(text)
                if !text.is_empty()
                    && !text.starts_with('-')
                    && !text.contains(char::is_whitespace) =>
            {
                Ok(text)
            }
            _ => Err(self.refuse(knob, value, "a name of one word is needed")),
        }
    }

    /// The refusal of a knob or its value.
    pub(super) fn refuse(&self, knob: Knob, value: &KnobValue, detail: &str) -> Error {
        Error::Unsupported {
            engine: self.engine.to_string(),
            knob: knob.to_string(),
            value: value.to_string(),
            detail: detail.to_owned(),
        }
    }
}
