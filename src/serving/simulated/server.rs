//! One simulated server with the requests it holds.

use std::collections::BTreeMap;

use super::counters::{Counters, Reason};
use super::fault::Fate;
use super::history::History;
use super::page::{Identity, Snapshot};
use super::spec::WorldSpec;
use super::start_up;
use crate::base::{EffectKey, Millis};
use crate::domain::{Arm, Backend, ServingConfig};
use crate::serving::{Error, Purpose, Running};
use crate::sim::{Completion, Observer, Replica, Request, Step};

/// Status that stands for no answer at all: the connection was refused, or broke.
pub(super) const NO_ANSWER: u16 = 0;

/// Whose request it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owner {
    /// A user's, through the data plane.
    User(Dealt),
    /// A synthetic load's: which load, and the session within it.
    Load { load: usize, session: u64 },
}

/// How the data plane dealt a user's request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dealt {
    /// Hash of the session.
    pub(super) session: String,
    pub(super) arm: Arm,
    /// Canary probability at the session's start, 0–1.
    pub(super) probability: f64,
    pub(super) first_turn: bool,
    pub(super) randomized: bool,
}

/// A request on its way, and what its client has seen of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) arrival_s: f64,
    pub(super) input_tokens: u32,
    pub(super) first_token_s: Option<f64>,
    pub(super) gap_max_s: Option<f64>,
    pub(super) output_tokens: u32,
}

impl Held {
    pub(super) fn new(owner: Owner, request: &Request) -> Self {
        Self {
            owner,
            arrival_s: request.arrival_s,
            input_tokens: request.input_tokens,
            first_token_s: None,
            gap_max_s: None,
            output_tokens: 0,
        }
    }
}

/// A request that is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    /// Index of the server that had it.
    pub(super) server: usize,
    pub(super) held: Held,
    /// When its client knew [s since the world's start].
    pub(super) at_s: f64,
    /// HTTP status.
    pub(super) status: u16,
    /// Its answer arrived whole.
    pub(super) complete: bool,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Starting or serving.
    Up,
    /// It died, with these last words.
    Down(String),
    /// It was ended.
    Stopped,
}

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) index: usize,
    pub(super) running: Running,
    pub(super) identity: Identity,
    pub(super) replica: Replica,
    pub(super) counters: Counters,
    pub(super) held: BTreeMap<u64, Held>,
    pub(super) history: History,
    pub(super) fate: Fate,
    /// Devices it holds, by number.
    pub(super) gpus: Vec<u32>,
    pub(super) condition: Condition,
    ready_s: f64,
    /// Its fate is done up to here [s since the world's start].
    suffered_s: f64,
    next_id: u64,
}

/// What a server is started with.
pub(super) struct Start<'a> {
    pub(super) index: usize,
    pub(super) key: &'a EffectKey,
    pub(super) config: &'a ServingConfig,
    pub(super) purpose: Purpose,
    pub(super) gpus: Vec<u32>,
    /// When [s since the world's start].
    pub(super) at_s: f64,
    /// Healthy from then on [s since the world's start].
    pub(super) ready_s: f64,
}

impl Server {
    /// Errors: [`Error::StartFailed`] with the engine's words.
    pub(super) fn start(spec: &WorldSpec, start: Start<'_>) -> Result<Self, Error> {
        let Start { index, key, config, purpose, gpus, at_s, ready_s } = start;
        let refused = |refusal| start_up::refused(&refusal);
        let replica = Replica::new(spec.replica(config)?).map_err(refused)?;
        let moment = |s: f64| Millis(spec.start.0 + (s * 1000.0).round() as u64);
        let unix_s = |s: f64| moment(s).0 as f64 / 1000.0;
        let fate = Fate::of(&spec.faults, purpose, ready_s);
        let id = format!("{}-{index}", spec.deployment);
        let mut server = Self {
            index,
            identity: Identity::new(&spec.model, &replica, unix_s(at_s), unix_s(ready_s)),
            counters: Counters::new(replica.spec().config.max_model_len),
            running: Running {
                backend: Backend { url: format!("simulated://{id}"), id },
                config: config.clone(),
                purpose,
                key: key.clone(),
                started: moment(at_s),
                ready: Some(moment(ready_s)),
            },
            replica,
            held: BTreeMap::new(),
            history: History::default(),
            fate,
            gpus,
            condition: Condition::Up,
            ready_s,
            suffered_s: at_s,
            next_id: 0,
        };
        server.suffer(at_s);
        Ok(server)
    }

    pub(super) fn id(&self) -> &str {
        &self.running.backend.id
    }

    /// Whether it holds hardware.
    pub(super) fn is_there(&self) -> bool {
        self.condition != Condition::Stopped
    }

