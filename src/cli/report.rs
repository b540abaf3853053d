//! The report as text, 80 columns wide: diagnosis, change, before and after, the rollout, who decided.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use console::style;
use serde_json::{Value, json};

use super::Exit;
use super::chart::{self, Sample};
use super::terminal::{self, wrapped};
use crate::agent::OptimizeResult;

/// How the command ends.
pub(super) fn exit(result: &OptimizeResult) -> Exit {
    match status(result).as_str() {
        "improved" | "no_change" | "done" => Exit::Done,
        "interrupted" | "running" => Exit::Waiting,
        "rolled_back" => Exit::RolledBack,
        _ => Exit::Failed,
    }
}

fn status(result: &OptimizeResult) -> String {
    json!(result.status).as_str().unwrap_or_default().to_owned()
}

/// The whole report. `samples`: the rollout over time, for its chart.
pub(super) fn text(result: &OptimizeResult, samples: &[Sample]) -> String {
    let mut parts = Vec::new();
    if let Some(report) = &result.report {
        let headline = style(wrapped(&report.headline, 0)).bold();
        parts.push(format!("{headline}\n{}", wrapped(&report.summary, 0)));
    }
    if let Some(problem) = &result.error {
        parts.push(format!("{} {problem}", style("error:").red().bold()));
    }
    if let Some(question) = &result.question {
        parts.push(terminal::painted(question.trim_end()));
    } else {
        parts.extend(diagnosis(result));
        parts.extend(change(result));
        parts.extend(trials(result));
        parts.extend(before_after(result));
        parts.extend(rollout(result, samples));
        parts.extend(output(result));
        parts.extend(advice(result).map(|text| format!("{}\n{text}", heading("How to change it"))));
    }
    let next = result.report.iter().flat_map(|report| &report.next_steps);
    let next: Vec<String> = next.map(|step| format!("  - {}", wrapped(step, 4))).collect();
    if !next.is_empty() {
        parts.push(format!("{}\n{}", heading("Next"), next.join("\n")));
    }
    parts.push(closing(result));
    parts.join("\n\n")
}

fn heading(text: &str) -> String {
    style(text).bold().underlined().to_string()
}

fn diagnosis(result: &OptimizeResult) -> Option<String> {
    let diagnosis = result.diagnosis.as_ref()?;
    let what = format!("{}, score {:.2}", diagnosis.bottleneck, diagnosis.score);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for fact in &diagnosis.evidence {
        let mark = if fact.holds { style("✓").green() } else { style("–").dim() };
        let value = fact.value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
        table.add_row([format!(" {mark} {}", fact.metric), value, fact.expected.clone()]);
    }
    right_align(&mut table, 1..2);
    let mut lines = vec![format!("{}  {what}", heading("Diagnosis"))];
    if !diagnosis.evidence.is_empty() {
        lines.push(trimmed(&table));
    }
    if let Some(second) = &diagnosis.runner_up {
        lines.push(format!(
            "  next likely: {} ({:.2}), told apart by {}",
            second.cause, second.score, second.separated_by
        ));
    }
    Some(lines.join("\n"))
}

fn change(result: &OptimizeResult) -> Option<String> {
    if result.change.is_empty() {
        return None;
    }
    // A run of an older version kept the knobs only.
    let lines = match result.flags.is_empty() {
        false => result.flags.clone(),
        true => {
            let line = |sign, knob, value| format!("{sign} {knob}: {value}");
            let moved = result.change.iter().flat_map(|(knob, change)| {
                let from = change.from.as_ref().map(|value| line('-', knob, value));
                from.into_iter().chain(change.to.as_ref().map(|value| line('+', knob, value)))
            });
            moved.collect()
        }
    };
    let lines: Vec<String> = lines.iter().map(|line| terminal::diff_line(line)).collect();
    Some(format!("{}\n{}", heading("Change"), lines.join("\n")))
}

/// What was tried away from users, one line each.
fn trials(result: &OptimizeResult) -> Option<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([" config", "", "gain", "TTFT p95", "TPOT p95", "tokens/s"]);
    for trial in &result.trials {
        let stats = trial.measured.as_ref();
        let shown = |value: Option<f64>, digits: usize| {
            value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        table.add_row([
            format!(" {}", trial.proposal.name),
            json!(trial.outcome).as_str().unwrap_or_default().replace('_', " "),
            trial.gain.map_or("–".to_owned(), |gain| format!("{:+.0} %", gain * 100.0)),
            shown(stats.and_then(|stats| stats.ttft_p95_ms), 0),
            shown(stats.and_then(|stats| stats.tpot_p95_ms), 1),
            shown(stats.and_then(|stats| stats.throughput_tok_s), 0),
        ]);
    }
    right_align(&mut table, 2..6);
    // Where no hardware is spare a config is only started: nothing is measured.
    let measured = result.trials.iter().any(|trial| trial.measured.is_some());
    let title = match (measured, advice(result)) {
        (_, Some(_)) => "Proposals  somebody else runs these servers: nothing was tried",
        (true, None) => "Trials  on a spare server, away from users",
        (false, None) => "Trials  started beside the old version, without load",
    };
    (!result.trials.is_empty()).then(|| format!("{}\n{}", headed(title), trimmed(&table)))
}

