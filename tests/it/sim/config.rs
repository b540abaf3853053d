//! vLLM's defaults, what it refuses, and what fits.

use perf_agent::base::Coded;
use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{EngineConfig, Refusal, gpu, model};

use super::support::spec_of;

fn knob(knob: Knob, value: i64) -> ServingConfig {
    ServingConfig::default().with(knob, KnobValue::Int(value))
}

fn text(knob: Knob, value: &str) -> ServingConfig {
    ServingConfig::default().with(knob, KnobValue::Text(value.to_owned()))
}

fn resolve(config: &ServingConfig, gpu_name: &str) -> Result<EngineConfig, Refusal> {
    EngineConfig::resolve(config, &model("Llama-3.1-8B").unwrap(), &gpu(gpu_name).unwrap())
}

#[test]
fn defaults_follow_the_device() {
    let seats_and_budget = |gpu_name| {
        let config = resolve(&ServingConfig::default(), gpu_name).unwrap();
        (config.max_num_seqs, config.max_num_batched_tokens)
    };
    assert_eq!(seats_and_budget("H100"), (1024, 8192));
    assert_eq!(seats_and_budget("H200"), (1024, 8192));
    assert_eq!(seats_and_budget("A100"), (256, 2048));
    assert_eq!(seats_and_budget("L40S"), (256, 2048));
    let config = resolve(&ServingConfig::default(), "H100").unwrap();
    assert_eq!((config.max_model_len, config.block_size), (131_072, 16));
    assert_eq!(config.gpu_memory_utilization, 0.92);
    assert!(config.enable_prefix_caching && config.enable_chunked_prefill);
}

#[test]
fn fp8_computes_in_fp8_only_where_the_device_can() {
    let fp8 = text(Knob::Quantization, "fp8");
    assert!(resolve(&fp8, "H100").unwrap().fp8_compute);
    assert!(!resolve(&fp8, "A100").unwrap().fp8_compute);
    assert_eq!(resolve(&fp8, "A100").unwrap().weight_bytes, 1.0);
    assert!(!resolve(&text(Knob::Quantization, "awq"), "H100").unwrap().fp8_compute);
}

#[test]
fn what_vllm_refuses_is_refused_with_the_knobs_name() {
    let budget_below_seats = knob(Knob::MaxNumBatchedTokens, 512);
    let unchunked =
        ServingConfig::default().with(Knob::EnableChunkedPrefill, KnobValue::Bool(false));
    let memory = ServingConfig::default().with(Knob::GpuMemoryUtilization, KnobValue::Float(1.5));
    for (config, words) in [
        (budget_below_seats, "max_num_batched_tokens (512) must be at least max_num_seqs (1024)"),
        (unchunked, "must be at least max_model_len (131072)"),
        (memory, "gpu_memory_utilization (1.5)"),
        (knob(Knob::TensorParallelSize, 3), "tensor_parallel_size (3) must divide"),
        (knob(Knob::MaxModelLen, 200_000), "max_model_len (200000)"),
        (knob(Knob::LongPrefillTokenThreshold, 200_000), "long_prefill_token_threshold"),
        (knob(Knob::BlockSize, 8), "block_size (8)"),
        (knob(Knob::MaxNumSeqs, 0), "max_num_seqs must be a whole number of at least 1, not 0"),
        (text(Knob::Quantization, "q4_k_m"), "quantization `q4_k_m`"),
        (text(Knob::KvCacheDtype, "int3"), "kv_cache_dtype `int3`"),
    ] {
        let refusal = resolve(&config, "H100").unwrap_err();
        assert!(refusal.to_string().contains(words), "{refusal} / {words}");
        assert_eq!(refusal.code(), "sim.knob");
        assert!(!refusal.hint().is_empty());
    }
}

#[test]
fn a_model_that_is_too_large_is_out_of_memory() {
    let spec = spec_of("Llama-3.1-70B", "H100", &ServingConfig::default());
    let refusal = spec.kv_blocks().unwrap_err();
    assert!(matches!(refusal, Refusal::OutOfMemory { .. }), "{refusal}");
    assert_eq!(refusal.code(), "sim.out_of_memory");
}

#[test]
fn a_context_that_does_not_fit_the_kv_cache_is_refused() {
    let spec = spec_of("Llama-3.1-8B", "L40S", &knob(Knob::NumGpuBlocksOverride, 100));
    assert_eq!(
        spec.kv_blocks(),
        Err(Refusal::KvTooSmall { max_model_len: 131_072, kv_tokens: 1600 })
    );
}

#[test]
fn kv_capacity_is_near_what_vllm_reports_on_an_h100() {
    // vLLM says "GPU KV cache size" of about 430,000 tokens for Llama-3.1-8B at 0.9.
    let config = ServingConfig::default().with(Knob::GpuMemoryUtilization, KnobValue::Float(0.9));
    let tokens = spec_of("Llama-3.1-8B", "H100", &config).kv_blocks().unwrap() * 16;
    assert!((400_000..470_000).contains(&tokens), "{tokens}");
}

#[test]
fn memory_goes_where_it_should() {
    let blocks =
        |config: &ServingConfig| spec_of("Llama-3.1-8B", "H100", config).kv_blocks().unwrap();
    let base = blocks(&ServingConfig::default());
    let fp8_kv = blocks(&text(Knob::KvCacheDtype, "fp8"));
    assert!((fp8_kv as f64 / base as f64 - 2.0).abs() < 0.01);
    assert!(blocks(&text(Knob::Quantization, "fp8")) > base);
    assert!(blocks(&knob(Knob::TensorParallelSize, 2)) > 2 * base);
    assert!(blocks(&knob(Knob::MaxNumBatchedTokens, 32_768)) < base);
    let halved = blocks(&knob(Knob::BlockSize, 32));
    assert!(halved.abs_diff(base / 2) <= 1);
}

#[test]
fn weights_are_split_and_tables_stay_wide_under_quantization() {
    let bytes =
        |config: &ServingConfig| spec_of("Llama-3.1-8B", "H100", config).weights_bytes_per_gpu();
    assert!((bytes(&ServingConfig::default()) / 16.06e9 - 1.0).abs() < 0.01);
    assert!((bytes(&knob(Knob::TensorParallelSize, 2)) / 8.03e9 - 1.0).abs() < 0.01);
    // The published FP8 checkpoint has 9.1 GB.
    assert!((bytes(&text(Knob::Quantization, "fp8")) / 9.1e9 - 1.0).abs() < 0.02);
}
