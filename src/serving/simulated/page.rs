//! A simulated server's `/metrics`, in vLLM's names.

use std::fmt::Write;

use super::histogram::{Histogram, LENGTH, REQUEST, STEP_TOKENS, TOKEN, TTFT};
use crate::sim::{Completion, Observer, Replica, Request, Step};

/// Everything a server has counted since it started.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    ttft: Histogram,
    itl: Histogram,
    tpot: Histogram,
    e2e: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    step_tokens: Histogram,
    input: Histogram,
    output: Histogram,
    prompt_tokens: u64,
    generation_tokens: u64,
    finished: u64,
    aborted: u64,
    failed: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            ttft: Histogram::new(TTFT),
            itl: Histogram::new(TOKEN),
            tpot: Histogram::new(TOKEN),
            e2e: Histogram::new(REQUEST),
            queue: Histogram::new(REQUEST),
            prefill: Histogram::new(REQUEST),
            decode: Histogram::new(REQUEST),
            step_tokens: Histogram::new(STEP_TOKENS),
            input: Histogram::new(LENGTH),
            output: Histogram::new(LENGTH),
            prompt_tokens: 0,
            generation_tokens: 0,
            finished: 0,
            aborted: 0,
            failed: 0,
        }
    }
}

impl Counters {
    pub(super) fn abort(&mut self) {
        self.aborted += 1;
    }

    pub(super) fn fail(&mut self) {
        self.failed += 1;
    }
}

/// vLLM observes a first token when it leaves the engine, an inter-token gap at each later one, the rest when a request ends.
impl Observer for Counters {
    fn step(&mut self, step: &Step) {
        self.step_tokens.observe(f64::from(step.tokens));
        self.prompt_tokens += u64::from(step.prefill_tokens);
    }

    fn token(&mut self, _request: u64, _at_s: f64, gap_s: Option<f64>) {
        self.generation_tokens += 1;
        if let Some(gap_s) = gap_s {
            self.itl.observe(gap_s);
        }
    }

    fn completion(&mut self, done: &Completion) {
        self.finished += 1;
        // A cached prefix counts as prompt tokens too.
        self.prompt_tokens += u64::from(done.cached_tokens);
        self.ttft.observe(done.first_token_s - done.arrival_s);
        self.e2e.observe(done.finished_s - done.arrival_s);
        self.queue.observe(done.scheduled_s - done.arrival_s);
        self.prefill.observe(done.first_token_s - done.scheduled_s);
        self.decode.observe(done.finished_s - done.first_token_s);
        self.input.observe(f64::from(done.input_tokens));
        self.output.observe(f64::from(done.output_tokens));
        if done.output_tokens > 1 {
            let gaps = f64::from(done.output_tokens - 1);
            self.tpot.observe((done.finished_s - done.first_token_s) / gaps);
        }
    }

    fn refused(&mut self, _request: &Request, _at_s: f64) {
        self.failed += 1;
    }
}

/// The page.
pub(super) fn render(served_model: &str, replica: &Replica, counters: &Counters) -> String {
    let labels = format!("engine=\"0\",model_name=\"{served_model}\"");
    let mut page = String::with_capacity(24_000);
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(
            page,
            "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}\nvllm:{name}{{{labels}}} {value:?}"
        );
    };
    let total = replica.kv_total_blocks().max(1) as f64;
    let totals = replica.totals();
    one(
        "num_requests_running",
        "gauge",
        "Number of requests in model execution batches.",
        f64::from(replica.running()),
    );
    one(
        "num_requests_waiting",
        "gauge",
        "Number of requests waiting to be processed.",
        f64::from(replica.waiting()),
    );
    one(
        "kv_cache_usage_perc",
        "gauge",
        "KV-cache usage. 1 means 100 percent usage.",
        replica.kv_used_blocks() as f64 / total,
    );
    one(
        "prefix_cache_queries_total",
        "counter",
        "Prefix cache queries, in terms of number of queried tokens.",
        totals.prefix_queries_tokens as f64,
    );
    one(
        "prefix_cache_hits_total",
        "counter",
        "Prefix cache hits, in terms of number of cached tokens.",
        totals.prefix_hits_tokens as f64,
    );
    one(
        "num_preemptions_total",
        "counter",
        "Cumulative number of preemption from the engine.",
        totals.preemptions as f64,
    );
    one(
        "prompt_tokens_total",
        "counter",
        "Number of prefill tokens processed.",
        counters.prompt_tokens as f64,
    );
    one(
        "generation_tokens_total",
        "counter",
        "Number of generation tokens processed.",
        counters.generation_tokens as f64,
    );
    outcomes(&mut page, &labels, counters);
    let histograms: [(&Histogram, &str, &str); 10] = [
        (&counters.input, "request_prompt_tokens", "Number of prefill tokens processed."),
        (&counters.output, "request_generation_tokens", "Number of generation tokens processed."),
        (
            &counters.step_tokens,
            "iteration_tokens_total",
            "Histogram of number of tokens per engine_step.",
        ),
        (
            &counters.ttft,
            "time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
        ),
        (
            &counters.itl,
            "inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
        ),
        (
            &counters.tpot,
            "request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
        ),
        (
            &counters.e2e,
            "e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
        ),
        (
            &counters.queue,
            "request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
        ),
        (
            &counters.prefill,
            "request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.",
        ),
        (
            &counters.decode,
            "request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.",
        ),
    ];
    for (histogram, name, help) in histograms {
        histogram.write(&mut page, name, help, &labels);
    }
    cache_config(&mut page, replica);
    page
}

fn outcomes(page: &mut String, labels: &str, counters: &Counters) {
    let _ = writeln!(
        page,
        "# HELP vllm:request_success_total Count of successfully processed requests.\n# TYPE vllm:request_success_total counter"
    );
    let reasons = [
        ("stop", counters.finished),
        ("length", 0),
        ("abort", counters.aborted),
        ("error", counters.failed),
    ];
    for (reason, count) in reasons {
        let _ = writeln!(
            page,
            "vllm:request_success_total{{{labels},finished_reason=\"{reason}\"}} {count}.0"
        );
    }
}

fn cache_config(page: &mut String, replica: &Replica) {
    let config = &replica.spec().config;
    let flag = |on: bool| if on { "True" } else { "False" };
    let dtype = if config.kv_bytes < 2.0 { "fp8" } else { "auto" };
    let _ = writeln!(
        page,
        "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{block_size=\"{}\",cache_dtype=\"{dtype}\",enable_prefix_caching=\"{}\",engine=\"0\",gpu_memory_utilization=\"{:?}\",num_gpu_blocks=\"{}\",num_gpu_blocks_override=\"{}\"}} 1.0",
        config.block_size,
        flag(config.enable_prefix_caching),
        config.gpu_memory_utilization,
        replica.kv_total_blocks(),
        config.num_gpu_blocks_override.map_or("None".to_owned(), |blocks| blocks.to_string()),
    );
}
