//! Which trials are accepted, which is chosen, and what its rollout must watch.

use perf_agent::base::TrialId;
use perf_agent::domain::*;
use perf_agent::tuning::{choose, guards, judge};
use proptest::prelude::*;

use super::fixtures::{chat_slo, config, int, objective, stats};

const FREE: Limits = Limits { ttft_p95_ms: None, tpot_p95_ms: None, e2e_p95_ms: None };

fn trial(name: &str, outcome: TrialOutcome, gain: f64, measured: RequestStats) -> Trial {
    Trial {
        id: TrialId(name.into()),
        flags: Vec::new(),
        proposal: Proposal {
            name: name.into(),
            deployment: "chat".into(),
            config: config(&[(Knob::MaxNumSeqs, int(16))]),
            change: changes_between(&config(&[]), &config(&[(Knob::MaxNumSeqs, int(16))])),
            rationale: String::new(),
            prediction: None,
        },
        outcome,
        baseline: Some(stats(300, 4000.0, 40.0, 9000.0)),
        measured: Some(measured),
        offered_rps: 5.0,
        reasons: vec![],
        gain: Some(gain),
    }
}

#[test]
fn a_trial_that_meets_the_missed_target_is_accepted_with_its_gain() {
    let judged = judge(
        &chat_slo(),
        &FREE,
        &stats(300, 4000.0, 40.0, 9000.0),
        &stats(300, 800.0, 42.0, 7000.0),
    );
    assert_eq!(judged.outcome, TrialOutcome::Accepted, "{:?}", judged.reasons);
    assert!((judged.gain.unwrap() - 0.8).abs() < 1e-9);
}

#[test]
fn a_trial_that_only_comes_nearer_is_accepted_and_one_that_does_not_is_rejected() {
    let before = stats(300, 4000.0, 40.0, 9000.0);
    let nearer = judge(&chat_slo(), &FREE, &before, &stats(300, 2000.0, 40.0, 7000.0));
    assert_eq!(nearer.outcome, TrialOutcome::Accepted, "{:?}", nearer.reasons);
    let same = judge(&chat_slo(), &FREE, &before, &stats(300, 3900.0, 40.0, 9000.0));
    assert_eq!(same.outcome, TrialOutcome::Rejected);
    assert!(same.reasons[0].contains("nearer"), "{:?}", same.reasons);
}

#[test]
fn too_few_requests_decide_nothing() {
    let judged = judge(
        &chat_slo(),
        &FREE,
        &stats(300, 4000.0, 40.0, 9000.0),
        &stats(49, 500.0, 40.0, 5000.0),
    );
    assert_eq!(judged.outcome, TrialOutcome::Rejected);
    assert!(judged.reasons[0].contains("49 requests, 50 are needed"), "{:?}", judged.reasons);
}

#[test]
fn kept_throughput_may_not_be_lost() {
    let mut goal = chat_slo();
    goal.keep = vec![Metric::Throughput];
    let before = stats(2000, 4000.0, 40.0, 9000.0);
    let judged = judge(&goal, &FREE, &before, &stats(1800, 500.0, 40.0, 5000.0));
    assert_eq!(judged.outcome, TrialOutcome::Rejected);
    assert!(judged.reasons[0].contains("throughput is 0.90"), "{:?}", judged.reasons);
}

#[test]
fn slower_tokens_pay_for_a_much_faster_answer_unless_forbidden() {
    let goal = objective(&[(Metric::Ttft, 1000.0)]);
    let (before, after) = (stats(300, 9000.0, 20.0, 12_000.0), stats(300, 500.0, 36.0, 6000.0));
    let allowed = judge(&goal, &FREE, &before, &after);
    assert_eq!(allowed.outcome, TrialOutcome::Accepted, "{:?}", allowed.reasons);
    assert!(allowed.reasons.iter().any(|reason| reason.contains("twice the old p95")));
    let limit = Limits { tpot_p95_ms: Some(30.0), ..FREE };
    assert_eq!(judge(&goal, &limit, &before, &after).outcome, TrialOutcome::Rejected);
    let keep = Objective { keep: vec![Metric::Tpot], ..goal.clone() };
    assert_eq!(judge(&keep, &FREE, &before, &after).outcome, TrialOutcome::Rejected);
    let no_gain = stats(300, 500.0, 36.0, 11_000.0);
    assert_eq!(judge(&goal, &FREE, &before, &no_gain).outcome, TrialOutcome::Rejected);
}

#[test]
fn a_change_for_nothing_is_rejected() {
    let met = stats(300, 500.0, 40.0, 5000.0);
    let judged = judge(&chat_slo(), &FREE, &met, &met);
    assert_eq!(judged.outcome, TrialOutcome::Rejected);
    assert!(judged.reasons[0].contains("nothing gained"), "{:?}", judged.reasons);
}

