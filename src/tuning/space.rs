//! The configs worth asking the simulator about: around the running one, fewest changes first.

use super::legality;
use super::moves::{Move, may_change_quality};
use crate::base::{Rng, SeededRng};
use crate::domain::{Deployment, Knob, KnobValue, ServingConfig};
use crate::sim::ReplicaSpec;

/// The search space: what each knob may be set to besides its running value.
#[derive(Debug, Clone)]
pub struct Space {
    running: ServingConfig,
    axes: Vec<Vec<Move>>,
}

/// What came of drawing from a space.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Legal configs, the running one not among them, fewest changes first.
    pub configs: Vec<ServingConfig>,
    /// How many were looked at.
    pub evaluated: u64,
}

impl Space {
    /// The space around `running`, which resolves to `replica`.
    ///
    /// Left out: knobs that shorten what users may ask (`max_model_len`, queue limits), speculation (its acceptance is not
    /// known before it runs), and, unless `allow_quality_change`, precision.
    pub fn around(
        deployment: &Deployment,
        running: &ServingConfig,
        replica: &ReplicaSpec,
        allow_quality_change: bool,
    ) -> Self {
        let mut axes = vec![
            counts(
                Knob::MaxNumSeqs,
                replica.config.max_num_seqs,
                &[8, 16, 32, 64, 96, 128, 192, 256, 512, 1024],
            ),
            counts(
                Knob::MaxNumBatchedTokens,
                replica.config.max_num_batched_tokens,
                &[512, 1024, 2048, 4096, 8192, 16_384],
            ),
            counts(
                Knob::LongPrefillTokenThreshold,
                replica.config.long_prefill_token_threshold,
                &[512, 1024, 2048],
            ),
            memory(replica.config.gpu_memory_utilization),
            parallel(deployment, replica.config.tensor_parallel_size),
        ];
        axes.extend(switches(replica));
        if allow_quality_change {
            axes.extend(precision(replica));
        }
        axes.retain(|axis| !axis.is_empty());
        Self { running: running.clone(), axes }
    }

    /// Leaves only the axes of `knobs`; empty: all of them.
    pub fn keep_only(&mut self, knobs: &[Knob]) {
        if !knobs.is_empty() {
            self.axes.retain(|axis| axis.iter().all(|step| knobs.contains(&step.knob)));
        }
    }

    /// Up to `configs_max` legal configs: every single change, every pair, then random combinations of three and more.
    pub fn draw(&self, deployment: &Deployment, configs_max: usize, seed: u64) -> Drawn {
        let mut drawn = Drawn { configs: Vec::new(), evaluated: 0 };
        let mut seen = std::collections::BTreeSet::new();
        let mut keep = |moves: &[&Move]| {
            let config =
                moves.iter().fold(self.running.clone(), |config, step| step.apply(&config));
            if drawn.configs.len() >= configs_max || !seen.insert(config.fingerprint()) {
                return;
            }
            drawn.evaluated += 1;
            if legality::check(deployment, &config).is_empty() {
                drawn.configs.push(config);
            }
        };
        let singles: Vec<(usize, &Move)> = self
            .axes
            .iter()
            .enumerate()
            .flat_map(|(axis, moves)| moves.iter().map(move |step| (axis, step)))
            .collect();
        singles.iter().for_each(|(_, step)| keep(&[*step]));
        for (at, (axis, first)) in singles.iter().enumerate() {
            for (other, second) in &singles[at + 1..] {
                if axis != other {
                    keep(&[*first, *second]);
                }
            }
        }
        let mut rng = SeededRng::stream(seed, "search space");
        for _ in 0..4 * configs_max {
            let moves: Vec<&Move> =
                self.axes.iter().filter_map(|axis| pick(axis, &mut rng)).collect();
            keep(&moves);
        }
        drawn
    }
}

/// A move of `axis`, or none in half of the draws: changes stay few.
fn pick<'a>(axis: &'a [Move], rng: &mut SeededRng) -> Option<&'a Move> {
    let at = (rng.unit() * 2.0 * axis.len() as f64) as usize;
    axis.get(at)
}

fn counts(knob: Knob, running: u32, values: &[u32]) -> Vec<Move> {
    let others = values.iter().filter(|value| **value != running);
    others.map(|value| Move::set(knob, KnobValue::Int(i64::from(*value)), "")).collect()
}

/// More memory only: less never serves faster.
fn memory(running: f64) -> Vec<Move> {
    let others = [0.90, 0.92, 0.95].into_iter().filter(|share| *share > running + 1e-9);
    others.map(|share| Move::set(Knob::GpuMemoryUtilization, KnobValue::Float(share), "")).collect()
}

/// Devices per replica, within what the deployment has.
fn parallel(deployment: &Deployment, running: u32) -> Vec<Move> {
    let most = deployment.gpus / deployment.replicas.max(1);
    let others = [1, 2, 4, 8].into_iter().filter(|tp| *tp != running && *tp <= most);
    others
        .map(|tp| Move::set(Knob::TensorParallelSize, KnobValue::Int(i64::from(tp)), ""))
        .collect()
}

/// Switches that stand on their slow side.
fn switches(replica: &ReplicaSpec) -> Vec<Vec<Move>> {
    let config = &replica.config;
    let turn = |knob, slow: bool, to: bool| {
        let step = Move::set(knob, KnobValue::Bool(to), "");
        if slow { vec![step] } else { Vec::new() }
    };
    vec![
        turn(Knob::EnablePrefixCaching, !config.enable_prefix_caching, true),
        turn(Knob::EnableChunkedPrefill, !config.enable_chunked_prefill, true),
        turn(Knob::EnforceEager, config.enforce_eager, false),
        turn(Knob::AsyncScheduling, !config.async_scheduling, true),
    ]
}

fn precision(replica: &ReplicaSpec) -> Vec<Vec<Move>> {
    let fp8 = |knob| vec![Move::set(knob, KnobValue::Text("fp8".to_owned()), "")];
    let config = &replica.config;
    let mut axes = Vec::new();
    if config.kv_bytes > 1.0 {
        axes.push(fp8(Knob::KvCacheDtype));
    }
    if config.weight_bytes > 1.0 {
        axes.push(fp8(Knob::Quantization));
    }
    debug_assert!(axes.iter().flatten().all(|step| may_change_quality(step.knob)));
    axes
}