fn before_after(result: &OptimizeResult) -> Option<String> {
    let before = result.baseline.as_ref()?;
    let after = result.after.as_ref();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["", "before", "after", ""]);
    let mut row = |label: &str, from: Option<f64>, to: Option<f64>, digits: usize| {
        let shown = |v: Option<f64>| v.map_or("unknown".to_owned(), |v| format!("{v:.digits$}"));
        let moved = match (from, to) {
            (Some(from), Some(to)) if from > 0.0 => format!("{:+.0} %", (to / from - 1.0) * 100.0),
            _ => String::new(),
        };
        let after_text = if after.is_some() { shown(to) } else { "–".to_owned() };
        table.add_row([format!(" {label}"), shown(from), after_text, moved]);
    };
    row("TTFT p50 [ms]", before.ttft_p50_ms, after.and_then(|a| a.ttft_p50_ms), 0);
    row("TTFT p95 [ms]", before.ttft_p95_ms, after.and_then(|a| a.ttft_p95_ms), 0);
    row("TPOT p50 [ms]", before.tpot_p50_ms, after.and_then(|a| a.tpot_p50_ms), 1);
    row("TPOT p95 [ms]", before.tpot_p95_ms, after.and_then(|a| a.tpot_p95_ms), 1);
    row("E2E p50 [ms]", before.e2e_p50_ms, after.and_then(|a| a.e2e_p50_ms), 0);
    row("E2E p95 [ms]", before.e2e_p95_ms, after.and_then(|a| a.e2e_p95_ms), 0);
    row("goodput [requests/s]", before.goodput_rps, after.and_then(|a| a.goodput_rps), 2);
    row(
        "throughput [tokens/s]",
        before.throughput_tok_s,
        after.and_then(|a| a.throughput_tok_s),
        0,
    );
    row("error rate", before.error_rate, after.and_then(|a| a.error_rate), 4);
    right_align(&mut table, 1..4);
    Some(format!("{}\n{}", heading("What users got"), trimmed(&table)))
}

fn rollout(result: &OptimizeResult, samples: &[Sample]) -> Option<String> {
    let rollout = result.rollout.as_ref()?;
    let why = rollout.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let what = wrapped(&format!("Rollout  {}{why}", rollout.status.replace('_', " ")), 9);
    let mut lines = vec![headed(&what)];
    lines.extend(chart::draw(samples, ttft_goal_ms(result)));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([" share", "", "took", "sessions", "TTFT p95 old", "new"]);
    for step in &rollout.steps {
        let took = step.ended.map(|ended| ended.since(step.started) as f64 / 60_000.0);
        let of = |arm| json!(step).pointer(arm).and_then(Value::as_f64);
        let ms = |arm| of(arm).map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
        table.add_row([
            format!(" {:>3.0} %", step.percent),
            step.verdict.replace('_', " "),
            took.map_or("running".to_owned(), |minutes| format!("{minutes:.1} min")),
            of("/sessions/canary").map_or("–".to_owned(), |sessions| format!("{sessions:.0}")),
            ms("/ttft_p95_ms/stable"),
            ms("/ttft_p95_ms/canary"),
        ]);
    }
    right_align(&mut table, 2..6);
    if !rollout.steps.is_empty() {
        lines.push(trimmed(&table));
    }
    let approved = rollout.approved_by.as_ref().map(|by| format!(", approved by {by}"));
    lines.push(format!(
        "  {} requests failed, {} streams cut{}",
        rollout.requests_failed,
        rollout.streams_cut,
        approved.unwrap_or_default()
    ));
    Some(lines.join("\n"))
}

/// What somebody else would do to make the first proposal true.
fn advice(result: &OptimizeResult) -> Option<&str> {
    let mut advised = result.trials.iter().filter(|trial| json!(trial.outcome) == "advised");
    advised.next()?.reasons.first().map(|text| text.trim_end())
}

/// What a graph that tunes nothing gives out.
fn output(result: &OptimizeResult) -> Option<String> {
    let output = result.output.as_ref()?;
    Some(format!("{}\n{:#}", heading("Output"), json!(output)))
}

/// The goal's bound on TTFT p95 [ms].
fn ttft_goal_ms(result: &OptimizeResult) -> Option<f64> {
    let objective = json!(result.objective.as_ref()?);
    let bounds = objective["targets"].as_array()?.iter();
    let mut ttft = bounds.filter(|bound| bound["metric"] == "ttft" && bound["statistic"] == "p95");
    ttft.next()?["max_ms"].as_f64()
}

