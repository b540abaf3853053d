//! All tests of a rollout together, and what they say.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::exceedance::Exceedance;
use super::guard::GuardTests;
use super::load::Load;
use crate::base::Millis;
use crate::domain::{
    Arm, EvidenceState, Finish, Guard, Metric, RequestRecord, RequestStats, RolloutPlan,
};

/// False alarms allowed per family of tests over the whole rollout: errors, TTFT, TPOT, full load. Together .02.
pub const ALPHA: f64 = 0.005;

/// Share of requests that may fail on a healthy server.
const FAILURES_P0: f64 = 0.001;
/// Where stable is proven to fail more often than that, the canary may fail this multiple of stable's share.
const FAILURES_FACTOR: f64 = 1.5;

/// Requests of stable that are its present.
const LATEST: usize = 60;

/// What was frozen before the first user was exposed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// When.
    pub at: Millis,
    /// TTFT of stable.
    pub ttft: Reading,
    /// TPOT of stable.
    pub tpot: Reading,
    /// Largest gap between tokens, per request, of stable.
    pub itl: Reading,
    /// E2E latency of stable.
    pub e2e: Reading,
    /// Requests per second on stable; `None`: unknown.
    pub rate_rps: Option<f64>,
    /// Share of requests that the canary may fail, 0–1.
    pub failures_p0: f64,
}

/// Stable's median and p95 of one metric.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Median [ms].
    pub p50_ms: Option<f64>,
    /// p95 [ms].
    pub p95_ms: Option<f64>,
}

impl Frozen {
    /// Freezes stable as `baseline` shows it.
    pub fn of(baseline: &RequestStats, at: Millis) -> Self {
        let reading = |p50_ms, p95_ms| Reading { p50_ms, p95_ms };
        let rate = baseline.requests as f64 / baseline.window_s;
        Self {
            at,
            ttft: reading(baseline.ttft_p50_ms, baseline.ttft_p95_ms),
            tpot: reading(baseline.tpot_p50_ms, baseline.tpot_p95_ms),
            itl: reading(None, baseline.itl_max_p95_ms),
            e2e: reading(baseline.e2e_p50_ms, baseline.e2e_p95_ms),
            rate_rps: (rate.is_finite() && rate > 0.0).then_some(rate),
            failures_p0: failures_p0(baseline),
        }
    }

    /// The frozen reading of `metric`; empty for what is no latency.
    pub fn reading(&self, metric: Metric) -> Reading {
        match metric {
            Metric::Ttft => self.ttft,
            Metric::Tpot => self.tpot,
            Metric::Itl => self.itl,
            Metric::E2e => self.e2e,
            Metric::Throughput | Metric::Goodput | Metric::ErrorRate => Reading::default(),
        }
    }
}

/// .001, unless stable itself is proven to fail more often.
fn failures_p0(baseline: &RequestStats) -> f64 {
    let bad = baseline.requests_failed + baseline.streams_cut;
    let mut stable = Exceedance::failures(FAILURES_P0);
    (0..baseline.requests).for_each(|unit| stable.observe(unit < bad));
    if stable.ln_e() < ln_threshold(ALPHA) {
        return FAILURES_P0;
    }
    (FAILURES_FACTOR * bad as f64 / baseline.requests as f64).clamp(FAILURES_P0, 0.5)
}

/// A test that spoke against the canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// `errors`, `ttft_harm` …
    pub test: String,
    /// One sentence with its numbers.
    pub reason: String,
}

/// The state of every test: all a verdict needs, and part of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    errors: Exceedance,
    errors_full: Exceedance,
    stable_errors: Exceedance,
    /// Whether each of stable's latest requests failed: who is to blame is decided by now, not by this morning.
    stable_latest: VecDeque<bool>,
    guards: Vec<GuardTests>,
    load: Load,
    /// When the last share came into force: stable serves nobody since.
    full_since: Option<Millis>,
    /// A plan that moves everyone at once: until when latency says nothing about the canary.
    #[serde(default)]
    handover: Option<Handover>,
}

