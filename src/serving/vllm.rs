//! vLLM, V1 engine: its metric names, old and new, and its flags.
//!
//! Source: vLLM 0.32 `vllm/v1/metrics/loggers.py` (names), `vllm/engine/arg_utils.py` (flags), `vllm/envs.py`.

use super::exposition::Labels;
use super::flags::Flags;
use super::window::{Increase, Rules, Window};
use super::{Dialect, Error, Launch, ObserveContext, Page};
use crate::domain::{EngineKind, Knob, KnobValue, Observation, ServingConfig};

/// How vLLM's pages are read.
pub(super) static RULES: Rules = Rules {
    kind: EngineKind::Vllm,
    prefix: "vllm:",
    counters: &["vllm:prompt_tokens_total", "vllm:generation_tokens_total"],
    copies: &[],
    parts: &[],
};

/// The dialect of vLLM.
#[derive(Debug, Clone, Copy)]
pub struct Vllm;

impl Dialect for Vllm {
    fn kind(&self) -> EngineKind {
        EngineKind::Vllm
    }

    fn observe(&self, pages: &[Page], cx: &ObserveContext) -> Result<Observation, Error> {
        let window = Window::read(pages, &RULES)?;
        let sum = |name: &str| window.increase(&[name], |_| true);
        let latency = |names: &[&str]| window.histogram(names)?.latency_from_seconds();
        let outcome = Outcome::of(&window);
        let preemptions = sum("vllm:num_preemptions_total");
        let ratio = |part: Option<Increase>, whole: Option<f64>| {
            let whole = whole.filter(|whole| *whole > 0.0)?;
            Some(part?.total / whole)
        };
        Ok(Observation {
            deployment: cx.deployment.clone(),
            engine: EngineKind::Vllm,
            at: window.at(),
            window_s: window.length_s(),
            replicas: window.replicas(),
            config: read_back(&window, &cx.config),
            running: window.gauge_sum(&["vllm:num_requests_running"]),
            waiting: window.gauge_sum(&["vllm:num_requests_waiting"]),
            kv_cache_utilization: window
                .gauge_mean(&["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]),
            kv_cache_tokens: kv_cache_tokens(&window),
            preemptions_per_s: preemptions.map(|preemptions| preemptions.per_s),
            preemptions_per_request: ratio(preemptions, outcome.finished.map(|f| f.total)),
            prefix_hit_ratio: prefix_hit_ratio(&window),
            ttft: latency(&["vllm:time_to_first_token_seconds"]),
            itl: latency(&[
                "vllm:inter_token_latency_seconds",
                "vllm:time_per_output_token_seconds",
            ]),
            tpot: latency(&["vllm:request_time_per_output_token_seconds"]),
            e2e: latency(&["vllm:e2e_request_latency_seconds"]),
            queue_time: latency(&["vllm:request_queue_time_seconds"]),
            prefill_time: latency(&["vllm:request_prefill_time_seconds"]),
            finished_rps: outcome.finished.map(|finished| finished.per_s),
            error_rate: outcome.error_rate(),
            prompt_tok_s: prompt_tok_s(&window),
            generation_tok_s: sum("vllm:generation_tokens_total").map(|tokens| tokens.per_s),
            iteration_tokens_p90: window
                .histogram(&["vllm:iteration_tokens_total"])
                .and_then(|tokens| tokens.quantile(0.9)),
            input_tokens: window
                .histogram(&["vllm:request_prompt_tokens"])
                .and_then(|tokens| tokens.token_lengths()),
            output_tokens: window
                .histogram(&["vllm:request_generation_tokens"])
                .and_then(|tokens| tokens.token_lengths()),
            client: None,
            gpus: Vec::new(),
        })
    }

    fn launch(
        &self,
        served_model: &str,
        config: &ServingConfig,
        host: &str,
        port: u16,
    ) -> Result<Launch, Error> {
        let mut flags = Flags::new(EngineKind::Vllm);
        flags.option("--host", host);
        flags.option("--port", port);
        flags.option("--served-model-name", served_model);
        for (knob, value) in &config.0 {
            set(&mut flags, *knob, value)?;
        }
        Ok(flags.done())
    }
}

/// How the requests of a window ended.
struct Outcome {
    finished: Option<Increase>,
    failed: Option<Increase>,
    rejected: f64,
}

impl Outcome {
    fn of(window: &Window<'_>) -> Self {
        let ended = ["vllm:request_success_total"];
        // In spite of the name, aborted and failed requests are counted here too.
        let failed = |labels: Labels<'_>| {
            labels.value("finished_reason").is_some_and(|why| why == "abort" || why == "error")
        };
        let rejected = window.increase(&["vllm:admission_rejections_total"], |_| true);
        Self {
            finished: window.increase(&ended, |_| true),
            failed: window.increase(&ended, failed),
            // Older versions never reject: they have no such limit and no such series.
            rejected: rejected.map_or(0.0, |rejected| rejected.total),
        }
    }

    /// A request that was refused at the door never finishes, yet its client saw an error: it counts on both sides.
    fn error_rate(&self) -> Option<f64> {
        let all = self.finished?.total + self.rejected;
        let bad = self.failed?.total + self.rejected;
        (all > 0.0).then(|| bad / all)
    }
}

/// Prefix tokens found ÷ asked.
fn prefix_hit_ratio(window: &Window<'_>) -> Option<f64> {
    let both = |names: &[&str]| window.increase(names, |_| true);
    let hits = both(&["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"])?;
    let asked = both(&["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"])?;
    (asked.total > 0.0).then(|| (hits.total / asked.total).min(1.0))
}

/// Prompt tokens that were computed, not found in the cache, per second.
fn prompt_tok_s(window: &Window<'_>) -> Option<f64> {
    let computed =
        |labels: Labels<'_>| labels.value("source").is_some_and(|s| s == "local_compute");
    if let Some(tokens) = window.increase(&["vllm:prompt_tokens_by_source_total"], computed) {
        return Some(tokens.per_s);
    }
    // Before the split by source existed, the total counted cached tokens too.
    let all = window.increase(&["vllm:prompt_tokens_total"], |_| true)?;
    let hits = ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"];
    let hits = window.increase(&hits, |_| true).map_or(0.0, |hits| hits.per_s);
    Some((all.per_s - hits).max(0.0))
}

/// The labels of `cache_config_info`, of every backend's newest page.
fn cache_config<'w>(window: &'w Window<'_>) -> impl Iterator<Item = Vec<Labels<'w>>> {
    window.newest().map(|page| {
        page.named("vllm:cache_config_info").map(|sample| sample.labels).collect::<Vec<_>>()
    })
}

/// KV capacity of the smallest replica [tokens]; a replica with several engines has the sum of theirs.
fn kv_cache_tokens(window: &Window<'_>) -> Option<f64> {
    let number = |labels: &Labels<'_>, name: &str| labels.value(name)?.parse::<f64>().ok();
    let engine = |labels: &Labels<'_>| {
        number(labels, "kv_cache_size_tokens")
            .or_else(|| Some(number(labels, "num_gpu_blocks")? * number(labels, "block_size")?))
    };
    let replica = |engines: Vec<Labels<'_>>| {
        let tokens: Option<Vec<f64>> = engines.iter().map(engine).collect();
        tokens.filter(|tokens| !tokens.is_empty()).map(|tokens| tokens.iter().sum())
    };
    cache_config(window).filter_map(replica).min_by(f64::total_cmp)
}

