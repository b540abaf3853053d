//! What must hold after every commit, and at the end of a world.

use std::collections::{BTreeMap, BTreeSet};

use perf_agent::base::ThreadId;
use perf_agent::graph::{Graph, Lifetime, Mode, Reducer};
use perf_agent::runtime::{Checkpoint, CheckpointStore, Commit, Event, Letter, NewEvent, kind};
use serde_json::{Map, Value, json};

use super::world::World;

/// A commit has been written: history is linear, versions grow by one, and channels hold what their reducers say.
pub fn of_commit(world: &World, before: Option<&Checkpoint>, commit: &Commit) {
    let after = &*commit.checkpoint;
    let complain = |law: &str| {
        world.broken(format!("{law} at checkpoint {} of {}", after.seq, after.thread));
    };
    let parent = before.map_or(0, |before| before.seq);
    if after.seq != parent + 1 || commit.parent_seq != parent {
        complain("history is not linear");
    }
    for (name, slot) in after.channels.iter() {
        let held = before.and_then(|before| before.channels.get(name));
        let changed = commit.changed.iter().any(|change| change.channel == name);
        let version = held.map_or(0, |held| held.version) + u64::from(changed);
        if slot.version != version {
            complain(&format!("version of `{name}` is {}, not {version}", slot.version));
        }
    }
    let Some(before) = before else { return };
    if commit.events.iter().any(|event| event.kind == kind::RUN_STARTED) {
        return;
    }
    for (name, expected) in expected(&world.sample.graph, before, after, &commit.events) {
        let found = after.channels.get(&name).and_then(|slot| slot.value.as_deref().cloned());
        if found != expected {
            complain(&format!("`{name}` holds {found:?}, not {expected:?}"));
        }
    }
}

/// Every channel as it must be after the writes that the journal tells of.
fn expected(
    graph: &Graph,
    before: &Checkpoint,
    after: &Checkpoint,
    events: &[NewEvent],
) -> BTreeMap<String, Option<Value>> {
    let finished: Vec<Value> = events
        .iter()
        .filter(|event| event.kind == kind::STEP_FINISHED)
        .map(|event| event.data.clone().into_json())
        .collect();
    let mut finished: Vec<(usize, &Map<String, Value>)> = finished
        .iter()
        .filter_map(|data| {
            let (ix, _) = graph.node(data["node"].as_str()?)?;
            Some((ix, data["writes"].as_object()?))
        })
        .collect();
    finished.sort_by_key(|(ix, _)| *ix);
    let superstep = before.superstep;
    let mut channels = BTreeMap::new();
    for (name, channel) in &graph.channels {
        let slot = before.channels.get(name);
        let held = slot.and_then(|slot| slot.value.as_deref().cloned());
        let writes: Vec<&Value> =
            finished.iter().filter_map(|(_, writes)| writes.get(name)).collect();
        let outlived = channel.lifetime == Lifetime::Step
            && !finished.is_empty()
            && slot.is_some_and(|slot| slot.superstep < superstep);
        let value = if !writes.is_empty() {
            Some(fold(channel.reducer, held, &writes))
        } else if outlived {
            channel.default.clone()
        } else {
            held
        };
        channels.insert(name.clone(), value);
    }
    debug_assert!(after.superstep >= superstep);
    channels
}

/// The reducers' laws once more, in the plainest words there are.
fn fold(reducer: Reducer, held: Option<Value>, writes: &[&Value]) -> Value {
    let numbers = || held.iter().chain(writes.iter().copied()).filter_map(Value::as_i64);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let items = || held.iter().chain(writes.iter().copied()).flat_map(list);
    match reducer {
        Reducer::Replace => writes.last().map_or(Value::Null, |value| (*value).clone()),
        Reducer::Sum => json!(numbers().sum::<i64>()),
        Reducer::Min => json!(numbers().min()),
        Reducer::Max => json!(numbers().max()),
        Reducer::Append => Value::Array(items().collect()),
        Reducer::Union => {
            let mut set: Vec<Value> = Vec::new();
            for item in items().filter(|item| !item.is_null()) {
                if !set.contains(&item) {
                    set.push(item);
                }
            }
            Value::Array(set)
        }
        Reducer::Merge => {
            let mut merged = Map::new();
            for value in held.iter().chain(writes.iter().copied()) {
                merged.extend(value.as_object().cloned().unwrap_or_default());
            }
            Value::Object(merged)
        }
        Reducer::Messages => {
            let mut kept: Vec<Value> = Vec::new();
            for message in items() {
                match kept.iter_mut().find(|old| old["id"] == message["id"]) {
                    Some(old) => *old = message,
                    None => kept.push(message),
                }
            }
            Value::Array(kept)
        }
    }
}

