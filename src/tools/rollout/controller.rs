//! One look at a rollout: gather what the world says, let the machine decide, write it down, act, feed back.

use super::{actions, ledger};
use crate::base::RolloutId;
use crate::domain::{RolloutState, RolloutStatus};
use crate::rollout::{self, Action, Command, Health, Inputs, Order, Record};
use crate::serving::{self, Launcher, Target};
use crate::tools::{Error, ToolContext};

/// States a rollout may pass in one look: enough for all that need no waiting.
const MOVES_MAX: usize = 24;

/// How often in a row others may move the rollout between a look and its record.
const CONTENDED_MAX: usize = 16;

/// Gives a person's order and does what follows from it at once; every other look does the rest.
///
/// The record has the order before anything is done, so it outlives this process; others may be looking meanwhile. A refused
/// order is written down too.
///
/// Errors: [`Error::OrderRefused`]; those of [`advance`].
pub(super) async fn order(
    cx: &ToolContext,
    id: &RolloutId,
    order: Order,
    generation: Option<u64>,
) -> Result<RolloutStatus, Error> {
    let by = cx.consents.last().map_or("operator".to_owned(), |consent| consent.by.clone());
    look(cx, id, vec![Command { order, by, generation }], true).await
}

/// Takes one look and does what it decides. Safe to repeat: every action is idempotent and recorded first.
///
/// Errors: [`Error::UnknownRollout`]; what servers and the data plane refuse.
pub(super) async fn advance(
    cx: &ToolContext,
    id: &RolloutId,
    commands: Vec<Command>,
) -> Result<RolloutStatus, Error> {
    look(cx, id, commands, false).await
}

async fn look(
    cx: &ToolContext,
    id: &RolloutId,
    commands: Vec<Command>,
    strict: bool,
) -> Result<RolloutStatus, Error> {
    let mut kept = find(cx, id).await?;
    let target = cx.target(&kept.record.deployment)?;
    let window_s = f64::from(cx.services.windows.profile_s);
    let mut inputs = gather(target, &kept.record, window_s).await?;
    inputs.commands = commands;
    let mut last = Inputs::default();
    for _ in 0..MOVES_MAX {
        let decided = decide(cx, &mut kept, &mut inputs).await?;
        let Decided { before, wanted, refused } = decided;
        if let Some(why) = refused.filter(|_| strict) {
            let order = inputs.commands.first().map(|command| format!("{:?}", command.order));
            return Err(Error::OrderRefused {
                rollout: id.to_string(),
                order: order.unwrap_or_default().to_lowercase(),
                why,
            });
        }
        let results = actions::perform(cx, target, &kept.record, &wanted).await?;
        // The same result again (so many requests still under way) is nothing new either.
        if kept.record.state == before && (results == Inputs::default() || results == last) {
            break;
        }
        last = results.clone();
        inputs = results;
        complete(target, &kept.record, &mut inputs, window_s).await?;
    }
    Ok(kept.record.status())
}

async fn find(cx: &ToolContext, id: &RolloutId) -> Result<ledger::Kept, Error> {
    let unknown = || Error::UnknownRollout(id.to_string());
    let kept = ledger::find(&cx.services, id).await?.ok_or_else(unknown)?;
    if kept.record.is_over() || kept.record.state == RolloutState::Planned {
        return Ok(kept);
    }
    // One store may keep rollouts of several simulated fleets: this one's are those that hold its locks.
    let holder = ledger::holder(&cx.services, &kept.record.deployment).await?;
    if holder.as_deref() == Some(id.as_str()) {
        return Ok(kept);
    }
    // Or it has just ended, between the two reads.
    let again = ledger::find(&cx.services, id).await?;
    again.filter(|kept| kept.record.is_over()).ok_or_else(unknown)
}

/// One step of the machine, on the record by now.
struct Decided {
    before: RolloutState,
    wanted: Vec<Action>,
    /// Why the order in the inputs was not obeyed.
    refused: Option<String>,
}

/// Steps the newest record and writes the result down. What others wrote meanwhile is stepped instead, never overwritten.
async fn decide(
    cx: &ToolContext,
    kept: &mut ledger::Kept,
    inputs: &mut Inputs,
) -> Result<Decided, Error> {
    for _ in 0..CONTENDED_MAX {
        let now = cx.services.clock.now();
        let refused = rollout::refusal(&kept.record, inputs, now);
        let (next, wanted) = rollout::step(&kept.record, inputs, now);
        let before = kept.record.state.clone();
        if kept.replace(cx, next).await? {
            return Ok(Decided { before, wanted, refused });
        }
        let read_from = kept.record.cursor;
        *kept = find(cx, &kept.record.id).await?;
        // Which table was in force before the other's step says nothing about the one that it put there.
        inputs.observed = None;
        if kept.record.cursor != read_from {
            // These requests are in the other's record already: none counts twice.
            inputs.records.clear();
            inputs.cursor = None;
        }
    }
    Err(kept.contended())
}

/// Everything a look begins with.
async fn gather(target: &Target, record: &Record, window_s: f64) -> Result<Inputs, Error> {
    let mut inputs = Inputs::default();
    if let Some(traffic) = &target.traffic {
        // Before the first look nothing was evidence: begin with what comes from now on.
        let after = record.cursor.unwrap_or(u64::MAX);
        match traffic.records(after).await {
            Ok((records, cursor)) => {
                inputs.records = records;
                inputs.cursor = Some(cursor);
            }
            // A plane that does not answer is lost metrics: the machine knows what to do about those.
            Err(error) => tracing::warn!(%error, "the data plane's records could not be read"),
        }
        inputs.observed = traffic.observed().await.ok();
    }
    complete(target, record, &mut inputs, window_s).await?;
    Ok(inputs)
}

/// Adds what every step of a look needs; stable is measured over `window_s` before users are exposed.
async fn complete(
    target: &Target,
    record: &Record,
    inputs: &mut Inputs,
    window_s: f64,
) -> Result<(), Error> {
    if let Some(launcher) = &target.launcher {
        let stable = record.stable.iter().map(|backend| backend.id.as_str());
        inputs.stable_health = best(launcher.as_ref(), stable).await;
        if let Some(canary) = &record.canary {
            inputs.canary_health = health(launcher.as_ref(), &canary.id).await;
        }
    }
    let measuring = matches!(
        record.state,
        RolloutState::Planned | RolloutState::Locked | RolloutState::Preflight
    );
    if measuring {
        let seen = target.observe.observe(window_s, None).await?;
        inputs.baseline = seen.client;
    }
    Ok(())
}

async fn best<'a>(
    launcher: &dyn Launcher,
    backends: impl Iterator<Item = &'a str>,
) -> Option<Health> {
    let mut best = None;
    for backend in backends {
        match health(launcher, backend).await {
            Some(Health::Healthy) => return Some(Health::Healthy),
            worse => best = best.or(worse),
        }
    }
    best
}

async fn health(launcher: &dyn Launcher, backend: &str) -> Option<Health> {
    match launcher.health(backend).await {
        Ok(serving::Health::Healthy) => Some(Health::Healthy),
        Ok(serving::Health::Starting) => {
            Some(Health::Failing { reason: "it is still starting".to_owned() })
        }
        Ok(serving::Health::Down { reason }) => Some(Health::Down { reason }),
        Err(serving::Error::UnknownBackend(id)) => {
            Some(Health::Down { reason: format!("{id} is not running") })
        }
        Err(error) => Some(Health::Failing { reason: error.to_string() }),
    }
}
