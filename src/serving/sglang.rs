//! SGLang 0.5, older 0.4 names included; its server must run with `--enable-metrics`.
//!
//! Source: SGLang 0.5 `srt/observability/metrics_collector.py` (names), `srt/server_args.py` (flags).

use super::exposition::{Exposition, Labels};
use super::flags::Flags;
use super::window::{Increase, Rules, Window};
use super::{Dialect, Error, Launch, ObserveContext, Page};
use crate::domain::{EngineKind, Knob, KnobValue, Observation, ServingConfig};

/// How SGLang's pages are read. Every rank of a tensor- or pipeline-parallel group may report the same requests, and
/// a series with a `priority` is part of the one whose priority is empty.
pub(super) static RULES: Rules = Rules {
    kind: EngineKind::Sglang,
    prefix: "sglang:",
    counters: &["sglang:prompt_tokens_total", "sglang:generation_tokens_total"],
    copies: &["tp_rank", "pp_rank", "moe_ep_rank"],
    parts: &["priority"],
};

/// The dialect of SGLang.
#[derive(Debug, Clone, Copy)]
pub struct Sglang;

impl Dialect for Sglang {
    fn kind(&self) -> EngineKind {
        EngineKind::Sglang
    }

    fn observe(&self, pages: &[Page], cx: &ObserveContext) -> Result<Observation, Error> {
        let window = Window::read(pages, &RULES)?;
        let sum = |name: &str| window.increase(&[name], |_| true);
        let latency = |names: &[&str]| window.histogram(names)?.latency_from_seconds();
        let lengths = |name: &str| window.histogram(&[name])?.token_lengths();
        // The older gauge `num_retracted_reqs` is reset by the scheduler: no rate can be had from it.
        let preemptions = sum("sglang:num_retracted_requests_total");
        let outcome = Outcome::of(&window);
        let ended = outcome.finished.map(|ended| ended.total).filter(|total| *total > 0.0);
        Ok(Observation {
            deployment: cx.deployment.clone(),
            engine: EngineKind::Sglang,
            at: window.at(),
            window_s: window.length_s(),
            replicas: window.replicas(),
            config: read_back(&window, &cx.config),
            running: window.gauge_sum(&["sglang:num_running_reqs"]),
            waiting: window.gauge_sum(&["sglang:num_queue_reqs"]),
            kv_cache_utilization: window.gauge_mean(&["sglang:token_usage"]),
            kv_cache_tokens: kv_cache_tokens(&window),
            preemptions_per_s: preemptions.map(|preemptions| preemptions.per_s),
            preemptions_per_request: preemptions.zip(ended).map(|(p, ended)| p.total / ended),
            prefix_hit_ratio: prefix_hit_ratio(&window),
            ttft: latency(&["sglang:time_to_first_token_seconds"]),
            itl: latency(&[
                "sglang:inter_token_latency_seconds",
                "sglang:time_per_output_token_seconds",
            ]),
            tpot: latency(&["sglang:request_time_per_output_token_seconds"]),
            e2e: latency(&["sglang:e2e_request_latency_seconds"]),
            queue_time: latency(&["sglang:queue_time_seconds"]),
            prefill_time: None,
            finished_rps: outcome.finished.map(|finished| finished.per_s),
            error_rate: ended.map(|ended| outcome.aborted.total / ended),
            prompt_tok_s: prompt_tok_s(&window),
            generation_tok_s: generation_tok_s(&window),
            iteration_tokens_p90: None,
            input_tokens: lengths("sglang:prompt_tokens_histogram"),
            output_tokens: lengths("sglang:generation_tokens_histogram"),
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
        let mut flags = Flags::new(EngineKind::Sglang);
        flags.option("--host", host);
        flags.option("--port", port);
        flags.option("--served-model-name", served_model);
        flags.switch("--enable-metrics");
        let chunked = config.bool(Knob::EnableChunkedPrefill) != Some(false);
        for (knob, value) in &config.0 {
            set(&mut flags, *knob, value, chunked)?;
        }
        Ok(flags.done())
    }
}

/// How the requests of a window ended. A request that is aborted in the queue is not counted as processed, so the two
/// counters add up.
struct Outcome {
    finished: Option<Increase>,
    aborted: Increase,
}

impl Outcome {
    fn of(window: &Window<'_>) -> Self {
        // The counter exists from the first abort on: none on the page means none happened.
        let none = Increase { total: 0.0, per_s: 0.0 };
        let aborted = window.increase(&["sglang:num_aborted_requests_total"], |_| true);
        let aborted = aborted.unwrap_or(none);
        let processed = window.increase(&["sglang:num_requests_total"], |_| true);
        let finished = processed.map(|processed| Increase {
            total: processed.total + aborted.total,
            per_s: processed.per_s + aborted.per_s,
        });
        Self { finished, aborted }
    }
}

/// Tokens of one mode, from the counter that moves while requests run; `None` where it does not exist or stood still.
fn realtime(window: &Window<'_>, mode: &str) -> Option<Increase> {
    let of_mode = |labels: Labels<'_>| labels.value("mode").is_some_and(|value| value == mode);
    window.increase(&["sglang:realtime_tokens_total"], of_mode).filter(|tokens| tokens.total > 0.0)
}

fn generation_tok_s(window: &Window<'_>) -> Option<f64> {
    // The other counter moves only when a request ends.
    let ended = || window.increase(&["sglang:generation_tokens_total"], |_| true);
    realtime(window, "decode").or_else(ended).map(|tokens| tokens.per_s)
}

fn prompt_tok_s(window: &Window<'_>) -> Option<f64> {
    if let Some(computed) = realtime(window, "prefill_compute") {
        return Some(computed.per_s);
    }
    let all = window.increase(&["sglang:prompt_tokens_total"], |_| true)?;
    let cached = window.increase(&["sglang:cached_tokens_total"], |_| true);
    Some((all.per_s - cached.map_or(0.0, |cached| cached.per_s)).max(0.0))
}

fn prefix_hit_ratio(window: &Window<'_>) -> Option<f64> {
    let total = |name: &str| window.increase(&[name], |_| true).map(|tokens| tokens.total);
    if let Some(computed) = realtime(window, "prefill_compute") {
        let cached = realtime(window, "prefill_cache").map_or(0.0, |cached| cached.total);
        return Some(cached / (cached + computed.total));
    }
    let counted = total("sglang:cached_tokens_total").zip(total("sglang:prompt_tokens_total"));
    match counted.filter(|(_, asked)| *asked > 0.0) {
        Some((cached, asked)) => Some((cached / asked).min(1.0)),
        // Of the last prefill batches only, but all that versions before 0.5 tell.
        None => window.gauge_mean(&["sglang:cache_hit_rate"]).map(|ratio| ratio.mean),
    }
}

/// One gauge of a page, added up over data-parallel ranks; zero is how SGLang writes "not set".
fn positive(window: &Window<'_>, page: &Exposition<'_>, name: &str) -> Option<f64> {
    window.read_sum(page, &[name], |_| true).filter(|value| *value > 0.0)
}

/// KV capacity of the smallest replica [tokens].
fn kv_cache_tokens(window: &Window<'_>) -> Option<f64> {
    let replica = |page| positive(window, page, "sglang:max_total_num_tokens");
    window.newest().filter_map(replica).min_by(f64::total_cmp)
}

fn read_back(window: &Window<'_>, known: &ServingConfig) -> ServingConfig {
    let mut config = known.clone();
    let said = [(Knob::BlockSize, "sglang:page_size"), (Knob::MaxModelLen, "sglang:context_len")];
    for (knob, name) in said {
        let read = window.newest().flat_map(|page| page.named(name)).map(|sample| sample.value);
        // Settings do not add up: every rank repeats the one there is.
        if let Some(value) = read.filter(|value| *value >= 1.0).reduce(f64::max) {
            config = config.with(knob, KnobValue::Int(value as i64));
        }
    }
    config
}

fn set(flags: &mut Flags, knob: Knob, value: &KnobValue, chunked: bool) -> Result<(), Error> {
    let counted = match knob {
        Knob::MaxNumSeqs => Some("--max-running-requests"),
        // Without chunks the budget bounds the whole prefill batch instead.
        Knob::MaxNumBatchedTokens if !chunked => Some("--max-prefill-tokens"),
        Knob::MaxNumBatchedTokens => Some("--chunked-prefill-size"),
        Knob::BlockSize => Some("--page-size"),
        Knob::TensorParallelSize => Some("--tp-size"),
        Knob::MaxModelLen => Some("--context-length"),
        Knob::MaxNumQueuedReqs => Some("--max-queued-requests"),
        _ => None,
    };
    if let Some(flag) = counted {
        flags.option(flag, flags.int(knob, value, 1)?);
        return Ok(());
    }
    set_other(flags, knob, value)
}

fn set_other(flags: &mut Flags, knob: Knob, value: &KnobValue) -> Result<(), Error> {
    match knob {
        Knob::GpuMemoryUtilization => {
            let share = flags.float(knob, value, (f64::MIN_POSITIVE, 1.0))?;
            flags.option("--mem-fraction-static", share);
        }
        Knob::ScheduleConservativeness => {
            let value = flags.float(knob, value, (0.0, 2.0))?;
            flags.option("--schedule-conservativeness", value);
        }
        Knob::KvCacheDtype => match flags.text(knob, value)? {
            "fp8" => flags.option("--kv-cache-dtype", "fp8_e4m3"),
            name => flags.option("--kv-cache-dtype", name),
        },
        Knob::Quantization => match flags.text(knob, value)? {
            "none" => {}
            method => flags.option("--quantization", method),
        },
        Knob::EnablePrefixCaching if !flags.bool(knob, value)? => {
            flags.switch("--disable-radix-cache");
        }
        Knob::EnableChunkedPrefill if !flags.bool(knob, value)? => {
            flags.option("--chunked-prefill-size", -1);
        }
        Knob::AsyncScheduling if !flags.bool(knob, value)? => {
            flags.switch("--disable-overlap-schedule");
        }
        Knob::EnforceEager if flags.bool(knob, value)? => flags.switch("--disable-cuda-graph"),
        // The other way round these four are SGLang's defaults, for which it has no flags.
        Knob::EnablePrefixCaching
        | Knob::EnableChunkedPrefill
        | Knob::AsyncScheduling
        | Knob::EnforceEager => {}
        Knob::SpeculativeTokens => match flags.int(knob, value, 0)? {
            0 => {}
            tokens => {
                flags.option("--speculative-algorithm", "NGRAM");
                flags.option("--speculative-num-draft-tokens", tokens);
            }
        },
        _ => return Err(flags.refuse(knob, value, "SGLang has no such setting")),
    }
    Ok(())
}
