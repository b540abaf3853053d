//! A goal in plain words, read by rule: bounds, what to keep, what to improve.

use crate::domain::{Metric, Statistic, Target};

/// What a goal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// Bounds.
    pub targets: Vec<Target>,
    /// What must not get worse.
    pub keep: Vec<Metric>,
    /// What to make better beyond the bounds.
    pub improve: Option<Metric>,
}

/// Why a goal cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// Neither a bound nor a metric to improve.
    #[error(
        "the goal names neither a bound nor a metric; say for example \"p95 TTFT under 300 ms, no less throughput\""
    )]
    Nothing,
    /// A number with a unit of time, and no metric it could belong to.
    #[error(
        "the goal bounds something by {bound_ms} ms, but does not say what: TTFT, TPOT, ITL or E2E latency?"
    )]
    BoundWithoutMetric {
        /// The bound [ms].
        bound_ms: f64,
    },
    /// Two things that cannot both be.
    #[error("the goal contradicts itself: {0}")]
    Contradiction(String),
}

/// One piece of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Metric(Metric),
    Statistic(Statistic),
    /// A time [ms].
    Time(f64),
    /// The bound is a floor: "at least", "over".
    AtLeast,
    /// "without losing", "no less", "keep".
    Keep,
    /// "maximise", "reduce", "improve", "faster".
    Improve,
    /// "worse", "increase latency": the wrong direction.
    Worsen,
    /// A comma, "and", "while": a new clause.
    Break,
}

/// Reads a goal.
///
/// Errors: [`Unreadable`], in words fit for the person who wrote it.
pub fn read_goal(text: &str) -> Result<Goal, Unreadable> {
    let tokens = tokens(text);
    let mut goal = Goal { targets: Vec::new(), keep: Vec::new(), improve: None };
    for clause in clauses(&tokens) {
        read_clause(clause, &mut goal)?;
    }
    for target in &goal.targets {
        if target.max_ms <= 0.0 {
            let what = format!("{} can not be {} ms or less", target.metric, target.max_ms);
            return Err(Unreadable::Contradiction(what));
        }
    }
    if goal.targets.is_empty() && goal.improve.is_none() {
        return Err(Unreadable::Nothing);
    }
    tightest(&mut goal.targets);
    Ok(goal)
}

/// A clause ends at a break that has a metric on both sides, so that "p95 and p99 TTFT" stays whole.
fn clauses(tokens: &[Token]) -> Vec<&[Token]> {
    let has_subject = |part: &[Token]| {
        part.iter().any(|t| matches!(t, Token::Metric(_) | Token::Time(_) | Token::Improve))
    };
    let mut clauses = Vec::new();
    let mut from = 0;
    for (at, token) in tokens.iter().enumerate() {
        if *token == Token::Break && has_subject(&tokens[from..at]) && has_subject(&tokens[at..]) {
            clauses.push(&tokens[from..at]);
            from = at;
        }
    }
    clauses.push(&tokens[from..]);
    clauses
}

fn read_clause(clause: &[Token], goal: &mut Goal) -> Result<(), Unreadable> {
    let metrics: Vec<Metric> = clause
        .iter()
        .filter_map(|t| if let Token::Metric(metric) = t { Some(*metric) } else { None })
        .collect();
    let has = |wanted: Token| clause.contains(&wanted);
    let times: Vec<f64> = clause
        .iter()
        .filter_map(|t| if let Token::Time(ms) = t { Some(*ms) } else { None })
        .collect();
    if !times.is_empty() {
        return read_bounds(clause, goal);
    }
    if has(Token::Keep) {
        goal.keep
            .extend(metrics.iter().filter(|m| !goal.keep.contains(m)).copied().collect::<Vec<_>>());
        return Ok(());
    }
    let Some(metric) = metrics.first().copied() else {
        return Ok(());
    };
    if has(Token::Worsen) {
        return Err(Unreadable::Contradiction(format!("it asks for worse {metric}")));
    }
    if has(Token::Improve) {
        goal.improve = goal.improve.or(Some(metric));
    }
    Ok(())
}

