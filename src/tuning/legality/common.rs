//! What every engine refuses: wrong types, knobs it does not have, more devices than there are.

use super::Violation;
use crate::domain::{Deployment, EngineKind, Knob, KnobValue, ServingConfig};
use crate::tuning::setting::on_cpu;

/// The kind of value a knob takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Count,
    Number,
    Name,
}

fn kind(knob: Knob) -> Kind {
    match knob {
        Knob::EnablePrefixCaching
        | Knob::EnableChunkedPrefill
        | Knob::EnforceEager
        | Knob::AsyncScheduling => Kind::Switch,
        Knob::GpuMemoryUtilization
        | Knob::CpuKvCacheSpaceGib
        | Knob::ScheduleConservativeness
        | Knob::WaitingServedRatio => Kind::Number,
        Knob::KvCacheDtype | Knob::Quantization | Knob::CpuOmpThreadsBind => Kind::Name,
        _ => Kind::Count,
    }
}

/// Values whose type the knob does not take.
pub fn types(config: &ServingConfig) -> Vec<Violation> {
    config.0.iter().filter_map(|(knob, value)| type_violation(*knob, value)).collect()
}

fn type_violation(knob: Knob, value: &KnobValue) -> Option<Violation> {
    let whole = |number: f64| number.is_finite() && number.fract() == 0.0;
    let (fits, wanted) = match (kind(knob), value) {
        (Kind::Switch, value) => (matches!(value, KnobValue::Bool(_)), "true or false"),
        (Kind::Count, KnobValue::Int(_)) => (true, ""),
        (Kind::Count, KnobValue::Float(number)) => (whole(*number), "a whole number"),
        (Kind::Count, _) => (false, "a whole number"),
        (Kind::Number, KnobValue::Float(number)) => (number.is_finite(), "a finite number"),
        (Kind::Number, value) => (matches!(value, KnobValue::Int(_)), "a number"),
        (Kind::Name, value) => (matches!(value, KnobValue::Text(_)), "a name"),
    };
    (!fits).then(|| {
        let message = format!("{knob} is {value}, expected {wanted}");
        Violation::new("knob_type", knob, message, format!("set {knob} to {wanted}"))
    })
}

/// Knobs the engine has no flag for.
pub fn supported(deployment: &Deployment, config: &ServingConfig) -> Vec<Violation> {
    let engine = deployment.engine;
    let refuse = |knob: &Knob| {
        let message = format!("{engine} has no {knob}");
        Violation::new("knob_not_supported", *knob, message, format!("leave {knob} out"))
    };
    config.0.keys().filter(|knob| !has(engine, **knob)).map(refuse).collect()
}

fn has(engine: EngineKind, knob: Knob) -> bool {
    use Knob as K;
    let tgi_only = matches!(
        knob,
        K::MaxWaitingTokens | K::WaitingServedRatio | K::MaxInputTokens | K::MaxBatchTotalTokens
    );
    match engine {
        EngineKind::Vllm => !tgi_only && knob != K::ScheduleConservativeness,
        EngineKind::Sglang => {
            !tgi_only
                && !matches!(
                    knob,
                    K::LongPrefillTokenThreshold
                        | K::NumGpuBlocksOverride
                        | K::CpuOmpThreadsBind
                        | K::CpuKvCacheSpaceGib
                )
        }
        EngineKind::Tgi => {
            tgi_only
                || matches!(
                    knob,
                    K::MaxNumSeqs
                        | K::MaxNumBatchedTokens
                        | K::GpuMemoryUtilization
                        | K::KvCacheDtype
                        | K::Quantization
                        | K::TensorParallelSize
                        | K::EnablePrefixCaching
                        | K::MaxModelLen
                        | K::EnforceEager
                        | K::MaxNumQueuedReqs
                        | K::SpeculativeTokens
                )
        }
    }
}

/// Tensor parallelism that does not divide the model, or needs more devices than the deployment has.
pub fn devices(deployment: &Deployment, config: &ServingConfig) -> Vec<Violation> {
    let knob = Knob::TensorParallelSize;
    let Some(tp) = config.int(knob) else { return Vec::new() };
    if tp < 1 {
        let message = format!("{knob} is {tp}, expected at least 1");
        return vec![Violation::new("out_of_range", knob, message, "set it to 1")];
    }
    let mut violations = Vec::new();
    if let Some(model) = &deployment.model
        && i64::from(model.heads) % tp != 0
    {
        let heads = model.heads;
        let message = format!("{tp} devices do not divide the {heads} heads of {}", model.name);
        let hint = format!("use a divisor of {heads}: 1, 2, 4 or 8");
        violations.push(Violation::new("tp_heads", knob, message, hint));
    }
    let wanted = tp * i64::from(deployment.replicas.max(1));
    let there = i64::from(deployment.gpus.max(1));
    if wanted > there && tp > 1 && !on_cpu(deployment) {
        let replicas = deployment.replicas.max(1);
        let message =
            format!("{replicas} replicas of {tp} devices need {wanted}, {there} are there");
        let hint = format!("use at most {} devices per replica", there / i64::from(replicas));
        violations.push(Violation::new("not_enough_gpus", knob, message, hint));
    }
    violations
}

/// A count under its smallest value.
pub fn floor(config: &ServingConfig, knob: Knob, least: i64) -> Option<Violation> {
    let value = config.int(knob).filter(|value| *value < least)?;
    let message = format!("{knob} is {value}, expected at least {least}");
    Some(Violation::new("out_of_range", knob, message, format!("set it to {least} or more")))
}

/// A number outside `(low, high]`.
pub fn share(config: &ServingConfig, knob: Knob, low: f64, high: f64) -> Option<Violation> {
    let value = config.float(knob).filter(|value| *value <= low || *value > high)?;
    let message = format!("{knob} is {value}, expected above {low} and at most {high}");
    Some(Violation::new("out_of_range", knob, message, format!("set it to {high} or less")))
}

/// A name that is not on the engine's list.
pub fn one_of(config: &ServingConfig, knob: Knob, names: &[&str]) -> Option<Violation> {
    let value = config.text(knob).filter(|value| !names.contains(value))?;
    let list = names.join(", ");
    let message = format!("{knob} is `{value}`, expected one of {list}");
    Some(Violation::new("unknown_value", knob, message, format!("use one of {list}")))
}

/// `low ≤ high` between two knobs; nothing when one is unset.
pub fn ordered(config: &ServingConfig, low: Knob, high: Knob, strict: bool) -> Option<Violation> {
    let (smaller, larger) = (config.int(low)?, config.int(high)?);
    let wrong = if strict { smaller >= larger } else { smaller > larger };
    wrong.then(|| {
        let sign = if strict { "below" } else { "at most" };
        let message = format!("{low} is {smaller}, expected {sign} {high} ({larger})");
        Violation::new("inconsistent", low, message, format!("lower {low} or raise {high}"))
    })
}
