//! What a deployment runs with, defaults included: the reading that diagnosis, rules and search share.

use crate::domain::{Deployment, EngineKind, Knob, Observation, ServingConfig};
use crate::sim::{Coefficients, EngineConfig, Refusal, ReplicaSpec};

/// The running config: what the server reads back, over what the launcher was told.
pub fn running_config(deployment: &Deployment, observation: &Observation) -> ServingConfig {
    let mut config = deployment.config.clone();
    config.0.extend(observation.config.0.iter().map(|(knob, value)| (*knob, value.clone())));
    config
}

/// One replica of `deployment` under `config`; `None` when model or device are unknown, or the device is a CPU:
/// the step-time model is fitted to GPUs and says nothing about cores.
pub fn replica(
    deployment: &Deployment,
    config: &ServingConfig,
) -> Option<Result<ReplicaSpec, Refusal>> {
    let (model, gpu) = (deployment.model.as_ref()?, deployment.gpu.as_ref()?);
    if on_cpu(deployment) {
        return None;
    }
    Some(EngineConfig::resolve(config, model, gpu).map(|config| ReplicaSpec {
        model: model.clone(),
        gpu: gpu.clone(),
        config,
        coefficients: Coefficients::default(),
    }))
}

/// Whether the engine computes on CPU cores: a CPU knob is set, or the device is called so.
pub fn on_cpu(deployment: &Deployment) -> bool {
    let config = &deployment.config;
    config.value(Knob::CpuOmpThreadsBind).is_some()
        || config.value(Knob::CpuKvCacheSpaceGib).is_some()
        || deployment.gpu.as_ref().is_some_and(|gpu| gpu.name.to_lowercase().contains("cpu"))
}

/// Cores of a CPU device, read from its name (`cpu-2`, `EPYC CPU, 2 cores`); `None` when it does not say.
pub fn cores(deployment: &Deployment) -> Option<u32> {
    let name = deployment.gpu.as_ref()?.name.to_lowercase();
    let words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let number = |word: Option<&&str>| word.and_then(|word| word.parse::<u32>().ok());
    let mut found = None;
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| number(words.get(before)));
        found = found.or(match *word {
            "core" | "cores" | "vcpu" | "vcpus" => before,
            "cpu" | "cpus" => number(words.get(at + 1)).or(before),
            _ => None,
        });
    }
    found.filter(|cores| (1..=1024).contains(cores))
}

/// Seats of one replica; `None` when neither the config nor the engine's documented default says.
///
/// Source of the CPU default: vLLM 0.32 `EngineArgs`, 128 sequences.
pub fn seats(deployment: &Deployment, config: &ServingConfig) -> Option<f64> {
    if let Some(seats) = config.int(Knob::MaxNumSeqs) {
        return Some(seats as f64);
    }
    if deployment.engine != EngineKind::Vllm {
        return None;
    }
    match replica(deployment, config) {
        Some(replica) => replica.ok().map(|replica| f64::from(replica.config.max_num_seqs)),
        None => on_cpu(deployment).then_some(128.0),
    }
}

/// Token budget of a step; `None` when neither the config nor a resolved default says.
pub fn token_budget(deployment: &Deployment, config: &ServingConfig) -> Option<f64> {
    let set = config.int(Knob::MaxNumBatchedTokens).map(|tokens| tokens as f64);
    set.or_else(|| {
        let vllm = deployment.engine == EngineKind::Vllm;
        let replica = replica(deployment, config).filter(|_| vllm)?.ok()?;
        Some(f64::from(replica.config.max_num_batched_tokens))
    })
}
