//! Whether a person has paused a rollout here: a simulated world stands still then, as it does while a person is asked.

use super::ledger;
use crate::base::RolloutId;
use crate::rollout::HoldKind;
use crate::tools::{Error, Services};

/// Whether a rollout of one of these deployments is paused.
///
/// Errors: a store that fails, a record that does not read.
pub async fn is_paused(services: &Services) -> Result<bool, Error> {
    for deployment in services.targets.now().keys() {
        let Some(holder) = ledger::holder(services, deployment).await? else { continue };
        let kept = ledger::find(services, &RolloutId(holder)).await?;
        let held = kept.and_then(|kept| kept.record.hold.map(|hold| hold.kind));
        if held == Some(HoldKind::Paused) {
            return Ok(true);
        }
    }
    Ok(false)
}
