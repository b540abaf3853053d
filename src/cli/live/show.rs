//! Follows a thread's journal and hands every event to the renderer that fits where standard output goes.

use std::io::IsTerminal;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::lines::Lines;
use super::screen::Screen;
use crate::agent::{Agent, Journal, JournalEntry};
use crate::base::{Clock, ThreadId};

/// How often the journal is read and the screen drawn [ms].
const EVERY_MS: u64 = 100;

/// Follows a thread's journal and shows it.
pub(in crate::cli) struct Live {
    follower: Arc<Mutex<Follower>>,
    task: JoinHandle<()>,
}

struct Follower {
    journal: Journal,
    clock: Arc<dyn Clock>,
    renderer: Renderer,
}

/// The two ways to show a run.
enum Renderer {
    /// Standard output is a terminal: a tree, its open branches redrawn in place.
    Screen(Box<Screen>),
    /// It is a file or a pipe: one line each.
    Lines(Lines),
}

/// Whether standard output can be drawn on.
pub(in crate::cli) fn is_screen() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

impl Live {
    /// Begins to show. `announce` says first who decides.
    pub(in crate::cli) fn start(agent: &Agent, thread: &ThreadId, announce: bool) -> Self {
        if announce {
            println!("thread {thread}\nmodel: {}", agent.model_line());
        }
        let renderer = match is_screen() {
            true => Renderer::Screen(Box::new(Screen::new(agent.is_simulated()))),
            false => Renderer::Lines(Lines::default()),
        };
        let clock = agent.clock().clone();
        let follower = Follower { journal: agent.follow(thread, 0), clock, renderer };
        let follower = Arc::new(Mutex::new(follower));
        let shared = follower.clone();
        let mut every = tokio::time::interval(std::time::Duration::from_millis(EVERY_MS));
        let task = tokio::spawn(async move {
            loop {
                every.tick().await;
                shared.lock().await.catch_up().await;
            }
        });
        Self { follower, task }
    }

    /// Shows everything there is and leaves it on the screen for good: what follows is printed below it.
    pub(in crate::cli) async fn settle(&self) {
        let mut follower = self.follower.lock().await;
        follower.catch_up().await;
        follower.renderer.settle();
    }

    /// Shows the rest and stops.
    pub(in crate::cli) async fn finish(self) {
        self.settle().await;
        self.task.abort();
    }
}

impl Follower {
    async fn catch_up(&mut self) {
        while let Ok(Some(event)) = self.journal.try_next().await {
            self.renderer.take(&event);
        }
        if let Renderer::Screen(screen) = &mut self.renderer {
            screen.draw(self.clock.now());
        }
    }
}

impl Renderer {
    fn take(&mut self, event: &JournalEntry) {
        match self {
            Self::Screen(screen) => screen.take(event),
            Self::Lines(lines) => lines.print(event),
        }
    }

    fn settle(&mut self) {
        if let Self::Screen(screen) = self {
            screen.settle();
        }
    }
}
