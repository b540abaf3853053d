//! What was seen of a server, in the seed's groups of metrics. Totals count since the server's start; latencies are means
//! of the newest requests, of all of them when none was seen lately; what a page does not say is `null`.

use serde_json::{Value, json};

use super::stamp;
use crate::agent::Sample;
use crate::base::Millis;
use crate::domain::{Distribution, EngineKind, Latency, Observation, TokenLengths};

/// A server at one moment.
pub(super) struct Seen<'a> {
    /// As the caller calls it.
    pub(super) instance: &'a str,
    /// Where it was read.
    pub(super) endpoint: Option<&'a str>,
    /// When.
    pub(super) at: Millis,
    /// Lately.
    pub(super) recent: &'a Observation,
    /// Since its start, over one second; `None`: unknown.
    pub(super) total: Option<&'a Observation>,
}

impl Seen<'_> {
    /// The snapshot without the page's own lines.
    pub(super) fn snapshot(&self) -> Value {
        let mut snapshot = json!({
            "timestamp": stamp(self.at),
            "instance_id": self.instance,
            "endpoint": self.endpoint,
            "window_seconds": self.recent.window_s,
        });
        let groups = match self.recent.engine {
            EngineKind::Vllm => self.vllm(),
            EngineKind::Tgi => self.tgi(),
            EngineKind::Sglang => self.sglang(),
        };
        for (group, metrics) in groups {
            snapshot[group] = metrics;
        }
        snapshot
    }

    fn vllm(&self) -> Vec<(&'static str, Value)> {
        let recent = self.recent;
        let percent = recent.kv_cache_utilization.map(|used| used.last * 100.0);
        vec![
            (
                "request_metrics",
                json!({
                    "success_total": self.ended(false),
                    "failure_total": self.ended(true),
                    "time_to_first_token_seconds": self.seconds(|seen| seen.ttft.as_ref()),
                    "time_per_output_token_seconds": self.per_token(),
                    "e2e_latency_seconds": self.seconds(|seen| seen.e2e.as_ref()),
                    "prompt_tokens": self.length(|seen| seen.input_tokens.as_ref()),
                    "generation_tokens": self.length(|seen| seen.output_tokens.as_ref()),
                }),
            ),
            (
                "gpu_metrics",
                json!({
                    "cache_usage_perc": percent,
                    "memory_usage_bytes": memory(recent),
                    "num_requests_running": last(recent.running),
                    "num_requests_waiting": last(recent.waiting),
                }),
            ),
            (
                "throughput_metrics",
                json!({
                    "prompt_tokens_total": self.count(|seen| seen.prompt_tok_s),
                    "generation_tokens_total": self.count(|seen| seen.generation_tok_s),
                    "num_preemptions_total": self.count(|seen| seen.preemptions_per_s),
                    "requests_per_second": recent.finished_rps,
                    "tokens_per_second": recent.generation_tok_s,
                }),
            ),
        ]
    }

    fn tgi(&self) -> Vec<(&'static str, Value)> {
        let queue = self.seconds(|seen| seen.queue_time.as_ref());
        let whole = self.seconds(|seen| seen.e2e.as_ref());
        let inference = whole.zip(queue).map(|(whole, queue)| (whole - queue).max(0.0));
        vec![
            (
                "request_metrics",
                json!({
                    "success_total": self.ended(false),
                    "failure_total": self.ended(true),
                    "request_count": self.count(|seen| seen.finished_rps),
                    "queue_size": last(self.recent.waiting),
                    "mean_time_per_token_seconds": self.per_token(),
                    "validation_duration_seconds": null,
                    "queue_duration_seconds": queue,
                    "inference_duration_seconds": inference,
                }),
            ),
            (
                "generation_metrics",
                json!({
                    "input_length": self.length(|seen| seen.input_tokens.as_ref()),
                    "generated_tokens": self.length(|seen| seen.output_tokens.as_ref()),
                    "generated_tokens_total": self.count(|seen| seen.generation_tok_s),
                    "max_new_tokens": null,
                    "batch_current_size": last(self.recent.running),
                    "batch_current_max_tokens": null,
                }),
            ),
        ]
    }

    fn sglang(&self) -> Vec<(&'static str, Value)> {
        let recent = self.recent;
        vec![
            (
                "request_metrics",
                json!({
                    "success_total": self.ended(false),
                    "failure_total": self.ended(true),
                    "request_duration_seconds": self.seconds(|seen| seen.e2e.as_ref()),
                    "time_to_first_token_seconds": self.seconds(|seen| seen.ttft.as_ref()),
                    "time_per_output_token_seconds": self.per_token(),
                    "input_tokens": self.length(|seen| seen.input_tokens.as_ref()),
                    "output_tokens": self.length(|seen| seen.output_tokens.as_ref()),
                }),
            ),
            (
                "cache_metrics",
                json!({
                    "cache_hit_rate": recent.prefix_hit_ratio,
                    "cache_memory_usage_bytes": null,
                    "radix_cache_size": null,
                    "prefix_cache_hit_total": null,
                }),
            ),
            (
                "system_metrics",
                json!({
                    "num_requests_running": last(recent.running),
                    "num_requests_waiting": last(recent.waiting),
                    "batch_size_current": last(recent.running),
                    "throughput_tokens_per_second": recent.generation_tok_s,
                }),
            ),
        ]
    }

    /// A rate over one second is a total.
    fn count(&self, of: impl Fn(&Observation) -> Option<f64>) -> Option<u64> {
        Some(of(self.total?)?.round() as u64)
    }

    /// Requests that ended well, or badly, since the start.
    fn ended(&self, badly: bool) -> Option<u64> {
        let total = self.total?;
        let ended = total.finished_rps?;
        // Nothing has ended: none of it badly.
        let bad = ended * total.error_rate.or((ended == 0.0).then_some(0.0))?;
        Some(if badly { bad } else { ended - bad }.round() as u64)
    }

    fn either<T>(&self, of: impl Fn(&Observation) -> Option<T>) -> Option<T> {
        of(self.recent).or_else(|| of(self.total?))
    }

    fn seconds(&self, of: impl Fn(&Observation) -> Option<&Latency>) -> Option<f64> {
        let counted = |latency: &Latency| (latency.count > 0).then_some(latency.mean_ms / 1000.0);
        self.either(|seen| of(seen).and_then(counted))
    }

    /// Time per output token of a request; where a page counts gaps only, their mean.
    fn per_token(&self) -> Option<f64> {
        let tpot = self.seconds(|seen| seen.tpot.as_ref());
        tpot.or_else(|| self.seconds(|seen| seen.itl.as_ref()))
    }

    fn length(&self, of: impl Fn(&Observation) -> Option<&TokenLengths>) -> Option<f64> {
        self.either(|seen| of(seen).map(|lengths| lengths.mean))
    }
}

fn last(gauge: Option<Distribution>) -> Option<f64> {
    gauge.map(|gauge| gauge.last)
}

/// Memory used on all GPUs that could be read.
fn memory(seen: &Observation) -> Option<f64> {
    seen.gpus.iter().map(|gpu| gpu.memory_used_bytes).reduce(|sum, one| Some(sum? + one?))?
}

/// The page's own lines. A value that JSON has no word for is `null`.
pub(super) fn raw(samples: &[Sample], at: Millis) -> Vec<Value> {
    let timestamp = stamp(at);
    let line = |sample: &Sample| {
        json!({
            "name": sample.name, "type": sample.kind, "value": sample.value,
            "labels": sample.labels, "timestamp": timestamp,
        })
    };
    samples.iter().map(line).collect()
}
