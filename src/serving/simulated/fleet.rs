//! The world's state and how it moves: pure, one event at a time, in one order.

use std::collections::BTreeMap;

use super::assignment::Place;
use super::history::SCRAPE_EVERY_S;
use super::load::Load;
use super::plane::Plane;
use super::records::{Records, record};
use super::server::{Dealt, Ended, Held, NO_ANSWER, Owner, Server, Start};
use super::spec::WorldSpec;
use crate::base::{EffectKey, Millis};
use crate::domain::Arm;
use crate::serving::{Error, Purpose};
use crate::sim::Request;
use crate::sim::workload::{Arrivals, Workload};

/// A simulated fleet at one moment.
pub(super) struct Fleet {
    pub(super) spec: WorldSpec,
    /// Now [s since the world's start].
    pub(super) now_s: f64,
    pub(super) servers: Vec<Server>,
    /// How each launch came out, by key: doing it again finds this.
    pub(super) launches: BTreeMap<EffectKey, Launched>,
    pub(super) plane: Plane,
    pub(super) records: Records,
    pub(super) loads: Vec<Load>,
    users: Arrivals,
    rate_changes_done: usize,
    next_scrape_s: f64,
}

/// How a launch came out.
#[derive(Debug, Clone)]
pub(super) struct Launched {
    /// When its outcome is known [s since the world's start].
    pub(super) known_s: f64,
    /// Index of the server, or why there is none: the reason, then the last lines.
    pub(super) outcome: Result<usize, (String, Vec<String>)>,
}

/// What happens next.
enum Event {
    RateChange,
    LeaseEnds,
    Fate(usize),
    Scrape,
    User,
    Load(usize),
    LoadGivesUp(usize),
}

impl Fleet {
    /// The world at its start: one stable server that serves all.
    ///
    /// Errors: [`Error::InvalidWorld`]; [`Error::StartFailed`] when the start config itself cannot run.
    pub(super) fn new(spec: WorldSpec) -> Result<Self, Error> {
        spec.check()?;
        let workload = Workload::of(spec.traffic.workload);
        let users = Arrivals::new(workload, spec.traffic.rate_rps, spec.seed());
        let key = EffectKey("initial".to_owned());
        let gpus = super::perform::devices(&spec.config);
        if gpus > spec.gpus {
            return Err(super::start_up::no_room(gpus, spec.gpus, spec.gpus));
        }
        let start = Start {
            index: 0,
            key: &key,
            config: &spec.config,
            purpose: Purpose::Stable,
            gpus: (0..gpus).collect(),
            at_s: 0.0,
            ready_s: 0.0,
        };
        let server = Server::start(&spec, start)?;
        Ok(Self {
            now_s: 0.0,
            plane: Plane::new(server.running.backend.clone()),
            servers: vec![server],
            launches: BTreeMap::from([(key, Launched { known_s: 0.0, outcome: Ok(0) })]),
            records: Records::default(),
            loads: Vec::new(),
            users,
            rate_changes_done: 0,
            next_scrape_s: 0.0,
            spec,
        })
    }

    /// This moment on the world's clock.
    pub(super) fn moment(&self, at_s: f64) -> Millis {
        moment(self.spec.start, at_s)
    }

