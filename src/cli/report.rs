//! The report as text: diagnosis, change, before and after, the rollout.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::Exit;
use crate::agent::OptimizeResult;

/// How the command ends.
pub(super) fn exit(result: &OptimizeResult) -> Exit {
    match status(result).as_str() {
        "improved" | "no_change" => Exit::Done,
        "interrupted" | "running" => Exit::Waiting,
        "rolled_back" => Exit::RolledBack,
        _ => Exit::Failed,
    }
}

fn status(result: &OptimizeResult) -> String {
    json!(result.status).as_str().unwrap_or_default().to_owned()
}

/// The whole report.
pub(super) fn text(result: &OptimizeResult) -> String {
    let mut parts = vec![String::new()];
    if let Some(report) = &result.report {
        parts.push(format!("{}\n{}", report.headline, report.summary));
    }
    if let Some(problem) = &result.error {
        parts.push(format!("error: {problem}"));
    }
    if let Some(question) = &result.question {
        parts.push(question.clone());
    }
    parts.extend(diagnosis(result));
    parts.extend(change(result));
    parts.extend(before_after(result));
    parts.extend(rollout(result));
    let next: Vec<String> =
        result.report.iter().flat_map(|r| r.next_steps.iter().map(|s| format!("- {s}"))).collect();
    if !next.is_empty() {
        parts.push(format!("Next\n{}", next.join("\n")));
    }
    parts.push(closing(result));
    parts.join("\n\n").trim_start_matches('\n').to_owned()
}

fn diagnosis(result: &OptimizeResult) -> Option<String> {
    let diagnosis = result.diagnosis.as_ref()?;
    let mut lines =
        vec![format!("Diagnosis: {} (score {:.2})", diagnosis.bottleneck, diagnosis.score)];
    for fact in &diagnosis.evidence {
        let mark = if fact.holds { "✓" } else { "–" };
        let value = fact.value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
        lines.push(format!("  {mark} {} = {value}  ({})", fact.metric, fact.expected));
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
    let mut lines = vec!["Change".to_owned()];
    for (knob, change) in &result.change {
        let flag = knob.name().replace('_', "-");
        lines.extend(change.from.as_ref().map(|from| format!("  - --{flag} {from}")));
        lines.extend(change.to.as_ref().map(|to| format!("  + --{flag} {to}")));
    }
    Some(lines.join("\n"))
}

fn before_after(result: &OptimizeResult) -> Option<String> {
    let before = result.baseline.as_ref()?;
    let after = result.after.as_ref();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "before", "after", ""]);
    let mut row = |label: &str, from: Option<f64>, to: Option<f64>, digits: usize| {
        let shown = |v: Option<f64>| v.map_or("unknown".to_owned(), |v| format!("{v:.digits$}"));
        let moved = match (from, to) {
            (Some(from), Some(to)) if from > 0.0 => format!("{:+.0} %", (to / from - 1.0) * 100.0),
            _ => String::new(),
        };
        let after_text = if after.is_some() { shown(to) } else { "–".to_owned() };
        table.add_row([label.to_owned(), shown(from), after_text, moved]);
    };
    row("TTFT p50 [ms]", before.ttft_p50_ms, after.and_then(|a| a.ttft_p50_ms), 0);
    row("TTFT p95 [ms]", before.ttft_p95_ms, after.and_then(|a| a.ttft_p95_ms), 0);
    row("TPOT p50 [ms]", before.tpot_p50_ms, after.and_then(|a| a.tpot_p50_ms), 1);
    row("TPOT p95 [ms]", before.tpot_p95_ms, after.and_then(|a| a.tpot_p95_ms), 1);
    row("E2E p50 [ms]", before.e2e_p50_ms, after.and_then(|a| a.e2e_p50_ms), 0);
    row("E2E p95 [ms]", before.e2e_p95_ms, after.and_then(|a| a.e2e_p95_ms), 0);
    row("goodput [req/s]", before.goodput_rps, after.and_then(|a| a.goodput_rps), 2);
    row("tokens/s", before.throughput_tok_s, after.and_then(|a| a.throughput_tok_s), 0);
    row("error rate", before.error_rate, after.and_then(|a| a.error_rate), 4);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(format!("What users got\n{table}"))
}

fn rollout(result: &OptimizeResult) -> Option<String> {
    let rollout = result.rollout.as_ref()?;
    let why = rollout.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let mut lines = vec![format!("Rollout {}{why}", rollout.status)];
    let highest =
        rollout.steps.iter().flat_map(|s| s.ttft_p95_ms.values()).copied().fold(1.0, f64::max);
    for step in &rollout.steps {
        let minutes = step.ended.map(|ended| ended.since(step.started) as f64 / 60_000.0);
        let took = minutes.map_or("running".to_owned(), |m| format!("{m:.1} min"));
        lines.push(format!("  {:>3.0} %  {:<12} {took}", step.percent, step.verdict));
        for (arm, ms) in &step.ttft_p95_ms {
            let bar = "▇".repeat(((ms / highest) * 30.0).ceil() as usize);
            let sessions = step.sessions.get(arm).copied().unwrap_or(0);
            let arm = json!(arm).as_str().unwrap_or_default().to_owned();
            lines.push(format!(
                "         {arm:<7} TTFT p95 {ms:>7.0} ms {bar} ({sessions} sessions)"
            ));
        }
    }
    lines.push(format!(
        "  {} requests failed, {} streams cut",
        rollout.requests_failed, rollout.streams_cut
    ));
    Some(lines.join("\n"))
}

fn closing(result: &OptimizeResult) -> String {
    let again = match status(result).as_str() {
        "interrupted" => {
            format!("answer with: perf-agent resume {} --answer approve", result.thread_id)
        }
        "running" => format!("go on with: perf-agent resume {}", result.thread_id),
        _ => format!("look again with: perf-agent threads show {}", result.thread_id),
    };
    format!(
        "{} · model: {} · seed {} · {:.1} s ({:.0} min on the deployment's clock)\n{again}",
        status(result),
        result.model,
        result.seed,
        result.wall_s,
        result.virtual_s / 60.0
    )
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
