//! What the suite does not ask for, and threads are lost without.

use perf_agent::base::stable_hash;
use perf_agent::store::{PruneStrategy, SavedQuery};
use serde_json::{Value, json};

use super::support::{
    Config, Draft, Saver, channels, config, fresh_id, get, ids, line, list, of, put, put_as, step,
    values, write, write_of,
};

/// Two branches of a thread have a version 2 each. A saver that keeps values by version gives one branch the other's.
pub async fn branches_that_number_their_versions_alike_keep_their_own_values(s: &Saver) {
    let root = channels(&[("a", 1, Some(json!("root"))), ("b", 1, Some(json!("b")))]);
    let root = put(s, &config("t"), root).await;
    let left = channels(&[("a", 2, Some(json!("left"))), ("b", 1, None)]);
    let left = put(s, &root, left).await;
    let right = channels(&[("a", 2, Some(json!("right"))), ("b", 1, None)]);
    let right = put(s, &root, right).await;
    let below = put(s, &left, channels(&[("a", 2, None), ("b", 2, Some(json!("b2")))])).await;
    for (at, value) in [(left, "left"), (right, "right"), (below, "left")] {
        assert_eq!(values(&get(s, &at).await.unwrap())["a"], value);
    }
}

pub async fn a_checkpoint_that_is_put_again_replaces_itself(s: &Saver) {
    let id = fresh_id();
    for text in ["first", "second"] {
        put_as(s, &config("t"), &id, channels(&[("a", 1, Some(json!(text)))])).await;
    }
    let found = list(s, "t", "").await;
    assert_eq!(found.len(), 1);
    assert_eq!(values(&found[0]), json!({ "a": "second" }));
}

/// A conversation: each version is the one before and one more message.
async fn conversation(s: &Saver, turns: u64) -> Vec<(Config, Value)> {
    let (mut at, mut messages, mut states) = (config("t"), Vec::new(), Vec::new());
    for turn in 1..=turns {
        messages.push(json!({ "turn": turn, "text": stable_hash(&[&turn.to_string()]).repeat(8) }));
        let mut draft = channels(&[("messages", turn, Some(json!(messages)))]);
        draft.metadata.insert("run_id".to_owned(), json!(format!("run {turn}")));
        at = put(s, &at, draft).await;
        states.push((at.clone(), json!(messages)));
    }
    states
}

pub async fn values_read_back_at_every_version_after_a_long_chain(s: &Saver) {
    for (at, messages) in conversation(s, 120).await {
        assert_eq!(values(&get(s, &at).await.unwrap())["messages"], messages);
    }
}

pub async fn values_that_others_continue_survive_the_run_that_wrote_them(s: &Saver) {
    let states = conversation(s, 60).await;
    let runs: Vec<String> = (1..60).map(|turn| format!("run {turn}")).collect();
    s.forget_runs(&runs).await.unwrap();
    let found = list(s, "t", "").await;
    assert_eq!(found.len(), 1);
    assert_eq!(values(&found[0])["messages"], states[59].1);
}

/// A channel that is kept as writes is empty in most checkpoints: without the ancestors it reads as nothing.
pub async fn pruning_keeps_what_a_chain_of_writes_is_rebuilt_from(s: &Saver) {
    let old = line(s, "t", "", 2).await;
    let mut at = put(s, &old[1], channels(&[("log", 1, Some(json!(["snapshot"])))])).await;
    let mut chain = vec![at.clone()];
    for number in 2..5 {
        write(s, &at, "task", &[("log", json!(number))]).await;
        let mut draft = step(number);
        let counters = json!({ "log": [number - 1, number - 1] });
        draft.metadata.insert("counters_since_delta_snapshot".to_owned(), counters);
        at = put(s, &at, draft).await;
        chain.push(at.clone());
    }
    s.prune_saved(&["t".to_owned()], PruneStrategy::KeepLatest).await.unwrap();
    let mut kept: Vec<&str> = chain.iter().map(Config::id).collect();
    kept.reverse();
    assert_eq!(ids(s, "t", "").await, kept);
    assert_eq!(get(s, &chain[1]).await.unwrap().writes.len(), 1);
}

pub async fn a_listing_goes_on_where_its_page_ended(s: &Saver) {
    for thread in ["one", "two"] {
        line(s, thread, "", 130).await;
    }
    assert!(s.copy_saved("one", "three").await.unwrap(), "the same ids once more");
    let filter = json!({ "source": "loop" }).as_object().unwrap().clone();
    let mut query = SavedQuery { limit: 7, filter, ..SavedQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = s.find(&query).await.unwrap();
        seen.extend(
            page.found
                .into_iter()
                .map(|found| (found.checkpoint.id, found.checkpoint.scope.thread)),
        );
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 390);
    assert!(seen.is_sorted_by(|a, b| a > b));
}

pub async fn writes_are_applied_in_the_order_of_their_paths(s: &Saver) {
    let at = put(s, &config("t"), Draft::default()).await;
    for (task, path, index) in [("a", "2", 0), ("z", "1", 1), ("z", "1", 0), ("b", "1", 0)] {
        let given = vec![write_of(task, path, index, "ch", &json!(1))];
        s.save_writes(&at.scope, at.id(), given).await.unwrap();
    }
    let found = get(s, &at).await.unwrap().writes;
    let order: Vec<(&str, i64)> = found.iter().map(|w| (w.task.as_str(), w.index)).collect();
    assert_eq!(order, [("b", 0), ("z", 0), ("z", 1), ("a", 0)]);
}

pub async fn a_copy_is_refused_where_there_is_something(s: &Saver) {
    for thread in ["src", "dst"] {
        line(s, thread, "", 1).await;
    }
    let before = list(s, "dst", "").await;
    assert!(!s.copy_saved("src", "dst").await.unwrap());
    assert_eq!(list(s, "dst", "").await, before);
}

pub async fn a_copy_lives_on_without_its_source(s: &Saver) {
    let states = conversation(s, 60).await;
    assert!(s.copy_saved("t", "copy").await.unwrap());
    s.forget_threads(&["t".to_owned()]).await.unwrap();
    let found = s.find(&of(&config("copy"))).await.unwrap().found;
    for (found, (_, messages)) in found.iter().rev().zip(&states) {
        assert_eq!(values(found)["messages"], *messages);
    }
    let mut at = config("copy");
    at.id = states[59].0.id.clone();
    let next = put(s, &at, channels(&[("messages", 60, None), ("n", 1, Some(json!(1)))])).await;
    assert_eq!(values(&get(s, &next).await.unwrap())["messages"], states[59].1);
}

pub async fn writes_may_come_before_their_checkpoint(s: &Saver) {
    let at = Config { id: Some(fresh_id()), ..config("t") };
    write(s, &at, "task", &[("ch", json!(1))]).await;
    assert_eq!(get(s, &at).await, None);
    put_as(s, &config("t"), at.id(), Draft::default()).await;
    assert_eq!(get(s, &at).await.unwrap().writes.len(), 1);
}