    /// Whether it died.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.condition, Condition::Down(_))
    }

    /// Whether it can take a request.
    pub(super) fn takes(&self, now_s: f64) -> bool {
        self.condition == Condition::Up && now_s >= self.ready_s
    }

    /// Takes a request.
    pub(super) fn submit(&mut self, mut request: Request, owner: Owner) {
        self.next_id += 1;
        request.id = self.next_id;
        self.held.insert(request.id, Held::new(owner, &request));
        self.replica.submit(request);
    }

    /// Lets time pass; adds what ended to `ended`.
    pub(super) fn advance_to(&mut self, at_s: f64, ended: &mut Vec<Ended>) {
        if self.condition != Condition::Up {
            return;
        }
        let max_model_len = self.replica.spec().config.max_model_len;
        let (server, counters, held) = (self.index, &mut self.counters, &mut self.held);
        let mut watch = Watch { server, max_model_len, counters, held, ended };
        self.replica.advance_to(at_s, &mut watch);
    }

    /// When its fate does something next [s since the world's start].
    pub(super) fn suffers_s(&self) -> Option<f64> {
        self.fate.next_s(self.suffered_s).filter(|_| self.condition == Condition::Up)
    }

    /// Lets its fate take its course at `now_s`; returns what broke.
    pub(super) fn suffer(&mut self, now_s: f64) -> Vec<Ended> {
        self.suffered_s = now_s;
        if self.fate.crashed(now_s) && self.condition == Condition::Up {
            self.condition = Condition::Down("the engine core died: exit code -9".to_owned());
            return self.break_off(now_s, |_| true);
        }
        self.replica.set_slowdown(self.fate.slowdown(now_s));
        Vec::new()
    }

    /// Ends it; returns what was cut.
    pub(super) fn stop(&mut self, now_s: f64) -> Vec<Ended> {
        self.condition = Condition::Stopped;
        self.history = History::default();
        self.break_off(now_s, |_| true)
    }

    /// Aborts the requests that `which` picks.
    pub(super) fn break_off(&mut self, now_s: f64, which: impl Fn(&Owner) -> bool) -> Vec<Ended> {
        let picked = |(id, held): (&u64, &Held)| which(&held.owner).then_some(*id);
        let ids: Vec<u64> = self.held.iter().filter_map(picked).collect();
        let mut ended = Vec::with_capacity(ids.len());
        for id in ids {
            self.replica.abort(id);
            self.counters.aborted += 1;
            let Some(held) = self.held.remove(&id) else { continue };
            let status = if held.first_token_s.is_some() { 200 } else { NO_ANSWER };
            ended.push(Ended { server: self.index, held, at_s: now_s, status, complete: false });
        }
        ended
    }

    /// Reads its metrics page, if it answers.
    pub(super) fn scrape(&mut self, now_s: f64) {
        if self.takes(now_s) {
            self.history.push(Snapshot::of(now_s, &self.replica, &self.counters));
        }
    }

    /// Requests of users under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.held.values().filter(|held| matches!(held.owner, Owner::User(_))).count() as u64
    }
}

/// Counts what the engine does and hands out what ended.
struct Watch<'a> {
    server: usize,
    max_model_len: u32,
    counters: &'a mut Counters,
    held: &'a mut BTreeMap<u64, Held>,
    ended: &'a mut Vec<Ended>,
}

impl Watch<'_> {
    fn end(&mut self, id: u64, at_s: f64, status: u16) {
        if let Some(held) = self.held.remove(&id) {
            let (server, complete) = (self.server, status == 200);
            self.ended.push(Ended { server, held, at_s, status, complete });
        }
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: &Step) {
        self.counters.step(step);
    }

    fn token(&mut self, request: u64, at_s: f64, gap_s: Option<f64>) {
        let Some(held) = self.held.get_mut(&request) else { return };
        held.output_tokens += 1;
        match gap_s {
            None => {
                held.first_token_s = Some(at_s);
                self.counters.first_token(held.input_tokens, at_s - held.arrival_s);
            }
            Some(gap_s) => {
                held.gap_max_s = Some(held.gap_max_s.map_or(gap_s, |max| max.max(gap_s)));
                self.counters.next_token(gap_s);
            }
        }
    }

    fn completion(&mut self, done: &Completion) {
        self.counters.completed(done, Reason::Stop);
        self.end(done.id, done.finished_s, 200);
    }

    fn refused(&mut self, request: &Request, at_s: f64) {
        let length = request.input_tokens.saturating_add(request.output_tokens);
        if length > self.max_model_len {
            self.end(request.id, at_s, 400);
        } else {
            self.counters.refused += 1;
            self.end(request.id, at_s, 503);
        }
    }
}