/// The launcher's config, overruled by what the page says. A page cannot tell `max_num_seqs` and most others.
fn read_back(window: &Window<'_>, known: &ServingConfig) -> ServingConfig {
    let mut config = known.clone();
    let Some(labels) = cache_config(window).flatten().next() else { return config };
    let read = |name: &str| labels.value(name).filter(|value| value != "None" && !value.is_empty());
    let int = |name: &str| read(name)?.parse().ok().map(KnobValue::Int);
    let float = |name: &str| read(name)?.parse().ok().map(KnobValue::Float);
    let switch = |name: &str| match read(name)?.as_ref() {
        "True" => Some(KnobValue::Bool(true)),
        "False" => Some(KnobValue::Bool(false)),
        _ => None,
    };
    let said = [
        (Knob::BlockSize, int("block_size")),
        (Knob::NumGpuBlocksOverride, int("num_gpu_blocks_override")),
        (Knob::GpuMemoryUtilization, float("gpu_memory_utilization")),
        (Knob::EnablePrefixCaching, switch("enable_prefix_caching")),
        (Knob::KvCacheDtype, read("cache_dtype").and_then(|name| word(&name))),
    ];
    for (knob, value) in said {
        if let Some(value) = value {
            config = config.with(knob, value);
        }
    }
    config
}

