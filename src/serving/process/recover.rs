//! What an earlier agent left behind, settled when the record is opened.

use super::book::{Entry, Process};
use super::launcher::ProcessLauncher;
use super::procfs;
use super::spawn::mark_prefix;
use crate::serving::Error;

/// What becomes of a recorded server.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It runs: take it over.
    Adopt(Process),
    /// It served users and is gone: keep the entry, supervision restarts it.
    KeepDown,
    /// Nothing to go on with: clear it away.
    Remove,
}

impl ProcessLauncher {
    /// Takes over what runs and clears away the rest.
    pub(super) async fn recover(&self) -> Result<(), Error> {
        let entries = self.book.lock().await.entries.clone();
        for (id, entry) in &entries {
            match self.fate(id, entry) {
                Fate::Adopt(process) => {
                    let mut book = self.book.lock().await;
                    if let Some(entry) = book.entries.get_mut(id) {
                        entry.process = Some(process);
                    }
                    book.save()?;
                }
                Fate::KeepDown => tracing::warn!(backend = %id, "ended while no agent watched"),
                Fate::Remove => self.remove(id).await?,
            }
        }
        self.end_strays().await
    }

    fn fate(&self, id: &str, entry: &Entry) -> Fate {
        if entry.stopping {
            return Fate::Remove;
        }
        // The agent may have died between the start and its record: the mark tells which process it was.
        let mark = format!("{}{id}", mark_prefix(&self.options));
        let found = || {
            let mut marked = procfs::marked(&mark).into_iter();
            let leader = marked.find(|process| process.mark == mark && process.leads)?;
            Some(leader.process)
        };
        let recorded = entry.process.clone().filter(procfs::is_alive);
        match recorded.or_else(found) {
            Some(process) => Fate::Adopt(process),
            None if entry.running.ready.is_some() && entry.running.purpose.serves() => {
                Fate::KeepDown
            }
            None => Fate::Remove,
        }
    }

    /// Ends processes that carry this launcher's mark and stand in no entry.
    async fn end_strays(&self) -> Result<(), Error> {
        let prefix = mark_prefix(&self.options);
        let known = self.book.lock().await.entries.keys().cloned().collect::<Vec<_>>();
        for stray in procfs::marked(&prefix) {
            let id = stray.mark[prefix.len()..].to_owned();
            if !known.contains(&id) {
                tracing::warn!(backend = %id, pid = stray.process.pid, "a stray server is ended");
                self.end(&id, Some(&stray.process).filter(|_| stray.leads)).await?;
            }
        }
        Ok(())
    }
}
