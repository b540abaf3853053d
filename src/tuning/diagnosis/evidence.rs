//! Conditions that say what they expect with the number in it, and never hold on an unknown value.

use crate::domain::Evidence;
use crate::tuning::wording::short;

/// `value ≥ floor`.
pub fn at_least(metric: &str, value: Option<f64>, floor: Option<f64>, why: &str) -> Evidence {
    compare(metric, value, floor, "≥", why, |value, floor| value >= floor)
}

/// `value > floor`.
pub fn above(metric: &str, value: Option<f64>, floor: Option<f64>, why: &str) -> Evidence {
    compare(metric, value, floor, ">", why, |value, floor| value > floor)
}

/// `value < ceiling`.
pub fn below(metric: &str, value: Option<f64>, ceiling: Option<f64>, why: &str) -> Evidence {
    compare(metric, value, ceiling, "<", why, |value, ceiling| value < ceiling)
}

/// A condition put in words by its caller.
pub fn stated(metric: &str, value: Option<f64>, expected: &str, holds: Option<bool>) -> Evidence {
    let unknown = if holds.is_none() { " (not measured)" } else { "" };
    Evidence {
        metric: metric.to_owned(),
        value: value.filter(|value| value.is_finite()),
        expected: format!("{expected}{unknown}"),
        holds: holds.unwrap_or(false),
    }
}

fn compare(
    metric: &str,
    value: Option<f64>,
    limit: Option<f64>,
    sign: &str,
    why: &str,
    test: fn(f64, f64) -> bool,
) -> Evidence {
    let value = value.filter(|value| value.is_finite());
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let expected = match limit {
        Some(limit) => format!("{sign} {}{why}", short(limit)),
        None => format!("{sign} a limit that is not known{why}"),
    };
    let holds = value.zip(limit).map(|(value, limit)| test(value, limit));
    let unknown = if value.is_none() { ", not measured" } else { "" };
    Evidence {
        metric: metric.to_owned(),
        value,
        expected: format!("{expected}{unknown}"),
        holds: holds.unwrap_or(false),
    }
}
