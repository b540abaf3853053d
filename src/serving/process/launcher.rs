//! The launcher for one host.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::book::{Book, Entry, Process};
use super::last_words::last_words;
use super::options::ProcessOptions;
use super::procfs;
use super::spawn::{free_port, log_length, log_path, mark_prefix, spawn};
use crate::base::{Clock, EffectKey, Millis, stable_hash};
use crate::domain::{Backend, ServingConfig};
use crate::serving::http::{get_text, http_client};
use crate::serving::{Error, Health, Launcher, Purpose, Running};

/// How long one health check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a predecessor may still hold the record [ms].
const LOCK_PATIENCE_MS: u64 = 1_000;
/// Longest time that the workers of a server which is gone may take to end [ms].
const ORPHAN_PATIENCE_MS: u64 = 5_000;
/// From SIGKILL until a process that is still there counts as stuck [ms].
const KILL_PATIENCE_MS: u64 = 5_000;

/// Starts servers as processes of this host.
///
/// The record on disk is written before each step, so an agent that dies at any moment leaves either no server or one
/// that the next agent finds by its mark. No lock is held while a server starts: launches run side by side.
pub struct ProcessLauncher {
    pub(super) options: ProcessOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) book: Mutex<Book>,
    client: reqwest::Client,
}

impl ProcessLauncher {
    /// Opens the launcher's record and settles what an earlier agent left: running servers are taken over, dead trials
    /// and half-started or half-stopped servers are removed, strays are ended.
    ///
    /// Errors: [`Error::Io`] or [`Error::Corrupt`] when the record cannot be used.
    pub async fn open(options: ProcessOptions, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let book = open_book(&options, clock.as_ref()).await?;
        let client = http_client(HEALTH_TIMEOUT)?;
        let launcher = Self { options, clock, book: Mutex::new(book), client };
        launcher.recover().await?;
        Ok(launcher)
    }

    /// The entry of `key`, made and started when there is none. Returns the backend's id.
    async fn ensure_started(
        &self,
        key: &EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
    ) -> Result<String, Error> {
        let mut book = self.book.lock().await;
        if let Some(id) = book.started_by(key) {
            drop(book);
            self.revive(&id, |_| true).await?;
            return Ok(id);
        }
        let mut id = format!("{}-{}", self.options.name, &stable_hash(&[key.as_str()])[..8]);
        if book.entries.contains_key(&id) {
            // A rollout took over the server that this effect once started.
            id.push_str("-again");
        }
        let port = free_port(&self.options, &book)?;
        let url = format!("http://{}:{port}", bracketed(&self.options.host));
        let running = Running {
            backend: Backend { id: id.clone(), url },
            config: config.clone(),
            purpose,
            key: key.clone(),
            started: self.clock.now(),
            ready: None,
        };
        book.entries.insert(id.clone(), Entry::new(running, port));
        book.save()?;
        let started = self.start(&mut book, &id);
        if started.is_err() {
            book.entries.remove(&id);
            book.save()?;
        }
        started.map(|()| id)
    }

    /// Hands a spare server with this config over to `key`; whether there was one.
    async fn take_over(&self, key: &EffectKey, config: &ServingConfig) -> Result<bool, Error> {
        let mut book = self.book.lock().await;
        let spare = book.entries.values_mut().find(|entry| {
            entry.running.purpose == Purpose::Spare
                && entry.running.config == *config
                && !entry.stopping
                && entry.is_alive()
        });
        let Some(entry) = spare else { return Ok(false) };
        entry.running.key = key.clone();
        entry.running.purpose = Purpose::Canary;
        book.save().map(|()| true)
    }

    /// Starts the process of an entry and records it.
    fn start(&self, book: &mut Book, id: &str) -> Result<(), Error> {
        let Some(entry) = book.entries.get_mut(id) else { return Ok(()) };
        entry.log_from = log_length(&self.options, id);
        let process = spawn(&self.options, id, entry.port, &entry.running.config)?;
        if self.options.trials_yield && entry.running.purpose == Purpose::Trial {
            procfs::yield_to_others(&process);
        }
        entry.process = Some(process);
        entry.running.started = self.clock.now();
        book.save()
    }

