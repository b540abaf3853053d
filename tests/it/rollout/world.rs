//! A seeded town of users in front of two arms: sticky sessions, several turns, a ramp, and a load that drifts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use perf_agent::base::{EffectKey, Millis, Rng, RolloutId, SeededRng};
use perf_agent::domain::{
    Arm, ArmWeight, Backend, Finish, Guard, GuardRule, Metric, Proposal, Provenance, RequestRecord,
    RequestStats, RolloutPlan, RolloutState, ServingConfig, TrafficTable,
};
use perf_agent::rollout::{
    Action, Health, Inputs, Lock, Record, Start, default_plan, pending, step,
};
use rand_distr::{Distribution, Normal};

/// Moment at which a rollout is planned; the baseline is measured before it.
pub const START: Millis = Millis(300_000);
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
    /// Both latencies again times this once it serves everyone: a seat too few shows only then.
    pub alone: f64,
    /// How much its light load flatters it at the smallest shares, 0–1; nothing from 50 % on.
    pub flattery: f64,
}

impl Truth {
    /// Both latencies times `factor`, no failures.
    pub fn times(factor: f64) -> Self {
        Self { ttft: factor, tpot: factor, failures: 0.0, alone: 1.0, flattery: 0.0 }
    }

    /// The factor on both latencies that comes from its share `weight` of the load.
    fn under_load(&self, weight: f64) -> f64 {
        let light = self.flattery * (1.0 - 2.0 * weight).max(0.0);
        (1.0 - light) * if weight >= 1.0 { self.alone } else { 1.0 }
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
    /// Share of requests that stable fails.
    pub stable_failures: f64,
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
    pub stopped: BTreeSet<String>,
    /// Whether launches fail.
    pub launch_fails: bool,
    deaf_until_us: u64,
    /// Results for the next look.
    pub next: Inputs,
    /// Every request that ended while users were exposed.
    pub history: Vec<RequestRecord>,
}

impl World {
    /// Users who begin to come at time 0.
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
            stable_failures: 0.0,
            table,
            now_us: 0,
            turns: BinaryHeap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            under_way: Vec::new(),
            phase,
            launches: Vec::new(),
            applied: Vec::new(),
            stopped: BTreeSet::new(),
            launch_fails: false,
            deaf_until_us: 0,
            next: Inputs::default(),
            history: Vec::new(),
        }
    }

    /// Lets time pass until `to`; returns the requests that ended.
    pub fn advance(&mut self, to: Millis) -> Vec<RequestRecord> {
        let to_us = to.0 * 1000;
        let rate = self.load.sessions_per_s * self.swing(self.now_us);
        let mut at_us = self.now_us as f64;
        loop {
            at_us += -f64::ln(1.0 - self.rng.unit()) / rate * 1e6;
            // Nobody comes at a rate of 0: the next one is infinitely far.
            if at_us >= to_us as f64 || at_us.is_nan() {
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
        let slowness_ln = self.normal(0.3);
        let more = 1.0 - 1.0 / self.load.turns;
        let mut left = 0;
        while self.rng.unit() < more {
            left += 1;
        }
        let session = self.next_session;
        self.next_session += 1;
        let state = Session { place: 0.0, slowness_ln, dealt: None, last_arm: None };
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
            session.place = deal(&self.table.salt, turn.session);
            session.dealt = Some((self.table.salt.clone(), weight));
        }
        let arm = if session.place < weight { Arm::Canary } else { Arm::Stable };
        let cached = session.last_arm == Some(arm);
        session.last_arm = Some(arm);
        let probability = session.dealt.as_ref().map_or(weight, |(_, weight)| *weight);
        let truth = match arm {
            Arm::Canary => self.truth,
            Arm::Stable => Truth { failures: self.stable_failures, ..Truth::times(1.0) },
        };
        let shared = truth.under_load(if arm == Arm::Canary { weight } else { 0.5 });
        let ttft_ms = 200.0
            * truth.ttft
            * shared
            * load
            * f64::exp(session.slowness_ln + noise)
            * if cached { 0.5 } else { 1.0 };
        let tpot_ms = 30.0
            * truth.tpot
            * shared
            * load.sqrt()
            * f64::exp(session.slowness_ln / 3.0 + tpot_noise);
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
        let arm =
            if arm == Arm::Canary { self.table.canary.as_ref() } else { Some(&self.table.stable) };
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
        let deaf = self.now_us < self.deaf_until_us;
        inputs.observed = (!deaf).then(|| self.table.clone());
        inputs.stable_health = Some(Health::Healthy);
        inputs.metrics_fresh_at = Some(now);
        for id in ["stable", "canary"] {
            let count = self.under_way.iter().filter(|(_, server)| server == id).count();
            inputs.in_flight.insert(id.to_owned(), count as u64);
        }
        inputs
    }

    /// Carries out one action, idempotently; its result is seen at the next look. Whether it succeeded.
    pub fn perform(&mut self, action: &Action) -> bool {
        match action {
            Action::Lock { .. } => self.next.lock = Some(Lock::Granted),
            Action::Launch { key, .. } => {
                self.launches.push(key.clone());
                self.next.provisioned = Some(match self.launch_fails {
                    true => Err("CUDA out of memory".to_owned()),
                    false => Ok(backend("canary")),
                });
            }
            Action::Warm { .. } => self.next.warmed = Some(Ok(())),
            Action::Apply { table } => {
                let stale = table.generation <= self.table.generation && *table != self.table;
                if stale || self.now_us < self.deaf_until_us {
                    return false;
                }
                if *table != self.table {
                    self.applied.push(table.clone());
                }
                self.table = table.clone();
            }
            Action::Stop { backend } => {
                let canary = self.table.canary.iter().filter(|_| self.table.canary_percent > 0.0);
                let mut serving = canary.chain([&self.table.stable]).flat_map(|arm| &arm.backends);
                let alone = self.table.canary_percent >= 100.0 && backend == "stable";
                assert!(alone || serving.all(|server| server.id != *backend), "users cut off");
                self.stopped.insert(backend.clone());
            }
            _ => {}
        }
        if !self.next.performed.contains(action) {
            self.next.performed.push(action.clone());
        }
        true
    }

    /// Carries out actions in order, up to the first that fails.
    pub fn perform_all(&mut self, actions: &[Action]) {
        for action in actions {
            if !self.perform(action) {
                break;
            }
        }
    }

    /// The data plane answers nothing for `ms` from now.
    pub fn deafen(&mut self, ms: u64) {
        self.deaf_until_us = self.now_us + ms * 1000;
    }

    /// What the data plane does when nobody renews the lease.
    pub fn expire_lease(&mut self) {
        if self.table.lease_ms.take().is_some() {
            self.table.generation += 1;
            self.table.canary_percent = 0.0;
        }
    }
}

