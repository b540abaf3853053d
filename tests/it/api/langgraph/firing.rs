//! Crons whose time comes.

use perf_agent::base::Millis;
use serde_json::{Value, json};

use super::rig::{Graphs, Receiver, TUESDAY, Turned, until};
use crate::api::support::Served;

/// So many minutes after nine.
fn nine(minutes: u64) -> Millis {
    TUESDAY.plus(30_000 + minutes * 60_000)
}

async fn cron(served: &Served, path: &str, body: Value) -> Value {
    let (status, cron) = served.post(path, body).await;
    assert_eq!(status, 200, "{cron}");
    cron
}

/// The runs of a thread once there are `n` and all have ended.
async fn ended(served: &Served, thread: &str, n: usize) -> Value {
    let path = format!("/threads/{thread}/runs?limit=100");
    let all = |_, runs: &Value| {
        let runs = runs.as_array().unwrap();
        runs.len() >= n && runs.iter().all(|run| run["status"] == "success")
    };
    until(served, &path, all).await
}

#[tokio::test]
async fn a_cron_starts_one_run_on_its_thread_when_its_time_comes() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let served = graphs.steered(&clock).await;
    let thread = served.thread().await;
    let body = json!({"assistant_id": "steps", "schedule": "*/2 9 * * *", "input": {"n": 4}});
    let made = cron(&served, &format!("/threads/{thread}/runs/crons"), body).await;
    assert_eq!(made["next_run_date"], "2026-11-24T09:00:00.000000+00:00");
    clock.is_awaited(nine(0)).await;
    assert_eq!(served.get(&format!("/threads/{thread}/runs")).await.1, json!([]), "not before");
    clock.turn(nine(0)).await;
    let runs = ended(&served, &thread, 1).await;
    assert_eq!(runs[0]["kwargs"]["config"]["configurable"]["cron_id"], made["cron_id"]);
    // It looks again a minute later at the latest; a second run is made another minute later.
    clock.turn(nine(1)).await;
    clock.is_awaited(nine(2)).await;
    assert_eq!(ended(&served, &thread, 1).await.as_array().unwrap().len(), 1, "once");
    clock.turn(nine(2)).await;
    assert_eq!(ended(&served, &thread, 2).await.as_array().unwrap().len(), 2);
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"]["n"], 5);
    served.stop().await;
}

#[tokio::test]
async fn a_cron_ends_with_its_end_time_and_starts_nothing_while_it_is_off() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let served = graphs.steered(&clock).await;
    let (short, off) = (served.thread().await, served.thread().await);
    let body = json!({
        "assistant_id": "steps", "schedule": "* * * * *", "end_time": "2026-11-24T09:00:30Z",
    });
    let ends = cron(&served, &format!("/threads/{short}/runs/crons"), body).await;
    let body = json!({"assistant_id": "steps", "schedule": "* * * * *", "enabled": false});
    let resting = cron(&served, &format!("/threads/{off}/runs/crons"), body).await;
    assert_eq!(resting["next_run_date"], json!(null));
    clock.turn(nine(0)).await;
    ended(&served, &short, 1).await;
    let shown = |cron: &Value| format!("/runs/crons/{}", cron["cron_id"].as_str().unwrap());
    assert_eq!(served.get(&shown(&ends)).await.1["next_run_date"], json!(null));
    clock.turn(nine(1)).await;
    clock.is_awaited(nine(2)).await;
    assert_eq!(ended(&served, &short, 1).await.as_array().unwrap().len(), 1, "it is over");
    assert_eq!(served.get(&format!("/threads/{off}/runs")).await.1, json!([]), "it is off");
    let (status, on) = served.send("PATCH", &shown(&resting), json!({"enabled": true})).await;
    assert_eq!((status, &on["next_run_date"]), (200, &json!("2026-11-24T09:02:00.000000+00:00")));
    clock.turn(nine(2)).await;
    ended(&served, &off, 1).await;
    served.stop().await;
}

#[tokio::test]
async fn the_threads_of_a_crons_runs_go_or_stay_as_it_says() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let mut receiver = Receiver::answering(&[]).await;
    let served = graphs.steered(&clock).await;
    for word in ["delete", "keep"] {
        let body = json!({
            "assistant_id": "steps", "schedule": "0 9 * * *", "input": {"n": 1}, "webhook": receiver.url,
            "on_run_completed": word, "metadata": {"of": word},
        });
        cron(&served, "/runs/crons", body).await;
    }
    clock.turn(nine(0)).await;
    let told = [receiver.next().await.body(), receiver.next().await.body()];
    let mut stayed = 0;
    for body in &told {
        assert_eq!(body["values"], json!({"n": 2, "log": ["a", "b", "c"]}), "{body}");
        let path = format!("/threads/{}", body["thread_id"].as_str().unwrap());
        if body["kwargs"]["temporary"] == true {
            until(&served, &path, |status, _| status == 404).await;
        } else {
            assert_eq!(served.get(&path).await.1["status"], "idle");
            stayed += 1;
        }
    }
    assert_eq!(stayed, 1);
    assert_eq!(served.post("/threads/count", json!({})).await.1, json!(1));
    served.stop().await;
}

#[tokio::test]
async fn runs_that_were_missed_while_no_server_was_there_are_made_up_for_once() {
    let graphs = Graphs::new();
    let clock = Turned::at(TUESDAY);
    let served = graphs.steered(&clock).await;
    let thread = served.thread().await;
    let body = json!({"assistant_id": "steps", "schedule": "0 9 * * *", "input": {"n": 1}});
    let made = cron(&served, &format!("/threads/{thread}/runs/crons"), body).await;
    clock.is_awaited(nine(0)).await;
    served.stop().await;

    // Three of its times have passed.
    let clock = Turned::at(nine(2 * 24 * 60 + 30));
    let served = graphs.steered(&clock).await;
    clock.is_awaited(nine(2 * 24 * 60 + 31)).await;
    let runs = ended(&served, &thread, 1).await;
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let (_, shown) =
        served.get(&format!("/runs/crons/{}", made["cron_id"].as_str().unwrap())).await;
    assert_eq!(shown["next_run_date"], "2026-11-27T09:00:00.000000+00:00");
    served.stop().await;
}
