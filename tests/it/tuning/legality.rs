//! What each engine refuses, known before it starts.

use perf_agent::domain::*;
use perf_agent::tuning::legality::check;

use super::fixtures::{config, gpu_deployment, int, unknown_deployment};

fn codes(deployment: &Deployment, knobs: &[(Knob, KnobValue)]) -> Vec<String> {
    check(deployment, &config(knobs)).into_iter().map(|violation| violation.code).collect()
}

fn engine(kind: EngineKind) -> Deployment {
    Deployment { engine: kind, ..unknown_deployment(&[]) }
}

#[test]
fn an_empty_config_is_legal_on_every_engine() {
    for kind in [EngineKind::Vllm, EngineKind::Sglang, EngineKind::Tgi] {
        assert_eq!(codes(&engine(kind), &[]), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn vllm_needs_a_token_for_every_seat() {
    let knobs = [(Knob::MaxNumSeqs, int(256)), (Knob::MaxNumBatchedTokens, int(128))];
    assert_eq!(codes(&engine(EngineKind::Vllm), &knobs), ["tuning.budget_below_seats"]);
}

#[test]
fn vllm_without_chunked_prefill_needs_a_step_for_the_longest_prompt() {
    let knobs = [
        (Knob::EnableChunkedPrefill, KnobValue::Bool(false)),
        (Knob::MaxModelLen, int(8192)),
        (Knob::MaxNumSeqs, int(64)),
        (Knob::MaxNumBatchedTokens, int(2048)),
    ];
    assert_eq!(codes(&engine(EngineKind::Vllm), &knobs), ["tuning.budget_below_prompt"]);
}

#[test]
fn the_cpu_engine_takes_blocks_of_32_and_lists_of_cores() {
    let deployment = unknown_deployment(&[(Knob::CpuKvCacheSpaceGib, int(4))]);
    let knobs = |block, bind: &str| {
        [(Knob::BlockSize, int(block)), (Knob::CpuOmpThreadsBind, KnobValue::Text(bind.into()))]
    };
    assert_eq!(codes(&deployment, &knobs(16, "0-1")), ["tuning.block_size"]);
    assert_eq!(codes(&deployment, &knobs(128, "all")), ["tuning.unknown_value"]);
    for bind in ["auto", "nobind", "0-1", "0,2,4", "0-3|4-7"] {
        assert_eq!(codes(&deployment, &knobs(128, bind)), Vec::<String>::new(), "{bind}");
    }
}

#[test]
fn tensor_parallelism_must_divide_the_heads_and_find_its_devices() {
    let mut deployment = gpu_deployment(&[]);
    deployment.gpus = 8;
    let tp = |n| [(Knob::TensorParallelSize, int(n))];
    assert_eq!(codes(&deployment, &tp(3)), ["tuning.tp_heads"]);
    deployment.gpus = 2;
    assert_eq!(codes(&deployment, &tp(4)), ["tuning.not_enough_gpus"]);
}

#[test]
fn sglang_cuts_prefills_at_page_borders() {
    let knobs = [(Knob::MaxNumBatchedTokens, int(1000)), (Knob::BlockSize, int(64))];
    let found = check(&engine(EngineKind::Sglang), &config(&knobs));
    assert_eq!(found[0].code, "tuning.budget_not_whole_pages");
    assert_eq!(found[0].hint, "set max_num_batched_tokens to 1024");
    let off = [(Knob::MaxNumBatchedTokens, int(-1))];
    assert_eq!(codes(&engine(EngineKind::Sglang), &off), Vec::<String>::new());
}

#[test]
fn tgi_orders_input_total_and_batch_tokens() {
    let knobs = [
        (Knob::MaxInputTokens, int(4096)),
        (Knob::MaxModelLen, int(4096)),
        (Knob::MaxNumBatchedTokens, int(2048)),
        (Knob::MaxBatchTotalTokens, int(1024)),
    ];
    assert_eq!(codes(&engine(EngineKind::Tgi), &knobs), ["tuning.inconsistent"; 4]);
}

#[test]
fn a_knob_of_another_engine_and_a_value_of_another_type_are_refused() {
    let tgi_knob = [(Knob::MaxWaitingTokens, int(20))];
    assert_eq!(codes(&engine(EngineKind::Vllm), &tgi_knob), ["tuning.knob_not_supported"]);
    let text = [(Knob::MaxNumSeqs, KnobValue::Text("many".into()))];
    assert_eq!(codes(&engine(EngineKind::Vllm), &text), ["tuning.knob_type"]);
}
