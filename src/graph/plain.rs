//! The everyday part of conditions, decided without the template machinery: comparisons of values and constants, joined by
//! `and`, `or`, `not`.
//!
//! It answers only where the answer is beyond doubt and the same as the full evaluation's. For anything else (a value that
//! is not set, kinds that do not meet, an integer beside a fraction) it says nothing, and the full evaluation, which has the
//! errors too, is asked. A property test holds the two against each other.

use std::cmp::Ordering;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr, UnaryOpKind};
use serde_json::Value;

/// A condition that can be decided so.
pub(super) enum Plain {
    Both(Box<Plain>, Box<Plain>),
    Either(Box<Plain>, Box<Plain>),
    Not(Box<Plain>),
    Compare(Operand, Sign, Operand),
    /// A value that is a boolean itself.
    Truth(Operand),
}

/// A side of a comparison.
pub(super) enum Operand {
    Constant(Value),
    /// A name, and the keys that lead on from it.
    Path(String, Vec<String>),
}

/// How two sides are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Plain {
    /// The plain form of `expr`; `None`: it has none.
    pub(super) fn of(expr: &Expr<'_>) -> Option<Self> {
        match expr {
            Expr::UnaryOp(unary) if matches!(unary.op, UnaryOpKind::Not) => {
                Some(Self::Not(Box::new(Self::of(&unary.expr)?)))
            }
            Expr::BinOp(binary) => {
                let both = || Some((Self::of(&binary.left)?, Self::of(&binary.right)?));
                match binary.op {
                    BinOpKind::ScAnd => both().map(|(a, b)| Self::Both(Box::new(a), Box::new(b))),
                    BinOpKind::ScOr => both().map(|(a, b)| Self::Either(Box::new(a), Box::new(b))),
                    op => Self::comparison(&binary.left, sign(op)?, &binary.right),
                }
            }
            Expr::Compare(chain) => match chain.ops.as_slice() {
                [only] => Self::comparison(&chain.expr, link(only.op)?, &only.expr),
                _ => None,
            },
            _ => Operand::of(expr).map(Self::Truth),
        }
    }

    fn comparison(left: &Expr<'_>, sign: Sign, right: &Expr<'_>) -> Option<Self> {
        Some(Self::Compare(Operand::of(left)?, sign, Operand::of(right)?))
    }

    /// Whether it holds where names mean what `look` says; `None`: that is for the full evaluation to say.
    pub(super) fn decide<'v>(&'v self, look: &impl Fn(&str) -> Option<&'v Value>) -> Option<bool> {
        match self {
            Self::Both(a, b) => Some(a.decide(look)? && b.decide(look)?),
            Self::Either(a, b) => Some(a.decide(look)? || b.decide(look)?),
            Self::Not(a) => Some(!a.decide(look)?),
            Self::Compare(a, sign, b) => sign.holds(a.value(look)?, b.value(look)?),
            Self::Truth(a) => a.value(look)?.as_bool(),
        }
    }
}

impl Operand {
    fn of(expr: &Expr<'_>) -> Option<Self> {
        match expr {
            Expr::Const(constant) => {
                let value = serde_json::to_value(&constant.value).ok()?;
                let is_one = !matches!(value, Value::Array(_) | Value::Object(_));
                is_one.then_some(Self::Constant(value))
            }
            Expr::Var(var) => Some(Self::Path(var.id.to_owned(), Vec::new())),
            Expr::GetAttr(attribute) => match Self::of(&attribute.expr)? {
                Self::Path(name, mut keys) => {
                    keys.push(attribute.name.to_owned());
                    Some(Self::Path(name, keys))
                }
                Self::Constant(_) => None,
            },
            _ => None,
        }
    }

    fn value<'v>(&'v self, look: &impl Fn(&str) -> Option<&'v Value>) -> Option<&'v Value> {
        match self {
            Self::Constant(value) => Some(value),
            Self::Path(name, keys) => {
                keys.iter().try_fold(look(name)?, |value, key| value.as_object()?.get(key))
            }
        }
    }
}

impl Sign {
    fn holds(self, left: &Value, right: &Value) -> Option<bool> {
        if matches!(self, Self::Equal | Self::Unequal) {
            return Some(equal(left, right)? == (self == Self::Equal));
        }
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_i128()?.cmp(&b.as_i128()?),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            _ => return None,
        };
        Some(match self {
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }
}

fn equal(left: &Value, right: &Value) -> Option<bool> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Some(a.as_i128()? == b.as_i128()?),
        (Value::String(a), Value::String(b)) => Some(a == b),
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        (Value::Null, Value::Null) => Some(true),
        _ => None,
    }
}

fn sign(op: BinOpKind) -> Option<Sign> {
    Some(match op {
        BinOpKind::Eq => Sign::Equal,
        BinOpKind::Ne => Sign::Unequal,
        BinOpKind::Lt => Sign::Less,
        BinOpKind::Lte => Sign::LessOrEqual,
        BinOpKind::Gt => Sign::Greater,
        BinOpKind::Gte => Sign::GreaterOrEqual,
        _ => return None,
    })
}

fn link(op: CompareOpKind) -> Option<Sign> {
    Some(match op {
        CompareOpKind::Eq => Sign::Equal,
        CompareOpKind::Ne => Sign::Unequal,
        CompareOpKind::Lt => Sign::Less,
        CompareOpKind::Lte => Sign::LessOrEqual,
        CompareOpKind::Gt => Sign::Greater,
        CompareOpKind::Gte => Sign::GreaterOrEqual,
        CompareOpKind::In | CompareOpKind::NotIn => return None,
    })
}
