//! What can be done to threads beside LangGraph's protocol: signals, forks, comparisons, pruning, journals, migrations.

use std::path::Path;
use std::time::Duration;

use perf_agent::agent::Settings;
use serde_json::{Value, json};

use super::support::{Served, settings};

/// A graph that waits for a signal and answers with what came.
pub const SIGNALLED: &str = "
schema: graph/v1
name: signalled
version: 1
input: { n: { type: integer, optional: true } }
state: { came: { type: object, nullable: true } }
output: [came]
nodes:
  hold: { wait: { signal: go }, writes: came }
edges: [start -> hold -> end]
";

/// The next version of it, whose channel has another name.
const RENAMED: &str = "
schema: graph/v1
name: signalled
version: 2
input: { n: { type: integer, optional: true }, times: { type: integer, optional: true } }
state: { arrived: { type: object, nullable: true } }
output: [arrived]
nodes:
  hold: { wait: { signal: go }, writes: arrived }
edges: [start -> hold -> end]
migrations:
  - { from: 1, rename: { came: arrived } }
";

/// A server of `text` and of the graphs that tests are made of, over the store of `folder`.
async fn served(folder: &Path, text: &str) -> Served {
    let graphs = folder.join("graphs");
    std::fs::create_dir_all(&graphs).unwrap();
    std::fs::write(graphs.join("signalled.yaml"), text).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
    std::fs::copy(from.join("trivial.yaml"), graphs.join("trivial.yaml")).unwrap();
    let store = format!("sqlite:{}", folder.join("runs.db").display());
    Served::of(Settings { graphs: Some(graphs), ..settings(&store) }).await
}

async fn ran(served: &Served, graph: &str, input: Value) -> String {
    let thread = served.thread().await;
    let order = json!({"assistant_id": graph, "input": input});
    let (status, run) = served.post(&format!("/threads/{thread}/runs"), order).await;
    assert_eq!(status, 200, "{run}");
    thread
}

/// Reads the journal until an entry of this kind is there; gives all of it.
async fn journal_with(served: &Served, thread: &str, kind: &str) -> Vec<Value> {
    loop {
        let (_, page) = served.get(&format!("/threads/{thread}/journal?limit=1000")).await;
        let entries = page["entries"].as_array().cloned().unwrap_or_default();
        if entries.iter().any(|entry| entry["kind"] == kind) {
            return entries;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_signal_wakes_the_run_that_waits_for_it_and_brings_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), SIGNALLED).await;
    let thread = ran(&served, "signalled", json!({})).await;
    journal_with(&served, &thread, "WAITING").await;
    let path = format!("/threads/{thread}/signals/go");
    let (status, taken) = served.post(&path, json!({"who": "ada"})).await;
    assert_eq!((status, &taken["signal"]), (202, &"go".into()), "{taken}");
    journal_with(&served, &thread, "RUN_FINISHED").await;
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"]["came"], json!({"who": "ada"}));
    // It is over: there is nobody to signal to.
    let (status, problem) = served.post(&path, json!(1)).await;
    assert_eq!((status, &problem["code"]), (409, &"runtime.no_run".into()), "{problem}");
    served.stop().await;
}

#[tokio::test]
async fn a_signal_without_a_body_is_null_and_one_that_nobody_can_get_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), SIGNALLED).await;
    let thread = ran(&served, "signalled", json!({})).await;
    journal_with(&served, &thread, "WAITING").await;
    let (status, problem) = served.post(&format!("/threads/{thread}/signals/goo"), json!(1)).await;
    assert_eq!((status, &problem["code"]), (404, &"runtime.unknown_signal".into()), "{problem}");
    assert_eq!(problem["hint"], "did you mean `go`?");
    let url = format!("{}/threads/{thread}/signals/go", served.base);
    let broken = served.client.post(&url).header("content-type", "application/json").body("{");
    assert_eq!(broken.send().await.unwrap().status(), 400);
    let (status, text) = served.post_text(&format!("/threads/{thread}/signals/go")).await;
    assert_eq!(status, 202, "{text}");
    let journal = journal_with(&served, &thread, "RUN_FINISHED").await;
    let woken = journal.iter().find(|entry| entry["kind"] == "WOKEN").unwrap();
    assert_eq!(woken["data"]["woken"], json!({"signal": "go", "payload": null}));
    let fresh = served.thread().await;
    let (status, _) = served.post(&format!("/threads/{fresh}/signals/go"), json!(1)).await;
    assert_eq!(status, 409, "nothing runs there");
    let nowhere = "/threads/01999999-0000-7000-8000-000000000000";
    let (status, problem) = served.post(&format!("{nowhere}/signals/go"), json!(1)).await;
    assert_eq!((status, &problem["code"]), (404, &"agent.unknown_thread".into()), "{problem}");
    served.stop().await;
}

