//! Proposals without a simulator: the actions column of the cause table, safest first.

use super::formulas;
use super::legality;
use super::moves::{Move, proposal};
use super::setting::{cores, on_cpu, running_config, seats, token_budget};
use crate::domain::{
    Cause, Deployment, Diagnosis, EngineKind, Knob, KnobValue, Observation, Proposal, ServingConfig,
};

/// Most proposals at once: each costs a trial.
const PROPOSALS_MAX: usize = 6;

/// What to try for a diagnosed cause when nothing is known of model or device: one to six proposals, none predicted.
///
/// First the cause's own move alone, then the same with the known-slow settings repaired one by one, then larger moves.
/// Empty when nothing is wrong, and when only hardware would help. Every proposal is legal; precision is never touched.
pub fn propose_by_rules(
    diagnosis: &Diagnosis,
    deployment: &Deployment,
    observation: &Observation,
) -> Vec<Proposal> {
    propose_within(diagnosis, deployment, observation, &[])
}

/// [`propose_by_rules`] where only `knobs` may be changed; empty: all. The rules change no precision, whatever is named.
pub fn propose_within(
    diagnosis: &Diagnosis,
    deployment: &Deployment,
    observation: &Observation,
    knobs: &[Knob],
) -> Vec<Proposal> {
    if diagnosis.bottleneck == Cause::None {
        return Vec::new();
    }
    let running = running_config(deployment, observation);
    let facts = Facts { deployment, observation, running: &running };
    let mut own = facts.moves(diagnosis.bottleneck);
    let mut slow = facts.slow_settings();
    for moves in [&mut own, &mut slow] {
        moves.retain(|step| knobs.is_empty() || knobs.contains(&step.knob));
    }
    let mut proposals: Vec<Proposal> = Vec::new();
    for moves in plans(&own, &slow) {
        let config =
            moves.iter().fold(deployment.config.clone(), |config, step| step.apply(&config));
        let reasons: Vec<&str> = moves.iter().map(|step| step.why.as_str()).collect();
        let rationale = sentence(&reasons);
        let proposal = proposal(deployment, config, rationale, None);
        let known = proposals.iter().any(|other| other.config == proposal.config);
        let legal = legality::check(deployment, &proposal.config).is_empty();
        if !proposal.change.is_empty() && !known && legal {
            proposals.push(proposal);
        }
    }
    proposals.truncate(PROPOSALS_MAX);
    proposals
}

/// Which moves go together, in the order in which they are worth a trial.
fn plans<'a>(own: &'a [Move], slow: &'a [Move]) -> Vec<Vec<&'a Move>> {
    let first: Vec<&Move> = own.iter().take(1).collect();
    let mut plans = vec![first.clone()];
    let mut with_repairs = first;
    for repair in slow {
        with_repairs.push(repair);
        plans.push(with_repairs.clone());
    }
    for other in own.iter().skip(1) {
        plans.push(vec![other]);
        plans.push(std::iter::once(other).chain(slow).collect());
    }
    // A repair alone, for the case that the cause was not what it seemed.
    plans.extend(slow.iter().map(|repair| vec![repair]));
    plans.retain(|plan| !plan.is_empty());
    plans
}

fn sentence(reasons: &[&str]) -> String {
    let text = reasons.join("; ");
    let mut letters = text.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// What the rules may look at.
struct Facts<'a> {
    deployment: &'a Deployment,
    observation: &'a Observation,
    running: &'a ServingConfig,
}

