//! A seeded town of users in front of two arms: sticky sessions, several turns, a ramp, and a load that drifts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use perf_agent::base::{EffectKey, Millis, RolloutId, Rng, SeededRng};
use perf_agent::domain::{
    Arm, ArmWeight, Backend, Finish, Guard, GuardRule, Metric, Proposal, Provenance, RequestRecord,
    RequestStats, RolloutPlan, ServingConfig, TrafficTable,
};
use perf_agent::rollout::{Action, Health, Inputs, Lock, Record, Start, default_plan, pending, step};
use rand_distr::{Distribution, Normal};

/// Moment at which a rollout is planned; the baseline is measured before it.
pub const START: Millis = Millis(600_000);
/// The agent looks this often [ms].
pub const TICK_MS: u64 = 1000;

/// Who comes and how often.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// New sessions per second.
    pub sessions_per_s: f64,
    /// Requests of a session, mean.
    pub turns: f64,
    /// Swing of the rate over ten minutes, 0–1; latency follows it.
    pub drift: f64,
}

/// What the canary really does, as ratios to stable.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// TTFT ratio.
    pub ttft: f64,
    /// TPOT ratio.
    pub tpot: f64,
    /// Share of failed requests.
    pub failures: f64,
}

impl Truth {
    /// Both latencies times `factor`, no failures.
    pub fn times(factor: f64) -> Self {
        Self { ttft: factor, tpot: factor, failures: 0.0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at_us: u64,
    session: u64,
    left: u32,
}

#[derive(Debug, Clone)]
struct Session {
    place: f64,
    slowness_ln: f64,
    dealt: Option<(String, f64)>,
    last_arm: Option<Arm>,
}

/// Users, two arms and a data plane.
pub struct World {
    rng: SeededRng,
    load: Load,
    pub truth: Truth,
    /// Table in force.
    pub table: TrafficTable,
    now_us: u64,
    turns: BinaryHeap<Reverse<Turn>>,
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
    under_way: Vec<(RequestRecord, String)>,
    phase: f64,
    /// Every launch that was asked for.
    pub launches: Vec<EffectKey>,
    /// Every table that was put in force.
    pub applied: Vec<TrafficTable>,
    /// Backends that were ended.
    pub stopped: Vec<String>,
    /// Results for the next look.
    pub next: Inputs,
    /// Every request that ended while users were exposed.
    pub history: Vec<RequestRecord>,
}

impl World {
    /// Users who have been coming for ten minutes.
    pub fn new(seed: u64, load: Load, truth: Truth) -> Self {
        let mut rng = SeededRng::stream(seed, "town");
        let stable = ArmWeight { arm: Arm::Stable, backends: vec![backend("stable")] };
        let table = TrafficTable {
            generation: 7,
            salt: "before".to_owned(),
            stable,
            canary: None,
            canary_percent: 0.0,
            lease_ms: None,
        };
        let phase = rng.unit();
        Self {
            rng,
            load,
            truth,
            table,
            now_us: 0,
            turns: BinaryHeap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            under_way: Vec::new(),
            phase,
            launches: Vec::new(),
            applied: Vec::new(),
            stopped: Vec::new(),
            next: Inputs::default(),
            history: Vec::new(),
        }
    }

    /// Lets time pass until `to`; returns the requests that ended.
    pub fn advance(&mut self, to: Millis) -> Vec<RequestRecord> {
        let to_us = to.0 * 1000;
        let rate = self.load.sessions_per_s * self.swing(self.now_us);
        let mut at_us = self.now_us as f64;
        while rate > 0.0 {
            at_us += -f64::ln(1.0 - self.rng.unit()) / rate * 1e6;
            if at_us >= to_us as f64 {
                break;
            }
            self.arrive(at_us as u64);
        }
        while self.turns.peek().is_some_and(|Reverse(turn)| turn.at_us < to_us) {
            if let Some(Reverse(turn)) = self.turns.pop() {
                self.serve(&turn);
            }
        }
        self.now_us = to_us;
        let mut ended = Vec::new();
        self.under_way.retain(|(record, _)| {
            let over = record.finished <= to;
            if over {
                ended.push(record.clone());
            }
            !over
        });
        ended.sort_by_key(|record| record.finished);
        ended
    }

    /// The rate now ÷ its mean.
    fn swing(&self, at_us: u64) -> f64 {
        let turn = std::f64::consts::TAU * (at_us as f64 / 600e6 + self.phase);
        1.0 + self.load.drift * turn.sin()
    }

    fn arrive(&mut self, at_us: u64) {
        let place = self.rng.unit();
        let slowness_ln = self.normal(0.3);
        let more = 1.0 - 1.0 / self.load.turns;
        let mut left = 0;
        while self.rng.unit() < more {
            left += 1;
        }
        let session = self.next_session;
        self.next_session += 1;
        let state = Session { place, slowness_ln, dealt: None, last_arm: None };
        self.sessions.insert(session, state);
        self.turns.push(Reverse(Turn { at_us, session, left }));
    }

    fn serve(&mut self, turn: &Turn) {
        let weight = self.table.canary_percent / 100.0;
        let load = self.swing(turn.at_us).powf(1.5);
        let (noise, tpot_noise, coin) = (self.normal(0.4), self.normal(0.15), self.rng.unit());
        let think_us = -f64::ln(1.0 - self.rng.unit()) * 8e6;
        let Some(session) = self.sessions.get_mut(&turn.session) else { return };
        let first_turn = session.dealt.as_ref().is_none_or(|(salt, _)| *salt != self.table.salt);
        if first_turn {
            // A new salt deals every session anew.
            let word = perf_agent::base::stable_hash(&[&self.table.salt, &session.place.to_string()]);
            let word = u32::from_str_radix(&word[..8], 16).unwrap_or(0);
            session.place = f64::from(word) / f64::from(u32::MAX);
            session.dealt = Some((self.table.salt.clone(), weight));
        }
        let arm = if session.place < weight { Arm::Canary } else { Arm::Stable };
        let cached = session.last_arm == Some(arm);
        session.last_arm = Some(arm);
        let probability = session.dealt.as_ref().map_or(weight, |(_, weight)| *weight);
        let truth = if arm == Arm::Canary { self.truth } else { Truth::times(1.0) };
        let ttft_ms = 200.0 * truth.ttft * load * f64::exp(session.slowness_ln + noise)
            * if cached { 0.5 } else { 1.0 };
        let tpot_ms = 30.0 * truth.tpot * load.sqrt() * f64::exp(session.slowness_ln / 3.0 + tpot_noise);
        let failed = coin < truth.failures;
        let e2e_ms = if failed { 5.0 } else { ttft_ms + 99.0 * tpot_ms };
        let started = Millis(turn.at_us / 1000);
        let record = RequestRecord {
            arm,
            canary_probability: probability,
            session: turn.session.to_string(),
            first_turn,
            randomized: true,
            started,
            finished: started.plus(e2e_ms as u64 + 1),
            ttft_ms: (!failed).then_some(ttft_ms),
            tpot_ms: (!failed).then_some(tpot_ms),
            itl_max_ms: None,
            e2e_ms: (!failed).then_some(e2e_ms),
            input_tokens: Some(500),
            output_tokens: if failed { 0 } else { 100 },
            status: if failed { 500 } else { 200 },
            finish: if failed { Finish::Failed } else { Finish::Complete },
        };
        let arm = if arm == Arm::Canary { self.table.canary.as_ref() } else { Some(&self.table.stable) };
        let server = arm.map(|arm| arm.backends[0].id.clone()).unwrap_or_default();
        self.under_way.push((record, server));
        if turn.left > 0 {
            let at_us = turn.at_us + ((e2e_ms * 1000.0) + think_us) as u64 + 1;
            self.turns.push(Reverse(Turn { at_us, session: turn.session, left: turn.left - 1 }));
        } else {
            self.sessions.remove(&turn.session);
        }
    }

    fn normal(&mut self, sd: f64) -> f64 {
        Normal::new(0.0, sd).unwrap().sample(self.rng.inner())
    }

    /// Everything the agent can see now.
    pub fn look(&mut self, records: Vec<RequestRecord>, now: Millis) -> Inputs {
        let mut inputs = std::mem::take(&mut self.next);
        for record in &records {
            if self.table.canary.is_some() {
                self.history.push(record.clone());
            }
        }
        inputs.records = records;
        inputs.observed = Some(self.table.clone());
        inputs.stable_health = Some(Health::Healthy);
        inputs.metrics_fresh_at = Some(now);
        for id in ["stable", "canary"] {
            let count = self.under_way.iter().filter(|(_, server)| server == id).count();
            inputs.in_flight.insert(id.to_owned(), count as u64);
        }
        inputs
    }

    /// Carries out one action, idempotently; its result is seen at the next look.
    pub fn perform(&mut self, action: &Action) {
        match action {
            Action::Lock { .. } => self.next.lock = Some(Lock::Granted),
            Action::Launch { key, .. } => {
                self.launches.push(key.clone());
                self.next.provisioned = Some(Ok(backend("canary")));
            }
            Action::Warm { .. } => self.next.warmed = Some(Ok(())),
            Action::Apply { table } if table.generation > self.table.generation => {
                self.table = table.clone();
                self.applied.push(table.clone());
            }
            Action::Stop { backend } => self.stopped.push(backend.clone()),
            _ => {}
        }
        if !self.next.performed.contains(action) {
            self.next.performed.push(action.clone());
        }
    }
}

/// A backend named `id`.
pub fn backend(id: &str) -> Backend {
    Backend { id: id.to_owned(), url: format!("http://{id}.test") }
}

/// TTFT and TPOT, not worse than 10 %, proven under 15 %.
pub fn guards() -> Vec<Guard> {
    let rule = GuardRule::NotWorse { tolerance: 0.10, margin: 0.15 };
    [Metric::Ttft, Metric::Tpot].map(|metric| Guard { metric, rule: rule.clone() }).to_vec()
}

/// A rollout under the default plan.
pub fn start(plan: RolloutPlan) -> Start {
    Start {
        id: RolloutId("r-1".to_owned()),
        deployment: "chat".to_owned(),
        proposal: Proposal {
            name: "seats-64".to_owned(),
            deployment: "chat".to_owned(),
            config: ServingConfig::default(),
            change: BTreeMap::new(),
            rationale: "more seats".to_owned(),
            prediction: None,
        },
        plan,
        stable: vec![backend("stable")],
        stable_config: ServingConfig::default(),
        salt: "salt-1".to_owned(),
        generation: 7,
        provenance: Provenance { approved_by: "--yes".to_owned(), model: "expert".to_owned() },
        canary: None,
    }
}

/// The default plan with [`guards`].
pub fn plan() -> RolloutPlan {
    default_plan(guards())
}

/// How a simulated rollout went.
pub struct Run {
    pub record: Record,
    pub world: World,
    /// First exposure → decided [s].
    pub decided_s: f64,
}

/// Runs a rollout to its end, or until a person is asked, at most three hours.
pub fn run(seed: u64, load: Load, truth: Truth, plan: RolloutPlan) -> Run {
    let mut world = World::new(seed, load, truth);
    let warm_up = world.advance(Millis(START.0 / 2));
    drop(warm_up);
    let before = world.advance(START);
    let baseline = baseline(&before, START.0 as f64 / 2000.0);
    let mut start = start(plan);
    start.salt = format!("salt-{seed}");
    let mut record = Record::planned(start, START).unwrap();
    let mut now = START;
    while !record.is_finished() && now.since(START) < 3 * 3_600_000 {
        now = now.plus(TICK_MS);
        let ended = world.advance(now);
        let mut inputs = world.look(ended, now);
        inputs.baseline = Some(baseline.clone());
        let (next, actions) = step(&record, &inputs, now);
        record = next;
        debug_assert_eq!(actions, pending(&record));
        actions.iter().for_each(|action| world.perform(action));
        if matches!(record.state, perf_agent::domain::RolloutState::NeedsHuman { .. }) {
            break;
        }
    }
    let exposed = record.steps.first().map_or(now, |step| step.started);
    let decided = |name: &str| record.transitions.iter().find(|t| t.to == name && t.from != name);
    let decided = decided("rolling_back").or(decided("done")).map_or(now, |transition| transition.at);
    Run { decided_s: decided.since(exposed) as f64 / 1000.0, record, world }
}

/// What `records` add up to.
pub fn baseline(records: &[RequestRecord], window_s: f64) -> RequestStats {
    RequestStats::of(&records.iter().collect::<Vec<_>>(), window_s, None)
}
