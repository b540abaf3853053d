//! The traffic plane behind the proxy's control socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{Error, TrafficPlane};
use crate::domain::{RequestRecord, TrafficTable};

/// Longest wait for an answer. The proxy only reads memory, and syncs one small file.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read [bytes]: a full page of records.
const ANSWER_LIMIT: usize = 64 << 20;

/// The client side of `perf-agent proxy`. Holds no connection: the proxy may be restarted between two calls.
#[derive(Debug, Clone)]
pub struct EmbeddedProxy {
    control: PathBuf,
}

impl EmbeddedProxy {
    /// A plane that is steered over the socket `control`. Nothing is called yet.
    pub fn connect(control: PathBuf) -> Self {
        Self { control }
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let called = tokio::time::timeout(TIMEOUT, self.exchange(method, path, body)).await;
        called.unwrap_or_else(|_| Err(self.unreachable("no answer in 10 s")))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let failed = |error: hyper::Error| self.unreachable(error);
        let stream = UnixStream::connect(&self.control).await.map_err(|e| self.unreachable(e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends by itself when the sender is gone.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "proxy")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|e| self.unreachable(e))?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|e| self.unreachable(e))?.to_bytes();
        Ok(Answer { endpoint: self.endpoint(path), status, body })
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(Method::GET, path, Bytes::new()).await?.read()
    }

    fn endpoint(&self, path: &str) -> String {
        format!("unix:{}:{path}", self.control.display())
    }

    fn unreachable(&self, detail: impl std::fmt::Display) -> Error {
        Error::Unreachable { endpoint: self.endpoint(""), detail: detail.to_string() }
    }
}

struct Answer {
    endpoint: String,
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn done(self) -> Result<(), Error> {
        if self.status.is_success() {
            return Ok(());
        }
        if let (StatusCode::CONFLICT, Ok(Stale { held, offered })) =
            (self.status, serde_json::from_slice(&self.body))
        {
            return Err(Error::StaleGeneration { held, offered });
        }
        Err(self.bad())
    }

    fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        if !self.status.is_success() {
            return Err(self.bad());
        }
        serde_json::from_slice(&self.body).map_err(|error| Error::BadAnswer {
            endpoint: self.endpoint,
            status: self.status.as_u16(),
            detail: error.to_string(),
        })
    }

    fn bad(self) -> Error {
        let start = &self.body[..self.body.len().min(500)];
        let detail = String::from_utf8_lossy(start).into_owned();
        Error::BadAnswer { endpoint: self.endpoint, status: self.status.as_u16(), detail }
    }
}

#[derive(Deserialize)]
struct Stale {
    held: u64,
    offered: u64,
}

#[derive(Deserialize)]
struct InFlight {
    backends: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Records {
    records: Vec<RequestRecord>,
    next: u64,
}

#[async_trait]
impl TrafficPlane for EmbeddedProxy {
    async fn apply(&self, table: &TrafficTable) -> Result<(), Error> {
        let body = serde_json::to_vec(table).map_err(|error| Error::Corrupt {
            what: "the traffic table".to_owned(),
            detail: error.to_string(),
        })?;
        self.call(Method::PUT, "/table", body.into()).await?.done()
    }

    async fn observed(&self) -> Result<TrafficTable, Error> {
        self.read("/table").await
    }

    async fn in_flight(&self, backend: &str) -> Result<u64, Error> {
        let counts: InFlight = self.read("/in_flight").await?;
        let count = counts.backends.get(backend).copied();
        count.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))
    }

    async fn records(&self, after: u64) -> Result<(Vec<RequestRecord>, u64), Error> {
        let page: Records = self.read(&format!("/records?after={after}")).await?;
        Ok((page.records, page.next))
    }

    async fn renew(&self) -> Result<(), Error> {
        self.call(Method::POST, "/renew", Bytes::new()).await?.done()
    }
}
