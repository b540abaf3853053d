//! A workflow as the seed's clients see it, told from what its run has come to.

use serde_json::{Value, json};

use super::analyze::bottlenecks;
use super::cure::{Family, config_of, optimization, title};
use super::refusal::Refusal;
use super::stamp;
use super::workflow_record::Workflow;
use crate::agent::{OptimizeResult, ThreadState, ThreadStatus};
use crate::api::state::App;
use crate::base::Millis;
use crate::domain::{Metric, Outcome, Proposal, RequestStats, StepRecord};

/// The question that a person's decision answers.
pub(super) const APPROVE: &str = "approve";

/// What a workflow's run has come to.
pub(super) struct Story {
    workflow: Workflow,
    /// `None`: nothing was started, or it was forgotten.
    run: Option<(OptimizeResult, Option<ThreadState>)>,
}

impl Story {
    /// Reads what the run has come to.
    pub(super) async fn of(app: &App, workflow: Workflow) -> Result<Self, Refusal> {
        let Some(thread) = &workflow.thread else { return Ok(Self { workflow, run: None }) };
        let state = match app.agent().look(thread).await {
            Ok(state) => state,
            Err(crate::agent::Error::UnknownThread(_)) => return Ok(Self { workflow, run: None }),
            Err(error) => return Err(error.into()),
        };
        let run = match app.agent().result(thread).await {
            Ok(result) => Some((result, state)),
            Err(crate::agent::Error::UnknownThread(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { workflow, run })
    }

    /// Whether it waits for the decision.
    pub(super) fn asks(&self) -> bool {
        self.state().is_some_and(|state| state.interrupts.iter().any(|open| open.node == APPROVE))
    }

    /// Whether nothing more happens.
    pub(super) fn is_over(&self) -> bool {
        match &self.run {
            None => true,
            Some((result, _)) => !matches!(result.status, Outcome::Running | Outcome::Interrupted),
        }
    }

    /// Whether anything was done to users, or could still be.
    pub(super) fn touched_users(&self) -> bool {
        self.run.as_ref().is_some_and(|(result, _)| result.rollout.is_some())
    }

    fn state(&self) -> Option<&ThreadState> {
        self.run.as_ref()?.1.as_ref()
    }

    fn has(&self, channel: &str) -> bool {
        let value = self.state().and_then(|state| state.values.get(channel));
        value.is_some_and(|value| !value.is_null() && *value != json!([]))
    }

    /// Its status, one of the seed's words.
    pub(super) fn status(&self) -> &'static str {
        let approved = self.workflow.decision.as_ref().map(|decision| decision.approved);
        let Some((result, _)) = &self.run else {
            return if approved == Some(false) { "rejected" } else { "failed" };
        };
        match result.status {
            Outcome::Improved => "completed",
            Outcome::RolledBack => "rolled_back",
            Outcome::Failed => "failed",
            Outcome::NoChange if approved == Some(false) => "rejected",
            Outcome::NoChange | Outcome::Done => "completed",
            Outcome::Interrupted if self.asks() => match approved {
                None => "awaiting_approval",
                Some(true) => "approved",
                Some(false) => "rejected",
            },
            // A rollout that nobody can decide yet.
            Outcome::Interrupted => "monitoring",
            Outcome::Running => self.running(approved),
        }
    }

    fn running(&self, approved: Option<bool>) -> &'static str {
        let Some((result, _)) = &self.run else { return "failed" };
        match result.rollout.as_ref().map(|rollout| rollout.status.as_str()) {
            Some("observing" | "soak") => return "monitoring",
            Some(_) => return "rolling_out",
            None => {}
        }
        match approved {
            Some(true) if self.has("chosen") => "approved",
            Some(false) if self.has("chosen") => "rejected",
            _ if self.has("diagnosis") => "optimizing",
            _ if self.has("observation") => "analyzing",
            _ if self.state().is_some_and(|state| state.status != ThreadStatus::Idle) => {
                "collecting"
            }
            _ => "pending",
        }
    }

    /// The whole state.
    pub(super) fn shown(&self) -> Value {
        let workflow = &self.workflow;
        let decision = workflow.decision.as_ref();
        let result = self.run.as_ref().map(|(result, _)| result);
        let updated = self.state().map_or(workflow.created_ms, |state| state.updated.0);
        let updated = decision.map_or(updated, |decision| updated.max(decision.at_ms));
        let steps = result.and_then(|result| result.rollout.as_ref()).map(|rollout| &rollout.steps);
        json!({
            "workflow_id": workflow.id,
            "instance_id": workflow.instance_id,
            "instance_type": workflow.instance_type,
            "status": self.status(),
            "created_at": stamp(Millis(workflow.created_ms)),
            "updated_at": stamp(Millis(updated)),
            "analysis_result": result.and_then(|result| self.analysis(result)),
            "optimization_plan": result.and_then(|result| self.plan(result)),
            "requires_approval": workflow.requires_approval,
            "auto_rollout": workflow.auto_rollout,
            "approved": decision.map(|decision| decision.approved),
            "approved_by": decision.filter(|decision| decision.approved).and_then(|d| d.by.as_ref()),
            "approved_at": decision.map(|decision| stamp(Millis(decision.at_ms))),
            "current_stage": steps.and_then(|steps| steps.last()).map(|step| percent(step.percent)),
            "rollout_history": steps.into_iter().flatten().map(stage).collect::<Vec<_>>(),
            "original_config": result.and_then(original),
            "applied_config": result.and_then(applied),
            "health_threshold": workflow.health_threshold,
            "monitoring_duration_seconds": workflow.monitoring_duration_seconds,
            "final_health_score": result.and_then(|result| well(result.after.as_ref()?)),
            "total_improvement": result.and_then(gained),
            "error_message": self.error(),
        })
    }