/// Everyone was moved at once, and the old version still works on what it had, on the same cores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handover {
    /// When everyone was moved.
    since: Millis,
    /// Sessions that begin from here on are judged; `None` while the old version works.
    until: Option<Millis>,
    /// Sessions that were judged.
    judged: u64,
}

/// What queued up while two versions worked is worked off in about this multiple of that time.
const CATCH_UP_FACTOR: u64 = 2;

impl Evidence {
    /// Nothing seen yet. `stable_backends` and `canary_backends` say at which share both carry equal loads.
    pub fn new(plan: &RolloutPlan, frozen: &Frozen, fair_probability: f64) -> Self {
        let parts = plan.steps_percent.iter().filter(|percent| **percent < 100.0).count();
        let tests = |guard: &Guard| GuardTests::new(guard, frozen, fair_probability, parts);
        Self {
            errors: Exceedance::failures(frozen.failures_p0),
            errors_full: Exceedance::failures(frozen.failures_p0),
            stable_errors: Exceedance::failures(frozen.failures_p0),
            stable_latest: VecDeque::new(),
            guards: plan.guards.iter().map(tests).collect(),
            load: Load::against(frozen.rate_rps),
            full_since: None,
            handover: (parts == 0).then_some(Handover { since: frozen.at, until: None, judged: 0 }),
        }
    }

    /// A share came into force; `full` when it is the last one.
    pub fn begin_step(&mut self, full: bool, now: Millis) {
        if full && self.full_since.is_none() {
            self.full_since = Some(now);
            if let Some(handover) = &mut self.handover {
                handover.since = now;
            }
            self.load.raise_reference();
            self.guards.iter_mut().for_each(GuardTests::begin_full);
        } else if !full {
            self.guards.iter_mut().for_each(GuardTests::begin_step);
        }
    }

    /// Folds one request. A session speaks once about latency, by its first request; every request speaks about errors.
    pub fn fold(&mut self, request: &RequestRecord) {
        self.load.note(request.started);
        if !request.randomized {
            return;
        }
        if let Some(failed) = failed(request) {
            let full = self.full_since.is_some_and(|since| request.started >= since);
            match (request.arm, full) {
                (Arm::Stable, _) => self.fold_stable_error(failed),
                (Arm::Canary, false) => self.errors.observe(failed),
                (Arm::Canary, true) => self.errors_full.observe(failed),
            }
        }
        if request.first_turn && self.is_judged(request) {
            let comparable = self.load.is_comparable();
            self.guards.iter_mut().for_each(|guard| guard.fold(request, comparable));
        }
    }

    /// Counts a session, and says whether its latency is the canary's own.
    fn is_judged(&mut self, request: &RequestRecord) -> bool {
        let Some(handover) = &mut self.handover else { return true };
        let judged = handover.until.is_some_and(|until| request.started >= until);
        handover.judged += u64::from(judged);
        judged
    }

    /// The old version has finished what it had: what queued up meanwhile is worked off next.
    pub fn note_old_version_idle(&mut self, now: Millis) {
        let Some(full_since) = self.full_since else { return };
        if let Some(handover) = self.handover.as_mut().filter(|h| h.until.is_none()) {
            handover.until = Some(now.plus(CATCH_UP_FACTOR * now.since(full_since)));
        }
    }

