//! The replica, its counters, and what is on its way to clients.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc::UnboundedSender;

use crate::serving::simulated::counters::{Counters, Reason};
use crate::serving::simulated::page::{Identity, Snapshot};
use crate::sim::{Completion, Observer, Replica, Request, Step};

/// What a client is told about its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It waits or runs.
    Admitted,
    /// There is no room for it.
    Refused,
    /// Its next token.
    Token,
    /// Its last token was the one before.
    Done {
        reason: Reason,
        /// Prompt tokens found in the prefix cache.
        cached_tokens: u32,
    },
}

/// A request inside.
#[derive(Debug)]
pub(super) struct Flight {
    /// Why its answer will end.
    pub(super) reason: Reason,
    /// What its client set, if it did [tokens].
    pub(super) max_tokens: Option<u32>,
    /// Its client.
    pub(super) events: UnboundedSender<Event>,
}

#[derive(Debug)]
struct Held {
    flight: Flight,
    arrival_s: f64,
    input_tokens: u32,
    /// It was told whether it was taken.
    told: bool,
    /// The engine is done with it; its last events may still be on their way.
    over: bool,
}

/// A replica with the requests it holds. Times are simulated seconds since its start.
#[derive(Debug)]
pub(super) struct Engine {
    replica: Replica,
    identity: Identity,
    watch: Watch,
}

/// Counts what the replica does, and puts it on its way.
#[derive(Debug)]
struct Watch {
    counters: Counters,
    held: BTreeMap<u64, Held>,
    /// (when it reaches the client, request, what), in order: every token is under way equally long.
    wire: VecDeque<(f64, u64, Event)>,
}

impl Engine {
    pub(super) fn new(replica: Replica, identity: Identity) -> Self {
        let counters = Counters::new(replica.spec().config.max_model_len);
        let watch = Watch { counters, held: BTreeMap::new(), wire: VecDeque::new() };
        Self { replica, identity, watch }
    }

    /// Takes a request; whether there is room for it shows at the next [`Self::advance_to`].
    pub(super) fn submit(&mut self, request: Request, flight: Flight) {
        let (arrival_s, input_tokens) = (request.arrival_s, request.input_tokens);
        let held = Held { flight, arrival_s, input_tokens, told: false, over: false };
        self.watch.held.insert(request.id, held);
        self.replica.submit(request);
    }

    /// Its client is gone. One that is over is no abort.
    pub(super) fn abort(&mut self, id: u64) {
        if let Some(held) = self.watch.held.remove(&id).filter(|held| !held.over) {
            self.replica.abort(id);
            self.watch.counters.aborted += 1;
            tracing::debug!(id, waited_s = held.arrival_s, "a client left");
        }
    }

    /// Lets time pass, and delivers what has arrived by then.
    pub(super) fn advance_to(&mut self, now_s: f64) {
        self.replica.advance_to(now_s, &mut self.watch);
        self.watch.admit(now_s);
        self.watch.deliver(now_s);
    }

    /// When something happens next; `None` when it is idle.
    pub(super) fn next_s(&self) -> Option<f64> {
        let arrives_s = self.watch.wire.front().map(|(at_s, ..)| *at_s);
        [self.replica.next_event_s(), arrives_s].into_iter().flatten().reduce(f64::min)
    }

    /// What `GET /metrics` says.
    pub(super) fn page(&self, now_s: f64) -> String {
        Snapshot::of(now_s, &self.replica, &self.watch.counters).render(&self.identity)
    }
}

impl Watch {
    /// Tells those who have arrived that they were taken. Those who were not were told by [`Observer::refused`].
    fn admit(&mut self, now_s: f64) {
        let arrived = self.held.values_mut().filter(|held| !held.told && held.arrival_s < now_s);
        for held in arrived {
            held.told = true;
            held.tell(Event::Admitted);
        }
    }

    fn deliver(&mut self, now_s: f64) {
        while let Some((_, id, event)) = self.wire.pop_front_if(|(at_s, ..)| *at_s <= now_s) {
            let Some(held) = self.held.get(&id) else { continue };
            held.tell(event);
            if matches!(event, Event::Done { .. }) {
                self.held.remove(&id);
            }
        }
    }
}

impl Held {
    /// A client that is gone will be taken out by its own word.
    fn tell(&self, event: Event) {
        let _ = self.flight.events.send(event);
    }
}

impl Observer for Watch {
    fn step(&mut self, step: &Step) {
        self.counters.step(step);
    }

    fn token(&mut self, request: u64, at_s: f64, gap_s: Option<f64>) {
        let Some(held) = self.held.get(&request) else { return };
        match gap_s {
            None => self.counters.first_token(held.input_tokens, at_s - held.arrival_s),
            Some(gap_s) => self.counters.next_token(gap_s),
        }
        self.wire.push_back((at_s, request, Event::Token));
    }

    fn completion(&mut self, done: &Completion) {
        let Some(held) = self.held.get_mut(&done.id) else { return };
        held.over = true;
        let reason = held.flight.reason;
        self.counters.completed(done, reason);
        if let Some(max_tokens) = held.flight.max_tokens {
            self.counters.max_tokens.observe(f64::from(max_tokens));
        }
        let event = Event::Done { reason, cached_tokens: done.cached_tokens };
        self.wire.push_back((done.finished_s, done.id, event));
    }

    fn refused(&mut self, request: &Request, _at_s: f64) {
        self.counters.refused += 1;
        if let Some(held) = self.held.remove(&request.id) {
            held.tell(Event::Refused);
        }
    }
}
