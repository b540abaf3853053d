//! The server of a trial: it goes when the trial is over, however that came about.

use std::sync::Arc;

use futures::FutureExt;

use crate::base::EffectKey;
use crate::serving::{self, Launcher, Purpose};

/// A trial's server, from the order to start it on. Dropped before its end was seen to, it is stopped all the same: the call
/// was cancelled, ran out of time, or nobody waits for it any more.
pub(super) struct Staged {
    launcher: Arc<dyn Launcher>,
    key: EffectKey,
    seen_to: bool,
}

impl Staged {
    /// The server that `launcher` is about to start under `key`.
    pub(super) fn under(launcher: &Arc<dyn Launcher>, key: &EffectKey) -> Self {
        Self { launcher: launcher.clone(), key: key.clone(), seen_to: false }
    }

    /// Stops it, if it was started.
    pub(super) async fn end(mut self) -> Result<(), serving::Error> {
        let ended = stop(self.launcher.clone(), self.key.clone()).await;
        self.seen_to = true;
        ended
    }

    /// Leaves it to whoever wants the same config next.
    pub(super) async fn keep(mut self, backend: &str) -> Result<(), serving::Error> {
        let kept = self.launcher.keep(backend).await;
        self.seen_to = true;
        kept
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.seen_to {
            return;
        }
        let ending = stop(self.launcher.clone(), self.key.clone()).map(|ended| {
            if let Err(error) = ended {
                tracing::warn!(%error, "the server of a trial that was given up may still run");
            }
        });
        let mut ending = Box::pin(ending);
        // At once where that takes no waiting. Where nothing runs any more the launcher's own record finds it again.
        let waits = (&mut ending).now_or_never().is_none();
        if let (true, Ok(runtime)) = (waits, tokio::runtime::Handle::try_current()) {
            runtime.spawn(ending);
        }
    }
}

async fn stop(launcher: Arc<dyn Launcher>, key: EffectKey) -> Result<(), serving::Error> {
    let own = |server: &serving::Running| server.key == key && server.purpose == Purpose::Trial;
    for server in launcher.running().await?.iter().filter(|server| own(server)) {
        launcher.stop(&server.backend.id).await?;
    }
    Ok(())
}
