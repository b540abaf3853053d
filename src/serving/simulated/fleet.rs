//! The world's state and how it moves: arrivals, servers, the data plane, page scrapes; pure and in one order.

use std::collections::BTreeMap;

use super::action::Action;
use super::assign;
use super::backend::{Ended, Held, Owner, Server};
use super::page;
use super::sessions::Sessions;
use super::spec::{Fault, WorldSpec};
use crate::base::{EffectKey, Millis, stable_hash};
use crate::domain::{Arm, ArmWeight, Backend, Finish, RequestRecord, ServingConfig, TrafficTable};
use crate::serving::{Error, LoadSpec, Page, PageHistory, Purpose};
use crate::sim::Request;
use crate::sim::workload::{Arrivals, Workload};

/// Seconds between two pages.
const PAGE_EVERY_S: f64 = 5.0;
/// Pages kept of each server: an hour of them.
const PAGES_KEPT: usize = 740;
/// Synthetic requests may take this long after the last arrival [s].
pub(super) const LOAD_DRAIN_S: f64 = 60.0;

/// A simulated fleet at one moment.
pub(super) struct Fleet {
    pub(super) spec: WorldSpec,
    pub(super) now_s: f64,
    users: Arrivals,
    changes_done: usize,
    pub(super) servers: Vec<Server>,
    /// How each launch came out, by key: doing it again finds this.
    pub(super) launches: BTreeMap<EffectKey, Result<String, String>>,
    pub(super) table: TrafficTable,
    lease_until_s: Option<f64>,
    sessions: Sessions,
    pub(super) records: Vec<RequestRecord>,
    pub(super) pages: PageHistory,
    next_page_s: f64,
    pub(super) loads: BTreeMap<String, Load>,
}

/// A synthetic load under way or over.
pub(super) struct Load {
    backend: String,
    arrivals: Arrivals,
    pub(super) from_s: f64,
    spec: LoadSpec,
    pub(super) records: Vec<RequestRecord>,
}

impl Load {
    fn arrivals_end_s(&self) -> f64 {
        self.from_s + self.spec.warmup_s + self.spec.duration_s
    }

    pub(super) fn ends_s(&self) -> f64 {
        self.arrivals_end_s() + LOAD_DRAIN_S
    }

    /// When its next request arrives; `None` when all have.
    fn peek_s(&self) -> Option<f64> {
        let at_s = self.from_s + self.arrivals.peek_s();
        (at_s < self.arrivals_end_s()).then_some(at_s)
    }

    fn measures(&self, arrival_s: f64) -> bool {
        arrival_s >= self.from_s + self.spec.warmup_s
    }
}

impl Fleet {
    /// The world at its start: one stable server that serves all.
    ///
    /// Errors: [`Error::StartFailed`] when the start config itself cannot run.
    pub(super) fn new(spec: WorldSpec) -> Result<Self, Error> {
        let workload = Workload::of(spec.traffic.workload);
        let users = Arrivals::new(workload, spec.traffic.rate_rps, spec.seed());
        let key = EffectKey("initial".to_owned());
        let server = Server::start(
            &spec,
            "stable-0".to_owned(),
            key.clone(),
            &spec.config,
            Purpose::Stable,
            (0.0, 0.0),
        )?;
        let backend = server.running.backend.clone();
        let table = TrafficTable {
            generation: 1,
            salt: "initial".to_owned(),
            stable: ArmWeight { arm: Arm::Stable, backends: vec![backend.clone()] },
            canary: None,
            canary_percent: 0.0,
            lease_ms: None,
        };
        Ok(Self {
            now_s: 0.0,
            users,
            changes_done: 0,
            servers: vec![server],
            launches: BTreeMap::from([(key, Ok(backend.id))]),
            table,
            lease_until_s: None,
            sessions: Sessions::default(),
            records: Vec::new(),
            pages: PageHistory::new(PAGES_KEPT),
            next_page_s: 0.0,
            loads: BTreeMap::new(),
            spec,
        })
    }

    /// This moment on the world's clock.
    pub(super) fn moment(&self, at_s: f64) -> Millis {
        Millis(self.spec.start.0 + (at_s * 1000.0).round() as u64)
    }

