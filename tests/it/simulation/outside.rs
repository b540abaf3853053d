//! Those who use the program: they start runs, answer, signal, retry, and some of them are unruly.

use std::future::Future;
use std::sync::Arc;

use perf_agent::base::{Clock, Rng, SeededRng, ThreadId};
use perf_agent::graph::Mode;
use perf_agent::runtime::{
    Checkpoint, CheckpointStore, Error, Multitask, Runtime, Start, Status, Task, TaskState,
    WaitFor, kind,
};
use serde_json::{Value, json};

use super::graphs::below;
use super::laws;
use super::world::{World, dice, eager_name, result};

/// Everything one user does with one thread, until it rests for good.
pub async fn user(world: Arc<World>, thread: ThreadId) {
    let mut rng = SeededRng::stream(world.seed, &format!("user of {thread}"));
    let runs = 1 + dice(&["runs", &world.sample.graph.name, &thread.0], 2) as usize;
    if world.storm.unruly {
        for n in 0..runs {
            start(&world, &thread, n, &mut rng).await;
        }
        return until_rest(&world, &thread, &mut rng).await;
    }
    for n in 0..runs {
        start(&world, &thread, n, &mut rng).await;
        until_rest(&world, &thread, &mut rng).await;
    }
}

/// Sees to a thread until all its runs are over; a failed one is tried a second time.
async fn until_rest(world: &Arc<World>, thread: &ThreadId, rng: &mut SeededRng) {
    loop {
        world.clock.sleep_ms(200 + below(rng, 2_000)).await;
        let head = world.store.head(thread).await.unwrap();
        let idle = world.store.inbox(thread).await.unwrap().is_empty();
        let Some(head) = head else { continue };
        if world.storm.unruly && world.once_in(Some(4)) {
            misbehave(world, thread, &head, rng).await;
        } else if !head.status.is_over() {
            attend(world, &head).await;
        } else if idle && head.status == Status::Error && !was_retried(world, &head).await {
            ask(world, |runtime| async move { runtime.retry(&head.thread, "user").await }).await;
        } else if idle {
            return;
        }
    }
}

/// Asks whichever process is alive; `None`: it died first, nobody knows what came of it.
async fn ask<T, F: Future<Output = Result<T, Error>>>(
    world: &World,
    what: impl FnOnce(Runtime) -> F,
) -> Option<Result<T, Error>> {
    let process = world.process()?;
    tokio::select! {
        biased;
        () = process.dead.cancelled() => None,
        answer = what(process.runtime.clone()) => Some(answer),
    }
}

/// Starts run number `n` of this user: once, however often it takes.
async fn start(world: &Arc<World>, thread: &ThreadId, n: usize, rng: &mut SeededRng) {
    while laws::runs(world, thread).await <= n {
        begin(world, thread, Multitask::Enqueue).await;
        world.clock.sleep_ms(1 + below(rng, 3_000)).await;
    }
}

async fn begin(world: &World, thread: &ThreadId, multitask: Multitask) {
    let (graph, of) = (world.sample.graph.clone(), thread.clone());
    let input = json!({ "given": 1 });
    let begun = ask(world, |runtime| async move {
        runtime.start_run(&of, graph, Start { input, multitask, ..Start::default() }).await
    })
    .await;
    if let Some(Ok(run)) = begun {
        world.acks().runs.push((thread.clone(), run));
    }
}

/// Answers one question or sends one signal, if that is what the thread waits for.
async fn attend(world: &World, head: &Checkpoint) {
    let thread = &head.thread;
    if head.is_held() {
        let of = thread.clone();
        ask(world, |runtime| async move { runtime.go_on(&of, "user").await }).await;
        return;
    }
    for task in &head.tasks {
        match &task.state {
            TaskState::Asked(interrupt) => {
                let text = &interrupt.question.text;
                let answer = match &interrupt.doubt {
                    None => json!(dice(&["answer", text], 9)),
                    Some(key) => doubt(world, head, task, &key.0),
                };
                return resume(world, thread, &interrupt.id, answer).await;
            }
            TaskState::Waiting(WaitFor::Signal { name, .. }) => {
                let (thread, name) = (thread.clone(), name.clone());
                ask(world, |runtime| async move { runtime.signal(&thread, &name, json!(1)).await })
                    .await;
                return;
            }
            _ => {}
        }
    }
}

/// A person looks at the target, and tells what is there.
fn doubt(world: &World, head: &Checkpoint, task_of: &Task, key: &str) -> Value {
    if !world.happened(key) {
        return json!({ "happened": false });
    }
    let task = format!("{}/{}", task_of.superstep(head), task_of.node);
    let call = |number: &u32| {
        let (run, number) = (head.run.id.as_str(), number.to_string());
        perf_agent::base::stable_hash(&[run, &task, &number]) == key
    };
    let number = (0..2).find(call).unwrap_or_default();
    let named = match world.sample.graph.mode {
        Mode::Superstep => task,
        Mode::Eager => eager_name(&task_of.node, *head.progress.visits.get(&task_of.node).unwrap()),
    };
    json!({ "happened": true, "result": result(&named, number) })
}

async fn resume(world: &World, thread: &ThreadId, id: &str, answer: Value) {
    let (of, named) = (thread.clone(), id.to_owned());
    let resumed =
        ask(
            world,
            |runtime| async move { runtime.resume(&of, Some(&named), answer, "user").await },
        )
        .await;
    if let Some(Ok(())) = resumed {
        world.acks().answers.push((thread.clone(), id.to_owned()));
    }
}

async fn was_retried(world: &World, head: &Checkpoint) -> bool {
    let journal = world.store.events(&head.thread, 0, usize::MAX).await.unwrap();
    // Before its first failure the same letter let a held run go on.
    let own = journal.iter().filter(|event| event.run == head.run.id);
    let mut since = own.skip_while(|event| event.kind != kind::RUN_ERROR);
    head.tasks.is_empty()
        || since.any(|event| {
            let retried = event.kind == kind::RESUMED && event.data["retry"] == json!(true);
            let refused =
                event.kind == kind::REFUSED && event.data["letter"]["letter"] == json!("retry");
            retried || refused
        })
}

/// What a user should not do, or does at the worst moment.
async fn misbehave(world: &Arc<World>, thread: &ThreadId, head: &Checkpoint, rng: &mut SeededRng) {
    let few = laws::runs(world, thread).await < 4;
    match rng.next_u64() % 9 {
        0 => {
            let of = thread.clone();
            ask(world, |runtime| async move { runtime.cancel(&of, "user").await }).await;
        }
        1 if few => begin(world, thread, Multitask::Interrupt).await,
        2 if few => begin(world, thread, Multitask::Rollback).await,
        3 if few => begin(world, thread, Multitask::Reject).await,
        4 => {
            let of = thread.clone();
            ask(world, |runtime| async move { runtime.signal(&of, "n1", json!(2)).await }).await;
        }
        5 => resume(world, thread, "no such question", json!(1)).await,
        6 => {
            // The same answer twice, and one that comes too late.
            attend(world, head).await;
            attend(world, head).await;
        }
        7 => {
            // Nothing that is needed may go.
            let (of, keep) = (thread.clone(), 1 + below(rng, 5) as usize);
            ask(world, |runtime| async move { runtime.prune(&of, keep).await }).await;
        }
        _ => {
            let of = thread.clone();
            ask(world, |runtime| async move { runtime.retry(&of, "user").await }).await;
        }
    }
}