    fn error(&self) -> Option<String> {
        let forgotten = || "the run was forgotten by the retention rule".to_owned();
        match &self.run {
            None => Some(self.workflow.refused.clone().unwrap_or_else(forgotten)),
            Some((result, _)) => result.error.as_ref().map(|problem| problem.to_string()),
        }
    }

    fn analysis(&self, result: &OptimizeResult) -> Option<Value> {
        let diagnosis = result.diagnosis.as_ref()?;
        let at = self.state().map_or(Millis(self.workflow.created_ms), |state| state.updated);
        let rationale = self.proposals().into_iter().next().map(|proposal| proposal.rationale);
        Some(json!({
            "instance_id": self.workflow.instance_id,
            "instance_type": self.workflow.instance_type,
            "timestamp": stamp(at),
            "bottlenecks": bottlenecks(diagnosis, rationale.as_ref(), at),
            "overall_health_score": result.baseline.as_ref().and_then(well),
            "diagnosis": diagnosis,
        }))
    }

    fn plan(&self, result: &OptimizeResult) -> Option<Value> {
        let proposals = self.proposals();
        if proposals.is_empty() {
            return None;
        }
        let shown: Vec<Value> =
            proposals.iter().map(|proposal| optimization(proposal, None, true)).collect();
        Some(json!({
            "instance_id": self.workflow.instance_id,
            "instance_type": self.workflow.instance_type,
            "optimizations": shown,
            "kv_cache_config": config_of(&proposals, Family::KvCache),
            "quantization_config": config_of(&proposals, Family::Quantization),
            "batching_config": config_of(&proposals, Family::Batching),
            "priority_order": proposals.iter().map(title).collect::<Vec<_>>(),
            "estimated_total_improvement": result.trials.iter().filter_map(|trial| trial.gain)
                .reduce(f64::max).map(|gain| format!("measured in a trial: {:+.0} %", gain * 100.0)),
            "trials": result.trials,
            "flags": result.flags,
        }))
    }

    fn proposals(&self) -> Vec<Proposal> {
        let value = self.state().and_then(|state| state.values.get("proposals")).cloned();
        value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
    }
}

/// The config before the change, as far as it was changed.
fn original(result: &OptimizeResult) -> Option<Value> {
    let before =
        result.change.iter().map(|(knob, change)| (knob.name().to_owned(), json!(change.from)));
    (!result.change.is_empty()).then(|| Value::Object(before.collect()))
}

/// What serves now, as far as it was changed.
fn applied(result: &OptimizeResult) -> Option<Value> {
    let after =
        result.change.iter().map(|(knob, change)| (knob.name().to_owned(), json!(change.to)));
    (!result.change.is_empty()).then(|| Value::Object(after.collect()))
}

/// Requests that ended well and met every bound, in percent of all.
fn well(stats: &RequestStats) -> Option<f64> {
    let good = stats.goodput_rps? / stats.finished_rps.filter(|rps| *rps > 0.0)?;
    Some((good * (1.0 - stats.error_rate?) * 100.0).clamp(0.0, 100.0))
}

/// How much better users are served than before, in percent: by the goal's first bound, else by what was to be made better.
fn gained(result: &OptimizeResult) -> Option<f64> {
    let (before, after) = (result.baseline.as_ref()?, result.after.as_ref()?);
    let objective = result.objective.as_ref()?;
    let first = objective.targets.first().map(|target| target.metric).or(objective.improve);
    let pair = |of: fn(&RequestStats) -> Option<f64>| Some((of(before)?, of(after)?));
    let (worse, better) = match first {
        Some(Metric::Ttft) => pair(|stats| stats.ttft_p95_ms)?,
        Some(Metric::Tpot) => pair(|stats| stats.tpot_p95_ms)?,
        Some(Metric::E2e) => pair(|stats| stats.e2e_p95_ms)?,
        Some(Metric::Itl) => pair(|stats| stats.itl_max_p95_ms)?,
        _ => {
            let (before, after) = pair(|stats| stats.throughput_tok_s)?;
            (after, before)
        }
    };
    (better > 0.0).then(|| (worse / better - 1.0) * 100.0)
}

fn percent(share: f64) -> String {
    format!("{share}%")
}

fn stage(step: &StepRecord) -> Value {
    json!({
        "stage": percent(step.percent),
        "status": step.verdict,
        "started_at": stamp(step.started),
        "completed_at": step.ended.map(stamp),
        // Requests are judged one against the other, not scored.
        "health_score_before": null,
        "health_score_after": null,
        "metrics_snapshot": {"ttft_p95_ms": step.ttft_p95_ms, "sessions": step.sessions},
        "issues": [],
    })
}