    /// The server of that id.
    pub(super) fn server(&self, id: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.running.backend.id == id)
    }

    fn server_mut(&mut self, id: &str) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.running.backend.id == id)
    }

    /// Lets time pass until `until_s`, event by event.
    pub(super) fn advance_to(&mut self, until_s: f64) {
        while let Some((at_s, event)) = self.next_event(until_s) {
            self.settle(at_s);
            self.happen(event, at_s);
        }
        self.settle(until_s.max(self.now_s));
    }

    /// Moves every server to `at_s` and records what ended, in order of time.
    fn settle(&mut self, at_s: f64) {
        let mut ended = Vec::new();
        for server in &mut self.servers {
            ended.extend(server.advance_to(at_s));
        }
        self.now_s = at_s;
        ended.sort_by(|a, b| ended_s(a).total_cmp(&ended_s(b)));
        for one in ended {
            self.record(one);
        }
    }

    fn next_event(&self, until_s: f64) -> Option<(f64, Event)> {
        let mut next = (f64::INFINITY, Event::Page);
        let mut consider = |at_s: f64, event: Event| {
            if at_s < next.0 {
                next = (at_s, event);
            }
        };
        if let Some((at_s, _)) = self.spec.traffic.changes.get(self.changes_done) {
            consider(*at_s, Event::RateChange);
        }
        if let Some(at_s) = self.lease_until_s {
            consider(at_s, Event::LeaseExpired);
        }
        for server in self.servers.iter().filter(|s| s.down.is_none() && !s.stopped) {
            if let Some(at_s) = server.crash_s {
                consider(at_s, Event::Crash(server.running.backend.id.clone()));
            }
        }
        consider(self.next_page_s, Event::Page);
        consider(self.users.peek_s(), Event::User);
        for (name, load) in &self.loads {
            if let Some(at_s) = load.peek_s() {
                consider(at_s, Event::Load(name.clone()));
            }
        }
        // Nothing happens in the past: a rate change or a lease that is overdue happens now.
        (next.0 <= until_s).then(|| (next.0.max(self.now_s), next.1))
    }

    fn happen(&mut self, event: Event, at_s: f64) {
        match event {
            Event::RateChange => {
                let rate_rps = self.spec.traffic.changes[self.changes_done].1;
                self.users.set_rate(rate_rps);
                self.changes_done += 1;
            }
            Event::LeaseExpired => {
                self.lease_until_s = None;
                self.table.canary_percent = 0.0;
                self.table.canary = None;
            }
            Event::Crash(id) => {
                if let Some(server) = self.server_mut(&id) {
                    server.crash_s = None;
                    server.down = Some("the engine process died".to_owned());
                    let broken = server.break_all(at_s);
                    broken.into_iter().for_each(|one| self.record(one));
                }
            }
            Event::Page => self.scrape(at_s),
            Event::User => {
                let request = self.users.next_request();
                self.route(request);
            }
            Event::Load(name) => self.synthetic(&name),
        }
    }

    fn scrape(&mut self, at_s: f64) {
        self.next_page_s = at_s + PAGE_EVERY_S;
        let (at, now_s) = (self.moment(at_s), self.now_s);
        for server in self.servers.iter().filter(|server| server.takes(now_s)) {
            let text = page::render(&self.spec.model, &server.replica, &server.counters);
            let backend = server.running.backend.id.clone();
            self.pages.push(Page { at, backend, text: text.into() });
        }
    }

    /// A user's request through the data plane.
    fn route(&mut self, request: Request) {
        let session = request.session.to_string();
        let (arm, share) = assign::arm(&self.table, &session);
        let (probability, first_turn) = self.sessions.see(&self.table.salt, request.session, share);
        let backends = match (&self.table.canary, arm) {
            (Some(canary), Arm::Canary) => &canary.backends,
            _ => &self.table.stable.backends,
        };
        let at = (request.session % backends.len().max(1) as u64) as usize;
        let id = backends.get(at).map(|backend| backend.id.clone());
        let owner = Owner::User { session: request.session, arm, probability, first_turn };
        self.hand_over(id.as_deref(), request, owner);
    }

    fn synthetic(&mut self, name: &str) {
        let Some(load) = self.loads.get_mut(name) else { return };
        let mut request = load.arrivals.next_request();
        request.arrival_s += load.from_s;
        let backend = load.backend.clone();
        self.hand_over(Some(&backend), request, Owner::Load(name.to_owned()));
    }

    fn hand_over(&mut self, id: Option<&str>, request: Request, owner: Owner) {
        let now_s = self.now_s;
        let server = id.and_then(|id| self.server_mut(id)).filter(|server| server.takes(now_s));
        let broken = |status: u16| Ended::Broken {
            held: Held {
                owner: owner.clone(),
                arrival_s: request.arrival_s,
                input_tokens: request.input_tokens,
                first_token_seen: false,
            },
            at_s: now_s,
            status,
        };
        match server {
            None => {
                let refused = broken(502);
                self.record(refused);
            }
            Some(server)
                if assign::place("errors", &format!("{}", request.id)) < server.error_ratio =>
            {
                server.counters.fail();
                let failed = broken(500);
                self.record(failed);
            }
            Some(server) => server.submit(request, owner),
        }
    }

    fn record(&mut self, ended: Ended) {
        let record = self.record_of(&ended);
        let held = match &ended {
            Ended::Complete(held, _) | Ended::Broken { held, .. } => held,
        };
        match &held.owner {
            Owner::User { .. } => self.records.push(record),
            Owner::Load(name) => {
                if let Some(load) = self.loads.get_mut(name) {
                    if load.measures(held.arrival_s) {
                        load.records.push(record);
                    }
                }
            }
        }
    }

    fn record_of(&self, ended: &Ended) -> RequestRecord {
        let (held, done, finished_s) = match ended {
            Ended::Complete(held, done) => (held, Some(done), done.finished_s),
            Ended::Broken { held, at_s, .. } => (held, None, *at_s),
        };
        let (session, arm, probability, first_turn) = match &held.owner {
            Owner::User { session, arm, probability, first_turn } => {
                (session.to_string(), *arm, *probability, *first_turn)
            }
            Owner::Load(name) => (name.clone(), Arm::Canary, 1.0, false),
        };
        let (status, finish) = match ended {
            Ended::Complete(..) => (200, Finish::Complete),
            Ended::Broken { held, .. } if held.first_token_seen => (200, Finish::Cut),
            Ended::Broken { status, .. } => (*status, Finish::Failed),
        };
        let ms = |from: f64, to: f64| (to - from) * 1000.0;
        RequestRecord {
            arm,
            canary_probability: probability,
            session,
            first_turn,
            randomized: true,
            started: self.moment(held.arrival_s),
            finished: self.moment(finished_s),
            ttft_ms: done.map(|d| ms(d.arrival_s, d.first_token_s)),
            tpot_ms: done
                .filter(|d| d.output_tokens > 1)
                .map(|d| ms(d.first_token_s, d.finished_s) / f64::from(d.output_tokens - 1)),
            itl_max_ms: done.map(|d| d.itl_max_s * 1000.0),
            e2e_ms: done.map(|d| ms(d.arrival_s, d.finished_s)),
            input_tokens: Some(held.input_tokens),
            output_tokens: done.map_or(0, |d| d.output_tokens),
            status,
            finish,
        }
    }

    /// Does what a journal line says, now.
    pub(super) fn perform(&mut self, action: &Action) {
        match action {
            Action::World { .. } | Action::Pass => {}
            Action::Launch { key, config, purpose } => self.launch(key, config, *purpose),
            Action::Assign { backend, purpose } => {
                if let Some(server) = self.server_mut(backend) {
                    server.running.purpose = *purpose;
                }
            }
            Action::Stop { backend } => {
                let now_s = self.now_s;
                if let Some(server) = self.server_mut(backend) {
                    let broken = server.break_all(now_s);
                    server.stopped = true;
                    broken.into_iter().for_each(|one| self.record(one));
                }
            }
            Action::Apply { table } => {
                self.table = table.clone();
                self.renew();
            }
            Action::Renew => self.renew(),
            Action::Drive { name, backend, load } => self.drive(name, backend, load),
        }
    }

    fn renew(&mut self) {
        let lease_s = self.table.lease_ms.map(|ms| ms as f64 / 1000.0);
        self.lease_until_s = lease_s.map(|lease_s| self.now_s + lease_s);
    }

    fn drive(&mut self, name: &str, backend: &str, spec: &LoadSpec) {
        let workload = Workload::from_profile(&spec.profile);
        let arrivals = Arrivals::new(workload, spec.profile.request_rate_rps, spec.seed);
        let load = Load {
            backend: backend.to_owned(),
            arrivals,
            from_s: self.now_s,
            spec: spec.clone(),
            records: Vec::new(),
        };
        self.loads.insert(name.to_owned(), load);
    }

    fn launch(&mut self, key: &EffectKey, config: &ServingConfig, purpose: Purpose) {
        let id = format!("server-{}", &stable_hash(&["server", key.as_str()])[..8]);
        let launched = self.fits(config).and_then(|()| {
            let ready_s = self.now_s + self.spec.start_up_s;
            let times = (self.now_s, ready_s);
            let started =
                Server::start(&self.spec, id.clone(), key.clone(), config, purpose, times);
            started.map_err(|error| error.to_string())
        });
        let outcome = launched.map(|server| {
            self.servers.push(server);
            id
        });
        self.launches.insert(key.clone(), outcome);
    }

    /// Whether there are devices for one more server, and no fault forbids it.
    fn fits(&self, config: &ServingConfig) -> Result<(), String> {
        let devices = |config: &ServingConfig| {
            config.int(crate::domain::Knob::TensorParallelSize).unwrap_or(1).max(1) as u32
        };
        let live = self.servers.iter().filter(|server| !server.stopped);
        let used: u32 = live.map(|server| devices(&server.running.config)).sum();
        let wanted = devices(config);
        if used + wanted > self.spec.gpus {
            let free = self.spec.gpus.saturating_sub(used);
            return Err(format!(
                "{wanted} GPUs are needed and {free} of {} are free",
                self.spec.gpus
            ));
        }
        for fault in &self.spec.faults {
            if let Fault::FailsToStart { knob, value } = fault {
                if config.value(*knob) == Some(value) {
                    return Err(format!(
                        "RuntimeError: Engine core initialization failed ({knob}={value})"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Backends of a purpose that were not stopped.
    pub(super) fn backends_of(&self, purpose: Purpose) -> Vec<Backend> {
        let live = self.servers.iter().filter(|server| !server.stopped);
        let meant = live.filter(|server| server.running.purpose == purpose);
        meant.map(|server| server.running.backend.clone()).collect()
    }
}

enum Event {
    RateChange,
    LeaseExpired,
    Crash(String),
    Page,
    User,
    Load(String),
}

fn ended_s(ended: &Ended) -> f64 {
    match ended {
        Ended::Complete(_, done) => done.finished_s,
        Ended::Broken { at_s, .. } => *at_s,
    }
}
