//! Where rollouts are written down: one document each, replaced by compare-and-swap.

use serde_json::json;

use crate::base::{Problem, RolloutId};
use crate::rollout::{Lock, Record};
use crate::tools::{Error, Services, ToolContext};

const ROLLOUTS: &str = "rollouts";
const LOCKS: &str = "locks";
const BLOCKED: &str = "blocked_configs";

/// A record as it is on the shelf.
pub(super) struct Kept {
    pub(super) record: Record,
    version: u64,
}

/// Finds a rollout.
pub(super) async fn find(cx: &ToolContext, id: &RolloutId) -> Result<Option<Kept>, Error> {
    let Some(document) = cx.services.documents.get(ROLLOUTS, id.as_str()).await? else {
        return Ok(None);
    };
    let record = serde_json::from_value(document.value).map_err(|error| Problem {
        code: "tools.rollout_unreadable".to_owned(),
        message: format!("the record of rollout {id} does not read: {error}"),
        hint: "it was written by another version; finish the rollout with that one".to_owned(),
    })?;
    Ok(Some(Kept { record, version: document.version }))
}

/// Writes a new rollout down.
pub(super) async fn create(cx: &ToolContext, record: Record) -> Result<Kept, Error> {
    let mut kept = Kept { record: record.clone(), version: 0 };
    kept.replace(cx, record).await?;
    Ok(kept)
}

impl Kept {
    /// Writes the next record down, unless somebody else moved the rollout meanwhile.
    pub(super) async fn replace(&mut self, cx: &ToolContext, next: Record) -> Result<(), Error> {
        let key = next.id.to_string();
        let documents = &cx.services.documents;
        let written = documents.put(ROLLOUTS, &key, Some(self.version), json!(next)).await?;
        self.version = written.ok_or_else(|| Error::Locked {
            deployment: next.deployment.clone(),
            holder: format!("another process that moves {key}"),
        })?;
        self.record = next;
        Ok(())
    }
}

/// Takes a deployment's lock for a rollout, or says who has it. Taking it again is fine.
pub(super) async fn lock(
    cx: &ToolContext,
    deployment: &str,
    id: &RolloutId,
) -> Result<Lock, Problem> {
    let documents = &cx.services.documents;
    let place = place(cx, deployment);
    let held = documents.get(LOCKS, &place).await?;
    let version = held.as_ref().map_or(0, |document| document.version);
    let holder = held.and_then(|d| d.value["rollout"].as_str().map(str::to_owned));
    match holder {
        Some(by) if by != id.as_str() => Ok(Lock::Held { by }),
        Some(_) => Ok(Lock::Granted),
        None => {
            let mine = json!({"rollout": id});
            let taken = documents.put(LOCKS, &place, Some(version), mine).await?;
            let lost = || Lock::Held { by: "a rollout that was faster".to_owned() };
            Ok(taken.map_or_else(lost, |_| Lock::Granted))
        }
    }
}

/// Gives a lock back, if it is this rollout's.
pub(super) async fn unlock(
    cx: &ToolContext,
    deployment: &str,
    id: &RolloutId,
) -> Result<(), Problem> {
    let documents = &cx.services.documents;
    let place = place(cx, deployment);
    let Some(held) = documents.get(LOCKS, &place).await? else { return Ok(()) };
    if held.value["rollout"].as_str() == Some(id.as_str()) {
        documents.put(LOCKS, &place, Some(held.version), json!({"rollout": null})).await?;
    }
    Ok(())
}

/// Who holds a deployment, if anybody.
pub(super) async fn holder(cx: &ToolContext, deployment: &str) -> Result<Option<String>, Problem> {
    rollout_on(&cx.services, deployment).await
}

/// The rollout that goes on at a deployment, if one does.
pub async fn rollout_on(services: &Services, deployment: &str) -> Result<Option<String>, Problem> {
    let held = services.documents.get(LOCKS, &format!("{}/{deployment}", services.fleet)).await?;
    Ok(held.and_then(|d| d.value["rollout"].as_str().map(str::to_owned)))
}

/// Remembers that a config failed on a deployment.
pub(super) async fn block(
    cx: &ToolContext,
    deployment: &str,
    fingerprint: &str,
    reason: &str,
) -> Result<(), Problem> {
    let key = format!("{}/{fingerprint}", place(cx, deployment));
    cx.services.documents.put(BLOCKED, &key, None, json!({"reason": reason})).await.map(|_| ())
}

/// Why a config is blocked on a deployment, if it is.
pub(super) async fn blocked(
    cx: &ToolContext,
    deployment: &str,
    fingerprint: &str,
) -> Result<Option<String>, Problem> {
    let key = format!("{}/{fingerprint}", place(cx, deployment));
    let document = cx.services.documents.get(BLOCKED, &key).await?;
    Ok(document.and_then(|d| d.value["reason"].as_str().map(str::to_owned)))
}

/// A deployment of this fleet: two simulated worlds may both have a `chat`.
fn place(cx: &ToolContext, deployment: &str) -> String {
    format!("{}/{deployment}", cx.services.fleet)
}
