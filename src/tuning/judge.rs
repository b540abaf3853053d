//! Whether a measured config is better than the running one, and by how much.

use super::statistic::{for_target, headline, higher_is_better, improvement, limit};
use super::trade::{Trade, trade};
use super::wording::{label, short};
use crate::domain::{
    Limits, Metric, Objective, Proposal, RequestStats, Target, Trial, TrialOutcome,
};

/// Fewer requests than this decide nothing.
pub const REQUESTS_MIN: u64 = 50;
/// A missed target must come nearer by this share to count as progress.
const NEARER_MIN: f64 = 0.10;
/// A latency may drift by this share before it counts as worse.
const WORSE_TOLERANCE: f64 = 0.10;
/// Where nothing is missed, a gain below this is noise.
const GAIN_MIN: f64 = 0.03;

/// The verdict on one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Accepted or rejected.
    pub outcome: TrialOutcome,
    /// Gain on what the objective asks for, 0.3 is 30 % better; `None` when not measured.
    pub gain: Option<f64>,
    /// One fact a line, those that reject first.
    pub reasons: Vec<String>,
}

/// Compares a candidate with the running config under the same load.
///
/// Accepted when the targets are met, or every missed one is no worse and one is nearer by 10 %; when errors are not higher;
/// when nothing that must be kept was lost beyond noise; when standing limits hold. What is unknown is never a pass.
pub fn judge(
    objective: &Objective,
    limits: &Limits,
    baseline: &RequestStats,
    measured: &RequestStats,
) -> Judgement {
    let gain = gain(objective, baseline, measured);
    let checks = [
        enough(baseline, measured),
        errors(baseline, measured),
        targets(objective, gain, baseline, measured),
        standing_limits(limits, baseline, measured),
        throughput(objective, baseline, measured),
        goodput(objective, baseline, measured),
        kept_latencies(objective, baseline, measured),
        trades(objective, limits, baseline, measured),
    ];
    let mut against = Vec::new();
    let mut facts = Vec::new();
    for check in checks {
        match check {
            Ok(found) => facts.extend(found),
            Err(found) => against.extend(found),
        }
    }
    let outcome = if against.is_empty() { TrialOutcome::Accepted } else { TrialOutcome::Rejected };
    against.extend(facts);
    Judgement { outcome, gain, reasons: against }
}

/// The best accepted trial: targets met first, then gain, then fewest changes, then the order of the trials.
///
/// Among trials that measured nothing, the [`best_unmeasured`] proposal.
pub fn choose<'a>(objective: &Objective, trials: &'a [Trial]) -> Option<&'a Trial> {
    let rank = |trial: &Trial| {
        let met = trial.measured.as_ref().is_some_and(|stats| all_met(objective, stats));
        let gain = trial.gain.filter(|gain| gain.is_finite()).unwrap_or(f64::MIN);
        (met, gain, trial.proposal.change.len())
    };
    let accepted = || trials.iter().filter(|trial| trial.outcome == TrialOutcome::Accepted);
    if accepted().all(|trial| trial.gain.is_none() && trial.measured.is_none()) {
        let proposals: Vec<Proposal> = accepted().map(|trial| trial.proposal.clone()).collect();
        let best = best_unmeasured(&proposals)?;
        return accepted().find(|trial| trial.proposal == *best);
    }
    accepted().reduce(|best, next| {
        let ((best_met, best_gain, best_changes), (met, gain, changes)) = (rank(best), rank(next));
        let order = met.cmp(&best_met).then(gain.total_cmp(&best_gain));
        if order.then(best_changes.cmp(&changes)).is_gt() { next } else { best }
    })
}

/// The proposal to take when nothing can be measured: the one that changes most, the first of equals.
///
/// Proposals by rules are the cause's own move and repairs of known-slow settings: the one with most changes repairs all of them.
pub fn best_unmeasured(proposals: &[Proposal]) -> Option<&Proposal> {
    proposals.iter().reduce(
        |best, next| {
            if next.change.len() > best.change.len() { next } else { best }
        },
    )
}

/// Facts, or what speaks against.
type Check = Result<Vec<String>, Vec<String>>;

fn verdict(facts: Vec<String>, against: Vec<String>) -> Check {
    if against.is_empty() { Ok(facts) } else { Err(against) }
}

