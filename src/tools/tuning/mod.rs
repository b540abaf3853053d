//! Tools that think and try: diagnosis, legality, simulation, search, trials.

mod candidate;
mod check_config;
mod choose_trial;
mod explain_bottleneck;
mod plan_capacity;
mod propose_config;
mod run_trial;
mod search_configs;
mod simulate_config;
mod staged;

pub(super) use check_config::CheckConfig;
pub(super) use choose_trial::ChooseTrial;
pub(super) use explain_bottleneck::ExplainBottleneck;
pub(super) use plan_capacity::PlanCapacity;
pub(super) use propose_config::ProposeConfig;
pub(super) use run_trial::RunTrial;
pub(super) use search_configs::SearchConfigs;
pub(super) use simulate_config::SimulateConfig;