fn closing(result: &OptimizeResult) -> String {
    let again = match status(result).as_str() {
        "interrupted" => {
            format!(
                "answer with: perf-agent resume {} --answer {}",
                result.thread_id,
                answers(result)
            )
        }
        "running" => format!("go on with: perf-agent resume {}", result.thread_id),
        _ => format!("look again with: perf-agent threads show {}", result.thread_id),
    };
    let status = status(result);
    let painted = match status.as_str() {
        "improved" => style(&status).green().bold(),
        "failed" | "rolled_back" => style(&status).red().bold(),
        _ => style(&status).bold(),
    };
    format!(
        "{painted} · model: {} · seed {}\ntook {}\n{again}",
        result.model,
        result.seed,
        took(result.wall_s, result.virtual_s)
    )
}

/// The first answer that is taken, and in brackets what else is.
fn answers(result: &OptimizeResult) -> String {
    let plain = |answer: &Value| answer.as_str().map_or(answer.to_string(), str::to_owned);
    let all: Vec<String> = result.answers.iter().map(plain).collect();
    match all.split_first() {
        None => "JSON".to_owned(),
        Some((first, [])) => first.clone(),
        Some((first, others)) => format!("{first}   (or: {})", others.join(", ")),
    }
}

/// Wall time, and the deployment's where its clock is another.
fn took(wall_s: f64, virtual_s: f64) -> String {
    if (wall_s - virtual_s).abs() <= 2.0_f64.max(0.02 * virtual_s) {
        return format!("{wall_s:.1} s");
    }
    format!("{wall_s:.1} s here, {:.0} min on the deployment's clock", virtual_s / 60.0)
}

/// A heading with the words after its first two spaces left plain.
fn headed(text: &str) -> String {
    match text.split_once("  ") {
        Some((title, rest)) => format!("{}  {rest}", heading(title)),
        None => heading(text),
    }
}

fn right_align(table: &mut Table, columns: std::ops::Range<usize>) {
    let (from, count) = (columns.start, columns.len());
    for column in table.column_iter_mut().skip(from).take(count) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// The table without spaces at the ends of its lines.
fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The list of tools.
pub(super) fn tools(tools: &[impl serde::Serialize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["tool", "effect", "approval", "enabled", ""]);
    for tool in tools {
        let tool = json!(tool);
        let text = |key: &str| tool[key].as_str().unwrap_or_default().to_owned();
        let tell: String = text("tell").chars().take(80).collect();
        table.add_row([
            text("name"),
            text("effect"),
            text("approval"),
            tool["enabled"].to_string(),
            tell,
        ]);
    }
    table.to_string()
}

/// How two branches differ, a line each.
pub(super) fn diff(diff: &crate::agent::ThreadDiff) -> String {
    let mut lines = vec![match diff.common_seq {
        0 => "nothing in common".to_owned(),
        seq => format!("in common up to checkpoint {seq}"),
    }];
    let shown = |side: Option<String>| side.unwrap_or_else(|| "–".to_owned());
    for (channel, sides) in &diff.channels {
        let text = |value: &Option<Value>| shown(value.as_ref().map(shortened));
        lines.push(format!("  {channel}: {} | {}", text(&sides.left), text(&sides.right)));
    }
    for (node, sides) in &diff.visits {
        let text = |count: Option<u64>| shown(count.map(|count| count.to_string()));
        lines.push(format!("  visits of {node}: {} | {}", text(sides.left), text(sides.right)));
    }
    if let Some(next) = &diff.next {
        let text =
            |nodes: &Option<Vec<String>>| shown(nodes.as_ref().map(|nodes| nodes.join(", ")));
        lines.push(format!("  next: {} | {}", text(&next.left), text(&next.right)));
    }
    lines.join("\n")
}

/// What moving a thread to another version does, a line each.
pub(super) fn migration(report: &crate::agent::MigrationReport, go: bool) -> String {
    let thread = &report.thread;
    if report.is_there {
        return format!("{thread}: is there already");
    }
    let (from, to) = (report.from_version, report.to_version);
    let mut lines = vec![match (report.problems.is_empty(), go) {
        (true, true) => format!("{thread}: moved from version {from} to {to}"),
        (true, false) => format!("{thread}: can move from version {from} to {to}"),
        (false, _) => format!("{thread}: cannot move from version {from} to {to}"),
    }];
    lines.extend(report.problems.iter().map(|problem| format!("  {problem}")));
    if !report.changed.is_empty() {
        lines.push(format!("  changes: {}", report.changed.join(", ")));
    }
    if !report.left.is_empty() {
        lines.push(format!("  left as they are: {}", report.left.join(", ")));
    }
    lines.join("\n")
}

/// A value on part of a line.
fn shortened(value: &Value) -> String {
    const SHOWN: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}
