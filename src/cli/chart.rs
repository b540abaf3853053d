//! A rollout over time: TTFT of both arms above, the canary's share below.

use serde_json::Value;

use crate::agent::Agent;
use crate::base::{Millis, ThreadId};

/// Columns of the plot.
const COLUMNS: usize = 66;
/// Rows of the plot.
const ROWS: usize = 8;
/// Shares in eighths of a cell, from nothing to all.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One look at a rollout.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// When, on the deployment's clock.
    pub(super) at: Millis,
    /// The canary's share, 0–100.
    pub(super) percent: f64,
    /// TTFT p95 of stable in the running step so far [ms].
    pub(super) stable_ms: Option<f64>,
    /// TTFT p95 of the canary in the running step so far [ms].
    pub(super) canary_ms: Option<f64>,
}

/// Every look at the rollout that the thread's journal still knows.
pub(super) async fn samples(agent: &Agent, thread: &ThreadId) -> Vec<Sample> {
    let mut journal = agent.follow(thread, 0);
    let mut samples = Vec::new();
    while let Ok(Some(event)) = journal.try_next().await {
        // Another run on the same thread is another story.
        if event.kind == "RUN_STARTED" {
            samples.clear();
        }
        samples.extend(event.data["data"].get("rollout").and_then(|look| sample(event.at, look)));
    }
    samples
}

fn sample(at: Millis, look: &Value) -> Option<Sample> {
    // Once it is done, the new version is stable's: it serves all, though nothing is called canary any more.
    let done = look["state"]["name"] == "done";
    let percent = if done { 100.0 } else { look["percent"].as_f64()? };
    let running = look["steps"].as_array()?.last().filter(|step| step["ended"].is_null());
    let ms = |arm: &str| running.and_then(|step| step["ttft_p95_ms"][arm].as_f64());
    Some(Sample { at, percent, stable_ms: ms("stable"), canary_ms: ms("canary") })
}

/// The chart; `None` when there is too little to draw. `goal_ms`: the goal's bound on TTFT.
pub(super) fn draw(samples: &[Sample], goal_ms: Option<f64>) -> Option<String> {
    let (first, last) = (samples.first()?.at, samples.last()?.at);
    let span_ms = last.since(first);
    let values = samples.iter().flat_map(|s| [s.stable_ms, s.canary_ms]).flatten();
    let highest = values.fold(0.0, f64::max);
    if highest <= 0.0 || span_ms == 0 {
        return None;
    }
    // A goal far above what was seen would flatten what was seen.
    let goal_ms = goal_ms.filter(|goal| *goal <= 3.0 * highest);
    let top = nice(goal_ms.map_or(highest, |goal| goal.max(highest)));
    let columns = columns(samples, first, span_ms);
    let mut lines = vec!["  TTFT p95 [ms]   ○ old config   ● new config   ┄ goal".to_owned()];
    if goal_ms.is_none() {
        lines[0] = "  TTFT p95 [ms]   ○ old config   ● new config".to_owned();
    }
    lines.extend((0..ROWS).map(|row| plot_row(row, top, &columns, goal_ms)));
    let share: String = columns.iter().map(|sample| eighth(sample.percent / 100.0)).collect();
    lines.push(format!("  {:>8} └{}", "", "─".repeat(COLUMNS)));
    lines.push(format!("  {:>8}  {share}", "new [%]"));
    lines.push(format!("  {:>8}  {}", "", shares_line(&columns)));
    lines.push(format!("  {:>8}  0{:>width$}", "", minutes(span_ms), width = COLUMNS - 1));
    Some(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

/// What was the case in each column: the newest look at or before its end.
fn columns(samples: &[Sample], first: Millis, span_ms: u64) -> Vec<&Sample> {
    let end = |column: usize| first.plus(span_ms * (column as u64 + 1) / COLUMNS as u64);
    let newest = |at: Millis| samples.partition_point(|sample| sample.at <= at).saturating_sub(1);
    (0..COLUMNS).map(|column| &samples[newest(end(column))]).collect()
}

fn plot_row(row: usize, top: f64, columns: &[&Sample], goal_ms: Option<f64>) -> String {
    let step = top / ROWS as f64;
    let floor = top - step * (row + 1) as f64;
    let here = |ms: Option<f64>| ms.is_some_and(|ms| ms > floor && ms <= floor + step);
    let goal = here(goal_ms);
    let cell = |sample: &&Sample| match (here(sample.canary_ms), here(sample.stable_ms)) {
        (true, _) => '●',
        (false, true) => '○',
        _ if goal => '┄',
        _ => ' ',
    };
    let label = if row.is_multiple_of(2) { format!("{:.0}", floor + step) } else { String::new() };
    format!("  {label:>8} ┤{}", columns.iter().map(cell).collect::<String>())
}

/// The share written under the column where it came into force, where there is room.
fn shares_line(columns: &[&Sample]) -> String {
    let mut line = String::new();
    let mut shown = 0.0;
    for (column, sample) in columns.iter().enumerate() {
        let label = format!("{:.0}", sample.percent);
        let free = line.is_empty() || line.len() < column;
        if sample.percent != shown && free && column + label.len() <= COLUMNS {
            line.push_str(&" ".repeat(column - line.len()));
            line.push_str(&label);
            shown = sample.percent;
        }
    }
    line
}

fn eighth(share: f64) -> char {
    EIGHTHS[((share.clamp(0.0, 1.0) * 8.0).ceil() as usize).min(8)]
}

/// The next number of the form 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8 · 10ⁿ: eight rows of it read well.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|nice| *nice >= value).unwrap_or(10.0 * power)
}

fn minutes(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{} s", ms / 1000),
        _ => format!("{:.0} min", ms as f64 / 60_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{Sample, draw};
    use crate::base::Millis;

    fn look(minute: u64, percent: f64, stable_ms: Option<f64>, canary_ms: Option<f64>) -> Sample {
        Sample { at: Millis(minute * 60_000), percent, stable_ms, canary_ms }
    }

    #[test]
    fn a_rollout_without_numbers_is_not_drawn() {
        assert_eq!(draw(&[], None), None);
        assert_eq!(draw(&[look(0, 5.0, None, None), look(5, 5.0, None, None)], None), None);
    }

    #[test]
    fn every_line_fits_eighty_columns_and_the_arms_stand_where_they_were() {
        let looks = [
            look(0, 5.0, Some(800.0), None),
            look(5, 50.0, Some(800.0), Some(150.0)),
            look(10, 100.0, None, Some(150.0)),
        ];
        let chart = draw(&looks, Some(300.0)).unwrap();
        assert!(chart.lines().all(|line| line.chars().count() <= 80), "{chart}");
        let row = |mark: char| chart.lines().skip(1).position(|line| line.contains(mark)).unwrap();
        assert!(row('○') < row('┄') && row('┄') < row('●'), "{chart}");
        assert!(chart.contains("10 min"), "{chart}");
    }

    #[test]
    fn a_goal_far_away_is_left_out() {
        let looks = [look(0, 5.0, Some(20.0), Some(10.0)), look(5, 5.0, Some(20.0), Some(10.0))];
        assert!(!draw(&looks, Some(5_000.0)).unwrap().contains('┄'));
    }
}
