//! What waits for its time, on the machine's clock: it is heard at once, and it outlives the process.

use std::path::Path;
use std::time::Duration;

use perf_agent::agent::{ConfigFile, Settings};
use perf_agent::base::{Millis, ThreadId};
use perf_agent::runtime::Letter;
use serde_json::{Value, json};

use super::support::{Served, settings};

/// Nothing is simulated: so the clock is the machine's.
const CONFIG: &str =
    "deployments: [{ launcher: external, name: away, engine: vllm, served_model: m,
                      endpoints: ['http://127.0.0.1:9'] }]\n";

const NAP: &str = "schema: graph/v1
name: nap
version: 1
description: Waits an hour if it is tired, then writes.
input: { tired: { type: boolean } }
state: { done: { type: boolean } }
output: [done]
nodes:
  begin: { set: {} }
  nap: { wait: { for: 1h } }
  end_of_it: { set: { done: \"{{ true }}\" } }
edges:
  - start -> begin
  - { from: begin, to: [{ when: tired, to: nap }, { else: end_of_it }] }
  - nap -> end_of_it -> end
";

const ASK: &str = "schema: graph/v1
name: ask
version: 1
description: Asks, and takes silence for a no.
state: { answer: { type: { enum: ['yes', 'no'] } } }
output: [answer]
nodes:
  ask: { approval: { ask: ok.md, answer: { enum: ['yes', 'no'] }, expires: 3s, on_expiry: 'no' }, writes: answer }
edges:
  - start -> ask -> end
";

fn real_clock(folder: &Path) -> Settings {
    let graphs = folder.join("graphs");
    let prompts = folder.join("prompts");
    for made in [&graphs, &prompts] {
        std::fs::create_dir_all(made).unwrap();
    }
    std::fs::write(graphs.join("nap.yaml"), NAP).unwrap();
    std::fs::write(graphs.join("ask.yaml"), ASK).unwrap();
    std::fs::write(prompts.join("ok.md"), "Is it?").unwrap();
    let store = format!("sqlite:{}", folder.join("runs.db").display());
    Settings {
        config: ConfigFile::parse("test", CONFIG).unwrap(),
        graphs: Some(graphs),
        prompts: Some(prompts),
        ..settings(&store)
    }
}

/// Starts a run in the background; its id.
async fn begin(served: &Served, thread: &str, graph: &str, input: Value) -> String {
    let body = json!({"assistant_id": graph, "input": input});
    let (status, run) = served.post(&format!("/threads/{thread}/runs"), body).await;
    assert_eq!(status, 200, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

/// Asks until the thread stands at `wanted`; at most twenty seconds.
async fn until(served: &Served, thread: &str, wanted: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..1_000 {
        (_, last) = served.get(&format!("/threads/{thread}")).await;
        if last["status"] == wanted {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is not {wanted}: {last}");
}

#[tokio::test]
async fn a_run_cancelled_in_its_sleep_does_not_keep_the_next_one_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::of(real_clock(folder.path())).await;
    let thread = served.thread().await;
    let run = begin(&served, &thread, "nap", json!({"tired": true})).await;
    until(&served, &thread, "busy").await;
    let (status, _) =
        served.send("POST", &format!("/threads/{thread}/runs/{run}/cancel"), json!({})).await;
    assert_eq!(status, 202);
    begin(&served, &thread, "nap", json!({"tired": false})).await;
    let done = until(&served, &thread, "idle").await;
    assert_eq!(done["values"]["done"], true, "{done}");
    served.stop().await;
}

#[tokio::test]
async fn a_question_expires_though_the_server_was_restarted_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::of(real_clock(folder.path())).await;
    let thread = served.thread().await;
    begin(&served, &thread, "ask", json!({})).await;
    until(&served, &thread, "interrupted").await;
    served.stop().await;

    let served = Served::of(real_clock(folder.path())).await;
    let done = until(&served, &thread, "idle").await;
    assert_eq!(done["values"]["answer"], "no", "{done}");
    served.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_taken_before_the_process_died_is_obeyed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let settings = real_clock(folder.path());
    let patient = ASK.replace("expires: 3s", "expires: 9h");
    std::fs::write(folder.path().join("graphs/ask.yaml"), patient).unwrap();
    let served = Served::of(settings.clone()).await;
    let thread = served.thread().await;
    begin(&served, &thread, "ask", json!({})).await;
    until(&served, &thread, "interrupted").await;
    served.stop().await;
    {
        // What a process leaves that dies between taking an answer and obeying it: a letter.
        let store = perf_agent::store::open(&settings.store_url).unwrap();
        let thread = ThreadId(thread.clone());
        let head = store.checkpoints.head(&thread).await.unwrap().unwrap();
        let interrupt = head.interrupts().next().unwrap().1.id.clone();
        let letter = Letter::Resume { interrupt, answer: json!("yes"), by: "ada".to_owned() };
        store.checkpoints.inbox_push(&thread, &letter, Millis(1), None).await.unwrap();
    }
    let served = Served::of(settings).await;
    let done = until(&served, &thread, "idle").await;
    assert_eq!(done["values"]["answer"], "yes", "{done}");
    served.stop().await;
}
