//! Known causes injected into the simulator, and the windows an agent would see of them.

use perf_agent::base::Millis;
use perf_agent::domain::*;
use perf_agent::sim::workload::{Workload, generate};
use perf_agent::sim::{
    Coefficients, Completion, EngineConfig, Observer, Replica, ReplicaSpec, Request, Step,
};
use perf_agent::tuning::{SearchBudget, SearchRequest, diagnose};

use super::fixtures::*;

/// A deployment under a load, and what is wrong with it.
pub struct Scenario {
    pub name: String,
    pub truth: Cause,
    pub deployment: Deployment,
    pub profile: WorkloadProfile,
    pub objective: Objective,
    pub seed: u64,
}

/// Two windows of a minute, after half a minute of load.
pub struct Windows {
    pub earlier: Observation,
    pub now: Observation,
    /// What clients saw of the requests that arrived in the newer one.
    pub clients: RequestStats,
}

/// Length of a window, and of the load before the first [s].
const WINDOW_S: f64 = 60.0;
const WARM_S: f64 = 30.0;
/// Gauges are read every so often [s].
const SCRAPE_S: f64 = 5.0;

pub fn lengths(p50: f64, p95: f64) -> TokenLengths {
    let sigma = (p95 / p50).ln() / 1.645;
    TokenLengths { mean: p50 * (sigma * sigma / 2.0).exp(), p50, p95 }
}

pub fn load(rps: f64, input: (f64, f64), output: (f64, f64)) -> WorkloadProfile {
    WorkloadProfile {
        request_rate_rps: rps,
        arrival_cv: 1.0,
        input_tokens: lengths(input.0, input.1),
        output_tokens: lengths(output.0, output.1),
        shared_prefix_ratio: 0.0,
    }
}

/// What a search is asked for a deployment on one GPU under a load.
pub fn search_request(
    knobs: &[(Knob, KnobValue)],
    profile: WorkloadProfile,
    objective: Objective,
    budget: SearchBudget,
) -> SearchRequest {
    let mut deployment = gpu_deployment(knobs);
    deployment.config = deployment.config.with(Knob::MaxModelLen, int(16_384));
    let scenario = Scenario {
        name: "search".into(),
        truth: Cause::Seats,
        deployment: deployment.clone(),
        profile,
        objective: objective.clone(),
        seed: 5,
    };
    let windows = observe(&scenario);
    let diagnosis = diagnose(&windows.now, Some(&windows.earlier), &objective, &deployment);
    SearchRequest {
        deployment,
        observation: windows.now,
        objective,
        diagnosis,
        seed: 7,
        budget,
        allow_quality_change: false,
        knobs: Vec::new(),
    }
}

pub fn replica_of(deployment: &Deployment) -> ReplicaSpec {
    let (model, gpu) = (deployment.model.clone().unwrap(), deployment.gpu.clone().unwrap());
    let config = EngineConfig::resolve(&deployment.config, &model, &gpu).unwrap();
    ReplicaSpec { model, gpu, config, coefficients: Coefficients::default() }
}

pub fn observe(scenario: &Scenario) -> Windows {
    observe_replica(scenario, replica_of(&scenario.deployment))
}

/// Runs one replica for two and a half minutes and reads it as a scraper would.
pub fn observe_replica(scenario: &Scenario, spec: ReplicaSpec) -> Windows {
    let rate = scenario.profile.request_rate_rps;
    let until = WARM_S + 2.0 * WINDOW_S;
    let count = (rate * until).ceil() as usize;
    let trace = generate(&Workload::from_profile(&scenario.profile), rate, scenario.seed, count);
    let mut replica = Replica::new(spec).unwrap();
    let mut seen = Recorder::default();
    for request in &trace {
        replica.submit(request.clone());
    }
    let mut at = 0.0;
    while at < until {
        at += SCRAPE_S;
        replica.advance_to(at, &mut seen);
        let kv = replica.kv_used_blocks() as f64 / replica.kv_total_blocks() as f64;
        let (running, waiting) = (f64::from(replica.running()), f64::from(replica.waiting()));
        seen.gauges.push((at, [running, waiting, kv]));
    }
    let page = |from| window(scenario, &replica, &seen, from);
    let (earlier, now) = (page(WARM_S), page(WARM_S + WINDOW_S));
    // Patient clients: who arrived in the window is waited for, up to ten minutes.
    replica.advance_to(until + 600.0, &mut seen);
    let clients = clients(&trace, &seen, scenario);
    Windows { earlier, now, clients }
}

#[derive(Default)]
struct Recorder {
    steps: Vec<Step>,
    /// When, and the gap before [s].
    tokens: Vec<(f64, Option<f64>)>,
    completions: Vec<Completion>,
    gauges: Vec<(f64, [f64; 3])>,
}

impl Observer for Recorder {
    fn step(&mut self, step: &Step) {
        self.steps.push(step.clone());
    }

    fn token(&mut self, _request: u64, at_s: f64, gap_s: Option<f64>) {
        self.tokens.push((at_s, gap_s));
    }

    fn completion(&mut self, completion: &Completion) {
        self.completions.push(completion.clone());
    }
}