/// Gain on the worst missed target; with none missed on the metric to improve; else on the tightest target.
fn gain(objective: &Objective, baseline: &RequestStats, measured: &RequestStats) -> Option<f64> {
    let pressure = |target: &Target| Some(for_target(target, baseline)? / target.max_ms);
    let tightest = objective
        .targets
        .iter()
        .filter_map(|target| Some((target, pressure(target)?)))
        .reduce(|a, b| if b.1 > a.1 { b } else { a });
    let missed = tightest.filter(|(_, pressure)| *pressure > 1.0);
    let on_target = |target: &Target| {
        let (before, after) = (for_target(target, baseline)?, for_target(target, measured)?);
        improvement(target.metric, before, after)
    };
    let on_metric =
        |metric| improvement(metric, headline(metric, baseline)?, headline(metric, measured)?);
    match (missed, objective.improve, tightest) {
        (Some((target, _)), _, _) | (None, None, Some((target, _))) => on_target(target),
        (None, Some(metric), _) => on_metric(metric),
        (None, None, None) => on_metric(Metric::E2e),
    }
}

fn enough(baseline: &RequestStats, measured: &RequestStats) -> Check {
    let few = |name: &str, stats: &RequestStats| {
        (stats.requests < REQUESTS_MIN)
            .then(|| format!("{name} saw {} requests, {REQUESTS_MIN} are needed", stats.requests))
    };
    let against = [few("the running config", baseline), few("the candidate", measured)];
    let fact = format!("{} and {} requests compared", baseline.requests, measured.requests);
    verdict(vec![fact], against.into_iter().flatten().collect())
}

fn errors(baseline: &RequestStats, measured: &RequestStats) -> Check {
    let Some((before, after)) =
        headline(Metric::ErrorRate, baseline).zip(headline(Metric::ErrorRate, measured))
    else {
        return Err(vec!["error rates are not known".to_owned()]);
    };
    let text = format!("errors {:.2} % → {:.2} %", 100.0 * before, 100.0 * after);
    if after <= before { Ok(vec![text]) } else { Err(vec![format!("{text}: more than before")]) }
}

fn targets(
    objective: &Objective,
    gain: Option<f64>,
    baseline: &RequestStats,
    measured: &RequestStats,
) -> Check {
    let (mut facts, mut against, mut nearer) = (Vec::new(), Vec::new(), false);
    let mut missed_before = false;
    for target in &objective.targets {
        let name = format!("{} {}", target.metric, label(target.statistic));
        let values = for_target(target, baseline).zip(for_target(target, measured));
        let Some((before, after)) = values else {
            against.push(format!("{name} is not known"));
            continue;
        };
        let text =
            format!("{name} {} → {} ms of {} allowed", short(before), short(after), target.max_ms);
        let (was_met, met) = (before <= target.max_ms, after <= target.max_ms);
        missed_before |= !was_met;
        nearer |= !was_met && (met || after <= (1.0 - NEARER_MIN) * before);
        match met || (!was_met && after <= (1.0 + GAIN_MIN) * before) {
            true => facts.push(text),
            false => against.push(format!("{text}: further from the target")),
        }
    }
    if missed_before && !nearer && against.is_empty() {
        against.push(format!("no missed target came nearer by {:.0} %", 100.0 * NEARER_MIN));
    }
    if !missed_before && !gain.is_some_and(|gain| gain >= GAIN_MIN) {
        let gain = gain.map_or("unknown".to_owned(), |gain| format!("{:+.1} %", 100.0 * gain));
        against.push(format!("nothing gained: {gain} where nothing was missed"));
    }
    verdict(facts, against)
}

/// Whether every target is met by what was measured.
pub fn all_met(objective: &Objective, stats: &RequestStats) -> bool {
    let met = |target: &Target| for_target(target, stats).is_some_and(|ms| ms <= target.max_ms);
    objective.targets.iter().all(met)
}

/// A standing limit holds afterwards, unless it was broken before and the candidate brings it nearer.
fn standing_limits(limits: &Limits, baseline: &RequestStats, measured: &RequestStats) -> Check {
    let (mut facts, mut against) = (Vec::new(), Vec::new());
    for metric in [Metric::Ttft, Metric::Tpot, Metric::E2e] {
        let Some(limit) = limit(metric, limits) else { continue };
        let Some(after) = headline(metric, measured) else {
            against.push(format!("{metric} p95 has a limit of {limit} ms and is not known"));
            continue;
        };
        let text = format!("{metric} p95 is {} ms, its standing limit {limit} ms", short(after));
        let before = headline(metric, baseline);
        if after <= limit {
            facts.push(text);
        } else if before.is_some_and(|before| before > limit && after < before) {
            facts.push(format!("{text}: nearer than before, not yet kept"));
        } else {
            against.push(format!("{text}: broken"));
        }
    }
    verdict(facts, against)
}

