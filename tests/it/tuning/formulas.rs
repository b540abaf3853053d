//! Formulas against numbers worked out by hand or published.

use perf_agent::tuning::formulas::*;

use super::fixtures::{h100, llama_8b};

#[test]
fn an_8b_token_needs_128_kib_of_kv_and_its_weights_16_gb() {
    assert_eq!(kv_bytes_per_token(&llama_8b(), 2.0), 128.0 * 1024.0);
    assert_eq!(weight_bytes_per_gpu(&llama_8b(), 2.0, 2), 8.03e9);
}

#[test]
fn an_80_gb_device_holds_about_400_thousand_tokens_of_an_8b() {
    let tokens = kv_capacity_tokens(&h100(), 0.9, 16.06e9, 3.5e9, 1, 131_072.0);
    assert!((tokens - 400_000.0).abs() < 5000.0, "{tokens}");
    assert_eq!(kv_capacity_tokens(&h100(), 0.2, 16.06e9, 3.5e9, 1, 131_072.0), 0.0);
}

#[test]
fn the_ridge_of_an_h100_is_at_295_requests() {
    assert!((ridge_batch(&h100(), 2.0) - 295.0).abs() < 1.0);
}

#[test]
fn prefill_work_is_two_flop_per_weight_and_token_plus_attention() {
    let flop = prefill_flop(&llama_8b(), 1000.0, 0.0);
    let gemm = 2.0 * 8.03e9 * 1000.0;
    let attention = 4.0 * 32.0 * 4096.0 * 1000.0 * 500.0;
    assert_eq!(flop, gemm + attention);
}
