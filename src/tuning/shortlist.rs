//! From the best candidates to the few that are worth a real trial.

use super::forecast::Forecast;
use super::moves::{proposal, risk};
use super::screening::Candidate;
use super::wording::short;
use crate::domain::{Deployment, Knob, Proposal, changes_between};

/// Most proposals: each costs a trial on a real engine.
const PROPOSALS_MAX: usize = 6;
/// A list shorter than this is filled with neighbours, where there are any.
const PROPOSALS_MIN: usize = 4;
/// Two predictions closer than this on every metric are the same outcome.
const SAME_WITHIN: f64 = 0.02;

/// A candidate and why it is on the list.
struct Pick<'a> {
    candidate: &'a Candidate,
    role: &'static str,
}

/// Four to six of `candidates` (best first), where there are so many that differ.
///
/// The smallest change that is safe comes first, then the best, then one per knob family and the knees of TTFT against
/// TPOT. Only candidates that the judge would accept are listed; when there are none, the two that come nearest.
pub fn shortlist(
    deployment: &Deployment,
    incumbent: &Forecast,
    candidates: &[Candidate],
) -> Vec<Proposal> {
    let acceptable: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.worth.acceptable).collect();
    let mut picks: Vec<Pick<'_>> = Vec::new();
    if acceptable.is_empty() {
        let better = candidates.iter().filter(|candidate| nearer(incumbent, &candidate.forecast));
        picks.extend(better.take(2).map(|candidate| Pick { candidate, role: "comes nearest" }));
    } else {
        pick_acceptable(&acceptable, deployment, &mut picks);
    }
    picks
        .into_iter()
        .map(|pick| {
            let rationale = rationale(pick.role, deployment, incumbent, pick.candidate);
            let prediction = Some(pick.candidate.forecast.prediction(deployment.replicas.max(1)));
            proposal(deployment, pick.candidate.config.clone(), rationale, prediction)
        })
        .collect()
}

fn pick_acceptable<'a>(
    acceptable: &[&'a Candidate],
    deployment: &Deployment,
    picks: &mut Vec<Pick<'a>>,
) {
    let changed = |candidate: &Candidate| changes_between(&deployment.config, &candidate.config);
    let safe = || acceptable.iter().copied().filter(|candidate| candidate.worth.safe);
    let smallest = safe().min_by_key(|candidate| (candidate.worth.risk, changed(candidate).len()));
    add(picks, smallest, "the smallest change that is safe");
    add(picks, acceptable.first().copied(), "the best in the simulator");
    let alone = |knob: Knob| {
        acceptable.iter().copied().find(|candidate| {
            let change = changed(candidate);
            change.len() == 1 && change.contains_key(&knob)
        })
    };
    let mut families: Vec<Knob> =
        acceptable.iter().flat_map(|candidate| changed(candidate).into_keys()).collect();
    families.sort_by_key(|knob| (risk(*knob), *knob));
    families.dedup();
    for knob in families {
        add(picks, alone(knob), "the best single change of its knob");
    }
    let by = |value: fn(&Forecast) -> f64| {
        let values = acceptable.iter().copied();
        values.min_by(|a, b| value(&a.forecast).total_cmp(&value(&b.forecast)))
    };
    add(picks, by(|f| f.stats.ttft_p95_ms.unwrap_or(f64::MAX)), "the fastest first token");
    add(picks, by(|f| f.stats.tpot_p95_ms.unwrap_or(f64::MAX)), "the steadiest tokens");
    add(picks, acceptable.get(1).copied(), "the second best in the simulator");
    // The simulator sees these as equal; a real engine may not. They differ from the first in one value of one knob.
    let simple = acceptable.iter().copied().filter(|candidate| changed(candidate).len() == 1);
    for candidate in simple {
        if picks.len() >= PROPOSALS_MIN {
            return;
        }
        if !picks.iter().any(|pick| pick.candidate.config == candidate.config) {
            picks.push(Pick { candidate, role: "another value of the same knob" });
        }
    }
}

/// Adds a pick unless the list is full or already holds the same outcome with no more risk.
fn add<'a>(picks: &mut Vec<Pick<'a>>, candidate: Option<&'a Candidate>, role: &'static str) {
    let Some(candidate) = candidate.filter(|_| picks.len() < PROPOSALS_MAX) else { return };
    let known = picks.iter().any(|pick| {
        pick.candidate.config == candidate.config
            || (same_outcome(&pick.candidate.forecast, &candidate.forecast)
                && pick.candidate.worth.risk <= candidate.worth.risk)
    });
    if !known {
        picks.push(Pick { candidate, role });
    }
}

fn same_outcome(a: &Forecast, b: &Forecast) -> bool {
    let close = |a: Option<f64>, b: Option<f64>| match a.zip(b) {
        Some((a, b)) => (a - b).abs() <= SAME_WITHIN * a.abs().max(b.abs()),
        None => true,
    };
    let (a, b) = (&a.stats, &b.stats);
    close(a.ttft_p95_ms, b.ttft_p95_ms)
        && close(a.tpot_p95_ms, b.tpot_p95_ms)
        && close(a.e2e_p95_ms, b.e2e_p95_ms)
        && close(a.goodput_rps, b.goodput_rps)
}

/// Whether the worst target is missed by less than the incumbent misses it.
fn nearer(incumbent: &Forecast, other: &Forecast) -> bool {
    match incumbent.worst_pressure().zip(other.worst_pressure()) {
        Some((before, after)) => after < 0.95 * before,
        None => false,
    }
}

fn rationale(
    role: &str,
    deployment: &Deployment,
    incumbent: &Forecast,
    candidate: &Candidate,
) -> String {
    let changes: Vec<String> = changes_between(&deployment.config, &candidate.config)
        .iter()
        .map(|(knob, change)| {
            let value = |value: &Option<_>| match value {
                Some(value) => format!("{value}"),
                None => "default".to_owned(),
            };
            format!("{knob} {} → {}", value(&change.from), value(&change.to))
        })
        .collect();
    let (before, after) = (&incumbent.stats, &candidate.forecast.stats);
    // The longer a queue grows the longer its TTFT: only the length of the run would be told.
    let growing = |name: &str| (incumbent.growing && name == "TTFT").then_some("ever growing");
    let moved = |name: &str, before: Option<f64>, after: Option<f64>| {
        let before = growing(name).map(str::to_owned).or(before.map(short))?;
        after.map(|after| format!("{name} p95 {before} → {} ms", short(after)))
    };
    let numbers: Vec<String> = [
        moved("TTFT", before.ttft_p95_ms, after.ttft_p95_ms),
        moved("TPOT", before.tpot_p95_ms, after.tpot_p95_ms),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut role = role.to_owned();
    if let Some(first) = role.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    format!("{role}: {}; the simulator expects {}.", changes.join(", "), numbers.join(" and "))
}