#[tokio::test]
async fn a_journal_is_read_in_pages_with_every_number_once() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), SIGNALLED).await;
    let thread = ran(&served, "trivial", json!({"n": 1})).await;
    let whole = journal_with(&served, &thread, "RUN_FINISHED").await;
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let (status, page) =
            served.get(&format!("/threads/{thread}/journal?limit=2&after={after}")).await;
        assert_eq!(status, 200, "{page}");
        read.extend(page["entries"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(read, whole);
    let numbers: Vec<u64> = whole.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=whole.len() as u64).collect::<Vec<_>>());
    assert_eq!((&whole[0]["kind"], whole[0]["run"].is_string()), (&"RUN_STARTED".into(), true));
    for wrong in ["limit=0", "limit=1001", "before=3"] {
        let (status, _) = served.get(&format!("/threads/{thread}/journal?{wrong}")).await;
        assert_eq!(status, 422, "{wrong}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_fork_at_a_checkpoint_stands_there_and_differs_in_what_came_after() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), SIGNALLED).await;
    let thread = ran(&served, "trivial", json!({"n": 1})).await;
    journal_with(&served, &thread, "RUN_FINISHED").await;
    let (status, fork) = served.post(&format!("/threads/{thread}/fork"), json!({"seq": 1})).await;
    assert_eq!((status, &fork["status"]), (200, &"interrupted".into()), "{fork}");
    assert_eq!((&fork["next"], &fork["held"]), (&json!(["a"]), &json!(["a"])), "{fork}");
    let branch = fork["thread_id"].as_str().unwrap();
    let (_, diff) = served.get(&format!("/threads/{thread}/diff?with={branch}")).await;
    assert_eq!((&diff["common_seq"], &diff["channels"]["n"]["left"]), (&1.into(), &2.into()));
    assert_eq!(diff["channels"]["n"]["right"], 1, "{diff}");
    // Told to go on, it comes to the same.
    let order = json!({"assistant_id": "trivial"});
    let (status, _) = served.post(&format!("/threads/{branch}/runs/wait"), order).await;
    assert_eq!(status, 200);
    let (_, diff) = served.get(&format!("/threads/{thread}/diff?with={branch}")).await;
    assert_eq!(diff["channels"], json!({}), "{diff}");
    let (_, diff) = served.get(&format!("/threads/{thread}/diff?seq=1&with_seq=1")).await;
    assert_eq!((&diff["channels"], &diff["common_seq"]), (&json!({}), &1.into()));
    let (status, problem) =
        served.post(&format!("/threads/{thread}/fork"), json!({"seq": 99})).await;
    assert_eq!((status, &problem["code"]), (404, &"runtime.unknown_checkpoint".into()));
    let (status, _) = served.post(&format!("/threads/{thread}/fork"), json!({"at": 1})).await;
    assert_eq!(status, 422, "no misspelt field is dropped");
    served.stop().await;
}

#[tokio::test]
async fn a_prune_leaves_as_many_checkpoints_as_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), SIGNALLED).await;
    let thread = ran(&served, "trivial", json!({"n": 1})).await;
    journal_with(&served, &thread, "RUN_FINISHED").await;
    let path = format!("/threads/{thread}/prune");
    assert_eq!(served.post(&path, json!({"keep": 0})).await.0, 422);
    let (status, gone) = served.post(&path, json!({"keep": 1})).await;
    assert_eq!((status, gone["checkpoints_gone"].as_u64()), (200, Some(1)), "{gone}");
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"]["n"], 2);
    let (status, problem) =
        served.post(&format!("/threads/{thread}/fork"), json!({"seq": 1})).await;
    assert_eq!((status, &problem["code"]), (404, &"runtime.unknown_checkpoint".into()));
    served.stop().await;
}

#[tokio::test]
async fn a_waiting_run_moves_to_the_next_version_of_its_graph_and_gets_its_signal_there() {
    let folder = tempfile::tempdir().unwrap();
    let first = served(folder.path(), SIGNALLED).await;
    let done = ran(&first, "signalled", json!({})).await;
    journal_with(&first, &done, "WAITING").await;
    first.post(&format!("/threads/{done}/signals/go"), json!({"n": 1})).await;
    journal_with(&first, &done, "RUN_FINISHED").await;
    let waits = ran(&first, "signalled", json!({})).await;
    journal_with(&first, &waits, "WAITING").await;
    first.stop().await;

    let served = served(folder.path(), RENAMED).await;
    let (status, plan) = served.get("/graphs/signalled/migrations").await;
    assert_eq!((status, plan.as_array().map(Vec::len)), (200, Some(2)), "{plan}");
    let of = |reports: &Value, thread: &str| {
        let reports = reports.as_array().unwrap();
        reports.iter().find(|report| report["thread"] == thread).cloned().unwrap()
    };
    assert_eq!(of(&plan, &done)["changed"], json!(["arrived", "came"]));
    assert_eq!(of(&plan, &waits)["is_there"], false);
    let one = json!({"thread_id": waits});
    let (status, moved) = served.post("/graphs/signalled/migrations", one).await;
    assert_eq!((status, &moved[0]["problems"]), (200, &json!([])), "{moved}");
    let (_, plan) = served.get(&format!("/graphs/signalled/migrations?thread_id={waits}")).await;
    assert_eq!(plan[0]["is_there"], true, "{plan}");
    served.post(&format!("/threads/{waits}/signals/go"), json!({"n": 2})).await;
    journal_with(&served, &waits, "RUN_FINISHED").await;
    let (_, state) = served.get(&format!("/threads/{waits}/state")).await;
    assert_eq!(state["values"]["arrived"]["n"], 2, "{state}");
    // The run that was ordered has ended, though it had another name meanwhile.
    let (_, runs) = served.get(&format!("/threads/{waits}/runs")).await;
    let run = runs[0]["run_id"].as_str().unwrap();
    let (status, _) = served.get(&format!("/threads/{waits}/runs/{run}/join")).await;
    let (_, ended) = served.get(&format!("/threads/{waits}/runs/{run}")).await;
    assert_eq!((status, &ended["status"]), (200, &"success".into()), "{ended}");
    let (status, problem) = served.get("/graphs/nothing/migrations").await;
    assert_eq!((status, &problem["code"]), (404, &"agent.unknown_graph".into()));
    served.stop().await;
}
