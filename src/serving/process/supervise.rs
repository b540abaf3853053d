//! Restarts servers that crashed while they served users.

use std::sync::Arc;

use super::book::Entry;
use super::launcher::ProcessLauncher;
use crate::base::Millis;
use crate::serving::Error;

impl ProcessLauncher {
    /// Looks after the servers until the last other handle is dropped, once every `every_ms` [ms].
    pub async fn supervise(self: Arc<Self>, every_ms: u64) {
        let (weak, clock) = (Arc::downgrade(&self), self.clock.clone());
        drop(self);
        while let Some(launcher) = weak.upgrade() {
            if let Err(error) = launcher.restart_crashed().await {
                tracing::warn!(%error, "a crashed server could not be restarted");
            }
            drop(launcher);
            clock.sleep_ms(every_ms).await;
        }
    }

    /// Restarts every stable or canary server that ended by itself, with its config and port; too many restarts in too
    /// short a time leave it down. Trials are not restarted, their measurement is lost anyway; nor are spares. Returns the restarted ids.
    ///
    /// Errors: [`Error::StartFailed`] when the program cannot be run, [`Error::Io`].
    pub async fn restart_crashed(&self) -> Result<Vec<String>, Error> {
        let now = self.now();
        let book = self.book.lock().await;
        let crashed = book.entries.iter().filter(|(_, entry)| self.should_restart(entry, now));
        let crashed: Vec<String> = crashed.map(|(id, _)| id.clone()).collect();
        drop(book);
        let mut restarted = Vec::new();
        for id in crashed {
            let still_wanted = |entry: &mut Entry| {
                let wanted = self.should_restart(entry, now);
                if wanted {
                    entry.restarts.push(now);
                }
                wanted
            };
            if self.revive(&id, still_wanted).await? {
                tracing::warn!(backend = %id, "restarted after a crash");
                restarted.push(id);
            }
        }
        Ok(restarted)
    }

    fn should_restart(&self, entry: &Entry, now: Millis) -> bool {
        let window_ms = (self.options.restart_window_s * 1000.0) as u64;
        let recent = entry.restarts.iter().filter(|at| now.since(**at) < window_ms).count();
        !entry.stopping
            && entry.running.ready.is_some()
            && entry.running.purpose.serves()
            && recent < self.options.restarts_max
            && !entry.is_alive()
    }
}