/// Finished work per second. Under an open loop both sides finish what arrives, so equal is all one can ask for.
fn throughput(objective: &Objective, baseline: &RequestStats, measured: &RequestStats) -> Check {
    let metric = Metric::Throughput;
    let kept = objective.keep.contains(&metric);
    let tokens = headline(metric, baseline).zip(headline(metric, measured));
    let requests = baseline.finished_rps.zip(measured.finished_rps);
    let ratio = |pair: Option<(f64, f64)>| pair.filter(|(b, _)| *b > 0.0).map(|(b, m)| m / b);
    // Two samples of answers differ in length, two windows in their count: the better of the two ratios is the fairer.
    let ratio = ratio(tokens).into_iter().chain(ratio(requests)).reduce(f64::max);
    let Some(ratio) = ratio.filter(|ratio| ratio.is_finite()) else {
        let unknown = vec!["throughput is not known".to_owned()];
        return if kept { Err(unknown) } else { Ok(unknown) };
    };
    let floor = 1.0 - if kept { loss_within_noise(baseline, measured) } else { 0.10 };
    let text = format!("throughput is {ratio:.2} of the running config's");
    if ratio >= floor { Ok(vec![text]) } else { Err(vec![format!("{text}, {floor:.2} is needed")]) }
}

/// 3 %, or the standard error of a count of requests where that is larger.
fn loss_within_noise(baseline: &RequestStats, measured: &RequestStats) -> f64 {
    let fewest = baseline.requests.min(measured.requests).max(1) as f64;
    (1.0 / fewest.sqrt()).clamp(0.03, 0.10)
}

fn goodput(objective: &Objective, baseline: &RequestStats, measured: &RequestStats) -> Check {
    let metric = Metric::Goodput;
    if !objective.keep.contains(&metric) {
        return Ok(Vec::new());
    }
    let values = headline(metric, baseline).zip(headline(metric, measured));
    let Some((before, after)) = values else {
        return Err(vec!["goodput is not known".to_owned()]);
    };
    let text = format!("goodput {} → {} requests/s", short(before), short(after));
    let floor = before * (1.0 - loss_within_noise(baseline, measured));
    if after >= floor { Ok(vec![text]) } else { Err(vec![format!("{text}: lost")]) }
}

/// Latencies that the objective names in `keep`.
fn kept_latencies(
    objective: &Objective,
    baseline: &RequestStats,
    measured: &RequestStats,
) -> Check {
    let (mut facts, mut against) = (Vec::new(), Vec::new());
    for metric in objective.keep.iter().copied().filter(|metric| !higher_is_better(*metric)) {
        if metric == Metric::ErrorRate {
            continue;
        }
        match headline(metric, baseline).zip(headline(metric, measured)) {
            Some((before, after)) if after <= (1.0 + WORSE_TOLERANCE) * before => {
                facts.push(format!("{metric} p95 {} → {} ms: kept", short(before), short(after)));
            }
            Some((before, after)) => {
                against.push(format!("{metric} p95 {} → {} ms: lost", short(before), short(after)));
            }
            None => against.push(format!("{metric} must be kept and is not known")),
        }
    }
    verdict(facts, against)
}

/// TTFT and TPOT may get worse only as a declared or a paying trade.
fn trades(
    objective: &Objective,
    limits: &Limits,
    baseline: &RequestStats,
    measured: &RequestStats,
) -> Check {
    let (mut facts, mut against) = (Vec::new(), Vec::new());
    for metric in [Metric::Ttft, Metric::Tpot] {
        let found = trade(metric, WORSE_TOLERANCE, objective, limits, baseline, measured);
        let [before, after] =
            [baseline, measured].map(|stats| headline(metric, stats).map_or("?".to_owned(), short));
        let text = format!("{metric} p95 {before} → {after} ms");
        match found {
            Trade::Unknown if headline(metric, baseline).is_some() => {
                against.push(format!("{metric} of the candidate is not known"));
            }
            Trade::Kept | Trade::Unknown => {}
            Trade::WithinBound(ms) => {
                facts.push(format!("{text}: worse, within its bound of {} ms", short(ms)));
            }
            Trade::ForE2e(ms) => facts.push(format!(
                "{text}: slower tokens for a faster answer; guarded at twice the old p95, {} ms",
                short(ms)
            )),
            Trade::Refused => against.push(format!("{text}: worse, and nothing allows it")),
        }
    }
    verdict(facts, against)
}
