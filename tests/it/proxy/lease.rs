//! The agent falls silent: everyone returns to stable, if stable is there.

use perf_agent::base::{Clock as _, Millis};
use perf_agent::domain::{Arm, TrafficTable};
use perf_agent::serving::TrafficPlane as _;

use super::fake_server::{FakeServer, Script, whole_answer};
use super::harness::{Harness, User, arm_of, dead_url, table};

async fn quick() -> FakeServer {
    FakeServer::start(Script::Fixed(200, "text/event-stream", whole_answer(1))).await
}

fn leased(mut table: TrafficTable) -> TrafficTable {
    table.lease_ms = Some(120_000);
    table
}

async fn wait_for_revert(proxy: &Harness) -> TrafficTable {
    loop {
        let observed = proxy.plane.observed().await.unwrap();
        if observed.canary_percent == 0.0 {
            return observed;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_unrenewed_lease_sends_everyone_to_stable_for_good() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    proxy.plane.apply(&leased(table(7, &[&stable], &[&canary], 100.0))).await.unwrap();
    let user = User::new();
    assert_eq!(arm_of(&user.ask(&proxy.url, "a").await), Arm::Canary);
    proxy.clock.set(Millis(1_000_000 + 120_000));
    let reverted = wait_for_revert(&proxy).await;
    assert_eq!((reverted.generation, reverted.lease_ms), (8, None), "a change like any other");
    assert_eq!(arm_of(&user.ask(&proxy.url, "a").await), Arm::Stable);
    let restarted = proxy.restart().await;
    assert_eq!(restarted.plane.observed().await.unwrap(), reverted, "and durable");
}

#[tokio::test]
async fn a_renewed_lease_holds() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    let wanted = leased(table(1, &[&stable], &[&canary], 50.0));
    proxy.plane.apply(&wanted).await.unwrap();
    for _ in 0..5 {
        proxy.clock.set(proxy.clock.now().plus(100_000));
        proxy.plane.renew().await.unwrap();
    }
    assert_eq!(proxy.plane.observed().await.unwrap(), wanted);
    // Applying the same table again renews as well.
    proxy.clock.set(proxy.clock.now().plus(100_000));
    proxy.plane.apply(&wanted).await.unwrap();
    proxy.clock.set(proxy.clock.now().plus(100_000));
    assert_eq!(proxy.plane.observed().await.unwrap(), wanted);
}

#[tokio::test]
async fn while_stable_is_down_the_canary_keeps_its_users() {
    let proxy = Harness::start().await;
    let (stable, canary) = (quick().await, quick().await);
    let mut wanted = leased(table(1, &[&stable], &[&canary], 50.0));
    let alive = wanted.stable.backends[0].url.clone();
    wanted.stable.backends[0].url = dead_url().await;
    proxy.plane.apply(&wanted).await.unwrap();
    proxy.clock.set(Millis(1_000_000 + 120_000));
    for _ in 0..50 {
        assert_eq!(proxy.plane.observed().await.unwrap(), wanted);
    }
    // Stable comes back where it was: the next look finds it.
    let _back = tokio::spawn(relay(wanted.stable.backends[0].url.clone(), alive));
    tokio::task::yield_now().await;
    let reverted = loop {
        proxy.clock.set(proxy.clock.now().plus(1_000));
        let observed = proxy.plane.observed().await.unwrap();
        if observed != wanted {
            break observed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(reverted.canary_percent, 0.0);
}

/// Listens where nobody did and passes connections on.
async fn relay(from: String, to: String) {
    let address = |url: String| url.trim_start_matches("http://").to_owned();
    let listener = tokio::net::TcpListener::bind(address(from)).await.unwrap();
    let to = address(to);
    while let Ok((mut client, _)) = listener.accept().await {
        let mut server = tokio::net::TcpStream::connect(&to).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
    }
}
