//! Connections: taken, made safe, bounded, and ended without cutting an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::security::Peer;

/// Headers of one request at most, and their bytes with the request line.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 32 << 10;
/// What is read ahead of one connection [bytes].
const READ_AHEAD_BYTES: usize = 64 << 10;
/// Longest wait for a whole head of a request, or for the next request; for a handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until `closing`, `connections_max` at once; returns when every answer that was begun is out.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections_max: usize,
    closing: CancellationToken,
) {
    let connections = TaskTracker::new();
    let seats = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    loop {
        let taken = async {
            // Whoever comes when all are taken waits in the system's queue, without a socket of ours.
            let seat = seats.clone().acquire_owned().await;
            (seat, listener.accept().await)
        };
        let (seat, accepted) = tokio::select! {
            taken = taken => taken,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, router, closing) = (tls.clone(), router.clone(), closing.clone());
                connections.spawn(async move {
                    connection(stream, peer, tls, router, closing).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::error!("a connection could not be taken: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    closing: CancellationToken,
) {
    // Events of a stream are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return answer(stream, peer, router, closing).await };
    // Boxed: connections without TLS need not have room for its state.
    match Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream))).await {
        Ok(Ok(stream)) => Box::pin(answer(stream, peer, router, closing)).await,
        Ok(Err(error)) => tracing::debug!(%peer, "no handshake: {error}"),
        Err(_) => tracing::debug!(%peer, "no handshake in time"),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: Router,
    closing: CancellationToken,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(READ_AHEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "a connection ended: {error}");
    }
}
