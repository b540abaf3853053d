//! A key that may only read: it neither looks around on the server's machine, nor keeps its cores busy.

use std::time::Duration;

use futures::future::join_all;
use perf_agent::api::{Outbound, Scope, SecurityOptions};
use tokio::net::TcpListener;

use crate::api::support::{Keyed, agent, key, settings};

async fn knocked(listener: &TcpListener) -> bool {
    tokio::time::timeout(Duration::from_millis(300), listener.accept()).await.is_ok()
}

#[tokio::test]
async fn a_reader_with_a_key_cannot_make_the_server_call_its_own_machine() {
    for (listed, called) in [(vec![], false), (vec!["127.0.0.1".to_owned()], true)] {
        let outbound = Outbound::new(Vec::new()).reading(listed);
        let security = SecurityOptions { outbound, ..SecurityOptions::default() };
        let keyed = Keyed::with(settings("memory:"), security).await;
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/admin", inside.local_addr().unwrap());
        let path = format!("/api/v1/metrics/vllm/one?endpoint={endpoint}");
        let asking = keyed.get(Scope::Read, &path);
        // Who is called does not answer: it is seen that somebody knocks.
        let (came, refused) = tokio::select! {
            (status, answer) = asking => (knocked(&inside).await, Some((status, answer))),
            came = async { inside.accept().await.is_ok() } => (came, None),
        };
        assert_eq!(came, called, "{refused:?}");
        if let Some((status, answer)) = refused {
            assert_eq!(status, 500, "{answer}");
            assert!(
                answer["message"].as_str().unwrap().contains("PERF_AGENT_SCRAPE_ALLOW"),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn recommendations_that_many_ask_for_at_once_are_made_once() {
    let agent = agent(settings("memory:")).await;
    let secret = key(&agent, &[Scope::Read]).await;
    let served = crate::api::support::Served::by(agent.clone(), SecurityOptions::default()).await;
    let ask = || async {
        let url = format!("{}/optimize/recommendations?max_age_s=0", served.base);
        let response = served.client.get(url).bearer_auth(&secret).send().await.unwrap();
        (response.status().as_u16(), response.json::<serde_json::Value>().await.unwrap())
    };
    let all = join_all((0..6).map(|_| ask())).await;
    for (status, answer) in &all {
        assert_eq!(*status, 200, "{answer}");
        assert!(answer[0]["recommendations"].is_array(), "{answer}");
    }
    let kept = agent.documents().get("recommendations", "chat").await.unwrap().unwrap();
    assert!(kept.version <= 2, "made {} times", kept.version);
}
