//! The trade's nouns as plain data: deployments, configs, observations, diagnoses, trials, rollouts.
//!
//! No behaviour beyond small pure arithmetic; a missing measurement is `None`, never zero.

mod answer;
mod config;
mod deployment;
mod diagnosis;
mod family;
mod hardware;
mod objective;
mod observation;
mod proposal;
mod report;
mod request;
mod rollout;
mod traffic;
mod workload;

pub use answer::{AnswerFacts, AnswerReader, tpot_ms};
pub use config::{Change, Knob, KnobValue, ServingConfig, changes_between};
pub use deployment::{Deployment, EngineKind, Limits};
pub use diagnosis::{Cause, Diagnosis, Evidence, RunnerUp};
pub use family::Family;
pub use hardware::{GpuSpec, ModelSpec};
pub use objective::{Metric, Objective, Statistic, Target};
pub use observation::{Distribution, GpuReading, HistogramEdge, Latency, Observation};
pub use proposal::{Prediction, Proposal, Trial, TrialOutcome};
pub use report::{Outcome, Report};
pub use request::{Finish, RequestRecord, RequestStats};
pub use rollout::{
    EvidenceState, Guard, GuardRule, Provenance, RolloutPlan, RolloutState, RolloutStatus,
    StepRecord,
};
pub use traffic::{Arm, ArmWeight, Backend, TrafficTable};
pub use workload::{TokenLengths, WorkloadProfile};
