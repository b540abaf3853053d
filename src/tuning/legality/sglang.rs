//! What SGLang refuses at start. Source: `ServerArgs.check_server_args` of SGLang 0.5.
//!
//! Names here are the common knobs: seats are `max_running_requests`, the token budget is `chunked_prefill_size`,
//! memory is `mem_fraction_static`, a block is a page.

use super::Violation;
use super::common::{floor, one_of, share};
use crate::domain::{Deployment, Knob, ServingConfig};

const KV_DTYPES: [&str; 5] = ["auto", "fp8", "fp8_e4m3", "fp8_e5m2", "bf16"];

/// Every rule.
pub fn rules(deployment: &Deployment, config: &ServingConfig) -> Vec<Violation> {
    let floors = [
        (Knob::MaxNumSeqs, 1),
        (Knob::MaxNumBatchedTokens, -1),
        (Knob::BlockSize, 1),
        (Knob::MaxModelLen, 1),
        (Knob::MaxNumQueuedReqs, 1),
        (Knob::SpeculativeTokens, 0),
    ];
    let floors = floors.into_iter().filter_map(|(knob, least)| floor(config, knob, least));
    // The rest of the memory holds activations and graphs: 1 cannot start.
    let memory = share(config, Knob::GpuMemoryUtilization, 0.0, 0.99);
    let conservative = share(config, Knob::ScheduleConservativeness, 0.0, 2.0);
    let dtype = one_of(config, Knob::KvCacheDtype, &KV_DTYPES);
    let others = [memory, conservative, dtype, whole_pages(config), context(deployment, config)];
    floors.chain(others.into_iter().flatten()).collect()
}

/// A prefill chunk is cut at page borders.
fn whole_pages(config: &ServingConfig) -> Option<Violation> {
    let knob = Knob::MaxNumBatchedTokens;
    let page = config.int(Knob::BlockSize).filter(|page| *page > 0)?;
    let chunk = config.int(knob).filter(|chunk| *chunk > 0 && chunk % page != 0)?;
    let message = format!("{knob} is {chunk}, expected a multiple of block_size ({page})");
    let next = (chunk / page + 1) * page;
    Some(Violation::new("budget_not_whole_pages", knob, message, format!("set {knob} to {next}")))
}

fn context(deployment: &Deployment, config: &ServingConfig) -> Option<Violation> {
    let knob = Knob::MaxModelLen;
    let (longest, trained) = (config.int(knob)?, i64::from(deployment.model.as_ref()?.context_max));
    (longest > trained).then(|| {
        let message = format!("{knob} is {longest}, the model was trained for {trained} tokens");
        Violation::new("context_too_long", knob, message, format!("set {knob} to {trained}"))
    })
}
