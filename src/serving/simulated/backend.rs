//! One simulated server with the requests it holds.

use std::collections::HashMap;

use super::page::Counters;
use super::spec::{Fault, WorldSpec};
use crate::base::{EffectKey, Millis};
use crate::domain::{Arm, Backend, ServingConfig};
use crate::serving::{Error, Purpose, Running};
use crate::sim::{Completion, Observer, Replica, Request, Step};

/// Whose request it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owner {
    /// A user's, through the data plane.
    User { session: u64, arm: Arm, probability: f64, first_turn: bool },
    /// A synthetic load's.
    Load(String),
}

/// A request under way.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) arrival_s: f64,
    pub(super) input_tokens: u32,
    pub(super) first_token_seen: bool,
}

/// A request that ended: complete, or with a status and whether its stream had begun.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Complete(Held, Completion),
    Broken { held: Held, at_s: f64, status: u16 },
}

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) replica: Replica,
    pub(super) counters: Counters,
    pub(super) held: HashMap<u64, Held>,
    pub(super) ready_s: f64,
    pub(super) crash_s: Option<f64>,
    pub(super) slow_from: Option<(f64, f64)>,
    pub(super) error_ratio: f64,
    pub(super) down: Option<String>,
    pub(super) stopped: bool,
    next_id: u64,
}

impl Server {
    /// A server that is started at `at_s` [s since the world's start].
    ///
    /// Errors: [`Error::StartFailed`] with the engine's words.
    pub(super) fn start(
        spec: &WorldSpec,
        id: String,
        key: EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
        (at_s, ready_s): (f64, f64),
    ) -> Result<Self, Error> {
        let replica_spec = spec.replica(config)?;
        let replica = Replica::new(replica_spec).map_err(|refusal| Error::StartFailed {
            reason: refusal.to_string(),
            last_lines: vec![format!("ValueError: {refusal}")],
        })?;
        let moment = |s: f64| Millis(spec.start.0 + (s * 1000.0) as u64);
        let url = format!("simulated://{}/{id}", spec.deployment);
        let mut server = Self {
            running: Running {
                backend: Backend { id, url },
                config: config.clone(),
                purpose,
                key,
                started: moment(at_s),
                ready: Some(moment(ready_s)),
            },
            replica,
            counters: Counters::default(),
            held: HashMap::new(),
            ready_s,
            crash_s: None,
            slow_from: None,
            error_ratio: 0.0,
            down: None,
            stopped: false,
            next_id: 0,
        };
        server.afflict(&spec.faults, purpose);
        Ok(server)
    }

    fn afflict(&mut self, faults: &[Fault], purpose: Purpose) {
        for fault in faults {
            match fault {
                Fault::SlowNode { applies_to, slowdown, from_s } if applies_to.covers(purpose) => {
                    self.slow_from = Some((self.ready_s + from_s, *slowdown));
                }
                Fault::Crash { applies_to, after_s } if applies_to.covers(purpose) => {
                    self.crash_s = Some(self.ready_s + after_s);
                }
                Fault::Errors { applies_to, ratio } if applies_to.covers(purpose) => {
                    self.error_ratio = *ratio;
                }
                _ => {}
            }
        }
    }

    /// Whether it can take a request now.
    pub(super) fn takes(&self, now_s: f64) -> bool {
        !self.stopped && self.down.is_none() && now_s >= self.ready_s
    }

    /// Takes a request.
    pub(super) fn submit(&mut self, mut request: Request, owner: Owner) {
        self.next_id += 1;
        request.id = self.next_id;
        let held = Held {
            owner,
            arrival_s: request.arrival_s,
            input_tokens: request.input_tokens,
            first_token_seen: false,
        };
        self.held.insert(request.id, held);
        self.replica.submit(request);
    }

    /// Lets time pass; returns what ended.
    pub(super) fn advance_to(&mut self, at_s: f64) -> Vec<Ended> {
        if self.stopped || self.down.is_some() {
            return Vec::new();
        }
        if let Some((from_s, slowdown)) = self.slow_from {
            if at_s >= from_s {
                self.slow_from = None;
                self.replica.set_slowdown(slowdown);
            }
        }
        let mut watch =
            Watch { counters: &mut self.counters, held: &mut self.held, ended: Vec::new() };
        self.replica.advance_to(at_s, &mut watch);
        watch.ended
    }

    /// Ends everything under way: the server died or was stopped.
    pub(super) fn break_all(&mut self, at_s: f64) -> Vec<Ended> {
        let mut ids: Vec<u64> = self.held.keys().copied().collect();
        ids.sort_unstable();
        let held = ids.into_iter().filter_map(|id| {
            self.replica.abort(id);
            self.counters.abort();
            self.held.remove(&id)
        });
        held.map(|held| Ended::Broken { held, at_s, status: 0 }).collect()
    }

    /// Requests of users under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.held.values().filter(|held| matches!(held.owner, Owner::User { .. })).count() as u64
    }
}

struct Watch<'a> {
    counters: &'a mut Counters,
    held: &'a mut HashMap<u64, Held>,
    ended: Vec<Ended>,
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: &Step) {
        self.counters.step(step);
    }

    fn token(&mut self, request: u64, at_s: f64, gap_s: Option<f64>) {
        self.counters.token(request, at_s, gap_s);
        if gap_s.is_none() {
            if let Some(held) = self.held.get_mut(&request) {
                held.first_token_seen = true;
            }
        }
    }

    fn completion(&mut self, completion: &Completion) {
        self.counters.completion(completion);
        if let Some(held) = self.held.remove(&completion.id) {
            self.ended.push(Ended::Complete(held, completion.clone()));
        }
    }

    fn refused(&mut self, request: &Request, at_s: f64) {
        self.counters.refused(request, at_s);
        if let Some(held) = self.held.remove(&request.id) {
            self.ended.push(Ended::Broken { held, at_s, status: 503 });
        }
    }
}
