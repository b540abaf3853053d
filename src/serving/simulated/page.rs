//! A server's metrics page in vLLM's words: `page.prom` is the page, this fills its blanks.

use std::fmt::Write;

use super::counters::Counters;
use super::histogram::Histogram;
use crate::sim::{EngineConfig, Replica, Totals};

/// vLLM 0.32's page with `$name` where a value belongs, and `$histogram name` where a histogram's lines belong.
const TEMPLATE: &str = include_str!("page.prom");

/// What every page of one server says alike.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identity {
    /// Name under which the model is served.
    pub(super) model: String,
    /// When the process began [s since the Unix epoch].
    pub(super) started_s: f64,
    /// When it was ready [s since the Unix epoch].
    pub(super) ready_s: f64,
    config: EngineConfig,
    blocks: u64,
}

impl Identity {
    pub(super) fn new(model: &str, replica: &Replica, started_s: f64, ready_s: f64) -> Self {
        Self {
            model: model.to_owned(),
            started_s,
            ready_s,
            config: replica.spec().config.clone(),
            blocks: replica.kv_total_blocks(),
        }
    }

    fn kv_tokens(&self) -> u64 {
        self.blocks * u64::from(self.config.block_size)
    }
}

/// One server's state at one moment: a page that nobody has read yet. A page takes 50 kB, this 3.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    /// When [s since the world's start].
    pub(super) at_s: f64,
    pub(super) counters: Counters,
    running: u32,
    waiting: u32,
    used_blocks: u64,
    totals: Totals,
}

impl Snapshot {
    pub(super) fn of(at_s: f64, replica: &Replica, counters: &Counters) -> Self {
        Self {
            at_s,
            counters: counters.clone(),
            running: replica.running(),
            waiting: replica.waiting(),
            used_blocks: replica.kv_used_blocks(),
            totals: replica.totals(),
        }
    }

    /// The page.
    pub(super) fn render(&self, identity: &Identity) -> String {
        let mut page = String::with_capacity(56_000);
        for line in TEMPLATE.lines() {
            match line.strip_prefix("$histogram ") {
                Some(name) => self.histogram(&mut page, name, identity),
                None => self.fill(&mut page, line, identity),
            }
            page.push('\n');
        }
        page
    }

    fn fill(&self, page: &mut String, line: &str, identity: &Identity) {
        let mut parts = line.split('$');
        page.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            let (name, rest) = part.split_at(end.unwrap_or(part.len()));
            self.blank(page, name, identity);
            page.push_str(rest);
        }
    }

    fn blank(&self, page: &mut String, name: &str, identity: &Identity) {
        let (config, counters) = (&identity.config, &self.counters);
        let value = match name {
            "started" => identity.started_s,
            "created" => identity.ready_s,
            "running" => f64::from(self.running),
            "waiting" => f64::from(self.waiting),
            "kv_usage" => self.used_blocks as f64 / identity.blocks.max(1) as f64,
            "prefix_queries" => self.totals.prefix_queries_tokens as f64,
            "prefix_hits" => self.totals.prefix_hits_tokens as f64,
            "preemptions" => self.totals.preemptions as f64,
            "prompt_tokens" => counters.prompt_tokens as f64,
            "prompt_computed" => counters.prefill_tokens as f64,
            "generation_tokens" => counters.generation_tokens as f64,
            "finished_stop" => counters.stopped as f64,
            "finished_length" => counters.cut_to_length as f64,
            "aborted" => counters.aborted as f64,
            "failed" => counters.failed as f64,
            "refused" => counters.refused as f64,
            _ => return page.push_str(&label(name, config, identity)),
        };
        page.push_str(&number(value));
    }

    fn histogram(&self, page: &mut String, name: &str, identity: &Identity) {
        let histogram = self.named(name);
        let model = &identity.model;
        for (edge, count) in histogram.cumulative() {
            let (edge, count) = (number(edge), number(count as f64));
            // Writing to a String cannot fail.
            let _ = writeln!(
                page,
                "{name}_bucket{{engine=\"0\",le=\"{edge}\",model_name=\"{model}\"}} {count}"
            );
        }
        let (count, sum) = (number(histogram.count() as f64), number(histogram.sum()));
        let labels = format!("engine=\"0\",model_name=\"{model}\"");
        let _ = write!(page, "{name}_count{{{labels}}} {count}\n{name}_sum{{{labels}}} {sum}");
    }

    fn named(&self, name: &str) -> &Histogram {
        let counters = &self.counters;
        match name.trim_start_matches("vllm:") {
            "request_prompt_tokens" => &counters.input,
            "request_generation_tokens" | "request_max_num_generation_tokens" => &counters.output,
            "iteration_tokens_total" => &counters.step_tokens,
            "request_params_n" => &counters.n,
            "time_to_first_token_seconds" => &counters.ttft,
            "inter_token_latency_seconds" => &counters.itl,
            "request_time_per_output_token_seconds" => &counters.tpot,
            "e2e_request_latency_seconds" => &counters.e2e,
            "request_queue_time_seconds" => &counters.queue,
            "request_inference_time_seconds" => &counters.inference,
            "request_prefill_time_seconds" => &counters.prefill,
            "request_decode_time_seconds" => &counters.decode,
            "request_num_preemptions" => &counters.evictions,
            "request_prefill_kv_computed_tokens" => &counters.computed,
            // `request_params_max_tokens`: nothing was observed where clients do not set it.
            _ => &counters.max_tokens,
        }
    }
}