impl Facts<'_> {
    /// The cause's own actions, safest first.
    fn moves(&self, cause: Cause) -> Vec<Move> {
        match cause {
            Cause::Seats => self.more_seats(),
            Cause::KvCapacity => self.more_kv(),
            Cause::PreemptionThrash => self.fewer_seats().into_iter().collect(),
            Cause::PrefillBudget => self.larger_budget(),
            // Without a model of the device, prefill and decode limits have no numbers; what is left is what is slow anyway.
            Cause::PrefillCompute
            | Cause::DecodeBandwidth
            | Cause::Overload
            | Cause::Unknown
            | Cause::None => Vec::new(),
        }
    }

    /// Four times the seats, then sixteen times, within what the KV cache and the token budget carry.
    fn more_seats(&self) -> Vec<Move> {
        let Some(seats) = seats(self.deployment, self.running).filter(|seats| *seats >= 1.0) else {
            return Vec::new();
        };
        let budget = token_budget(self.deployment, self.running);
        let ceiling = [self.seats_by_kv(), budget, Some(1024.0)];
        let ceiling = ceiling.into_iter().flatten().fold(f64::INFINITY, f64::min).floor();
        let wanted = [4.0, 16.0].map(|factor| (factor * seats).min(ceiling));
        let waiting = self.observation.waiting.map_or(0.0, |gauge| gauge.p95);
        wanted
            .into_iter()
            .filter(|more| *more > seats)
            .map(|more| {
                let why = format!(
                    "{seats} seats are taken while {waiting:.0} requests wait, so allow {more}"
                );
                Move::set(Knob::MaxNumSeqs, KnobValue::Int(more as i64), why)
            })
            .collect()
    }

    /// Lifts what caps the KV cache, then lets fewer requests share it.
    fn more_kv(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if let Some(blocks) = self.running.int(Knob::NumGpuBlocksOverride) {
            let why =
                format!("the KV cache is held at {blocks} blocks by hand, let the engine size it");
            moves.push(Move::unset(Knob::NumGpuBlocksOverride, why));
        }
        let knob = Knob::GpuMemoryUtilization;
        let share = self.running.float(knob).or(self.default_memory_share());
        if let Some(share) = share.filter(|share| *share < 0.94 && !on_cpu(self.deployment)) {
            let more = ((share + 0.03) * 100.0).round() / 100.0;
            let why = format!("KV blocks run out, so give the engine {more} of the memory");
            moves.push(Move::set(knob, KnobValue::Float(more), why));
        }
        moves.extend(self.fewer_seats());
        moves
    }

    /// No more requests than the KV cache carries without evicting any.
    fn fewer_seats(&self) -> Option<Move> {
        let carried = (0.9 * self.seats_by_kv()?).floor().max(1.0);
        let seats = seats(self.deployment, self.running)?;
        (carried < seats).then(|| {
            let why = format!("the KV cache carries about {carried} requests, so let no more in");
            Move::set(Knob::MaxNumSeqs, KnobValue::Int(carried as i64), why)
        })
    }

    /// Twice the budget, then four times, up to 16,384 tokens.
    fn larger_budget(&self) -> Vec<Move> {
        let Some(budget) = token_budget(self.deployment, self.running) else { return Vec::new() };
        let wanted = [2.0, 4.0].map(|factor| (factor * budget).min(16_384.0));
        wanted
            .into_iter()
            .filter(|more| *more > budget)
            .map(|more| {
                let why = format!("steps are full at {budget} tokens, so allow {more}");
                Move::set(Knob::MaxNumBatchedTokens, KnobValue::Int(more as i64), why)
            })
            .collect()
    }

    /// Settings that are slow under any load, the cheapest repair first.
    fn slow_settings(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        // On CPUs compiling takes minutes of the very cores that serve users: docs/decisions/0064.
        if self.running.bool(Knob::EnforceEager) == Some(true) && !on_cpu(self.deployment) {
            let why = "compile the model instead of running it eagerly";
            moves.push(Move::set(Knob::EnforceEager, KnobValue::Bool(false), why));
        }
        moves.extend(self.bind_cores());
        if self.running.bool(Knob::EnablePrefixCaching) == Some(false) {
            let why = "reuse the KV blocks of equal prefixes";
            moves.push(Move::set(Knob::EnablePrefixCaching, KnobValue::Bool(true), why));
        }
        let chunked = self.running.bool(Knob::EnableChunkedPrefill);
        if chunked == Some(false) && self.deployment.engine == EngineKind::Vllm {
            let why = "let prefills share steps with decode";
            moves.push(Move::set(Knob::EnableChunkedPrefill, KnobValue::Bool(true), why));
        }
        moves
    }

    /// All cores, where their number is known: vLLM's `auto` leaves one of two idle.
    fn bind_cores(&self) -> Option<Move> {
        let bound = self.running.text(Knob::CpuOmpThreadsBind).unwrap_or("auto");
        let vllm = self.deployment.engine == EngineKind::Vllm && on_cpu(self.deployment);
        let cores = cores(self.deployment).filter(|cores| *cores > 1 && vllm && bound == "auto")?;
        let list = format!("0-{}", cores - 1);
        let why = format!("bind the workers to all {cores} cores");
        Some(Move::set(Knob::CpuOmpThreadsBind, KnobValue::Text(list), why))
    }

    fn seats_by_kv(&self) -> Option<f64> {
        let capacity = self.observation.kv_cache_tokens?;
        let input = self.observation.input_tokens?.mean;
        let output = self.observation.output_tokens?.mean;
        let hit = self.observation.prefix_hit_ratio.unwrap_or(0.0).clamp(0.0, 1.0);
        Some(formulas::seats_by_kv(capacity, input * (1.0 - hit), output))
    }

    /// The engine's own default share of memory, where it is a fixed number.
    fn default_memory_share(&self) -> Option<f64> {
        (self.deployment.engine == EngineKind::Vllm).then_some(0.92)
    }
}
