//! Live journals: read what is there, wait for more, read again. Nothing is lost, however slow the reader.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{CheckpointStore, Error, Event};
use crate::base::ThreadId;

/// Events read from the store at a time.
const PAGE: usize = 256;

/// Who wants to know that a journal has grown.
#[derive(Default)]
pub(super) struct Bell {
    listeners: AtomicUsize,
    threads: Mutex<HashMap<ThreadId, watch::Sender<()>>>,
}

impl Bell {
    /// The journal of `thread` has grown.
    pub(super) fn ring(&self, thread: &ThreadId) {
        if self.listeners.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = threads.get(thread) {
            bell.send_replace(());
            if bell.receiver_count() == 0 {
                threads.remove(thread);
                self.listeners.store(threads.len(), Ordering::Release);
            }
        }
    }

    fn listen(&self, thread: &ThreadId) -> watch::Receiver<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = threads.entry(thread.clone()).or_default().subscribe();
        self.listeners.store(threads.len(), Ordering::Release);
        receiver
    }
}

/// The journal of one thread, from a sequence number on, for as long as one cares to read.
pub struct Follow {
    store: Arc<dyn CheckpointStore>,
    thread: ThreadId,
    after: u64,
    read: VecDeque<Event>,
    bell: watch::Receiver<()>,
}

impl Follow {
    pub(super) fn new(
        store: Arc<dyn CheckpointStore>,
        bell: &Bell,
        thread: &ThreadId,
        after: u64,
    ) -> Self {
        let bell = bell.listen(thread);
        Self { store, thread: thread.clone(), after, read: VecDeque::new(), bell }
    }

    /// The next event; waits until there is one.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_next().await? {
                return Ok(event);
            }
            if self.bell.changed().await.is_err() {
                // The runtime is gone: what is in the store stays readable, nothing will come.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next event, if there is one now.
    pub async fn try_next(&mut self) -> Result<Option<Event>, Error> {
        if self.read.is_empty() {
            // Seen before reading: an event that comes while we read rings again.
            self.bell.borrow_and_update();
            self.read = self.store.events(&self.thread, self.after, PAGE).await?.into();
        }
        let event = self.read.pop_front();
        if let Some(event) = &event {
            self.after = event.seq;
        }
        Ok(event)
    }
}
