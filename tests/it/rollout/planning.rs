//! Which plans can work, and how long they take.

use perf_agent::base::Coded;
use perf_agent::domain::{Guard, GuardRule, Metric, RolloutPlan};
use perf_agent::rollout::{PlanOptions, plan as forecast, validate};

use super::world::{guards, plan};

fn refused(change: impl FnOnce(&mut RolloutPlan)) -> (&'static str, String) {
    let mut plan = plan();
    change(&mut plan);
    let error = validate(&plan, 1).unwrap_err();
    assert!(!error.hint().is_empty());
    (error.code(), error.to_string())
}

#[test]
fn the_default_plan_works() {
    assert_eq!(validate(&plan(), 1), Ok(()));
    assert_eq!(plan().steps_percent, [5.0, 25.0, 50.0, 100.0]);
}

#[test]
fn a_plan_that_cannot_prove_anything_is_refused() {
    let plans: [fn(&mut RolloutPlan); 7] = [
        |plan| plan.steps_percent = vec![],
        |plan| plan.steps_percent = vec![5.0, 25.0],
        |plan| plan.steps_percent = vec![25.0, 5.0, 100.0],
        |plan| plan.steps_percent = vec![5.0, 25.0, 100.0],
        |plan| plan.guards.clear(),
        |plan| plan.sessions_min = 0,
        |plan| plan.step_time_max_ms = plan.bake_time_ms,
    ];
    for change in plans {
        assert_eq!(refused(change).0, "rollout.invalid_plan");
    }
}

#[test]
fn the_share_that_proves_must_load_the_canary_like_a_stable_backend() {
    let mut plan = plan();
    plan.steps_percent = vec![5.0, 25.0, 100.0];
    assert!(validate(&plan, 1).unwrap_err().to_string().contains("45 %"));
    assert_eq!(validate(&plan, 3), Ok(()));
    assert_eq!(validate(&plan, 0).unwrap_err().code(), "rollout.no_stable_backend");
}

#[test]
fn a_guard_on_what_no_session_has_is_refused() {
    let rule = guards()[0].rule.clone();
    let (code, text) =
        refused(|plan| plan.guards = vec![Guard { metric: Metric::Throughput, rule }]);
    assert_eq!(code, "rollout.unsupported_guard");
    assert!(text.contains("throughput"));
    let rule = GuardRule::NotWorse { tolerance: 0.2, margin: 0.1 };
    let (code, _) = refused(|plan| plan.guards = vec![Guard { metric: Metric::Ttft, rule }]);
    assert_eq!(code, "rollout.invalid_plan");
}

fn options(sessions_per_s: f64, change: f64) -> PlanOptions {
    PlanOptions { plan: plan(), sessions_per_s, stable_backends: 1, latency_sd_ln: 0.5, change }
}

#[test]
fn a_forecast_knows_that_the_bake_times_bind_at_a_high_rate() {
    let faster = forecast(&options(10.0, -0.2));
    assert_eq!(faster.step_s, [120.0; 4]);
    assert_eq!((faster.to_full_s, faster.to_done_s), (Some(360.0), Some(780.0)));
    assert_eq!(faster.to_alarm_s, None);
}

#[test]
fn a_forecast_grows_as_the_rate_falls() {
    let (fast, slow) = (forecast(&options(10.0, 0.0)), forecast(&options(1.0, 0.0)));
    assert!(slow.to_done_s > fast.to_done_s);
    assert_eq!(slow.step_s[0], 600.0);
    assert_eq!(forecast(&options(0.2, 0.0)).to_done_s, None);
}

#[test]
fn a_forecast_of_harm_is_an_alarm_and_not_a_promotion() {
    let (worse, twice) = (forecast(&options(10.0, 0.3)), forecast(&options(10.0, 1.0)));
    assert_eq!(worse.to_done_s, None);
    let (worse_s, twice_s) = (worse.to_alarm_s.unwrap(), twice.to_alarm_s.unwrap());
    assert!(twice_s < worse_s && worse_s < 300.0, "{twice_s} {worse_s}");
}