    /// Starts the server of an entry again if it died and `wanted` still says so; true when it did. What its death left
    /// behind is ended first: an orphaned worker would hold the device's memory.
    pub(super) async fn revive(
        &self,
        id: &str,
        wanted: impl Fn(&mut Entry) -> bool,
    ) -> Result<bool, Error> {
        let Some(died) = self.entry(id).await.filter(|entry| !entry.is_alive()) else {
            return Ok(false);
        };
        self.end(id, died.process.as_ref()).await?;
        let mut book = self.book.lock().await;
        let dead = book.entries.get_mut(id).filter(|entry| !entry.stopping && !entry.is_alive());
        if !dead.is_some_and(wanted) {
            return Ok(false);
        }
        self.start(&mut book, id)?;
        Ok(true)
    }

    /// Waits until a started server is healthy.
    ///
    /// Errors: [`Error::StartFailed`] when it ends or takes too long; nothing of it is left then.
    async fn healthy(&self, id: &str) -> Result<Running, Error> {
        loop {
            let Some(entry) = self.entry(id).await.filter(|entry| !entry.stopping) else {
                return Err(self.start_failed(id, 0, "it was stopped while it started"));
            };
            if !entry.is_alive() {
                return Err(self.give_up(id, entry.log_from, "it ended").await);
            }
            if self.answers(&entry.running).await.is_ok() {
                return self.mark_ready(id).await;
            }
            let waited_ms = self.clock.now().since(entry.running.started);
            if waited_ms as f64 > self.options.start_timeout_s * 1000.0 {
                let seconds = self.options.start_timeout_s;
                let reason = format!("not healthy after {seconds} s");
                return Err(self.give_up(id, entry.log_from, &reason).await);
            }
            self.clock.sleep_ms(self.options.poll_ms).await;
        }
    }

    async fn mark_ready(&self, id: &str) -> Result<Running, Error> {
        let mut book = self.book.lock().await;
        let entry = book.entries.get_mut(id);
        let entry = entry.ok_or_else(|| Error::UnknownBackend(id.to_owned()))?;
        let first = entry.running.ready.is_none();
        entry.running.ready.get_or_insert(self.clock.now());
        let running = entry.running.clone();
        if first {
            book.save()?;
        }
        Ok(running)
    }

    /// Removes a server that did not start and says why in its own words.
    async fn give_up(&self, id: &str, log_from: u64, reason: &str) -> Error {
        let error = self.start_failed(id, log_from, reason);
        if let Err(left) = self.remove(id).await {
            tracing::warn!(backend = id, error = %left, "a failed server could not be cleared away");
        }
        error
    }

    fn start_failed(&self, id: &str, log_from: u64, reason: &str) -> Error {
        let words = last_words(&log_path(&self.options, id), log_from);
        let reason = match words.cause {
            Some(cause) => format!("{reason}: {cause}"),
            None => reason.to_owned(),
        };
        Error::StartFailed { reason, last_lines: words.lines }
    }

    pub(super) async fn answers(&self, running: &Running) -> Result<(), Error> {
        let url = format!("{}{}", running.backend.url, self.options.health_path);
        get_text(&self.client, &url).await.map(drop)
    }

    pub(super) async fn entry(&self, id: &str) -> Option<Entry> {
        self.book.lock().await.entries.get(id).cloned()
    }