    /// The server of that id, stopped ones included.
    pub(super) fn server(&self, id: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.id() == id)
    }

    /// Lets time pass until `until_s` [s since the world's start], event by event. Many short passes give the same
    /// history as one long one.
    pub(super) fn advance_to(&mut self, until_s: f64) {
        while let Some((at_s, event)) = self.next_event(until_s) {
            self.settle(at_s);
            self.happen(event);
        }
        self.settle(until_s.max(self.now_s));
    }

    /// Moves every server to `at_s` and records what ended, in order of time.
    fn settle(&mut self, at_s: f64) {
        let mut ended = Vec::new();
        for server in &mut self.servers {
            server.advance_to(at_s, &mut ended);
        }
        self.now_s = at_s;
        ended.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        self.note(ended);
    }

    /// The next event that is due by `until_s`. Ties go to the one named first, so one seed gives one order.
    fn next_event(&self, until_s: f64) -> Option<(f64, Event)> {
        let mut next: Option<(f64, Event)> = None;
        let mut consider = |at_s: Option<f64>, event: Event| {
            let Some(at_s) = at_s else { return };
            if at_s <= until_s && next.as_ref().is_none_or(|(first_s, _)| at_s < *first_s) {
                next = Some((at_s, event));
            }
        };
        let change = self.spec.traffic.changes.get(self.rate_changes_done);
        consider(change.map(|(at_s, _)| *at_s), Event::RateChange);
        consider(self.plane.lease_until_s(), Event::LeaseEnds);
        for server in &self.servers {
            consider(server.suffers_s(), Event::Fate(server.index));
        }
        for (index, load) in self.loads.iter().enumerate() {
            consider(load.gives_up_s(), Event::LoadGivesUp(index));
        }
        consider(Some(self.next_scrape_s), Event::Scrape);
        consider(Some(self.users.peek_s()), Event::User);
        for (index, load) in self.loads.iter().enumerate() {
            consider(load.peek_s(), Event::Load(index));
        }
        // What is overdue happens now.
        next.map(|(at_s, event)| (at_s.max(self.now_s), event))
    }

    fn happen(&mut self, event: Event) {
        let now_s = self.now_s;
        match event {
            Event::RateChange => {
                let (_, rate_rps) = self.spec.traffic.changes[self.rate_changes_done];
                self.users.set_rate(rate_rps);
                self.rate_changes_done += 1;
            }
            Event::LeaseEnds => {
                let stable = self.plane.table().stable.backends.iter();
                let healthy = |id: &str| self.server(id).is_some_and(|server| server.takes(now_s));
                let stable_is_healthy = stable.into_iter().any(|backend| healthy(&backend.id));
                self.plane.lapse(stable_is_healthy, now_s);
            }
            Event::Fate(index) => {
                let broken = self.servers[index].suffer(now_s);
                self.note(broken);
            }
            Event::Scrape => {
                self.next_scrape_s += SCRAPE_EVERY_S;
                self.servers.iter_mut().for_each(|server| server.scrape(now_s));
            }
            Event::User => {
                let request = self.users.next_request();
                self.route(request);
            }
            Event::Load(index) => self.send_synthetic(index),
            Event::LoadGivesUp(index) => self.give_up(index),
        }
    }

    /// A user's request through the data plane. A backend that takes no connection is passed over; a canary that takes
    /// none is charged with the failure, although stable answers.
    fn route(&mut self, request: Request) {
        let (mut dealt, tries) = self.plane.deal(request.session);
        let mut refused: Option<(usize, Dealt)> = None;
        for (arm, id) in tries {
            let Some(index) = self.servers.iter().position(|server| server.id() == id) else {
                continue;
            };
            if arm != dealt.arm {
                self.charge(refused.take(), &request);
                dealt = Dealt { arm: Arm::Stable, randomized: false, first_turn: false, ..dealt };
            }
            if self.servers[index].takes(self.now_s) {
                return self.hand_over(index, request, Owner::User(dealt));
            }
            refused = Some((index, dealt.clone()));
        }
        self.charge(refused, &request);
    }

    fn charge(&mut self, refused: Option<(usize, Dealt)>, request: &Request) {
        if let Some((index, dealt)) = refused {
            self.fail(index, request, Owner::User(dealt), NO_ANSWER);
        }
    }

    fn send_synthetic(&mut self, index: usize) {
        let load = &mut self.loads[index];
        let request = load.send();
        let owner = Owner::Load { load: index, session: request.session };
        let server = self.servers.iter().position(|server| server.id() == load.backend);
        match server {
            Some(index) if self.servers[index].takes(self.now_s) => {
                self.hand_over(index, request, owner);
            }
            other => self.fail(other.unwrap_or(0), &request, owner, NO_ANSWER),
        }
    }

    fn hand_over(&mut self, index: usize, request: Request, owner: Owner) {
        let server = &mut self.servers[index];
        let lot = Place::of("errors", &format!("{}-{}", server.id(), request.id)).u;
        if lot < server.fate.error_ratio {
            server.counters.failed += 1;
            self.fail(index, &request, owner, 500);
        } else {
            server.submit(request, owner);
        }
    }

    /// A request that got no answer, or an error for one.
    fn fail(&mut self, server: usize, request: &Request, owner: Owner, status: u16) {
        let held = Held::new(owner, request);
        self.note(vec![Ended { server, held, at_s: self.now_s, status, complete: false }]);
    }

    fn give_up(&mut self, index: usize) {
        let now_s = self.now_s;
        let its = |owner: &Owner| matches!(owner, Owner::Load { load, .. } if *load == index);
        let broken: Vec<Ended> =
            self.servers.iter_mut().flat_map(|server| server.break_off(now_s, its)).collect();
        self.note(broken);
        self.loads[index].give_up();
    }

    /// Records what ended: users' requests for all to read, a load's for itself.
    pub(super) fn note(&mut self, ended: Vec<Ended>) {
        let start = self.spec.start;
        for one in ended {
            let record = record(&one, |at_s| moment(start, at_s));
            match &one.held.owner {
                Owner::User(_) => self.records.push(one.server, record),
                Owner::Load { load, .. } => {
                    self.loads[*load].ended(one.held.arrival_s, record);
                }
            }
        }
    }

    /// The servers of the version that serves users: those whose purpose it is and to whom the table sends somebody.
    /// When the table sends nobody to any, all whose purpose it is.
    pub(super) fn stable(&self) -> Vec<&Server> {
        let table = self.plane.table();
        let share = super::assignment::share(table);
        let (stable, canary) = (&table.stable.backends, table.canary.as_ref());
        let sent = |id: &str| {
            let on_canary = canary.is_some_and(|arm| arm.backends.iter().any(|b| b.id == id));
            (share < 1.0 && stable.iter().any(|b| b.id == id)) || (share > 0.0 && on_canary)
        };
        let meant =
            |server: &&Server| server.is_there() && server.running.purpose == Purpose::Stable;
        let all: Vec<&Server> = self.servers.iter().filter(meant).collect();
        let serving: Vec<&Server> = all.iter().filter(|s| sent(s.id())).copied().collect();
        if serving.is_empty() { all } else { serving }
    }
}

fn moment(start: Millis, at_s: f64) -> Millis {
    Millis(start.0 + (at_s * 1000.0).round() as u64)
}
