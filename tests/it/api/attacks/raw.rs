//! Bytes as they are, for what no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::support::Served;

/// Longest wait for a server that neither answers nor closes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends bytes; everything that comes back until the server closes.
pub async fn send(served: &Served, bytes: &[u8]) -> String {
    let address = served.base.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let (mut answer, bytes) = (Vec::new(), bytes.to_vec());
    // A server that refuses stops reading: what it said must still be read.
    let writing = async {
        let _ = to.write_all(&bytes).await;
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(size) = from.read(&mut piece).await {
            if size == 0 {
                break;
            }
            answer.extend_from_slice(&piece[..size]);
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = tokio::time::sleep(PATIENCE) => panic!("the server keeps the connection open"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a head without a body, and asks that the connection be closed.
pub async fn ask(served: &Served, head: &str) -> String {
    send(served, format!("{head}Connection: close\r\n\r\n").as_bytes()).await
}
