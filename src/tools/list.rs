//! Every tool: one line each. And the manifests that are built in, for when no folder is given.

use super::registry::Erased;
use super::{gpu, metrics, rollout, tuning};

/// One line per tool.
pub(super) fn all() -> Vec<Box<dyn Erased>> {
    vec![
        Box::new(metrics::ListDeployments),
        Box::new(metrics::ReadMetrics),
        Box::new(metrics::QueryHistory),
        Box::new(gpu::ReadGpus),
        Box::new(tuning::ExplainBottleneck),
        Box::new(tuning::CheckConfig),
        Box::new(tuning::SimulateConfig),
        Box::new(tuning::SearchConfigs),
        Box::new(tuning::PlanCapacity),
        Box::new(tuning::ProposeConfig),
        Box::new(tuning::RunTrial),
        Box::new(tuning::ChooseTrial),
        Box::new(rollout::StartRollout),
        Box::new(rollout::RolloutStatus),
        Box::new(rollout::PauseRollout),
        Box::new(rollout::ResumeRollout),
        Box::new(rollout::PromoteRollout),
        Box::new(rollout::AbortRollout),
    ]
}

macro_rules! manifests {
    ($($file:literal,)+) => {
        /// File name and text of every manifest of `tools/`, as it was when this was built.
        pub fn built_in_manifests() -> Vec<(&'static str, &'static str)> {
            vec![$(($file, include_str!(concat!("../../tools/", $file))),)+]
        }
    };
}

manifests! {
    "metrics/list_deployments.yaml",
    "metrics/read_metrics.yaml",
    "metrics/query_history.yaml",
    "gpu/read_gpus.yaml",
    "tuning/explain_bottleneck.yaml",
    "tuning/check_config.yaml",
    "tuning/simulate_config.yaml",
    "tuning/search_configs.yaml",
    "tuning/plan_capacity.yaml",
    "tuning/propose_config.yaml",
    "tuning/run_trial.yaml",
    "tuning/choose_trial.yaml",
    "rollout/start_rollout.yaml",
    "rollout/rollout_status.yaml",
    "rollout/pause_rollout.yaml",
    "rollout/resume_rollout.yaml",
    "rollout/promote_rollout.yaml",
    "rollout/abort_rollout.yaml",
}