/// The end of a world: journals have no gaps, no task finished twice, and nothing acknowledged was lost.
pub async fn at_the_end(world: &World) {
    world.check_effects();
    for thread in &world.threads {
        let journal = world.store.events(thread, 0, usize::MAX).await.unwrap();
        of_journal(world, thread, &journal);
        let open = world.store.inbox(thread).await.unwrap();
        if !open.is_empty() {
            world.broken(format!("letters of {thread} were left: {open:?}"));
        }
    }
}

fn of_journal(world: &World, thread: &ThreadId, journal: &[Event]) {
    let numbered = journal.iter().zip(1..).all(|(event, seq)| event.seq == seq);
    if !numbered {
        world.broken(format!("the journal of {thread} has a gap"));
    }
    let mut finished = BTreeSet::new();
    for event in journal.iter().filter(|event| event.kind == kind::STEP_FINISHED) {
        let task = (
            event.run.clone(),
            event.data["superstep"].to_string(),
            event.data["node"].to_string(),
        );
        if !finished.insert(task.clone()) {
            world.broken(format!("task {task:?} of {thread} finished twice"));
        }
    }
    let acks = world.acks();
    for (_, run) in acks.runs.iter().filter(|(of, _)| of == thread) {
        if !journal.iter().any(|event| event.kind == kind::RUN_STARTED && event.run == *run) {
            world.broken(format!("run {run} of {thread} was accepted and never started"));
        }
    }
    for (_, id) in acks.answers.iter().filter(|(of, _)| of == thread) {
        let heard = |event: &Event| match event.kind.as_str() {
            kind::RESUMED => event.data["id"] == json!(id),
            kind::REFUSED => event.data["letter"]["interrupt"] == json!(id),
            _ => false,
        };
        if !journal.iter().any(heard) {
            world.broken(format!("the answer to {id} of {thread} was accepted and lost"));
        }
    }
}

/// How a thread ended, without what time and chance may decide: equal for one graph in any weather.
pub async fn outcome(world: &World, thread: &ThreadId) -> Value {
    let journal = world.store.events(thread, 0, usize::MAX).await.unwrap();
    let ended: Vec<&str> = journal
        .iter()
        .map(|event| event.kind.as_str())
        .filter(|kind| matches!(*kind, kind::RUN_FINISHED | kind::RUN_ERROR))
        .collect();
    let head = world.store.head(thread).await.unwrap();
    let eager = world.sample.graph.mode == Mode::Eager;
    let failed = ended.contains(&kind::RUN_ERROR);
    head.map_or(Value::Null, |head| {
        if eager && failed {
            // How far the other branches came before a failure is for time to decide.
            return json!({ "ended": ended, "status": head.status });
        }
        json!({
            "ended": ended,
            "status": head.status,
            // Each end of a task closes a superstep of an eager graph, and two that end at once close one.
            "superstep": (!eager).then_some(head.superstep),
            "values": head.values(),
            "visits": head.progress.visits,
            "usage": head.progress.usage,
            "error": head.error.as_ref().map(|error| (&error.node, &error.problem.code)),
        })
    })
}

/// Runs that were begun or wait to be.
pub async fn runs(world: &World, thread: &ThreadId) -> usize {
    let journal = world.store.events(thread, 0, usize::MAX).await.unwrap();
    let begun = journal.iter().filter(|event| event.kind == kind::RUN_STARTED).count();
    let waiting = world.store.inbox(thread).await.unwrap();
    begun + waiting.iter().filter(|posted| matches!(posted.letter, Letter::Start { .. })).count()
}