/// The value of a label.
fn label(name: &str, config: &EngineConfig, identity: &Identity) -> String {
    match name {
        "model" => identity.model.clone(),
        "block_size" => config.block_size.to_string(),
        "cache_dtype" => if config.kv_bytes < 2.0 { "fp8" } else { "auto" }.to_owned(),
        "prefix_caching" => if config.enable_prefix_caching { "True" } else { "False" }.to_owned(),
        "memory_ratio" => number(config.gpu_memory_utilization),
        "blocks" => identity.blocks.to_string(),
        "override" => config.num_gpu_blocks_override.map_or("None".to_owned(), |b| b.to_string()),
        "kv_tokens" => identity.kv_tokens().to_string(),
        "max_concurrency" => {
            number(identity.kv_tokens() as f64 / f64::from(config.max_model_len.max(1)))
        }
        _ => String::new(),
    }
}

/// A number as Python's `prometheus_client` writes it: `3.0`, `1.795486e+09`, `+Inf`.
///
/// Source: `prometheus_client/utils.py`, `floatToGoString`.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:?}");
    let Some(dot) = text.find('.').filter(|dot| value > 0.0 && *dot > 6) else { return text };
    let digits = format!("{}.{}{}", &text[..1], &text[1..dot], &text[dot + 1..]);
    format!("{}e+{:02}", digits.trim_end_matches(['0', '.']), dot - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_python_client_writes_them() {
        let written: Vec<_> =
            [0.0, 30.0, 192_003.0, 1_795_486_104.43, 4_965_883_904.0, 0.016605616605616658]
                .map(number)
                .into();
        let expected = [
            "0.0",
            "30.0",
            "192003.0",
            "1.79548610443e+09",
            "4.965883904e+09",
            "0.016605616605616658",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn every_blank_of_the_template_is_known() {
        let config = crate::domain::ServingConfig::default();
        let spec = crate::serving::simulated::WorldSpec::default().replica(&config).unwrap();
        let replica = Replica::new(spec).unwrap();
        let identity = Identity::new("m", &replica, 1.0, 2.0);
        let counters = Counters::new(4096);
        let page = Snapshot::of(0.0, &replica, &counters).render(&identity);
        assert!(!page.contains('$') && !page.contains("=\"\""), "{page}");
        let empty = |line: &&str| !line.starts_with('#') && line.ends_with(' ');
        assert_eq!(page.lines().find(empty), None);
    }
}
