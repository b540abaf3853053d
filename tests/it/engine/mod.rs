//! The engine, in virtual time: it wakes at least once, on time, and turns no failure into a spin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perf_agent::base::{Clock, Millis, Problem, ThreadId};
use perf_agent::engine::Local;
use perf_agent::runtime::{Activate, CheckpointStore, Engine, Letter, Next};
use perf_agent::store::MemoryStore;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::simulation::clock::SimClock;

/// Answers what it is told to, and notes when it was asked.
struct Scripted {
    clock: Arc<SimClock>,
    answers: Box<dyn Fn(usize) -> Next + Send + Sync>,
    asked: Mutex<HashMap<ThreadId, Vec<u64>>>,
}

#[async_trait]
impl Activate for Scripted {
    async fn activate(&self, thread: &ThreadId, _: &CancellationToken) -> Next {
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(thread.clone()).or_default();
        times.push(self.clock.now().0);
        (self.answers)(times.len())
    }
}

fn problem() -> Problem {
    Problem { code: "test.broken".to_owned(), message: "broken".to_owned(), hint: String::new() }
}

fn thread(n: usize) -> ThreadId {
    ThreadId(format!("t{n}"))
}

/// Serves for `ms` from the moment 0 on, over a store that `before` has filled; at `call` [ms] thread 0 is called. Returns
/// when each thread was activated [ms].
fn served<F>(
    ms: u64,
    call: Option<u64>,
    before: impl FnOnce(Arc<MemoryStore>) -> F,
    answers: impl Fn(usize) -> Next + Send + Sync + 'static,
) -> HashMap<ThreadId, Vec<u64>>
where
    F: Future<Output = ()>,
{
    let clock = SimClock::at(0);
    clock.run(async {
        let store = Arc::new(MemoryStore::new());
        before(store.clone()).await;
        let engine = Arc::new(Local::new(store, clock.clone()));
        let (clock, asked) = (clock.clone(), Mutex::default());
        let scripted =
            Arc::new(Scripted { clock: clock.clone(), answers: Box::new(answers), asked });
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (engine, scripted, stop) = (engine.clone(), scripted.clone(), stop.clone());
            async move { engine.serve(scripted, stop).await }
        });
        if let Some(at) = call {
            clock.sleep_until(Millis(at)).await;
            engine.wake(&thread(0), None).await.unwrap();
        }
        clock.sleep_until(Millis(ms)).await;
        stop.cancel();
        serving.await.unwrap().unwrap();
        std::mem::take(&mut *scripted.asked.lock().unwrap())
    })
}

async fn due(store: Arc<MemoryStore>, at: u64) {
    store.put_wake(&thread(0), Millis(at)).await.unwrap();
}

#[test]
fn a_store_that_fails_is_asked_again_for_ever_after_growing_pauses() {
    // The thread is due all the while: that must not make the pauses shorter.
    let asked =
        served(100_000, None, |store| due(store, 0), |_| Next::RetryAfter(1_000, problem()));
    let times = [0, 1, 3, 7, 15, 31, 61, 91].map(|s| s * 1_000);
    assert_eq!(asked[&thread(0)], times);
}

#[test]
fn a_dead_thread_with_a_due_timer_is_left_alone_until_somebody_calls_it() {
    let asked = served(600_000, Some(300_000), |store| due(store, 0), |_| Next::Dead(problem()));
    assert_eq!(asked[&thread(0)], [0, 300_000]);
}

#[test]
fn a_thread_of_somebody_else_is_left_alone_until_somebody_calls_it() {
    let asked = served(600_000, Some(300_000), |store| due(store, 0), |_| Next::Held);
    assert_eq!(asked[&thread(0)], [0, 300_000]);
}

#[test]
fn a_timer_hours_away_rings_on_time_though_nobody_keeps_it_at_hand() {
    let three_hours = 3 * 3_600_000;
    let asked = served(three_hours + 1, None, |store| due(store, three_hours), |_| Next::Idle);
    assert_eq!(asked[&thread(0)], [three_hours]);
}

#[test]
fn a_thread_that_fails_once_keeps_no_long_pause_afterwards() {
    let answers = |n: usize| match n {
        1..=4 | 6 => Next::RetryAfter(1_000, problem()),
        5 => Next::At(Millis(20_000)),
        _ => Next::Held,
    };
    let asked = served(60_000, None, |store| due(store, 0), answers);
    assert_eq!(asked[&thread(0)], [0, 1_000, 3_000, 7_000, 15_000, 20_000, 21_000]);
}

#[test]
fn thousands_of_threads_that_an_earlier_process_left_all_begin_at_once() {
    let left = |store: Arc<MemoryStore>| async move {
        for n in 0..3_000 {
            let letter = Letter::Signal { name: "go".to_owned(), payload: Value::Null };
            store.inbox_push(&thread(n), &letter, Millis(0), None).await.unwrap();
        }
    };
    let asked = served(1_000, None, left, |_| Next::Held);
    assert_eq!(asked.len(), 3_000);
    assert!(asked.values().all(|times| times == &[0]), "none waits, none is begun twice");
}
