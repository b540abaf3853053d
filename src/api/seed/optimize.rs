//! `/api/v1/optimize`: configs that would be better, without trying any.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::cure::{Family, config_of, improvement, optimization, title};
use super::fields::BodyFields;
use super::instance::look;
use super::refusal::Refusal;
use super::{engine_in_body, stamp};
use crate::api::state::App;
use crate::base::{Clock, SystemClock};
use crate::domain::{Knob, KnobValue, Metric, Objective, Statistic, Target};

/// Constraints that bound a latency [ms].
const BOUNDS: [(&str, Metric); 3] =
    [("max_ttft_ms", Metric::Ttft), ("max_tpot_ms", Metric::Tpot), ("max_e2e_ms", Metric::E2e)];
/// The constraint that lets answers change.
const QUALITY: &str = "allow_quality_change";

/// Searches for better configs of an instance as it is seen now. `constraints`: `max_ttft_ms`, `max_tpot_ms`, `max_e2e_ms` (p95),
/// `allow_quality_change`; others are named in `ignored`.
#[utoipa::path(
    post, path = "/api/v1/optimize", tag = "seed", operation_id = "seed_optimize",
    request_body(content = Object, description = "`instance_id`, `instance_type`, `current_config`, `constraints`"),
    responses(
        (status = 200, body = Object),
        (status = 400, description = "Unknown type", body = Object),
        (status = 422, description = "Invalid fields", body = Object),
        (status = 500, description = "The instance cannot be read", body = Object),
    ),
)]
pub(super) async fn optimize(
    State(app): State<App>,
    BodyFields(mut fields): BodyFields,
) -> Result<Json<Value>, Refusal> {
    let instance = fields.text("instance_id");
    let engine = fields.text("instance_type");
    let config = fields.object("current_config");
    let constraints = fields.object("constraints");
    fields.done()?;
    let mut look = look(&app, &instance, engine_in_body(&engine)?).await?;
    let (knobs, mut ignored) = read_config(config);
    // A declared deployment is known to run what it runs.
    if look.declared {
        ignored.extend(knobs.into_keys().map(|knob| format!("current_config.{knob}")));
    } else {
        look.deployment.config.0.extend(knobs);
    }
    let (objective, quality, unknown) = goal(&look.deployment.name, &constraints);
    ignored.extend(unknown);
    let diagnosis = look.diagnosis(&app, &objective).await?;
    let declared = look.declared;
    let found =
        app.agent().search(look.deployment, look.seen, objective, diagnosis, quality).await?;
    let (proposals, incumbent) = (&found.shortlist, found.incumbent.as_ref());
    let best = proposals.first().and_then(|best| best.prediction.as_ref()).zip(incumbent);
    Ok(Json(json!({
        "instance_id": instance,
        "instance_type": engine,
        "timestamp": stamp(SystemClock.now()),
        "optimizations":
            proposals.iter().map(|one| optimization(one, incumbent, declared)).collect::<Vec<_>>(),
        "kv_cache_config": config_of(proposals, Family::KvCache),
        "quantization_config": config_of(proposals, Family::Quantization),
        "batching_config": config_of(proposals, Family::Batching),
        "priority_order": proposals.iter().map(title).collect::<Vec<_>>(),
        "estimated_total_improvement": best.map(|(after, before)| improvement(before, after)),
        "reasons": found.reasons,
        "ignored": ignored,
    })))
}

/// Knobs by their names, and what is no knob.
fn read_config(config: Map<String, Value>) -> (BTreeMap<Knob, KnobValue>, Vec<String>) {
    let (mut knobs, mut unknown) = (BTreeMap::new(), Vec::new());
    for (name, value) in config {
        let knob = serde_json::from_value::<Knob>(json!(name));
        match (knob, serde_json::from_value::<KnobValue>(value)) {
            (Ok(knob), Ok(value)) => drop(knobs.insert(knob, value)),
            _ => unknown.push(format!("current_config.{name}")),
        }
    }
    (knobs, unknown)
}

/// What is to be reached, whether answers may change, and the constraints that say neither.
fn goal(deployment: &str, constraints: &Map<String, Value>) -> (Objective, bool, Vec<String>) {
    let (mut targets, mut unknown) = (Vec::new(), Vec::new());
    for (name, value) in constraints {
        let metric = BOUNDS.into_iter().find(|(bound, _)| bound == name).map(|(_, metric)| metric);
        match (metric, value.as_f64().filter(|ms| *ms > 0.0)) {
            (Some(metric), Some(max_ms)) => {
                targets.push(Target { metric, statistic: Statistic::P95, max_ms });
            }
            _ if name == QUALITY && value.is_boolean() => {}
            _ => unknown.push(format!("constraints.{name}")),
        }
    }
    let quality = constraints.get(QUALITY).and_then(Value::as_bool).unwrap_or(false);
    let improve = targets.is_empty().then_some(Metric::Throughput);
    let keep = if targets.is_empty() { Vec::new() } else { vec![Metric::Throughput] };
    (Objective { deployment: deployment.to_owned(), targets, keep, improve }, quality, unknown)
}
