//! The process: takes connections, obeys the control socket, leaves without cutting a stream.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::{Clock, SeededRng, SystemClock};

use super::flight::Journal;
use super::forward::Forwarder;
use super::lease::watch_lease;
use super::metrics::Metrics;
use super::recorder::Recorder;
use super::routing::Router;
use super::{Error, ProxyOptions, control};

/// Pause after a connection could not be taken, which mostly means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a proxy on the machine's clock until `shutdown`, and then until its streams have ended. Once it listens,
/// `announce` learns where.
///
/// Errors: see [`Proxy::bind`].
pub async fn run(
    options: ProxyOptions,
    announce: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let proxy = Proxy::bind(options, Arc::new(SystemClock)).await?;
    announce(proxy.listen());
    proxy.serve(shutdown).await;
    Ok(())
}

/// A proxy that holds its addresses and has not begun to answer.
pub struct Proxy {
    listener: TcpListener,
    listen: SocketAddr,
    control: UnixListener,
    forwarder: Arc<Forwarder>,
    clock: Arc<dyn Clock>,
}

impl Proxy {
    /// Takes the addresses and reads the state file.
    ///
    /// Errors: [`Error::Listen`], [`Error::Control`], [`Error::AlreadyRunning`], [`Error::StateFile`].
    pub async fn bind(options: ProxyOptions, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let router = Arc::new(Router::open(options.state_file.clone(), Arc::clone(&clock))?);
        let control = control::bind(&options.control)?;
        let taken = |source| Error::Listen { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let listen = listener.local_addr().map_err(taken)?;
        let recorder = Recorder::new(options.records_kept, clock.now());
        let journal = Arc::new(Journal { recorder, metrics: Arc::new(Metrics::default()) });
        // Two lives of the proxy must not deal the same random sessions.
        let seed = clock.now().0 ^ (u64::from(std::process::id()) << 48);
        let rng = SeededRng::new(seed);
        let clock_too = Arc::clone(&clock);
        let forwarder = Arc::new(Forwarder::new(options, router, journal, clock_too, rng));
        Ok(Self { listener, listen, control, forwarder, clock })
    }

    /// Where users' requests are taken.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Answers until `shutdown`; then takes no new connection and waits for the streams, at most the drain timeout.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, control, forwarder, clock, .. } = self;
        let closing = CancellationToken::new();
        let (router, metrics) =
            (Arc::clone(&forwarder.router), Arc::clone(&forwarder.journal.metrics));
        let lease = tokio::spawn(watch_lease(router, metrics, clock));
        let steering = tokio::spawn(serve_control(control, Arc::clone(&forwarder)));
        let connections = TaskTracker::new();
        tokio::select! {
            () = shutdown => {}
            () = take_connections(&listener, &forwarder, &connections, &closing) => {}
        }
        drop(listener);
        closing.cancel();
        connections.close();
        // Steering goes on: the agent may watch the drain.
        if tokio::time::timeout(forwarder.options.drain_timeout, connections.wait()).await.is_err()
        {
            tracing::error!(left = connections.len(), "streams were cut at the end of the drain");
        }
        lease.abort();
        steering.abort();
        let _ = std::fs::remove_file(&forwarder.options.control);
    }
}

async fn serve_control(listener: UnixListener, forwarder: Arc<Forwarder>) {
    if let Err(error) = axum::serve(listener, control::routes(forwarder)).await {
        tracing::error!(%error, "the control socket ended");
    }
}

async fn take_connections(
    listener: &TcpListener,
    forwarder: &Arc<Forwarder>,
    connections: &TaskTracker,
    closing: &CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let connection =
                    serve_connection(stream, client, Arc::clone(forwarder), closing.clone());
                connections.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    client: SocketAddr,
    forwarder: Arc<Forwarder>,
    closing: CancellationToken,
) {
    // Each token is its own small write: it must not wait for the one before to be acknowledged.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let forwarder = Arc::clone(&forwarder);
        async move { forwarder.handle(request, client).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that left, or a backend that broke off: the flight has recorded which.
        tracing::debug!(%error, "a connection ended early");
    }
}
