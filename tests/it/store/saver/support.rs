//! Checkpoints for tests, as LangGraph's generators make them.

use std::sync::atomic::{AtomicU64, Ordering};

use perf_agent::store::{
    Blob, CheckpointSaver, FoundCheckpoint, NewCheckpoint, SavedCheckpoint, SavedQuery, SavedWrite,
    Scope,
};
use serde_json::{Map, Value, json};

pub type Saver = dyn CheckpointSaver;

/// Where a checkpoint is, or is to be: with an id it is the parent of what is put there.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub scope: Scope,
    pub id: Option<String>,
}

impl Config {
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap()
    }
}

pub fn config(thread: &str) -> Config {
    config_in(thread, "")
}

pub fn config_in(thread: &str, namespace: &str) -> Config {
    let scope = Scope { thread: thread.to_owned(), namespace: namespace.to_owned() };
    Config { scope, id: None }
}

/// An id that sorts behind all before it.
pub fn fresh_id() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("{:012}", LAST.fetch_add(1, Ordering::Relaxed))
}

pub fn blob(value: &Value) -> Blob {
    Blob { kind: "json".to_owned(), bytes: value.to_string().into_bytes() }
}

pub fn read(blob: &Blob) -> Value {
    assert_eq!(blob.kind, "json");
    serde_json::from_slice(&blob.bytes).unwrap()
}

pub fn metadata(source: &str, step: i64) -> Map<String, Value> {
    let made = json!({ "source": source, "step": step, "parents": {} });
    made.as_object().unwrap().clone()
}

/// A checkpoint that a test fills in.
#[derive(Clone)]
pub struct Draft {
    pub metadata: Map<String, Value>,
    /// Channel, version, value; `None`: unchanged.
    pub channels: Vec<(&'static str, u64, Option<Value>)>,
    /// More of the body.
    pub versions_seen: Value,
}

impl Default for Draft {
    fn default() -> Self {
        Self { metadata: metadata("loop", 0), channels: Vec::new(), versions_seen: json!({}) }
    }
}

pub fn step(step: i64) -> Draft {
    Draft { metadata: metadata("loop", step), ..Draft::default() }
}

pub fn with(key: &str, value: Value) -> Draft {
    let mut draft = Draft::default();
    draft.metadata.insert(key.to_owned(), value);
    draft
}

pub fn channels(channels: &[(&'static str, u64, Option<Value>)]) -> Draft {
    Draft { channels: channels.to_vec(), ..Draft::default() }
}

/// Puts a checkpoint below `at`; where it is.
pub async fn put(saver: &Saver, at: &Config, draft: Draft) -> Config {
    put_as(saver, at, &fresh_id(), draft).await
}

pub async fn put_as(saver: &Saver, at: &Config, id: &str, draft: Draft) -> Config {
    let versions: Map<String, Value> = draft
        .channels
        .iter()
        .map(|(channel, version, _)| ((*channel).to_owned(), json!(version)))
        .collect();
    let body = json!({
        "v": 1, "id": id, "ts": "2026-01-01T00:00:00+00:00",
        "channel_versions": versions, "versions_seen": draft.versions_seen,
    });
    let new = NewCheckpoint {
        checkpoint: SavedCheckpoint {
            scope: at.scope.clone(),
            id: id.to_owned(),
            parent: at.id.clone(),
            body: blob(&body),
            metadata: draft.metadata,
        },
        versions: versions.into_iter().map(|(name, version)| (name, version.to_string())).collect(),
        values: draft
            .channels
            .iter()
            .filter_map(|(name, _, value)| Some(((*name).to_owned(), Some(blob(value.as_ref()?)))))
            .collect(),
    };
    saver.save(new).await.unwrap();
    Config { scope: at.scope.clone(), id: Some(id.to_owned()) }
}

/// `n` checkpoints, each the parent of the next, with their number as `step`.
pub async fn line(saver: &Saver, thread: &str, namespace: &str, n: i64) -> Vec<Config> {
    let mut at = config_in(thread, namespace);
    let mut line = Vec::new();
    for number in 0..n {
        let channels = vec![("step", number.unsigned_abs() + 1, Some(json!(number)))];
        at = put(saver, &at, Draft { channels, ..step(number) }).await;
        line.push(at.clone());
    }
    line
}

pub async fn write(saver: &Saver, at: &Config, task: &str, writes: &[(&str, Value)]) {
    let numbered = writes.iter().enumerate().map(|(index, (channel, value))| {
        // LangGraph's numbers for channels that hold one write per task.
        let index = match *channel {
            "__error__" => -1,
            "__interrupt__" => -3,
            _ => i64::try_from(index).unwrap(),
        };
        write_of(task, "", index, channel, value)
    });
    saver.save_writes(&at.scope, at.id(), numbered.collect()).await.unwrap();
}

pub fn write_of(task: &str, path: &str, index: i64, channel: &str, value: &Value) -> SavedWrite {
    let (task, path, channel) = (task.to_owned(), path.to_owned(), channel.to_owned());
    SavedWrite { task, path, index, channel, value: blob(value) }
}

pub async fn get(saver: &Saver, at: &Config) -> Option<FoundCheckpoint> {
    saver.saved(&at.scope, at.id.as_deref()).await.unwrap()
}

pub fn of(config: &Config) -> SavedQuery {
    SavedQuery {
        thread: Some(config.scope.thread.clone()),
        namespace: Some(config.scope.namespace.clone()),
        limit: 1_000,
        ..SavedQuery::default()
    }
}

pub async fn find(saver: &Saver, query: &SavedQuery) -> Vec<FoundCheckpoint> {
    saver.find(query).await.unwrap().found
}

pub async fn list(saver: &Saver, thread: &str, namespace: &str) -> Vec<FoundCheckpoint> {
    find(saver, &of(&config_in(thread, namespace))).await
}

pub async fn ids(saver: &Saver, thread: &str, namespace: &str) -> Vec<String> {
    list(saver, thread, namespace).await.into_iter().map(|found| found.checkpoint.id).collect()
}

pub fn values(found: &FoundCheckpoint) -> Value {
    json!(found.values.iter().map(|(name, blob)| (name.clone(), read(blob))).collect::<Map<_, _>>())
}

/// Task, channel, value.
pub fn writes(found: &FoundCheckpoint) -> Vec<(String, String, Value)> {
    let writes = found.writes.iter();
    writes.map(|w| (w.task.clone(), w.channel.clone(), read(&w.value))).collect()
}

pub fn said(task: &str, channel: &str, value: Value) -> (String, String, Value) {
    (task.to_owned(), channel.to_owned(), value)
}
