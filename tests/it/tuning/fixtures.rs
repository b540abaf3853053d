//! Deployments, objectives and windows that tests start from.

use perf_agent::base::Millis;
use perf_agent::domain::*;

/// Llama 3.1 8B.
pub fn llama_8b() -> ModelSpec {
    ModelSpec {
        name: "meta-llama/Llama-3.1-8B-Instruct".into(),
        parameters: 8.03e9,
        active_parameters: 8.03e9,
        layers: 32,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        hidden: 4096,
        vocab: 128_256,
        context_max: 131_072,
    }
}

pub fn h100() -> GpuSpec {
    GpuSpec {
        name: "H100".into(),
        peak_flops: 989.5e12,
        peak_flops_fp8: 1979e12,
        memory_bytes_per_s: 3.35e12,
        memory_bytes: 80e9,
        link_bytes_per_s: 450e9,
    }
}

/// A vLLM of which only the dialect is known: what the agent sees of a real CPU server.
pub fn unknown_deployment(knobs: &[(Knob, KnobValue)]) -> Deployment {
    Deployment {
        name: "chat".into(),
        engine: EngineKind::Vllm,
        served_model: "m".into(),
        model: None,
        gpu: None,
        gpus: 1,
        replicas: 1,
        config: config(knobs),
        limits: Limits::default(),
    }
}

/// Llama 3.1 8B on one H100.
pub fn gpu_deployment(knobs: &[(Knob, KnobValue)]) -> Deployment {
    Deployment { model: Some(llama_8b()), gpu: Some(h100()), ..unknown_deployment(knobs) }
}

pub fn config(knobs: &[(Knob, KnobValue)]) -> ServingConfig {
    ServingConfig(knobs.iter().cloned().collect())
}

pub fn int(value: i64) -> KnobValue {
    KnobValue::Int(value)
}

pub fn objective(targets: &[(Metric, f64)]) -> Objective {
    Objective {
        deployment: "chat".into(),
        targets: targets
            .iter()
            .map(|(metric, max_ms)| Target {
                metric: *metric,
                statistic: Statistic::P95,
                max_ms: *max_ms,
            })
            .collect(),
        keep: Vec::new(),
        improve: None,
    }
}

/// TTFT p95 ≤ 1 s and TPOT p95 ≤ 100 ms.
pub fn chat_slo() -> Objective {
    objective(&[(Metric::Ttft, 1000.0), (Metric::Tpot, 100.0)])
}

pub fn gauge(samples: &[f64], seconds: f64) -> Distribution {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = samples[samples.len() - 1];
    Distribution {
        last,
        mean: samples.iter().sum::<f64>() / samples.len() as f64,
        p95: sorted[((sorted.len() as f64 * 0.95).ceil() as usize).max(1) - 1],
        max: sorted[sorted.len() - 1],
        slope_per_s: (last - samples[0]) / seconds,
        samples: samples.len() as u32,
    }
}

pub fn latency(p50_ms: f64, p95_ms: f64) -> Latency {
    Latency { count: 200, mean_ms: p50_ms, p50_ms, p95_ms, p99_ms: p95_ms * 1.2, edges: vec![] }
}

/// A window in which nothing is known.
pub fn blank() -> Observation {
    Observation {
        deployment: "chat".into(),
        engine: EngineKind::Vllm,
        at: Millis(0),
        window_s: 60.0,
        replicas: 1,
        config: ServingConfig::default(),
        running: None,
        waiting: None,
        kv_cache_utilization: None,
        kv_cache_tokens: None,
        preemptions_per_s: None,
        preemptions_per_request: None,
        prefix_hit_ratio: None,
        ttft: None,
        itl: None,
        tpot: None,
        e2e: None,
        queue_time: None,
        prefill_time: None,
        finished_rps: None,
        error_rate: None,
        prompt_tok_s: None,
        generation_tok_s: None,
        iteration_tokens_p90: None,
        input_tokens: None,
        output_tokens: None,
        client: None,
        gpus: vec![],
    }
}

/// Eight seats taken, twenty requests waiting, KV cache at 12 %, TTFT p95 4 s.
pub fn seats_taken() -> Observation {
    Observation {
        running: Some(gauge(&[8.0; 12], 60.0)),
        waiting: Some(gauge(&[20.0, 19.0, 21.0, 20.0, 20.0, 20.0], 60.0)),
        kv_cache_utilization: Some(gauge(&[0.12; 12], 60.0)),
        kv_cache_tokens: Some(200_000.0),
        preemptions_per_s: Some(0.0),
        preemptions_per_request: Some(0.0),
        ttft: Some(latency(2000.0, 4000.0)),
        itl: Some(latency(8.0, 12.0)),
        tpot: Some(latency(8.0, 12.0)),
        finished_rps: Some(4.0),
        prompt_tok_s: Some(4000.0),
        generation_tok_s: Some(800.0),
        input_tokens: Some(TokenLengths { mean: 1000.0, p50: 900.0, p95: 2500.0 }),
        output_tokens: Some(TokenLengths { mean: 200.0, p50: 180.0, p95: 420.0 }),
        ..blank()
    }
}

/// What clients saw: `n` requests in a minute with these p95 of TTFT, TPOT and E2E [ms].
pub fn stats(n: u64, ttft: f64, tpot: f64, e2e: f64) -> RequestStats {
    RequestStats {
        window_s: 60.0,
        requests: n,
        ttft_p50_ms: Some(ttft / 2.0),
        ttft_p95_ms: Some(ttft),
        tpot_p50_ms: Some(tpot / 1.5),
        tpot_p95_ms: Some(tpot),
        e2e_p50_ms: Some(e2e / 2.0),
        e2e_p95_ms: Some(e2e),
        itl_max_p95_ms: Some(tpot * 4.0),
        goodput_rps: Some(n as f64 / 60.0),
        finished_rps: Some(n as f64 / 60.0),
        throughput_tok_s: Some(n as f64 / 60.0 * 200.0),
        error_rate: Some(0.0),
        requests_failed: 0,
        streams_cut: 0,
    }
}
