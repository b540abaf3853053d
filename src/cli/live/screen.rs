//! The tree in a terminal: what is over scrolls up and stays, what runs is redrawn in place.

use std::time::Instant;

use console::{Term, style, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::row::{Row, clock};
use super::tree::Tree;
use crate::agent::JournalEntry;
use crate::base::Millis;

/// A terminal that shows a run.
pub(super) struct Screen {
    tree: Tree,
    multi: MultiProgress,
    /// All rows that may still change, as one: a picture is drawn whole or not at all.
    picture: Option<ProgressBar>,
    frame: usize,
    /// First event and the newest look, on the deployment's clock.
    seen: Option<(Millis, Millis)>,
    began: Instant,
    simulated: bool,
}

impl Screen {
    pub(super) fn new(simulated: bool) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        // Lines are written over, not cleared first: nothing flickers.
        multi.set_move_cursor(true);
        let (tree, began) = (Tree::default(), Instant::now());
        Self { tree, multi, picture: None, frame: 0, seen: None, began, simulated }
    }

    /// Folds one event in; [`Screen::draw`] shows it.
    pub(super) fn take(&mut self, event: &JournalEntry) {
        let (first, newest) = self.seen.unwrap_or((event.at, event.at));
        self.seen = Some((first, newest.max(event.at)));
        self.tree.take(event);
    }

    /// Draws the run as it stands at `now` on the deployment's clock.
    pub(super) fn draw(&mut self, now: Millis) {
        let Some((first, newest)) = self.seen else { return };
        let now = newest.max(now);
        self.seen = Some((first, now));
        self.frame += 1;
        let width = width();
        let (over, open) = (self.tree.settled(), self.tree.open(now));
        if open.is_empty() {
            return;
        }
        let mut lines: Vec<String> = open.iter().map(|row| row.live(width, self.frame)).collect();
        lines.push(truncate_str(&self.foot(first, now), width, "…").into_owned());
        let picture = self
            .picture
            .get_or_insert_with(|| self.multi.add(ProgressBar::no_length().with_style(whole())));
        picture.set_message(lines.join("\n"));
        if !over.is_empty() {
            // A terminal that went away is no reason to stop a rollout.
            let _ = self.multi.println(lasting(&over, width));
        }
    }

    /// Prints every row for good and leaves the cursor below.
    pub(super) fn settle(&mut self) {
        let now = self.seen.map_or(Millis(0), |(_, newest)| newest);
        if let Some(picture) = self.picture.take() {
            picture.finish_and_clear();
            self.multi.remove(&picture);
        }
        let rest = self.tree.drain(now);
        if !rest.is_empty() {
            println!("{}", lasting(&rest, width()));
        }
    }

    fn foot(&self, first: Millis, now: Millis) -> String {
        let elapsed = clock(now.since(first));
        let time = match self.simulated {
            true => format!(
                "{elapsed} on the fleet's clock, {} here",
                clock(self.began.elapsed().as_millis() as u64)
            ),
            false => elapsed,
        };
        style(format!("{time} · Ctrl-C stops, nothing is lost")).dim().to_string()
    }
}

fn lasting(rows: &[Row], width: usize) -> String {
    rows.iter().map(|row| row.line(width)).collect::<Vec<_>>().join("\n")
}

/// The template is a constant: one that does not read would show as indicatif's default bar.
fn whole() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Columns of the terminal; one is left free, or some terminals would wrap.
fn width() -> usize {
    usize::from(Term::stdout().size().1).saturating_sub(1)
}