/// A place in 0–1 from a salt and a session (FNV-1a, then the finalizer of MurmurHash3).
fn deal(salt: &str, session: u64) -> f64 {
    let bytes = salt.bytes().chain(session.to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    (hash >> 11) as f64 / (1_u64 << 53) as f64
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

/// A rollout in a world, driven look by look.
pub struct Drive {
    pub record: Record,
    pub world: World,
    pub now: Millis,
    baseline: RequestStats,
}

impl Drive {
    /// A rollout just planned, over users who have been there for five minutes.
    pub fn new(seed: u64, load: Load, truth: Truth, plan: RolloutPlan) -> Self {
        let mut world = World::new(seed, load, truth);
        world.advance(Millis(START.0 / 2));
        let before = world.advance(START);
        let baseline = baseline(&before, START.0 as f64 / 2000.0);
        let mut start = start(plan);
        start.salt = format!("salt-{seed}");
        Self { record: Record::planned(start, START).unwrap(), world, now: START, baseline }
    }

    /// One look; `change` may falsify what is seen.
    pub fn tick_with(&mut self, change: impl FnOnce(&mut Inputs)) -> Vec<Action> {
        self.tick_dying(None, change)
    }

    /// One look. With `Some(count)` the agent dies after so many of its actions, reads its record again and
    /// does what is pending.
    pub fn tick_dying(
        &mut self,
        dies: Option<usize>,
        change: impl FnOnce(&mut Inputs),
    ) -> Vec<Action> {
        self.now = self.now.plus(TICK_MS);
        let ended = self.world.advance(self.now);
        let mut inputs = self.world.look(ended, self.now);
        inputs.baseline = Some(self.baseline.clone());
        change(&mut inputs);
        let (next, actions) = step(&self.record, &inputs, self.now);
        assert_eq!(actions, pending(&next));
        self.record = next;
        if let Some(performed) = dies {
            self.world.perform_all(&actions[..performed.min(actions.len())]);
            let text = serde_json::to_string(&self.record).unwrap();
            self.record = serde_json::from_str(&text).unwrap();
        }
        self.world.perform_all(&pending(&self.record));
        actions
    }

    /// One look at the world as it is.
    pub fn tick(&mut self) -> Vec<Action> {
        self.tick_with(|_| {})
    }

    /// Looks until `there`, at most three hours.
    pub fn until(&mut self, there: impl Fn(&Record) -> bool) {
        let end = self.now.plus(3 * 3_600_000);
        while !there(&self.record) {
            assert!(
                self.now < end,
                "never got there; now {:?} {:?}",
                self.record.state,
                self.record.hold
            );
            self.tick();
        }
    }

    /// Looks until the canary has `percent` and it is being judged.
    pub fn until_observing(&mut self, percent: f64) {
        self.until(|record| {
            matches!(record.state, RolloutState::Observing { .. }) && record.percent == percent
        });
    }

    /// Looks until it is over, or a person is asked.
    pub fn run_to_end(&mut self) {
        self.until(|record| {
            record.is_finished() || matches!(record.state, RolloutState::NeedsHuman { .. })
        });
    }

    /// First exposure → promoted or rolled back [s].
    pub fn decided_s(&self) -> f64 {
        let exposed = self.record.steps.first().map_or(self.now, |step| step.started);
        let mut ends =
            self.record.transitions.iter().filter(|t| t.to == "rolling_back" || t.to == "done");
        let decided = ends.next().map_or(self.now, |transition| transition.at);
        decided.since(exposed) as f64 / 1000.0
    }
}

/// Runs a rollout to its end.
pub fn run(seed: u64, load: Load, truth: Truth, plan: RolloutPlan) -> Drive {
    let mut drive = Drive::new(seed, load, truth, plan);
    drive.run_to_end();
    drive
}

/// What `records` add up to.
pub fn baseline(records: &[RequestRecord], window_s: f64) -> RequestStats {
    RequestStats::of(&records.iter().collect::<Vec<_>>(), window_s, None)
}