/// A name as engines have them, `fp8_e4m3`. Anything else is no setting: a server must not speak through what it claims to run,
/// neither to a model nor to a command line.
fn word(text: &str) -> Option<KnobValue> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (text.len() <= 32 && text.chars().all(plain)).then(|| KnobValue::Text(text.to_owned()))
}

/// Adds one knob. Switches are written out both ways: an operator's own arguments may have set the other one.
fn set(flags: &mut Flags, knob: Knob, value: &KnobValue) -> Result<(), Error> {
    let counted = match knob {
        Knob::MaxNumSeqs => Some("--max-num-seqs"),
        Knob::MaxNumBatchedTokens => Some("--max-num-batched-tokens"),
        Knob::BlockSize => Some("--block-size"),
        Knob::TensorParallelSize => Some("--tensor-parallel-size"),
        Knob::MaxModelLen => Some("--max-model-len"),
        Knob::LongPrefillTokenThreshold => Some("--long-prefill-token-threshold"),
        Knob::MaxNumQueuedReqs => Some("--max-num-queued-reqs"),
        Knob::NumGpuBlocksOverride => Some("--num-gpu-blocks-override"),
        _ => None,
    };
    if let Some(flag) = counted {
        flags.option(flag, flags.int(knob, value, 1)?);
        return Ok(());
    }
    let switch = match knob {
        Knob::EnablePrefixCaching => {
            Some(["--enable-prefix-caching", "--no-enable-prefix-caching"])
        }
        Knob::EnableChunkedPrefill => {
            Some(["--enable-chunked-prefill", "--no-enable-chunked-prefill"])
        }
        Knob::EnforceEager => Some(["--enforce-eager", "--no-enforce-eager"]),
        Knob::AsyncScheduling => Some(["--async-scheduling", "--no-async-scheduling"]),
        _ => None,
    };
    if let Some([on, off]) = switch {
        flags.switch(if flags.bool(knob, value)? { on } else { off });
        return Ok(());
    }
    set_other(flags, knob, value)
}

fn set_other(flags: &mut Flags, knob: Knob, value: &KnobValue) -> Result<(), Error> {
    match knob {
        Knob::GpuMemoryUtilization => {
            let share = flags.float(knob, value, (f64::MIN_POSITIVE, 1.0))?;
            flags.option("--gpu-memory-utilization", share);
        }
        Knob::KvCacheDtype => {
            flags.option("--kv-cache-dtype", flags.text(knob, value)?);
        }
        Knob::Quantization => match flags.text(knob, value)? {
            "none" => {}
            method => flags.option("--quantization", method),
        },
        Knob::SpeculativeTokens => match flags.int(knob, value, 0)? {
            0 => {}
            // The one method that needs no second model: drafts are copied from the prompt.
            tokens => flags.option(
                "--speculative-config",
                format!(
                    r#"{{"method":"ngram","num_speculative_tokens":{tokens},"prompt_lookup_max":4}}"#
                ),
            ),
        },
        Knob::CpuOmpThreadsBind => {
            flags.env("VLLM_CPU_OMP_THREADS_BIND", flags.text(knob, value)?);
        }
        Knob::CpuKvCacheSpaceGib => {
            flags.env("VLLM_CPU_KVCACHE_SPACE", flags.int(knob, value, 0)?);
        }
        _ => return Err(flags.refuse(knob, value, "vLLM has no such setting")),
    }
    Ok(())
}