    /// Ends a server and everything it started, then forgets it.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Error> {
        let process = {
            let mut book = self.book.lock().await;
            let Some(entry) = book.entries.get_mut(id) else { return Ok(()) };
            entry.stopping = true;
            let process = entry.process.clone();
            book.save()?;
            process
        };
        self.end(id, process.as_ref()).await?;
        let mut book = self.book.lock().await;
        book.entries.remove(id);
        book.save()
    }

    /// SIGTERM, the grace, SIGKILL, for a server and its family.
    pub(super) async fn end(&self, id: &str, process: Option<&Process>) -> Result<(), Error> {
        let mark = format!("{}{id}", mark_prefix(&self.options));
        // Taken while the parents live: orphans that hide both their mark and their group are still known then.
        let first_seen = procfs::family(process, &mark);
        let left = || {
            let mut family = procfs::family(process, &mark);
            let hidden = first_seen.iter().filter(|p| procfs::is_alive(p) && !family.contains(p));
            let hidden: Vec<Process> = hidden.cloned().collect();
            family.extend(hidden);
            family
        };
        let gone = || left().is_empty();
        let send = |signal| left().iter().for_each(|process| procfs::signal(process, signal));
        if gone() {
            return Ok(());
        }
        let grace_ms = (self.options.grace_s * 1000.0) as u64;
        if let Some(server) = process.filter(|process| procfs::is_alive(process)) {
            // A living server is asked alone: it ends its own workers in the right order.
            procfs::signal(server, Signal::TERM);
            self.wait_until(grace_ms, || !procfs::is_alive(server)).await;
        }
        send(Signal::TERM);
        if self.wait_until(grace_ms.min(ORPHAN_PATIENCE_MS), gone).await {
            return Ok(());
        }
        tracing::warn!(backend = id, grace_s = self.options.grace_s, "killed after its grace");
        send(Signal::KILL);
        if self.wait_until(KILL_PATIENCE_MS, gone).await {
            return Ok(());
        }
        Err(Error::Io {
            what: format!("stopping `{id}`: it outlives SIGKILL"),
            source: std::io::ErrorKind::TimedOut.into(),
        })
    }

    async fn wait_until(&self, patience_ms: u64, done: impl Fn() -> bool) -> bool {
        let deadline = self.clock.now().plus(patience_ms);
        while !done() {
            if self.clock.now() >= deadline {
                return false;
            }
            self.clock.sleep_ms(self.options.poll_ms.min(100)).await;
        }
        true
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(
        &self,
        key: &EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
    ) -> Result<Running, Error> {
        if purpose == Purpose::Canary && !self.take_over(key, config).await? {
            self.release().await?;
        }
        let id = self.ensure_started(key, config, purpose).await?;
        self.healthy(&id).await
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        let book = self.book.lock().await;
        let kept = book.entries.values().filter(|entry| !entry.stopping);
        Ok(kept.map(|entry| entry.running.clone()).collect())
    }

    async fn health(&self, backend: &str) -> Result<Health, Error> {
        let entry = self.entry(backend).await;
        let entry = entry.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))?;
        if !entry.is_alive() {
            let words = last_words(&log_path(&self.options, backend), entry.log_from);
            let last = words.cause.or_else(|| words.lines.last().cloned());
            return Ok(Health::Down { reason: last.unwrap_or_else(|| "it ended".to_owned()) });
        }
        Ok(match (self.answers(&entry.running).await, entry.running.ready) {
            (Ok(()), _) => Health::Healthy,
            (Err(_), None) => Health::Starting,
            (Err(error), Some(_)) => Health::Down { reason: error.to_string() },
        })
    }

    async fn assign(&self, backend: &str, purpose: Purpose) -> Result<(), Error> {
        let mut book = self.book.lock().await;
        let entry = book.entries.get_mut(backend);
        let entry = entry.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))?;
        if entry.running.purpose == purpose {
            return Ok(());
        }
        entry.running.purpose = purpose;
        if purpose == Purpose::Stable && self.options.trials_yield {
            // Not before: the version that it replaces has answers to finish, and nobody after them.
            let mark = format!("{}{backend}", mark_prefix(&self.options));
            procfs::yield_no_more(&procfs::family(entry.process.as_ref(), &mark));
        }
        book.save()
    }

    async fn keep(&self, backend: &str) -> Result<(), Error> {
        self.assign(backend, Purpose::Spare).await
    }

    async fn release(&self) -> Result<(), Error> {
        let running = self.running().await?;
        for spare in running.iter().filter(|server| server.purpose == Purpose::Spare) {
            self.remove(&spare.backend.id).await?;
        }
        Ok(())
    }

    async fn stop(&self, backend: &str) -> Result<(), Error> {
        self.remove(backend).await
    }
}

/// Opens the record; a predecessor that is about to end gets a moment to let go of it.
async fn open_book(options: &ProcessOptions, clock: &dyn Clock) -> Result<Book, Error> {
    let deadline = clock.now().plus(LOCK_PATIENCE_MS);
    loop {
        match Book::open(&options.state_dir) {
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::WouldBlock && clock.now() < deadline =>
            {
                clock.sleep_ms(options.poll_ms).await;
            }
            opened => return opened,
        }
    }
}

/// An IPv6 host as it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
