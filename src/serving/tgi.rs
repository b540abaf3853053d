//! Hugging Face Text Generation Inference, v3. It exports neither KV use, preemptions, prefix hits nor TTFT: these
//! stay unknown. (Queue and prefill histograms cannot be added up per request.)
//!
//! Source: TGI 3.3 `router/src/infer/`, `backends/v3/src/` (names), `launcher/src/main.rs` (flags, environment).

use super::exposition::Labels;
use super::flags::Flags;
use super::window::{Increase, Rules, Window};
use super::{Dialect, Error, Launch, ObserveContext, Page};
use crate::domain::{EngineKind, Knob, KnobValue, Observation, ServingConfig};

/// How TGI's pages are read. Its counters carry no `_total`, its durations no `_seconds`.
pub(super) static RULES: Rules = Rules {
    kind: EngineKind::Tgi,
    prefix: "tgi_",
    counters: &["tgi_request_count", "tgi_request_success"],
    copies: &[],
    parts: &[],
};

/// The dialect of TGI.
#[derive(Debug, Clone, Copy)]
pub struct Tgi;

impl Dialect for Tgi {
    fn kind(&self) -> EngineKind {
        EngineKind::Tgi
    }

    fn observe(&self, pages: &[Page], cx: &ObserveContext) -> Result<Observation, Error> {
        let window = Window::read(pages, &RULES)?;
        let sum = |name: &str| window.increase(&[name], |_| true).map(|sum| sum.per_s);
        let latency = |name: &str| window.histogram(&[name])?.latency_from_seconds();
        let lengths = |name: &str| window.histogram(&[name])?.token_lengths();
        let outcome = Outcome::of(&window);
        Ok(Observation {
            deployment: cx.deployment.clone(),
            engine: EngineKind::Tgi,
            at: window.at(),
            window_s: window.length_s(),
            replicas: window.replicas(),
            config: read_back(&window, &cx.config),
            running: window.gauge_sum(&["tgi_batch_current_size"]),
            waiting: window.gauge_sum(&["tgi_queue_size"]),
            kv_cache_utilization: None,
            kv_cache_tokens: batch_total_tokens(&window),
            preemptions_per_s: None,
            preemptions_per_request: None,
            prefix_hit_ratio: None,
            ttft: None,
            itl: None,
            tpot: latency("tgi_request_mean_time_per_token_duration"),
            e2e: latency("tgi_request_duration"),
            queue_time: latency("tgi_request_queue_duration"),
            prefill_time: None,
            finished_rps: outcome.finished_rps(),
            error_rate: outcome.error_rate(),
            // Tokens of the prompts that came in. TGI does not say how many of them its prefix cache held already.
            prompt_tok_s: sum("tgi_request_input_length_sum"),
            generation_tok_s: sum("tgi_request_generated_tokens_sum"),
            iteration_tokens_p90: None,
            input_tokens: lengths("tgi_request_input_length"),
            output_tokens: lengths("tgi_request_generated_tokens"),
            client: None,
            gpus: Vec::new(),
        })
    }

    fn launch(
        &self,
        _served_model: &str,
        config: &ServingConfig,
        host: &str,
        port: u16,
    ) -> Result<Launch, Error> {
        // TGI serves under whatever name a request asks for: it has no flag for one.
        let mut flags = Flags::new(EngineKind::Tgi);
        flags.option("--hostname", host);
        flags.option("--port", port);
        for (knob, value) in &config.0 {
            set(&mut flags, *knob, value)?;
        }
        Ok(flags.done())
    }
}

/// How the requests of a window ended.
struct Outcome {
    succeeded: Option<Increase>,
    failed: Increase,
    overloaded: f64,
}