    /// Whether everyone was moved at once and the old version is not known to be idle yet.
    pub fn old_version_works(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.until.is_none())
    }

    /// Whether everyone was moved at once and latency says nothing about the canary yet.
    pub fn is_handing_over(&self, now: Millis) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.until.is_none_or(|until| now < until))
    }

    /// What a plan without compared shares still needs; empty for every other plan.
    pub fn unjudged(&self, sessions_min: u64) -> Option<String> {
        let handover = self.handover.as_ref()?;
        (handover.judged < sessions_min).then(|| {
            let judged = handover.judged;
            format!("{judged} of {sessions_min} sessions since the old version is idle")
        })
    }

    /// Every test that has spoken against the canary; empty is no proof that it is good.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.against_canary().filter(Test::has_spoken).map(|test| test.alarm()).collect()
    }

    /// Tests of stable itself that have spoken: an incident, not the canary's fault.
    pub fn incidents(&self) -> Vec<Alarm> {
        let errors = Test::misses("stable_errors", &self.stable_errors, ALPHA);
        let guards = self.guards.iter().filter_map(|guard| {
            let (bound, canary) = (guard.incident.as_ref()?, guard.incident_canary.as_ref()?);
            // A stable version that drowns while the canary swims is what the rollout is for.
            Test::misses("canary", &canary.test, ALPHA).has_spoken().then_some(())?;
            Some(Test::misses(format!("stable_{}", slug(guard.metric)), &bound.test, ALPHA))
        });
        guards.chain([errors]).filter(Test::has_spoken).map(|test| test.alarm()).collect()
    }

    /// Whether stable fails too often, by its whole history or by its latest requests.
    pub fn stable_fails(&self) -> bool {
        let mut latest = Exceedance::failures(self.stable_errors.p0());
        self.stable_latest.iter().for_each(|failed| latest.observe(*failed));
        self.stable_errors.ln_peak().max(latest.ln_peak()) >= ln_threshold(ALPHA)
    }

    /// Begins the canary's error tests anew: what failed on both arms says nothing about it.
    pub fn forgive_errors(&mut self) {
        self.errors = Exceedance::failures(self.errors.p0());
        self.errors_full = Exceedance::failures(self.errors_full.p0());
    }

    fn fold_stable_error(&mut self, failed: bool) {
        self.stable_errors.observe(failed);
        self.stable_latest.push_back(failed);
        if self.stable_latest.len() > LATEST {
            self.stable_latest.pop_front();
        }
    }

    /// Begins the tests of stable anew: a person looked at the incident.
    pub fn clear_incidents(&mut self) {
        self.stable_errors = Exceedance::failures(self.stable_errors.p0());
        self.stable_latest.clear();
        self.guards.iter_mut().for_each(GuardTests::clear_incident);
    }

    /// The tests against the canary that are more than half way to an alarm: not the moment to give it more users.
    pub fn suspicions(&self) -> Vec<String> {
        let half = |test: &Test| test.ln_e > test.ln_threshold / 2.0;
        self.against_canary()
            .filter(half)
            .map(|test| format!("{} is suspicious", test.name))
            .collect()
    }

    /// What is still unproven before the canary may serve everyone; empty: proven.
    pub fn unproven(&self, sessions_min: u64) -> Vec<String> {
        let mut missing = Vec::new();
        for guard in &self.guards {
            if let Some(compared) = &guard.compared {
                let (ln_e, needed) = (compared.promotion.ln_e(), ln_threshold(ALPHA));
                if ln_e < needed {
                    let e = ln_e.exp();
                    let needed = needed.exp();
                    missing
                        .push(format!("{} not worse: e-value {e:.1} of {needed:.0}", guard.metric));
                }
            }
            if let Some(Missed { bad, units, p0 }) =
                guard.within.as_ref().map(|b| Missed::of(&b.test))
                && (units < sessions_min || bad as f64 > p0 * units as f64)
            {
                missing
                    .push(format!("{} within its bound: {bad} of {units} missed it", guard.metric));
            }
        }
        missing
    }

    /// Every test, for reports.
    pub fn states(&self) -> Vec<EvidenceState> {
        let promotions = self.guards.iter().filter_map(|guard| {
            let test = &guard.compared.as_ref()?.promotion;
            let name = format!("{}_promote", slug(guard.metric));
            Some(Test::new(name, test.ln_e(), test.ln_peak(), ALPHA, test.sessions()))
        });
        let state = |test: Test| EvidenceState {
            test: test.name,
            ln_e: test.ln_e,
            ln_threshold: test.ln_threshold,
            sessions: test.units,
        };
        self.against_canary().chain(promotions).map(state).collect()
    }

    fn against_canary(&self) -> impl Iterator<Item = Test> + '_ {
        let full_alpha = ALPHA / (1 + self.guards.len()) as f64;
        let errors = Test::misses("errors", &self.errors, ALPHA);
        let errors_full = Test::misses("errors_full_load", &self.errors_full, full_alpha);
        let guards = self.guards.iter().flat_map(move |guard| {
            let name = slug(guard.metric);
            let harm = guard.compared.as_ref().map(|compared| {
                let test = &compared.harm;
                Test::new(
                    format!("{name}_harm"),
                    test.ln_e(),
                    test.ln_peak(),
                    ALPHA,
                    test.sessions(),
                )
            });
            let within = guard.within.as_ref();
            let within = within.map(|b| Test::misses(format!("{name}_within"), &b.test, ALPHA));
            let full = guard.full.as_ref();
            let full = full.map(|b| Test::misses(format!("{name}_full_load"), &b.test, full_alpha));
            harm.into_iter().chain(within).chain(full)
        });
        [errors].into_iter().chain(guards).chain([errors_full])
    }
}

