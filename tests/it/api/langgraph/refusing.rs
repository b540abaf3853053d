//! What can never run is refused before anything is made; what several change at once loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::api::support::Served;

const SELDOM: &str = "0 0 29 2 *";

async fn on_disk() -> (Served, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    (Served::with_test_graphs(&store).await, folder)
}

async fn threads(served: &Served) -> usize {
    let (_, found) = served.post("/threads/count", json!({})).await;
    usize::try_from(found.as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_cron_is_refused_for_what_its_runs_would_be_refused_for_when_made_and_when_changed() {
    let served = Served::with_test_graphs("memory:").await;
    let cron = json!({"assistant_id": "trivial", "schedule": SELDOM, "input": {"n": 1}});
    let (status, made) = served.post("/runs/crons", cron.clone()).await;
    assert_eq!(status, 200, "{made}");
    let path = format!("/runs/crons/{}", made["cron_id"].as_str().unwrap());
    let thread = served.thread().await;
    for (field, value) in [
        ("config", json!("x")),
        ("config", json!([1])),
        ("config", json!(7)),
        ("config", json!({"configurable": "x"})),
        ("config", json!({"configurable": [1]})),
        ("on_run_completed", json!("explode")),
        ("assistant_id", json!("nobody")),
        ("assistant_id", json!(5)),
        ("input", json!(7)),
        ("input", json!({"m": 1})),
        ("input", json!({"n": "one"})),
        ("context", json!({"unheard": "of"})),
        ("command", json!({"resume": 1, "goto": "a"})),
        ("after_seconds", json!(-1)),
        ("interrupt_before", json!(["nowhere"])),
        ("webhook", json!("http://127.0.0.1/")),
        ("schedule", json!("* *")),
    ] {
        let mut body = cron.clone();
        body[field] = value.clone();
        for path in ["/runs/crons", &format!("/threads/{thread}/runs/crons")] {
            let (status, refusal) = served.post(path, body.clone()).await;
            assert!(matches!(status, 404 | 422), "{path} {field} {value}: {status} {refusal}");
        }
        let (status, refusal) = served.send("PATCH", &path, json!({field: value.clone()})).await;
        assert!(matches!(status, 404 | 422), "{field} {value}: {status} {refusal}");
    }
    assert_eq!(served.get(&path).await.1, made, "it is what it was");
    let (_, count) = served.post("/runs/crons/count", json!({})).await;
    assert_eq!(count, 1);
    let other = json!({"assistant_id": "hitl", "config": null});
    let (status, changed) = served.send("PATCH", &path, other).await;
    assert_eq!(status, 200, "{changed}");
    assert_ne!(changed["assistant_id"], made["assistant_id"]);
    assert_eq!(changed["payload"]["assistant_id"], changed["assistant_id"]);
}

#[tokio::test]
async fn of_a_batch_none_is_started_if_one_is_misformed() {
    let served = Served::with_test_graphs("memory:").await;
    let good = json!({"assistant_id": "trivial", "input": {"n": 1}});
    for bad in [
        json!({"assistant_id": "trivial", "input": 7}),
        json!({"assistant_id": "trivial", "input": {"n": "one"}}),
        json!({"assistant_id": "trivial", "input": {"n": 1}, "command": {"resume": 1}}),
        json!({"assistant_id": "trivial", "input": {"n": 1}, "webhook": "http://10.0.0.1/"}),
        json!({"assistant_id": "trivial", "input": {"n": 1}, "context": {"unheard": "of"}}),
        json!({"assistant_id": "nobody"}),
    ] {
        let (status, refusal) = served.post("/runs/batch", json!([good, bad])).await;
        assert_eq!(status, 422, "{bad}: {refusal}");
    }
    assert!(served.text("/metrics").await.contains("perf_agent_runs_started_total 0\n"));
    let (status, _) = served.post("/runs/batch", json!([good, good])).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_run_that_is_refused_leaves_no_thread() {
    let served = Served::with_test_graphs("memory:").await;
    let fresh = "0198f7a0-0000-7000-8000-000000000001";
    for bad in [json!(7), json!({"n": "one"}), json!({"m": 1})] {
        let run = json!({"assistant_id": "trivial", "input": bad, "on_completion": "keep", "if_not_exists": "create"});
        for path in ["/runs", "/runs/wait", &format!("/threads/{fresh}/runs")] {
            let (status, refusal) = served.post(path, run.clone()).await;
            assert_eq!(status, 422, "{path}: {refusal}");
        }
    }
    assert_eq!(threads(&served).await, 0);
}

#[tokio::test]
async fn every_change_of_an_assistant_has_a_version_of_its_own_and_an_id_is_given_once() {
    let (served, _folder) = on_disk().await;
    let id = "0198f7a0-0000-7000-8000-000000000002";
    let make = || served.post("/assistants", json!({"graph_id": "trivial", "assistant_id": id}));
    let made = join_all((0..6).map(|_| make())).await;
    let statuses: Vec<u16> = made.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 5, "{statuses:?}");
    let path = format!("/assistants/{id}");
    let patches = (0..8).map(|n| {
        let body = json!({"metadata": {format!("k{n}"): n}});
        let path = &path;
        let served = &served;
        async move { served.send("PATCH", path, body).await }
    });
    let versions: BTreeSet<u64> = join_all(patches)
        .await
        .iter()
        .map(|(status, changed)| {
            assert_eq!(*status, 200, "{changed}");
            changed["version"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(versions, (2..=9).collect());
    let (_, last) = served.get(&path).await;
    assert_eq!(last["version"], 9);
    assert_eq!(last["metadata"].as_object().unwrap().len(), 8, "{last}");
    served.stop().await;
}

#[tokio::test]
async fn what_several_change_of_a_cron_is_all_there_and_one_that_was_deleted_stays_so() {
    let (served, _folder) = on_disk().await;
    let cron = json!({"assistant_id": "trivial", "schedule": SELDOM, "input": {"n": 1}});
    for deleted in [false, true] {
        let (_, made) = served.post("/runs/crons", cron.clone()).await;
        let path = format!("/runs/crons/{}", made["cron_id"].as_str().unwrap());
        let changes = (0..8).map(|n| {
            let (path, served) = (&path, &served);
            let body = json!({"metadata": {format!("k{n}"): n}});
            async move {
                match deleted && n == 3 {
                    true => served.send("DELETE", path, Value::Null).await.0,
                    false => served.send("PATCH", path, body).await.0,
                }
            }
        });
        let statuses = join_all(changes).await;
        let (status, last) = served.get(&path).await;
        match deleted {
            true => assert_eq!(status, 404, "{last}"),
            false => {
                assert_eq!(statuses, [200; 8]);
                assert_eq!(last["metadata"].as_object().unwrap().len(), 8, "{last}");
            }
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn whoever_may_read_reads_of_a_webhook_no_more_than_whose_it_is() {
    let served = Served::with_test_graphs("memory:").await;
    let webhook = "https://hooks.example.org/services/T0/secret?token=s3cret";
    let thread = served.thread().await;
    let run = json!({"assistant_id": "trivial", "input": {"n": 1}, "webhook": webhook, "after_seconds": 600});
    let path = format!("/threads/{thread}/runs");
    let (status, made) = served.post(&path, run).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["kwargs"]["webhook"], "https://hooks.example.org");
    let cron = json!({"assistant_id": "trivial", "schedule": SELDOM, "input": {"n": 1}, "webhook": webhook});
    let (_, cron) = served.post("/runs/crons", cron).await;
    let cron = format!("/runs/crons/{}", cron["cron_id"].as_str().unwrap());
    let run = format!("{path}/{}", made["run_id"].as_str().unwrap());
    let mut pages = vec![made.to_string()];
    for place in [path.as_str(), &run, &cron, &format!("/threads/{thread}")] {
        pages.push(served.text(place).await);
    }
    pages.push(served.post("/runs/crons/search", json!({})).await.1.to_string());
    for page in &pages {
        assert!(!page.contains("s3cret") && !page.contains("/services/"), "{page}");
    }
    assert!(pages[2].contains("hooks.example.org") && pages[5].contains("hooks.example.org"));
}

#[tokio::test]
async fn a_run_whose_caller_goes_at_once_is_written_down_if_it_began() {
    let (served, _folder) = on_disk().await;
    let mut paths = Vec::new();
    for n in 0..24_u64 {
        let path = format!("/threads/{}/runs", served.thread().await);
        let run = json!({"assistant_id": "trivial", "input": {"n": 1}});
        let request = served.client.post(format!("{}{path}", served.base)).json(&run);
        // Sooner and later on its way.
        let patience = Duration::from_micros(200 * n);
        let _ = request.timeout(patience).send().await;
        paths.push(path);
    }
    for path in &paths {
        let thread = path.trim_end_matches("/runs");
        let followed = async {
            loop {
                let (_, state) = served.get(&format!("{thread}/state")).await;
                let (_, runs) = served.get(path).await;
                let began = state["values"].as_object().is_some_and(|values| !values.is_empty());
                let ended = runs[0]["status"] == "success" && runs[1].is_null();
                if !began || ended {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let followed = tokio::time::timeout(Duration::from_secs(20), followed).await;
        assert!(followed.is_ok(), "a run that nobody follows: {path}");
    }
    served.stop().await;
}
