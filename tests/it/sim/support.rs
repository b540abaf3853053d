//! Replicas, traces and watchers that several tests need.

use perf_agent::domain::ServingConfig;
use perf_agent::sim::{
    Coefficients, Completion, EngineConfig, Observer, Replica, ReplicaSpec, Request, Step, gpu,
    model,
};

/// Llama-3.1-8B on one H100 under `config`.
pub fn spec(config: &ServingConfig) -> ReplicaSpec {
    spec_of("Llama-3.1-8B", "H100", config)
}

pub fn spec_of(model_name: &str, gpu_name: &str, config: &ServingConfig) -> ReplicaSpec {
    let (model, gpu) = (model(model_name).unwrap(), gpu(gpu_name).unwrap());
    let config = EngineConfig::resolve(config, &model, &gpu).unwrap();
    ReplicaSpec { model, gpu, config, coefficients: Coefficients::default() }
}

pub fn request(id: u64, arrival_s: f64, input_tokens: u32, output_tokens: u32) -> Request {
    Request { id, arrival_s, input_tokens, output_tokens, prefix_hashes: Vec::new(), session: id }
}

/// Writes everything down; asks for every step or lets the replica take strides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journal {
    pub every_step: bool,
    pub steps: Vec<Step>,
    pub tokens: Vec<(u64, f64, Option<f64>)>,
    pub completions: Vec<Completion>,
    pub refused: Vec<u64>,
}

impl Journal {
    pub fn detailed() -> Self {
        Self { every_step: true, ..Self::default() }
    }

    pub fn completion(&self, id: u64) -> &Completion {
        self.completions.iter().find(|c| c.id == id).unwrap()
    }
}

impl Observer for Journal {
    fn every_step(&self) -> bool {
        self.every_step
    }

    fn step(&mut self, step: &Step) {
        self.steps.push(step.clone());
    }

    fn token(&mut self, request: u64, at_s: f64, gap_s: Option<f64>) {
        self.tokens.push((request, at_s, gap_s));
    }

    fn completion(&mut self, completion: &Completion) {
        self.completions.push(completion.clone());
    }

    fn refused(&mut self, request: &Request, _at_s: f64) {
        self.refused.push(request.id);
    }
}

/// Serves `trace` to the end.
pub fn serve(spec: &ReplicaSpec, trace: &[Request], mut journal: Journal) -> (Replica, Journal) {
    let mut replica = Replica::new(spec.clone()).unwrap();
    for request in trace {
        replica.submit(request.clone());
    }
    replica.advance_to(1e6, &mut journal);
    (replica, journal)
}
