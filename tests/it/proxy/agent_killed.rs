//! The agent is a client of the proxy like any other: its death cuts nothing.

use std::path::Path;
use std::process::{Child, Command};

use perf_agent::domain::Finish;
use perf_agent::serving::{EmbeddedProxy, TrafficPlane as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fake_server::{FakeServer, Script};
use super::harness::{Harness, User, table, text};

/// Tells the test below that it is to play the agent, and over which socket.
const SOCKET: &str = "PERF_AGENT_TEST_CONTROL_SOCKET";

/// Not a test of its own: run in a second process, it steers the proxy until it is killed.
#[tokio::test]
async fn plays_the_agent_when_asked_to() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let plane = EmbeddedProxy::connect(socket.into());
    loop {
        let _ = plane.renew().await;
        let mut table = plane.observed().await.unwrap();
        table.generation += 1;
        let _ = plane.apply(&table).await;
    }
}

fn start_agent(control: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["proxy::agent_killed::plays_the_agent_when_asked_to", "--exact"])
        .env(SOCKET, control)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_agent_in_mid_call_cuts_no_stream() {
    let proxy = Harness::start().await;
    let (stable, canary) =
        (FakeServer::start(Script::Gated(3)).await, FakeServer::start(Script::Gated(3)).await);
    proxy.plane.apply(&table(1, &[&stable], &[&canary], 50.0)).await.unwrap();
    let user = User::new();
    let mut streams = Vec::new();
    for session in 0..30 {
        let answer = user.ask(&proxy.url, &format!("s{session}")).await;
        streams.push(tokio::spawn(text(answer)));
    }
    let mut agent = start_agent(&proxy.control);
    while proxy.plane.observed().await.unwrap().generation < 5 {
        tokio::task::yield_now().await;
    }
    // SIGKILL, while it is calling.
    agent.kill().unwrap();
    agent.wait().unwrap();
    for server in [&stable, &canary] {
        server.gate.send_modify(|open| *open += 10);
    }
    for stream in streams {
        assert!(stream.await.unwrap().unwrap().ends_with("data: [DONE]\n\n"));
    }
    let records = proxy.wait_for_records(30).await;
    assert!(records.iter().all(|record| record.finish == Finish::Complete));
    assert_eq!(proxy.plane.observed().await.unwrap().canary_percent, 50.0);
}

/// The body of an answer over the control socket, by hand.
pub async fn get_over_socket(control: &Path, path: &str) -> String {
    let mut stream = tokio::net::UnixStream::connect(control).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
