//! One row of the tree as text.

use console::{Alignment, measure_text_width, pad_str, style, truncate_str};

/// Columns of mark and label.
const LEFT: usize = 30;
/// Columns of the time.
const RIGHT: usize = 9;
/// Columns of a bar.
const BAR: usize = 18;
/// Columns of a bar with its percentage.
const BAR_WITH_PERCENT: usize = BAR + 7;
/// The widest a row gets: beyond that the eye loses the line.
const WIDTH_MAX: usize = 100;
/// What turns while something runs.
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// How a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Running,
    Done,
    Failed,
    Asked,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// 0: a node; 1: something inside it.
    pub(super) depth: usize,
    pub(super) mark: Mark,
    pub(super) label: String,
    pub(super) detail: String,
    /// How much of it is done, 0–1; `None`: nobody knows, or it is over.
    pub(super) share: Option<f64>,
    pub(super) elapsed_ms: u64,
}

impl Row {
    /// The row while it may change: a turning mark, a bar where the share is known.
    pub(super) fn live(&self, width: usize, frame: usize) -> String {
        let bar = self.share.map(bar).unwrap_or_default();
        format!("{}{bar}{}", self.left(frame), self.right(width))
    }

    /// The row as it stays.
    pub(super) fn line(&self, width: usize) -> String {
        Self { share: None, ..self.clone() }.live(width, 0)
    }

    /// Mark and label, `LEFT` columns.
    fn left(&self, frame: usize) -> String {
        let mark = match self.mark {
            Mark::Running => style(FRAMES[frame % FRAMES.len()]).cyan(),
            Mark::Done => style("✓").green(),
            Mark::Failed => style("✗").red(),
            Mark::Asked => style("?").yellow(),
        };
        let lead = "  ".repeat(self.depth);
        let room = LEFT - lead.len() - 3;
        let label = truncate_str(&self.label, room, "…");
        let label = if self.depth == 0 { style(label).bold() } else { style(label) };
        pad_str(&format!("{lead}{mark} {label}"), LEFT, Alignment::Left, None).into_owned()
    }

    /// Detail and time: what is left of `width` columns.
    fn right(&self, width: usize) -> String {
        let bar = if self.share.is_some() { BAR_WITH_PERCENT } else { 0 };
        let room = width.min(WIDTH_MAX).saturating_sub(LEFT + RIGHT + bar);
        let first = self.detail.lines().next().unwrap_or_default();
        let detail = truncate_str(first, room, "…");
        let pad = " ".repeat(room.saturating_sub(measure_text_width(&detail)));
        let detail = match self.mark {
            Mark::Failed => style(detail).red(),
            _ => style(detail).dim(),
        };
        format!("{detail}{pad}{}", style(format!("{:>RIGHT$}", clock(self.elapsed_ms))).dim())
    }
}

/// `━━━━━━╸───────────  37 % `, in `BAR_WITH_PERCENT` columns.
fn bar(share: f64) -> String {
    let halves = (share.clamp(0.0, 1.0) * (2 * BAR) as f64).floor() as usize;
    let done = "━".repeat(halves / 2) + if halves % 2 == 1 { "╸" } else { "" };
    let left = "─".repeat(BAR - halves.div_ceil(2));
    format!("{}{} {:>3.0} % ", style(done).cyan(), style(left).dim(), (share * 100.0).floor())
}

/// `0:07`, `12:33`, `1:02:03`.
pub(super) fn clock(ms: u64) -> String {
    let s = ms / 1000;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}