impl Outcome {
    fn of(window: &Window<'_>) -> Self {
        let failure = |reasons: &[&str]| {
            let of_reason = |labels: Labels<'_>| {
                labels.value("err").is_some_and(|err| reasons.contains(&err.as_ref()))
            };
            // A failure counter exists from its first failure on: none on the page means none happened.
            let none = Increase { total: 0.0, per_s: 0.0 };
            window.increase(&["tgi_request_failure"], of_reason).unwrap_or(none)
        };
        // `validation` and `template` are left out: the request was malformed, as vLLM's 400 that is in no counter.
        Self {
            succeeded: window.increase(&["tgi_request_success"], |_| true),
            failed: failure(&["generation", "incomplete", "dropped"]),
            overloaded: failure(&["overloaded"]).total,
        }
    }

    fn finished_rps(&self) -> Option<f64> {
        Some(self.succeeded?.per_s + self.failed.per_s)
    }

    /// A request refused for overload never finishes, yet its client saw an error: it counts on both sides.
    fn error_rate(&self) -> Option<f64> {
        let bad = self.failed.total + self.overloaded;
        let all = self.succeeded?.total + bad;
        (all > 0.0).then(|| bad / all)
    }
}

/// Token budget of the running batch, which TGI sizes to its KV memory, on the smallest replica; zero means unset.
fn batch_total_tokens(window: &Window<'_>) -> Option<f64> {
    let replica = |page| window.read_sum(page, &["tgi_batch_max_total_tokens"], |_| true);
    window.newest().filter_map(replica).filter(|tokens| *tokens > 0.0).min_by(f64::total_cmp)
}

fn read_back(window: &Window<'_>, known: &ServingConfig) -> ServingConfig {
    match batch_total_tokens(window) {
        Some(tokens) => {
            known.clone().with(Knob::MaxBatchTotalTokens, KnobValue::Int(tokens as i64))
        }
        None => known.clone(),
    }
}

fn set(flags: &mut Flags, knob: Knob, value: &KnobValue) -> Result<(), Error> {
    let counted = match knob {
        Knob::MaxNumSeqs => Some("--max-batch-size"),
        Knob::MaxNumBatchedTokens => Some("--max-batch-prefill-tokens"),
        Knob::TensorParallelSize => Some("--num-shard"),
        Knob::MaxModelLen => Some("--max-total-tokens"),
        Knob::MaxInputTokens => Some("--max-input-tokens"),
        Knob::MaxBatchTotalTokens => Some("--max-batch-total-tokens"),
        _ => None,
    };
    if let Some(flag) = counted {
        flags.option(flag, flags.int(knob, value, 1)?);
        return Ok(());
    }
    match knob {
        Knob::MaxWaitingTokens => {
            flags.option("--max-waiting-tokens", flags.int(knob, value, 0)?);
        }
        Knob::SpeculativeTokens => flags.option("--speculate", flags.int(knob, value, 0)?),
        Knob::GpuMemoryUtilization => {
            let share = flags.float(knob, value, (f64::MIN_POSITIVE, 1.0))?;
            flags.option("--cuda-memory-fraction", share);
        }
        Knob::WaitingServedRatio => {
            let ratio = flags.float(knob, value, (0.0, f64::MAX))?;
            flags.option("--waiting-served-ratio", ratio);
        }
        Knob::KvCacheDtype => match flags.text(knob, value)? {
            "auto" => {}
            "fp8" | "fp8_e4m3" => flags.option("--kv-cache-dtype", "fp8_e4m3fn"),
            name => flags.option("--kv-cache-dtype", name),
        },
        Knob::Quantization => match flags.text(knob, value)? {
            "none" => {}
            method => flags.option("--quantize", method),
        },
        Knob::EnablePrefixCaching => {
            flags.env("PREFIX_CACHING", u8::from(flags.bool(knob, value)?));
        }
        Knob::EnforceEager if flags.bool(knob, value)? => flags.option("--cuda-graphs", 0),
        Knob::EnforceEager => {}
        Knob::MaxNumQueuedReqs => {
            let detail = "TGI's --max-concurrent-requests counts running requests too";
            return Err(flags.refuse(knob, value, detail));
        }
        _ => return Err(flags.refuse(knob, value, "TGI has no such setting")),
    }
    Ok(())
}
