//! Command lines: one golden per engine, and what is refused.

use perf_agent::base::Coded;
use perf_agent::domain::{EngineKind, Knob, KnobValue, ServingConfig};
use perf_agent::serving::{DIALECTS, dialect};

use super::material::check_golden;

/// A value that fits, for every knob there is.
fn fitting(knob: Knob) -> KnobValue {
    match knob {
        Knob::GpuMemoryUtilization => KnobValue::Float(0.9),
        Knob::ScheduleConservativeness | Knob::WaitingServedRatio => KnobValue::Float(0.3),
        Knob::KvCacheDtype => KnobValue::Text("fp8".to_owned()),
        Knob::Quantization => KnobValue::Text("awq".to_owned()),
        Knob::CpuOmpThreadsBind => KnobValue::Text("0-1".to_owned()),
        Knob::EnablePrefixCaching | Knob::EnableChunkedPrefill | Knob::AsyncScheduling => {
            KnobValue::Bool(false)
        }
        Knob::EnforceEager => KnobValue::Bool(true),
        _ => KnobValue::Int(64),
    }
}

#[test]
fn every_knob_of_every_engine_is_a_flag_or_a_refusal() {
    for dialect in DIALECTS {
        let mut lines = String::new();
        for &knob in Knob::ALL {
            let config = ServingConfig::default().with(knob, fitting(knob));
            let shown = match dialect.launch("chat", &config, "127.0.0.1", 8100) {
                Ok(launch) => {
                    let plain =
                        dialect.launch("chat", &ServingConfig::default(), "127.0.0.1", 8100);
                    let plain = plain.unwrap().args.len();
                    let env = launch.env.iter().map(|(name, value)| format!("{name}={value} "));
                    env.collect::<String>() + &launch.args[plain..].join(" ")
                }
                Err(error) => format!("! {error}"),
            };
            lines += &format!("{knob}: {shown}\n");
        }
        check_golden(&format!("flags_{}.txt", dialect.kind()), &lines);
    }
}

#[test]
fn a_whole_vllm_command_line_is_as_an_operator_would_write_it() {
    let config = ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(16))
        .with(Knob::EnablePrefixCaching, KnobValue::Bool(false))
        .with(Knob::CpuOmpThreadsBind, KnobValue::Text("0-1".to_owned()));
    let launch = dialect(EngineKind::Vllm).launch("chat", &config, "127.0.0.1", 8100).unwrap();
    assert_eq!(
        launch.args.join(" "),
        "--host 127.0.0.1 --port 8100 --served-model-name chat --max-num-seqs 16 \
         --no-enable-prefix-caching"
    );
    assert_eq!(launch.env, [("VLLM_CPU_OMP_THREADS_BIND".to_owned(), "0-1".to_owned())]);
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_by_every_engine_before_anything_starts() {
    let wrong = [
        (Knob::MaxNumSeqs, KnobValue::Int(0)),
        (Knob::MaxNumSeqs, KnobValue::Text("8 --trust-remote-code".to_owned())),
        (Knob::GpuMemoryUtilization, KnobValue::Float(1.2)),
        (Knob::GpuMemoryUtilization, KnobValue::Float(f64::NAN)),
        (Knob::EnablePrefixCaching, KnobValue::Int(1)),
        (Knob::KvCacheDtype, KnobValue::Text("--trust-remote-code".to_owned())),
        (Knob::Quantization, KnobValue::Text("awq --trust-remote-code".to_owned())),
    ];
    for dialect in DIALECTS {
        for (knob, value) in &wrong {
            let config = ServingConfig::default().with(*knob, value.clone());
            let refused = dialect.launch("chat", &config, "127.0.0.1", 8100).unwrap_err();
            assert_eq!(refused.code(), "serving.unsupported_knob", "{knob} {value}");
        }
    }
}
