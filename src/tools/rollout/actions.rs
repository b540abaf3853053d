//! Carries out what the machine wants, in order, and reports back. Each action is idempotent.

use super::ledger;
use crate::base::{Coded, EffectKey};
use crate::domain::{Backend, Finish, ServingConfig};
use crate::rollout::{Action, Inputs, Record};
use crate::serving::{self, Launcher, LoadSpec, Purpose, Target, TrafficPlane};
use crate::tools::{Error, ToolContext, TrialMode};
use crate::tuning;

/// A warm-up lasts this long [s].
const WARM_S: f64 = 20.0;
/// A warm-up offers at most this much [requests/s].
const WARM_RPS_MAX: f64 = 2.0;
/// The same where the new version warms on cores that serve users [s, requests/s].
const WARM_BESIDE_USERS: (f64, f64) = (10.0, 0.5);

/// Does `wanted` and returns the results as the next step's inputs. Stops at the first action that fails.
pub(super) async fn perform(
    cx: &ToolContext,
    target: &Target,
    record: &Record,
    wanted: &[Action],
) -> Result<Inputs, Error> {
    let mut results = Inputs::default();
    let over = record.is_over();
    for action in wanted {
        match one(cx, target, action, &mut results).await {
            Ok(()) if over => results.performed.push(action.clone()),
            Ok(()) => {}
            // The next look asks for it again; what was done so far is not lost.
            Err(Error::Serving(error)) => {
                tracing::warn!(code = error.code(), %error, ?action, "a rollout action failed");
                return Ok(results);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

async fn one(
    cx: &ToolContext,
    target: &Target,
    action: &Action,
    results: &mut Inputs,
) -> Result<(), Error> {
    match action {
        Action::Lock { deployment, rollout } => {
            results.lock = Some(ledger::lock(cx, deployment, rollout).await?);
        }
        Action::Unlock { deployment, rollout } => {
            ledger::unlock(cx, deployment, rollout).await?;
        }
        Action::Block { fingerprint, reason } => {
            ledger::block(cx, &target.deployment.name, fingerprint, reason).await?;
        }
        Action::Launch { key, config } => {
            results.provisioned = Some(launch(cx, launcher(target)?, key, config).await?);
        }
        Action::Warm { backend } => results.warmed = Some(warm(cx, target, backend).await?),
        Action::Apply { table } => {
            let plane = plane(target)?;
            plane.apply(table).await?;
            results.observed = Some(plane.observed().await?);
        }
        Action::Renew => plane(target)?.renew().await?,
        Action::Drain { backends, .. } => {
            for backend in backends {
                let count = plane(target)?.in_flight(backend).await?;
                results.in_flight.insert(backend.clone(), count);
            }
        }
        Action::Assign { backend } => launcher(target)?.assign(backend, Purpose::Stable).await?,
        Action::Stop { backend } => launcher(target)?.stop(backend).await?,
        Action::Discard { key } => {
            let running = launcher(target)?.running().await?;
            for server in running.iter().filter(|server| server.key == *key) {
                launcher(target)?.stop(&server.backend.id).await?;
            }
        }
    }
    Ok(())
}

/// A refused start is an answer, not a failure of this call.
async fn launch(
    cx: &ToolContext,
    launcher: &dyn Launcher,
    key: &EffectKey,
    config: &ServingConfig,
) -> Result<Result<Backend, String>, Error> {
    cx.began("starting the new version", None);
    match launcher.launch(key, config, Purpose::Canary).await {
        Ok(server) => Ok(Ok(server.backend)),
        Err(serving::Error::StartFailed { reason, last_lines }) => {
            Ok(Err(std::iter::once(reason).chain(last_lines).collect::<Vec<_>>().join("\n")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends prompts like the users' until caches and kernels are warm; every one must be answered.
async fn warm(
    cx: &ToolContext,
    target: &Target,
    backend: &Backend,
) -> Result<Result<(), String>, Error> {
    let Some(driver) = &target.load else { return Ok(Ok(())) };
    let Some(load) = warm_up_load(cx, target, backend).await? else { return Ok(Ok(())) };
    cx.began("warming the new version", Some(load.duration_s));
    let records = driver.drive(backend, &load).await?;
    let bad = records.iter().filter(|r| matches!(r.finish, Finish::Failed | Finish::Cut)).count();
    if bad == 0 {
        return Ok(Ok(()));
    }
    Ok(Err(format!("{bad} of {} warm-up requests failed", records.len())))
}

/// Today's load made small; kept, so that a resumed rollout goes on with the one it began. `None`: nothing is known of it.
async fn warm_up_load(
    cx: &ToolContext,
    target: &Target,
    backend: &Backend,
) -> Result<Option<LoadSpec>, Error> {
    let documents = &cx.services.documents;
    if let Some(kept) = documents.get("warm_up_loads", &backend.id).await?
        && let Ok(load) = serde_json::from_value(kept.value)
    {
        return Ok(Some(load));
    }
    let seen = target.observe.observe(WARM_S * 3.0, None).await?;
    let Some(mut profile) = tuning::profile_of(&seen) else { return Ok(None) };
    let (duration_s, rps_max) = match cx.services.trial.mode {
        TrialMode::Measured => (WARM_S, WARM_RPS_MAX),
        TrialMode::StartOnly => WARM_BESIDE_USERS,
    };
    profile.request_rate_rps = profile.request_rate_rps.min(rps_max);
    let load = LoadSpec { profile, warmup_s: 0.0, duration_s, seed: cx.services.seed };
    documents.put("warm_up_loads", &backend.id, None, serde_json::json!(load)).await?;
    Ok(Some(load))
}

fn launcher(target: &Target) -> Result<&dyn Launcher, Error> {
    target.launcher.as_deref().ok_or_else(|| missing(target, "a launcher"))
}

fn plane(target: &Target) -> Result<&dyn TrafficPlane, Error> {
    target.traffic.as_deref().ok_or_else(|| missing(target, "a data plane"))
}

fn missing(target: &Target, what: &str) -> Error {
    Error::NotPossible {
        deployment: target.deployment.name.clone(),
        what: "go on with a rollout".to_owned(),
        why: format!("it no longer has {what}"),
    }
}
