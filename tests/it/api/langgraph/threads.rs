//! Threads and assistants.

use serde_json::json;

use crate::api::support::Served;

const NOBODY: &str = "00000000-0000-0000-0000-000000000001";

#[tokio::test]
async fn a_thread_has_the_id_that_was_asked_for_and_a_second_one_is_a_conflict() {
    let served = Served::with_test_graphs("memory:").await;
    let body = json!({"thread_id": NOBODY, "metadata": {"of": "me"}});
    let (status, thread) = served.post("/threads", body.clone()).await;
    assert_eq!((status, &thread["thread_id"]), (200, &json!(NOBODY)));
    let (status, problem) = served.post("/threads", body).await;
    assert_eq!(status, 409, "{problem}");
    let again = json!({"thread_id": NOBODY, "if_exists": "do_nothing"});
    let (status, thread) = served.post("/threads", again).await;
    assert_eq!((status, &thread["metadata"]), (200, &json!({"of": "me"})));
}

#[tokio::test]
async fn a_deleted_thread_is_gone_with_its_runs_and_its_id_is_free_again() {
    let served = Served::with_test_graphs("memory:").await;
    served.post("/threads", json!({"thread_id": NOBODY})).await;
    let path = format!("/threads/{NOBODY}");
    let run = json!({"assistant_id": "trivial", "input": {"n": 1}});
    served.post(&format!("{path}/runs/wait"), run).await;
    assert_eq!(served.delete(&path).await, 204);
    assert_eq!(served.get(&path).await.0, 404);
    served.post("/threads", json!({"thread_id": NOBODY})).await;
    let (status, runs) = served.get(&format!("{path}/runs")).await;
    assert_eq!((status, runs), (200, json!([])));
    assert_eq!(served.get(&path).await.1["values"], json!(null));
}

#[tokio::test]
async fn threads_are_found_by_metadata_status_and_values_also_those_made_elsewhere() {
    let served = Served::with_test_graphs("memory:").await;
    let asks = served.thread().await;
    let run = json!({"assistant_id": "hitl", "input": {"n": 1}});
    served.post(&format!("/threads/{asks}/runs/wait"), run).await;
    let done = served.thread().await;
    let run = json!({"assistant_id": "trivial", "input": {"n": 41}});
    served.post(&format!("/threads/{done}/runs/wait"), run).await;
    for (search, wanted) in [
        (json!({"status": "interrupted"}), &asks),
        (json!({"values": {"n": 42}}), &done),
        (json!({"metadata": {"graph_id": "trivial"}}), &done),
    ] {
        let (status, found) = served.post("/threads/search", search.clone()).await;
        assert_eq!((status, found.as_array().unwrap().len()), (200, 1), "{search} {found}");
        assert_eq!(found[0]["thread_id"], **wanted, "{search}");
        assert_eq!(served.post("/threads/count", search).await.1, json!(1));
    }
    let (_, found) =
        served.post("/threads/search", json!({"select": ["thread_id"], "limit": 1})).await;
    assert_eq!(found[0].as_object().unwrap().len(), 1, "{found}");
}

#[tokio::test]
async fn a_run_creates_the_thread_it_names_where_that_is_wanted() {
    let served = Served::with_test_graphs("memory:").await;
    let path = format!("/threads/{NOBODY}/runs/wait");
    let run =
        |word: &str| json!({"assistant_id": "trivial", "input": {"n": 1}, "if_not_exists": word});
    assert_eq!(served.post(&path, run("reject")).await.0, 404);
    assert_eq!(served.post(&path, run("create")).await, (200, json!({"n": 2, "log": ["a"]})));
}

#[tokio::test]
async fn a_run_without_a_thread_leaves_none_behind_unless_it_is_to_be_kept() {
    let served = Served::with_test_graphs("memory:").await;
    let run =
        |word: &str| json!({"assistant_id": "trivial", "input": {"n": 1}, "on_completion": word});
    let (status, output) = served.post("/runs/wait", run("delete")).await;
    assert_eq!((status, &output["n"]), (200, &json!(2)));
    assert_eq!(served.post("/threads/search", json!({})).await.1, json!([]));
    served.post("/runs/wait", run("keep")).await;
    assert_eq!(served.post("/threads/count", json!({})).await.1, json!(1));
}

#[tokio::test]
async fn an_assistants_context_reaches_its_runs_as_far_as_the_graph_declares_it() {
    let served = Served::start().await;
    let made = json!({"graph_id": "watch", "context": {"approval": "never", "colour": "red"}});
    let (_, assistant) = served.post("/assistants", made).await;
    let thread = served.thread().await;
    let run = json!({"assistant_id": assistant["assistant_id"], "input": {"goal": crate::api::support::GOAL}});
    let (status, output) = served.post(&format!("/threads/{thread}/runs/wait"), run).await;
    assert_eq!(status, 200, "{output}");
    assert!(output["diagnosis"].is_object(), "{output}");
}

#[tokio::test]
async fn a_graphs_own_assistant_stays_and_others_come_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::with_test_graphs(&store).await;
    let (_, made) =
        served.post("/assistants", json!({"graph_id": "trivial", "name": "mine"})).await;
    let own = "014e7ba3-a6dc-5ad3-8da5-be77b72b54c9";
    assert_eq!(served.delete(&format!("/assistants/{own}")).await, 409);
    served.stop().await;
    let served = Served::with_test_graphs(&store).await;
    let id = made["assistant_id"].as_str().unwrap();
    assert_eq!(served.get(&format!("/assistants/{id}")).await.1, made);
    let (_, all) = served.post("/assistants/search", json!({"sort_by": "name"})).await;
    let names: Vec<_> =
        all.as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["trivial", "mine", "hitl"]);
    served.stop().await;
}