/// Every time in the clause bounds the metric named nearest before it, else the first one after it.
fn read_bounds(clause: &[Token], goal: &mut Goal) -> Result<(), Unreadable> {
    for (at, token) in clause.iter().enumerate() {
        let Token::Time(max_ms) = *token else { continue };
        let latency = |t: &Token| match t {
            Token::Metric(m @ (Metric::Ttft | Metric::Tpot | Metric::Itl | Metric::E2e)) => {
                Some(*m)
            }
            _ => None,
        };
        let statistic = |t: &Token| if let Token::Statistic(s) = t { Some(*s) } else { None };
        let before = clause[..at].iter().rev();
        let metric =
            before.clone().find_map(latency).or_else(|| clause[at..].iter().find_map(latency));
        let metric = metric.ok_or(Unreadable::BoundWithoutMetric { bound_ms: max_ms })?;
        if clause[..at].contains(&Token::AtLeast) {
            let what = format!(
                "it asks for {metric} of at least {max_ms} ms; a latency is bounded from above"
            );
            return Err(Unreadable::Contradiction(what));
        }
        let near = before.clone().find_map(statistic);
        let statistic =
            near.or_else(|| clause[at..].iter().find_map(statistic)).unwrap_or(Statistic::P95);
        goal.targets.push(Target { metric, statistic, max_ms });
    }
    if clause.contains(&Token::Keep) {
        let kept = clause.iter().filter_map(|t| match t {
            Token::Metric(m @ (Metric::Throughput | Metric::Goodput)) => Some(*m),
            _ => None,
        });
        goal.keep.extend(kept);
    }
    Ok(())
}

/// Of two bounds on the same statistic the lower one holds.
fn tightest(targets: &mut Vec<Target>) {
    let all = std::mem::take(targets);
    for target in all {
        let same = |t: &&mut Target| t.metric == target.metric && t.statistic == target.statistic;
        match targets.iter_mut().find(same) {
            Some(held) => held.max_ms = held.max_ms.min(target.max_ms),
            None => targets.push(target),
        }
    }
}

/// Phrases, longest first; the first that fits at a word is taken.
const PHRASES: &[(&str, Token)] = &[
    ("time to first token", Token::Metric(Metric::Ttft)),
    ("first token latency", Token::Metric(Metric::Ttft)),
    ("first-token latency", Token::Metric(Metric::Ttft)),
    ("ttft", Token::Metric(Metric::Ttft)),
    ("time per output token", Token::Metric(Metric::Tpot)),
    ("tpot", Token::Metric(Metric::Tpot)),
    ("inter-token latency", Token::Metric(Metric::Itl)),
    ("inter token latency", Token::Metric(Metric::Itl)),
    ("itl", Token::Metric(Metric::Itl)),
    ("end-to-end latency", Token::Metric(Metric::E2e)),
    ("end to end latency", Token::Metric(Metric::E2e)),
    ("end-to-end", Token::Metric(Metric::E2e)),
    ("e2e latency", Token::Metric(Metric::E2e)),
    ("e2e", Token::Metric(Metric::E2e)),
    ("response time", Token::Metric(Metric::E2e)),
    ("latency", Token::Metric(Metric::E2e)),
    ("latencies", Token::Metric(Metric::E2e)),
    ("throughput", Token::Metric(Metric::Throughput)),
    ("tokens per second", Token::Metric(Metric::Throughput)),
    ("tokens/s", Token::Metric(Metric::Throughput)),
    ("goodput", Token::Metric(Metric::Goodput)),
    ("error rate", Token::Metric(Metric::ErrorRate)),
    ("errors", Token::Metric(Metric::ErrorRate)),
    ("95th percentile", Token::Statistic(Statistic::P95)),
    ("99th percentile", Token::Statistic(Statistic::P99)),
    ("90th percentile", Token::Statistic(Statistic::P90)),
    ("p99", Token::Statistic(Statistic::P99)),
    ("p95", Token::Statistic(Statistic::P95)),
    ("p90", Token::Statistic(Statistic::P90)),
    ("p50", Token::Statistic(Statistic::P50)),
    ("median", Token::Statistic(Statistic::P50)),
    ("mean", Token::Statistic(Statistic::Mean)),
    ("average", Token::Statistic(Statistic::Mean)),
    ("without losing", Token::Keep),
    ("without hurting", Token::Keep),
    ("without reducing", Token::Keep),
    ("without sacrificing", Token::Keep),
    ("without raising", Token::Keep),
    ("no less", Token::Keep),
    ("no lower", Token::Keep),
    ("no loss", Token::Keep),
    ("no more", Token::Keep),
    ("not lose", Token::Keep),
    ("not lower", Token::Keep),
    ("keep", Token::Keep),
    ("keeping", Token::Keep),
    ("maintain", Token::Keep),
    ("same", Token::Keep),
    ("at least", Token::AtLeast),
    ("more than", Token::AtLeast),
    ("above", Token::AtLeast),
    ("over", Token::AtLeast),
    (">", Token::AtLeast),
    (">=", Token::AtLeast),
    ("≥", Token::AtLeast),
    ("lower throughput", Token::Worsen),
    ("reduce throughput", Token::Worsen),
    ("decrease throughput", Token::Worsen),
    ("increase latency", Token::Worsen),
    ("raise latency", Token::Worsen),
    ("higher latency", Token::Worsen),
    ("worse", Token::Worsen),
    ("slower", Token::Worsen),
    ("maximise", Token::Improve),
    ("maximize", Token::Improve),
    ("minimise", Token::Improve),
    ("minimize", Token::Improve),
    ("improve", Token::Improve),
    ("increase", Token::Improve),
    ("raise", Token::Improve),
    ("reduce", Token::Improve),
    ("lower", Token::Improve),
    ("cut", Token::Improve),
    ("better", Token::Improve),
    ("best", Token::Improve),
    ("higher", Token::Improve),
    ("more", Token::Improve),
    ("less", Token::Improve),
    ("lowest", Token::Improve),
    ("highest", Token::Improve),
    ("and", Token::Break),
    ("while", Token::Break),
    ("but", Token::Break),
    ("with", Token::Break),
    (",", Token::Break),
    (";", Token::Break),
];

