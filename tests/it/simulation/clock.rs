//! Virtual time: it moves to the next sleeper whenever nobody has anything left to do.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use perf_agent::base::{Clock, Millis};

/// A clock for one single-threaded executor. To the runtime it looks like the machine's: timeouts race against it, and sleeping does not move it.
#[derive(Default)]
pub struct SimClock(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    now: u64,
    tickets: u64,
    /// By moment, then by who came first: one seed, one order.
    sleepers: BTreeMap<(u64, u64), Waker>,
    /// Whoever waits for everything.
    root: Option<Waker>,
}

impl SimClock {
    pub fn at(ms: u64) -> Arc<Self> {
        let inner = Inner { now: ms, ..Inner::default() };
        Arc::new(Self(Mutex::new(inner)))
    }

    /// Runs `future` to its end in virtual time.
    pub fn run<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        let (idle, clock) = (self.clone(), self.clone());
        let executor = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || idle.advance())
            .build()
            .unwrap();
        executor.block_on(async move {
            let mut future = std::pin::pin!(future);
            poll_fn(|cx| {
                clock.0.lock().unwrap().root = Some(cx.waker().clone());
                future.as_mut().poll(cx)
            })
            .await
        })
    }

    /// Moves to the earliest sleeper and wakes it.
    fn advance(&self) {
        let mut inner = self.0.lock().unwrap();
        let earliest = inner.sleepers.pop_first();
        let root = inner.root.clone();
        if let Some(((at, _), waker)) = earliest {
            inner.now = inner.now.max(at);
            drop(inner);
            waker.wake();
        }
        // A sleeper that was woken before and is not polled yet wakes nobody: without this the executor would park for good.
        if let Some(root) = root {
            root.wake();
        }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Millis {
        Millis(self.0.lock().unwrap().now)
    }

    async fn sleep_until(&self, at: Millis) {
        Sleep { clock: self, at: at.0, ticket: None }.await;
    }
}

struct Sleep<'a> {
    clock: &'a SimClock,
    at: u64,
    ticket: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.0.lock().unwrap();
        if inner.now >= self.at {
            return Poll::Ready(());
        }
        let ticket = self.ticket.unwrap_or_else(|| {
            inner.tickets += 1;
            inner.tickets
        });
        let before = inner.sleepers.insert((self.at, ticket), cx.waker().clone());
        drop(inner);
        drop(before);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            // Dropped after the lock: with its waker a task may go, and the sleepers it holds.
            let waker = self.clock.0.lock().unwrap().sleepers.remove(&(self.at, ticket));
            drop(waker);
        }
    }
}
