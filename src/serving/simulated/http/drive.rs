//! The task that owns the engine and lets it live with the wall clock.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, Flight};
use super::prompt::Prompt;
use crate::sim::Request;

/// Shortest pause. Timers are no finer, and an engine that has fallen behind must let its clients be served.
const PAUSE: Duration = Duration::from_micros(100);

/// What is asked of the engine.
#[derive(Debug)]
pub(super) enum Command {
    /// Answer this.
    Submit {
        id: u64,
        prompt: Prompt,
        /// Length of the answer [tokens].
        output_tokens: u32,
        flight: Flight,
    },
    /// This one's client is gone; unknown ids are ignored.
    Abort(u64),
    /// Say what `GET /metrics` says.
    Page(oneshot::Sender<String>),
}

/// Wall time × speed is simulated time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    begun: Instant,
    speed: f64,
}

impl Pace {
    /// Begins now. `speed` is above 0.
    pub(super) fn new(speed: f64) -> Self {
        Self { begun: Instant::now(), speed }
    }

    fn now_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() * self.speed
    }

    fn instant(&self, at_s: f64) -> Instant {
        self.begun + Duration::from_secs_f64(at_s / self.speed)
    }
}

/// Lives until `closing`, or until nobody can ask any more. Clients then see their streams end early.
pub(super) async fn drive(
    mut engine: Engine,
    pace: Pace,
    mut commands: mpsc::UnboundedReceiver<Command>,
    closing: CancellationToken,
) {
    loop {
        engine.advance_to(pace.now_s());
        let next = engine.next_s().map(|at_s| pace.instant(at_s).max(Instant::now() + PAUSE));
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            command = commands.recv() => match command {
                Some(command) => obey(&mut engine, command, pace.now_s()),
                None => return,
            },
            () = until(next) => {}
        }
    }
}

/// An idle engine waits for commands only.
async fn until(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

fn obey(engine: &mut Engine, command: Command, now_s: f64) {
    match command {
        Command::Submit { id, prompt: Prompt { tokens, hashes }, output_tokens, flight } => {
            let request = Request {
                id,
                arrival_s: now_s,
                input_tokens: tokens,
                output_tokens,
                prefix_hashes: hashes,
                session: id,
            };
            engine.submit(request, flight);
        }
        Command::Abort(id) => engine.abort(id),
        // Whoever asked may have left.
        Command::Page(answer) => drop(answer.send(engine.page(now_s))),
    }
}
