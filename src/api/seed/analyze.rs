//! `/api/v1/analyze`: the likeliest bottleneck, and how targets are met.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::fields::BodyFields;
use super::instance::{Look, look};
use super::refusal::Refusal;
use super::slo::{Slo, SloStatus};
use super::{engine_in_body, stamp};
use crate::api::state::App;
use crate::base::{Clock, Millis, SystemClock};
use crate::domain::{Cause, Diagnosis, Metric, Objective};

/// Points that a bottleneck costs whose every condition is met.
const BOTTLENECK_POINTS: f64 = 40.0;
/// Points that missing every target costs.
const TARGET_POINTS: f64 = 60.0;

/// Looks at an instance, names its bottleneck, compares it with the caller's targets.
#[utoipa::path(
    post, path = "/api/v1/analyze", tag = "seed", operation_id = "seed_analyze",
    request_body(content = Object, description = "`instance_id`, `instance_type`, `slo_targets`"),
    responses(
        (status = 200, body = Object),
        (status = 400, description = "Unknown type", body = Object),
        (status = 422, description = "Invalid fields", body = Object),
        (status = 500, description = "The instance cannot be read", body = Object),
    ),
)]
pub(super) async fn analyze(
    State(app): State<App>,
    BodyFields(mut fields): BodyFields,
) -> Result<Json<Value>, Refusal> {
    let instance = fields.text("instance_id");
    let engine = fields.text("instance_type");
    let slos = fields.objects("slo_targets", Slo::read);
    fields.done()?;
    let look = look(&app, &instance, engine_in_body(&engine)?).await?;
    Ok(Json(analysis(&app, &instance, &look, &slos).await?))
}

/// The analysis of what was seen.
async fn analysis(app: &App, instance: &str, look: &Look, slos: &[Slo]) -> Result<Value, Refusal> {
    let now = SystemClock.now();
    let targets: Vec<_> = slos.iter().filter_map(Slo::bound).collect();
    let improve = targets.is_empty().then_some(Metric::Throughput);
    let deployment = look.deployment.name.clone();
    let objective = Objective { deployment, targets, keep: Vec::new(), improve };
    let diagnosis = look.diagnosis(app, &objective).await?;
    let statuses: Vec<SloStatus> = slos.iter().map(|slo| slo.status(&look.snapshot, now)).collect();
    let proposals = app.agent().propose(&diagnosis, &look.deployment, &look.seen);
    let recommendations: Vec<String> =
        proposals.iter().map(|proposal| proposal.rationale.clone()).collect();
    Ok(json!({
        "instance_id": instance,
        "instance_type": look.seen.engine,
        "timestamp": stamp(now),
        "bottlenecks": bottlenecks(&diagnosis, recommendations.first(), now),
        "slo_statuses": statuses.iter().map(|status| &status.value).collect::<Vec<_>>(),
        "overall_health_score": health(&diagnosis, &statuses),
        "recommendations": recommendations,
    }))
}

/// The bottleneck in the seed's words; none where there is none, or where the evidence names none.
pub(super) fn bottlenecks(
    diagnosis: &Diagnosis,
    recommendation: Option<&String>,
    at: Millis,
) -> Vec<Value> {
    let Some(kind) = kind(diagnosis.bottleneck) else { return Vec::new() };
    let speaks = |evidence: &&crate::domain::Evidence| evidence.holds && evidence.value.is_some();
    let evidence = diagnosis.evidence.iter().find(speaks);
    vec![json!({
        "type": kind,
        "severity": severity(diagnosis),
        "description": diagnosis.explanation,
        "metric_name": evidence.map(|evidence| &evidence.metric),
        "current_value": evidence.and_then(|evidence| evidence.value),
        "threshold_value": evidence.and_then(|evidence| last_number(&evidence.expected)),
        "recommendation": recommendation,
        "timestamp": stamp(at),
    })]
}

fn kind(cause: Cause) -> Option<&'static str> {
    Some(match cause {
        Cause::None | Cause::Unknown => return None,
        Cause::KvCapacity | Cause::PreemptionThrash => "memory_pressure",
        Cause::Seats => "batch_size_suboptimal",
        Cause::PrefillBudget | Cause::PrefillCompute => "high_latency",
        Cause::DecodeBandwidth => "low_throughput",
        Cause::Overload => "queue_buildup",
    })
}

/// How sure the evidence is; more load than the hardware can carry is as bad as it gets.
fn severity(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis.score {
        _ if diagnosis.bottleneck == Cause::Overload => "critical",
        score if score >= 0.9 => "high",
        score if score >= 0.6 => "medium",
        _ => "low",
    }
}

/// The number that a condition compares with: `≥ 0.95 · max_num_seqs (7.6)` says 7.6.
fn last_number(condition: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let words = condition.split(|c: char| !is_part(c));
    words.filter_map(|word| word.trim_end_matches('.').parse().ok()).next_back()
}

/// 100 without a bottleneck and with every target met. `None`: neither is known.
fn health(diagnosis: &Diagnosis, statuses: &[SloStatus]) -> Option<f64> {
    let known: Vec<bool> = statuses.iter().filter_map(|status| status.compliant).collect();
    if diagnosis.bottleneck == Cause::Unknown && known.is_empty() {
        return None;
    }
    let missed = known.iter().filter(|met| !**met).count() as f64 / known.len().max(1) as f64;
    let held_back = match diagnosis.bottleneck {
        Cause::None | Cause::Unknown => 0.0,
        _ => diagnosis.score,
    };
    Some((100.0 - BOTTLENECK_POINTS * held_back - TARGET_POINTS * missed).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_says_what_it_compares_with() {
        assert_eq!(last_number("≥ 0.95 · max_num_seqs (7.6)"), Some(7.6));
        assert_eq!(last_number("< 0.5"), Some(0.5));
        assert_eq!(last_number("it grows"), None);
    }
}
