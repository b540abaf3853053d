//! The run as it happens: nodes, tool calls, trials and rollout steps, one plain line each.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::base::{Millis, ThreadId};

/// Follows a thread's journal and prints it.
pub(super) struct Live {
    printer: Arc<Mutex<Printer>>,
    task: JoinHandle<()>,
}

struct Printer {
    follow: crate::agent::Journal,
    started: Option<Millis>,
    node: String,
    shown: String,
}

impl Live {
    /// Begins to print. `announce` says first who decides.
    pub(super) fn start(agent: &Agent, thread: &ThreadId, announce: bool) -> Self {
        if announce {
            println!("thread {thread}\nmodel: {}", agent.model_line());
        }
        let printer = Arc::new(Mutex::new(Printer {
            follow: agent.follow(thread, 0),
            started: None,
            node: String::new(),
            shown: String::new(),
        }));
        let shared = printer.clone();
        let mut every = tokio::time::interval(std::time::Duration::from_millis(100));
        let task = tokio::spawn(async move {
            loop {
                every.tick().await;
                shared.lock().await.catch_up().await;
            }
        });
        Self { printer, task }
    }

    /// Prints everything there is.
    pub(super) async fn catch_up(&self) {
        self.printer.lock().await.catch_up().await;
    }

    /// Prints the rest and stops.
    pub(super) async fn finish(self) {
        self.catch_up().await;
        self.task.abort();
    }
}

impl Printer {
    async fn catch_up(&mut self) {
        while let Ok(Some(event)) = self.follow.try_next().await {
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
    let state = rollout["state"]["name"].as_str()?;
    if state == "done" {
        // The canary is the stable version now: its share of 0 would read as if it had been taken back.
        return Some("    ✓ done: the new version serves everyone".to_owned());
    }
    let percent = rollout["percent"].as_f64()?;
    let filled = (percent / 5.0) as usize;
    let why = rollout["state"]["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!(
        "    [{}{}] {percent:>3.0} % {state}{why}",
        "█".repeat(filled),
        "·".repeat(20 - filled.min(20))
    ))
}
