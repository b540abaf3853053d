//! One look at a rollout: gather what the world says, let the machine decide, write it down, act, feed back.

use super::{actions, ledger};
use crate::base::RolloutId;
use crate::domain::{RolloutState, RolloutStatus};
use crate::rollout::{self, Command, Health, Inputs, Record};
use crate::serving::{self, Launcher, Target};
use crate::tools::{Error, ToolContext};

/// States a rollout may pass in one look: enough for all that need no waiting.
const MOVES_MAX: usize = 24;

/// Takes one look and does what it decides. Safe to repeat: every action is idempotent and recorded first.
///
/// Errors: [`Error::UnknownRollout`]; what servers and the data plane refuse.
pub(super) async fn advance(
    cx: &ToolContext,
    id: &RolloutId,
    commands: Vec<Command>,
) -> Result<RolloutStatus, Error> {
    let mut kept =
        ledger::find(cx, id).await?.ok_or_else(|| Error::UnknownRollout(id.to_string()))?;
    let target = cx.target(&kept.record.deployment)?;
    let window_s = f64::from(cx.services.windows.profile_s);
    let mut inputs = gather(target, &kept.record, window_s).await?;
    inputs.commands = commands;
    let mut last = Inputs::default();
    for _ in 0..MOVES_MAX {
        let before = kept.record.state.clone();
        let (next, wanted) = rollout::step(&kept.record, &inputs, cx.services.clock.now());
        kept.replace(cx, next).await?;
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
