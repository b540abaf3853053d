//! `sum`: numbers added; integers stay integers.

use serde_json::{Number, Value};

use super::{Folded, kind};

pub(super) fn fold(current: Option<&Value>, writes: &[Value]) -> Result<Folded, String> {
    let mut total = Sum::Integer(0);
    for value in current.filter(|value| !value.is_null()).into_iter().chain(writes) {
        total = total.plus(value)?;
    }
    total.value().map(Folded::whole)
}

#[derive(Clone, Copy)]
enum Sum {
    Integer(i128),
    Real(f64),
}

impl Sum {
    fn plus(self, value: &Value) -> Result<Self, String> {
        let integer = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        match (self, integer) {
            (Self::Integer(total), Some(n)) => total
                .checked_add(n)
                .map(Self::Integer)
                .ok_or_else(|| "the sum overflows".to_owned()),
            (Self::Real(total), Some(n)) => Ok(Self::Real(total + n as f64)),
            (total, None) => {
                let n = value
                    .as_f64()
                    .ok_or_else(|| format!("expected a number, found {}", kind(value)))?;
                Ok(Self::Real(total.real() + n))
            }
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Integer(n) => n as f64,
            Self::Real(n) => n,
        }
    }

    fn value(self) -> Result<Value, String> {
        match self {
            Self::Integer(n) => Number::from_i128(n),
            Self::Real(n) => Number::from_f64(n),
        }
        .map(Value::Number)
        .ok_or_else(|| "the sum is out of range".to_owned())
    }
}
