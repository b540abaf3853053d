//! What vLLM refuses at start. Source: `EngineArgs`, `SchedulerConfig`, `CacheConfig` of vLLM 0.32, tried on a real one.

use super::Violation;
use super::common::{floor, one_of, ordered, share};
use crate::domain::{Deployment, Knob, ServingConfig};
use crate::tuning::setting::{on_cpu, seats, token_budget};

const KV_DTYPES: [&str; 4] = ["auto", "fp8", "fp8_e4m3", "fp8_e5m2"];

/// Every rule.
pub fn rules(deployment: &Deployment, config: &ServingConfig) -> Vec<Violation> {
    let floors = [
        (Knob::MaxNumSeqs, 1),
        (Knob::MaxNumBatchedTokens, 1),
        (Knob::BlockSize, 1),
        (Knob::MaxModelLen, 1),
        (Knob::LongPrefillTokenThreshold, 0),
        (Knob::MaxNumQueuedReqs, 0),
        (Knob::NumGpuBlocksOverride, 1),
        (Knob::SpeculativeTokens, 0),
    ];
    let floors = floors.into_iter().filter_map(|(knob, least)| floor(config, knob, least));
    let others = [
        share(config, Knob::GpuMemoryUtilization, 0.0, 1.0),
        one_of(config, Knob::KvCacheDtype, &KV_DTYPES),
        ordered(config, Knob::LongPrefillTokenThreshold, Knob::MaxModelLen, false),
        budget_holds_seats(deployment, config),
        budget_holds_prompt(deployment, config),
        context(deployment, config),
    ];
    let mut violations: Vec<_> = floors.chain(others.into_iter().flatten()).collect();
    violations.extend(if on_cpu(deployment) { cpu(config) } else { no_cpu_knobs(config) });
    violations
}

/// A step must have a token for every seat.
fn budget_holds_seats(deployment: &Deployment, config: &ServingConfig) -> Option<Violation> {
    let knob = Knob::MaxNumBatchedTokens;
    let (seats, budget) = (seats(deployment, config)?, token_budget(deployment, config)?);
    (budget < seats).then(|| {
        let message = format!("{knob} is {budget}, expected at least max_num_seqs ({seats})");
        Violation::new(
            "budget_below_seats",
            knob,
            message,
            format!("set {knob} to {seats} or more"),
        )
    })
}

/// Without chunked prefill the longest prompt must fit one step.
fn budget_holds_prompt(deployment: &Deployment, config: &ServingConfig) -> Option<Violation> {
    let knob = Knob::MaxNumBatchedTokens;
    if config.bool(Knob::EnableChunkedPrefill) != Some(false) {
        return None;
    }
    let trained = deployment.model.as_ref().map(|model| f64::from(model.context_max));
    let longest = config.float(Knob::MaxModelLen).or(trained)?;
    let budget = token_budget(deployment, config)?;
    (budget < longest).then(|| {
        let message = format!(
            "{knob} is {budget}, expected at least max_model_len ({longest}) without chunked prefill"
        );
        Violation::new("budget_below_prompt", knob, message, "turn enable_chunked_prefill on")
    })
}

/// A context longer than the model was trained for.
fn context(deployment: &Deployment, config: &ServingConfig) -> Option<Violation> {
    let knob = Knob::MaxModelLen;
    let (longest, trained) = (config.int(knob)?, i64::from(deployment.model.as_ref()?.context_max));
    (longest > trained).then(|| {
        let message = format!("{knob} is {longest}, the model was trained for {trained} tokens");
        Violation::new("context_too_long", knob, message, format!("set {knob} to {trained}"))
    })
}

/// The CPU back-end: attention blocks are multiples of 32 tokens, workers are bound to listed cores.
fn cpu(config: &ServingConfig) -> Vec<Violation> {
    let block = config.int(Knob::BlockSize).filter(|block| block % 32 != 0).map(|block| {
        let message = format!("block_size is {block}, the CPU engine needs a multiple of 32");
        Violation::new("block_size", Knob::BlockSize, message, "use 32, 64 or 128")
    });
    let bind =
        config.text(Knob::CpuOmpThreadsBind).filter(|bind| !is_core_list(bind)).map(|bind| {
            let knob = Knob::CpuOmpThreadsBind;
            let message =
                format!("{knob} is `{bind}`, expected auto, nobind or a list such as 0-1");
            Violation::new("unknown_value", knob, message, "name the cores: 0-1, or 0-3|4-7")
        });
    let space = share(config, Knob::CpuKvCacheSpaceGib, 0.0, 4096.0);
    [block, bind, space].into_iter().flatten().collect()
}

/// `auto`, `nobind`, `0-1`, `0,2,4`, `0-3|4-7`.
fn is_core_list(text: &str) -> bool {
    let number = |part: &str| part.parse::<u32>().is_ok_and(|core| core < 4096);
    let range = |part: &str| match part.split_once('-') {
        Some((low, high)) => number(low) && number(high) && low.len() <= high.len(),
        None => number(part),
    };
    matches!(text, "auto" | "nobind") || text.split(['|', ',']).all(range)
}

/// CPU knobs on a GPU do nothing; a config that sets them expects something that will not happen.
fn no_cpu_knobs(config: &ServingConfig) -> Vec<Violation> {
    let knobs = [Knob::CpuOmpThreadsBind, Knob::CpuKvCacheSpaceGib];
    let set = knobs.into_iter().filter(|knob| config.value(*knob).is_some());
    set.map(|knob| {
        let message = format!("{knob} is read by the CPU engine only");
        Violation::new("knob_not_supported", knob, message, format!("leave {knob} out"))
    })
    .collect()
}