fn window(scenario: &Scenario, replica: &Replica, seen: &Recorder, from: f64) -> Observation {
    let within = |at: f64| at >= from && at < from + WINDOW_S;
    let samples = |which: usize| {
        let rows = seen.gauges.iter().filter(|(at, _)| within(*at - SCRAPE_S / 2.0));
        Some(gauge(&rows.map(|(_, row)| row[which]).collect::<Vec<f64>>(), WINDOW_S))
    };
    let steps: Vec<_> = seen.steps.iter().filter(|step| within(step.ended_s)).collect();
    let finished: Vec<_> = seen.completions.iter().filter(|c| within(c.finished_s)).collect();
    let started: Vec<_> = seen.completions.iter().filter(|c| within(c.first_token_s)).collect();
    let ms = |values: Vec<f64>| histogram(values.into_iter().map(|s| 1e3 * s).collect());
    let decode =
        |c: &&Completion| (c.finished_s - c.first_token_s) / f64::from(c.output_tokens.max(2) - 1);
    let sum = |pick: fn(&Step) -> u32| steps.iter().map(|step| f64::from(pick(step))).sum::<f64>();
    let (preempted, prefill) = (sum(|step| step.preempted), sum(|step| step.prefill_tokens));
    let mut sizes: Vec<f64> = steps.iter().map(|step| f64::from(step.tokens)).collect();
    sizes.sort_by(f64::total_cmp);
    let kv_tokens = replica.kv_total_blocks() as f64 * f64::from(replica.spec().config.block_size);
    let gaps = seen.tokens.iter().filter(|(at, _)| within(*at)).filter_map(|(_, gap)| *gap);
    Observation {
        at: Millis(((from + WINDOW_S) * 1e3) as u64),
        window_s: WINDOW_S,
        running: samples(0),
        waiting: samples(1),
        kv_cache_utilization: samples(2),
        kv_cache_tokens: Some(kv_tokens),
        preemptions_per_s: Some(preempted / WINDOW_S),
        preemptions_per_request: Some(preempted / finished.len().max(1) as f64),
        prefix_hit_ratio: Some(0.0),
        ttft: ms(started.iter().map(|c| c.first_token_s - c.arrival_s).collect()),
        itl: ms(gaps.collect()),
        tpot: ms(finished.iter().map(decode).collect()),
        e2e: ms(finished.iter().map(|c| c.finished_s - c.arrival_s).collect()),
        queue_time: ms(finished.iter().map(|c| c.scheduled_s - c.arrival_s).collect()),
        prefill_time: ms(finished.iter().map(|c| c.first_token_s - c.scheduled_s).collect()),
        finished_rps: Some(finished.len() as f64 / WINDOW_S),
        error_rate: Some(0.0),
        prompt_tok_s: Some(prefill / WINDOW_S),
        generation_tok_s: Some((sum(|step| step.tokens) - prefill) / WINDOW_S),
        iteration_tokens_p90: sizes.get(sizes.len() * 9 / 10).copied(),
        input_tokens: Some(scenario.profile.input_tokens),
        output_tokens: Some(scenario.profile.output_tokens),
        ..blank()
    }
}

fn histogram(mut ms: Vec<f64>) -> Option<Latency> {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() as f64 * share) as usize).min(ms.len() - 1)];
    (!ms.is_empty()).then(|| Latency {
        count: ms.len() as u64,
        mean_ms: ms.iter().sum::<f64>() / ms.len() as f64,
        p50_ms: at(0.5),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        edges: vec![],
    })
}

/// Requests of the newer window as their clients saw them; who was never served is a failure.
fn clients(trace: &[Request], seen: &Recorder, scenario: &Scenario) -> RequestStats {
    let counted = |at: f64| (WARM_S + WINDOW_S..WARM_S + 2.0 * WINDOW_S).contains(&at);
    let by_id: std::collections::BTreeMap<u64, &Completion> =
        seen.completions.iter().map(|c| (c.id, c)).collect();
    let records: Vec<RequestRecord> = trace
        .iter()
        .filter(|request| counted(request.arrival_s))
        .map(|request| record(request, by_id.get(&request.id).copied()))
        .collect();
    let records: Vec<&RequestRecord> = records.iter().collect();
    RequestStats::of(&records, WINDOW_S, Some(&scenario.objective))
}

fn record(request: &Request, done: Option<&Completion>) -> RequestRecord {
    let ms = |at: f64| Millis((at * 1e3) as u64);
    let since = |at: f64| 1e3 * (at - request.arrival_s);
    let gaps = f64::from(request.output_tokens.max(2) - 1);
    RequestRecord {
        arm: Arm::Stable,
        canary_probability: 0.0,
        session: request.session.to_string(),
        first_turn: true,
        randomized: true,
        started: ms(request.arrival_s),
        finished: ms(done.map_or(request.arrival_s, |c| c.finished_s)),
        ttft_ms: done.map(|c| since(c.first_token_s)),
        tpot_ms: done.map(|c| 1e3 * (c.finished_s - c.first_token_s) / gaps),
        itl_max_ms: done.map(|c| 1e3 * c.itl_max_s),
        e2e_ms: done.map(|c| since(c.finished_s)),
        input_tokens: Some(request.input_tokens),
        output_tokens: request.output_tokens,
        status: if done.is_some() { 200 } else { 0 },
        finish: if done.is_some() { Finish::Complete } else { Finish::Failed },
    }
}
