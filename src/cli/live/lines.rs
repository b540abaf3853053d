//! Plain lines: what happened, one line each, with the time since the start on the deployment's clock.

use serde_json::Value;

use super::words::rollout_state;
use crate::agent::JournalEntry;
use crate::base::Millis;

/// Prints events as they come.
#[derive(Default)]
pub(super) struct Lines {
    started: Option<Millis>,
    node: String,
    shown: String,
}

impl Lines {
    /// Prints what an event says, unless it says nothing new.
    pub(super) fn print(&mut self, event: &JournalEntry) {
        let started = *self.started.get_or_insert(event.at);
        let elapsed_s = event.at.since(started) / 1000;
        if let Some(line) = self.line(&event.kind, &event.data) {
            // A look every five seconds that saw nothing new is not news.
            if line != self.shown {
                println!("{:>3}:{:02}  {line}", elapsed_s / 60, elapsed_s % 60);
                self.shown = line;
            }
        }
    }

    fn line(&mut self, kind: &str, data: &Value) -> Option<String> {
        let node = data["node"].as_str().unwrap_or_default();
        match kind {
            "STEP_STARTED" if self.node != node => {
                self.node = node.to_owned();
                Some(format!("● {node}"))
            }
            "CUSTOM" => custom(&data["data"]),
            "INTERRUPT" => Some("? waits for an answer".to_owned()),
            "RESUMED" => Some(format!("  answered: {}", data["answer"])),
            "RETRY" => Some(format!("  tries again: {}", data["problem"]["message"])),
            "RUN_ERROR" => Some(format!("✗ {node}: {}", data["problem"]["message"].as_str()?)),
            _ => None,
        }
    }
}

fn custom(data: &Value) -> Option<String> {
    if let Some(tool) = data["tool"].as_str() {
        let took_s = data["took_ms"].as_f64().unwrap_or(0.0) / 1000.0;
        return match data["phase"].as_str()? {
            "call" if tool != "rollout_status" => Some(format!("    → {tool}")),
            "done" if took_s >= 1.0 => Some(format!("    ✓ {tool} ({took_s:.0} s)")),
            "failed" => Some(format!("    ✗ {tool}: {}", data["problem"]["message"].as_str()?)),
            _ => None,
        };
    }
    if let Some(element) = data.get("element") {
        let (index, count) = (element["index"].as_u64()? + 1, element["count"].as_u64()?);
        return Some(format!("    [{index}/{count}] {}", element["name"].as_str().unwrap_or("")));
    }
    if let Some(progress) = data.get("progress") {
        let done = progress["done"].as_f64()? >= progress["total"].as_f64()?;
        let mark = if done { "✓" } else { "…" };
        return Some(format!("      {mark} {}", progress["label"].as_str()?));
    }
    let rollout = data.get("rollout")?;
    if rollout["state"]["name"] == "done" {
        // The canary is the stable version now: its share of 0 would read as if it had been taken back.
        return Some("    ✓ done: the new version serves everyone".to_owned());
    }
    let percent = rollout["percent"].as_f64()?;
    let filled = (percent / 5.0) as usize;
    Some(format!(
        "    [{}{}] {percent:>3.0} % {}",
        "█".repeat(filled),
        "·".repeat(20 - filled.min(20)),
        rollout_state(&rollout["state"])?
    ))
}