fn tokens(text: &str) -> Vec<Token> {
    let words = words(text);
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let (token, used) = phrase(&words[at..])
            .or_else(|| time(&words[at..]))
            .map_or((None, 1), |(t, n)| (Some(t), n));
        // "increase latency" is both a metric and a direction.
        if let Some(Token::Worsen) = token {
            tokens.extend(
                words[at..at + used]
                    .iter()
                    .filter_map(|w| phrase(std::slice::from_ref(w)))
                    .map(|(t, _)| t)
                    .filter(|t| matches!(t, Token::Metric(_))),
            );
        }
        tokens.extend(token);
        at += used;
    }
    tokens
}

/// Lower-case words; commas and comparators stand alone; a number and its unit are parted.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut last = ' ';
    for c in text.to_lowercase().chars() {
        let alone = matches!(c, ',' | ';' | '<' | '>' | '≤' | '≥' | '=');
        let unit = c.is_alphabetic() && last.is_ascii_digit();
        if alone || unit {
            spaced.push(' ');
        }
        spaced.push(c);
        if alone {
            spaced.push(' ');
        }
        last = c;
    }
    let trim = |word: &str| {
        word.trim_matches(|c| matches!(c, '.' | '!' | '?' | '"' | '(' | ')')).to_owned()
    };
    spaced.split_whitespace().map(trim).filter(|word| !word.is_empty()).collect()
}

/// The longest phrase that starts here, and how many words it has.
fn phrase(words: &[String]) -> Option<(Token, usize)> {
    let fits = |text: &str| {
        let wanted: Vec<String> = self::words(text);
        (words.len() >= wanted.len() && words[..wanted.len()] == wanted[..]).then_some(wanted.len())
    };
    let found = PHRASES.iter().filter_map(|(text, token)| fits(text).map(|used| (*token, used)));
    found.max_by_key(|(_, used)| *used)
}

/// A number with a unit of time [ms].
fn time(words: &[String]) -> Option<(Token, usize)> {
    let number: f64 = words.first()?.parse().ok()?;
    let factor = match words.get(1)?.as_str() {
        "ms" | "msec" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000.0,
        "us" | "µs" => 0.001,
        _ => return None,
    };
    number.is_finite().then_some((Token::Time(number * factor), 2))
}
