//! Steering: generations, durability, the socket.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use perf_agent::base::{Coded as _, ManualClock, Millis};
use perf_agent::proxy::{Proxy, ProxyOptions};
use perf_agent::serving::{EmbeddedProxy, Error, TrafficPlane as _};

use super::fake_server::{FakeServer, Script, whole_answer};
use super::harness::{Harness, User, table, text};

async fn quick() -> FakeServer {
    FakeServer::start(Script::Fixed(200, "text/event-stream", whole_answer(2))).await
}

#[tokio::test]
async fn an_older_table_or_another_one_of_the_same_generation_is_409() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    let wanted = table(5, &[&stable], &[&canary], 5.0);
    proxy.plane.apply(&wanted).await.unwrap();
    proxy.plane.apply(&wanted).await.unwrap();
    for (generation, percent) in [(4, 5.0), (5, 25.0)] {
        let refused = proxy.plane.apply(&table(generation, &[&stable], &[&canary], percent)).await;
        match refused {
            Err(Error::StaleGeneration { held: 5, offered }) => assert_eq!(offered, generation),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(proxy.plane.observed().await.unwrap(), wanted);
}

#[tokio::test]
async fn a_table_that_contradicts_itself_is_refused_and_nothing_changes() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    let wanted = table(1, &[&stable], &[&canary], 5.0);
    proxy.plane.apply(&wanted).await.unwrap();
    let good = || table(2, &[&stable], &[&canary], 5.0);
    let mut bad = vec![good(), good(), good(), good(), good()];
    bad[0].canary_percent = 101.0;
    bad[1].canary = None;
    bad[2].stable.backends.clear();
    bad[3].canary.as_mut().unwrap().backends[0].id = "stable-0".to_owned();
    bad[4].stable.backends[0].url = "https://elsewhere".to_owned();
    for table in bad {
        match proxy.plane.apply(&table).await {
            Err(Error::BadAnswer { status: 422, detail, .. }) => {
                assert!(detail.contains("proxy.invalid_table"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(proxy.plane.observed().await.unwrap(), wanted);
}

#[tokio::test]
async fn a_restarted_proxy_goes_on_routing_by_its_last_table() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    let wanted = table(3, &[&stable], &[&canary], 25.0);
    proxy.plane.apply(&wanted).await.unwrap();
    text(User::new().ask(&proxy.url, "a").await).await.unwrap();
    let (_, asked) = proxy.plane.records(u64::MAX).await.unwrap();
    proxy.clock.set(Millis(2_000_000));
    let restarted = proxy.restart().await;
    assert_eq!(restarted.plane.observed().await.unwrap(), wanted);
    text(User::new().ask(&restarted.url, "a").await).await.unwrap();
    restarted.wait_for_records(1).await;
    // The harness' clock begins anew, as no real one would: numbers follow the clock.
    assert!(asked > 0);
}

#[tokio::test]
async fn a_damaged_state_file_stops_the_start_with_words_that_help() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("table.json");
    std::fs::write(&state, "{\"generation\": 1").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = ProxyOptions::new(listen, folder.path().join("c.sock"), state);
    let error = Proxy::bind(options, Arc::new(ManualClock::new(Millis(1)))).await.err().unwrap();
    assert_eq!(error.code(), "proxy.state_file");
    assert!(error.hint().contains("remove the file"));
}

#[tokio::test]
async fn only_this_user_can_open_the_socket_and_only_one_proxy_can_hold_it() {
    let proxy = Harness::start().await;
    let mode = std::fs::metadata(&proxy.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = ProxyOptions::new(listen, proxy.control.clone(), proxy.state_file.clone());
    let second = Proxy::bind(options, proxy.clock.clone()).await.err().unwrap();
    assert_eq!(second.code(), "proxy.already_running");
}

#[tokio::test]
async fn records_are_fetched_page_by_page() {
    let proxy = Harness::start().await;
    let stable = quick().await;
    proxy.plane.apply(&table(1, &[&stable], &[], 0.0)).await.unwrap();
    let (none, start) = proxy.plane.records(u64::MAX).await.unwrap();
    assert!(none.is_empty());
    for session in ["a", "b", "c"] {
        text(User::new().ask(&proxy.url, session).await).await.unwrap();
    }
    proxy.wait_for_records(3).await;
    let (records, next) = proxy.plane.records(start).await.unwrap();
    assert_eq!(records.len(), 3);
    let (records, same) = proxy.plane.records(next).await.unwrap();
    assert!(records.is_empty() && same == next);
}

#[tokio::test]
async fn nobody_on_the_socket_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let plane = EmbeddedProxy::connect(folder.path().join("nobody.sock"));
    assert_eq!(plane.observed().await.unwrap_err().code(), "serving.unreachable");
}

#[tokio::test]
async fn the_proxy_has_figures_of_its_own() {
    let proxy = Harness::start().await;
    let stable = quick().await;
    proxy.plane.apply(&table(4, &[&stable], &[], 0.0)).await.unwrap();
    text(User::new().ask(&proxy.url, "a").await).await.unwrap();
    proxy.wait_for_records(1).await;
    let page = super::agent_killed::get_over_socket(&proxy.control, "/metrics").await;
    for line in [
        "perf_agent_proxy_requests_total{arm=\"stable\",finish=\"complete\"} 1",
        "perf_agent_proxy_output_tokens_total{arm=\"stable\"} 2",
        "perf_agent_proxy_ttft_seconds_count{arm=\"stable\"} 1",
        "perf_agent_proxy_in_flight{backend=\"stable-0\"} 0",
        "perf_agent_proxy_generation 4",
    ] {
        assert!(page.lines().any(|have| have == line), "{line} not in\n{page}");
    }
}