/// The present reading of one test.
struct Test {
    name: String,
    ln_e: f64,
    ln_peak: f64,
    ln_threshold: f64,
    units: u64,
    missed: Option<Missed>,
}

struct Missed {
    bad: u64,
    units: u64,
    p0: f64,
}

impl Missed {
    fn of(test: &Exceedance) -> Self {
        Self { bad: test.bad(), units: test.units(), p0: test.p0() }
    }
}

impl Test {
    fn new(name: String, ln_e: f64, ln_peak: f64, alpha: f64, units: u64) -> Self {
        Self { name, ln_e, ln_peak, ln_threshold: ln_threshold(alpha), units, missed: None }
    }

    fn misses(name: impl Into<String>, test: &Exceedance, alpha: f64) -> Self {
        let missed = Some(Missed::of(test));
        Self { missed, ..Self::new(name.into(), test.ln_e(), test.ln_peak(), alpha, test.units()) }
    }

    fn has_spoken(&self) -> bool {
        self.ln_peak >= self.ln_threshold
    }

    fn alarm(self) -> Alarm {
        let (e, needed) = (e_text(self.ln_peak), e_text(self.ln_threshold));
        let seen = match self.missed {
            Some(Missed { bad, units, p0 }) => {
                format!("{bad} of {units} bad, {:.1} % allowed", 100.0 * p0)
            }
            None => format!("{} sessions", self.units),
        };
        Alarm {
            reason: format!("{}: {seen}, e-value {e} ≥ {needed}", self.name), test: self.name
        }
    }
}

/// An e-value for people: more than a million is said, not spelt out.
fn e_text(ln_e: f64) -> String {
    if ln_e > f64::ln(1e6) { "above a million".to_owned() } else { format!("{:.0}", ln_e.exp()) }
}

/// Whether the server failed the request; `None` when its client left.
fn failed(request: &RequestRecord) -> Option<bool> {
    match request.finish {
        Finish::Complete => Some(false),
        Finish::Failed | Finish::Cut => Some(true),
        Finish::ClientGone => None,
    }
}

fn ln_threshold(alpha: f64) -> f64 {
    -alpha.ln()
}

fn slug(metric: Metric) -> &'static str {
    match metric {
        Metric::Ttft => "ttft",
        Metric::Tpot => "tpot",
        Metric::Itl => "itl",
        Metric::E2e => "e2e",
        Metric::Throughput => "throughput",
        Metric::Goodput => "goodput",
        Metric::ErrorRate => "error_rate",
    }
}
