//! What a person is told to do with a server that others run.

use perf_agent::domain::{Deployment, EngineKind, Knob, KnobValue, Limits, ServingConfig};
use perf_agent::serving::advice;

use super::material::check_golden;

pub fn deployment(engine: EngineKind, config: ServingConfig) -> Deployment {
    Deployment {
        name: "chat".to_owned(),
        engine,
        served_model: "HuggingFaceTB/SmolLM2-135M-Instruct".to_owned(),
        model: None,
        gpu: None,
        gpus: 0,
        replicas: 1,
        config,
        limits: Limits::default(),
    }
}

#[test]
fn a_change_is_a_list_a_difference_and_a_command() {
    let old = ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(4))
        .with(Knob::EnforceEager, KnobValue::Bool(true));
    let new = ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(64))
        .with(Knob::SpeculativeTokens, KnobValue::Int(3))
        .with(Knob::CpuOmpThreadsBind, KnobValue::Text("0-1".to_owned()));
    check_golden("advice_vllm.txt", &advice(&deployment(EngineKind::Vllm, old), &new));
}

#[test]
fn the_same_config_is_nothing_to_do_and_an_impossible_one_says_why() {
    let config = ServingConfig::default().with(Knob::MaxNumSeqs, KnobValue::Int(4));
    let same = advice(&deployment(EngineKind::Tgi, config.clone()), &config);
    assert_eq!(same, "`chat` already runs this config: nothing to change.\n");
    let wrong = config.clone().with(Knob::BlockSize, KnobValue::Int(16));
    let told = advice(&deployment(EngineKind::Tgi, config), &wrong);
    assert!(told.contains("block_size: engine's default → 16"), "{told}");
    assert!(
        told.contains("There is no command line for this: tgi cannot set block_size"),
        "{told}"
    );
}