#[test]
fn guards_compare_what_was_kept_and_bound_what_was_traded() {
    let goal = objective(&[(Metric::Ttft, 1000.0)]);
    let mut one = trial("a", TrialOutcome::Accepted, 0.8, stats(300, 500.0, 60.0, 5000.0));
    let compared = GuardRule::NotWorse { tolerance: 0.10, margin: 0.15 };
    let of = |limits: &Limits, trial: &Trial| guards(&goal, limits, trial);
    let traded = of(&FREE, &one);
    assert_eq!(traded[0], Guard { metric: Metric::Ttft, rule: compared.clone() });
    let twice = GuardRule::Within { limit_ms: 80.0, miss_ratio_max: 0.05 };
    assert_eq!(traded[1], Guard { metric: Metric::Tpot, rule: twice });
    let limit = Limits { tpot_p95_ms: Some(100.0), ..FREE };
    let bounded = GuardRule::Within { limit_ms: 100.0, miss_ratio_max: 0.05 };
    assert_eq!(of(&limit, &one)[1].rule, bounded);
    one.measured = Some(stats(300, 500.0, 41.0, 5000.0));
    assert_eq!(of(&FREE, &one)[1].rule, compared);
}

#[test]
fn the_trial_that_meets_the_targets_beats_a_larger_gain_that_does_not() {
    let trials = [
        trial("nearer", TrialOutcome::Accepted, 0.7, stats(300, 1200.0, 40.0, 5000.0)),
        trial("rejected", TrialOutcome::Rejected, 0.9, stats(300, 400.0, 40.0, 5000.0)),
        trial("met", TrialOutcome::Accepted, 0.6, stats(300, 900.0, 90.0, 5000.0)),
    ];
    assert_eq!(choose(&chat_slo(), &trials).unwrap().proposal.name, "met");
    assert_eq!(choose(&chat_slo(), &trials[1..2]), None);
}

fn any_stats() -> impl Strategy<Value = RequestStats> {
    let ms = || prop_oneof![Just(f64::NAN), Just(0.0), 1.0..10_000.0_f64];
    (0_u64..600, ms(), ms(), ms(), 0.0..0.2_f64, any::<bool>()).prop_map(
        |(n, ttft, tpot, e2e, errors, known)| RequestStats {
            error_rate: known.then_some(errors),
            ..stats(n, ttft, tpot, e2e)
        },
    )
}

proptest! {
    #[test]
    fn never_accepts_more_errors_too_few_requests_or_a_broken_limit(
        before in any_stats(),
        after in any_stats(),
        limit in 10.0..5000.0_f64,
    ) {
        let limits = Limits { ttft_p95_ms: Some(limit), ..FREE };
        let judged = judge(&chat_slo(), &limits, &before, &after);
        prop_assert!(!judged.reasons.is_empty());
        prop_assert!(judged.gain.is_none_or(f64::is_finite));
        if judged.outcome == TrialOutcome::Accepted {
            prop_assert!(after.error_rate.unwrap() <= before.error_rate.unwrap());
            prop_assert!(before.requests >= 50 && after.requests >= 50);
            let (was, is) = (before.ttft_p95_ms.unwrap(), after.ttft_p95_ms.unwrap());
            prop_assert!(is <= limit || (was > limit && is < was));
        }
    }

    #[test]
    fn a_config_is_never_better_than_itself(one in any_stats()) {
        let judged = judge(&chat_slo(), &FREE, &one, &one);
        prop_assert_eq!(judged.outcome, TrialOutcome::Rejected);
    }
}

/// A trial that was only started, with `changes` knobs changed.
fn started(name: &str, changes: usize) -> Trial {
    let knobs = [Knob::MaxNumSeqs, Knob::BlockSize, Knob::MaxNumBatchedTokens];
    let values: Vec<_> = knobs.into_iter().take(changes).map(|knob| (knob, int(16))).collect();
    let mut trial = trial(name, TrialOutcome::Accepted, 0.0, stats(300, 1.0, 1.0, 1.0));
    trial.proposal.config = config(&values);
    trial.proposal.change = changes_between(&config(&[]), &trial.proposal.config);
    Trial { baseline: None, measured: None, gain: None, ..trial }
}

#[test]
fn where_nothing_is_measured_the_most_complete_config_is_chosen_and_limits_are_the_bounds() {
    let trials = [started("one", 1), started("three", 3), started("two", 2), started("also", 3)];
    assert_eq!(choose(&chat_slo(), &trials).map(|t| t.proposal.name.as_str()), Some("three"));
    let limits = Limits { ttft_p95_ms: Some(1000.0), ..FREE };
    let found = guards(&chat_slo(), &limits, &trials[1]);
    assert!(matches!(found[0].rule, GuardRule::Within { limit_ms: 1000.0, .. }), "{found:?}");
    assert!(matches!(found[1].rule, GuardRule::NotWorse { .. }), "{found:?}");
}
