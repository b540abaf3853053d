//! The server from its first to its last connection.

use std::future::{Future, IntoFuture as _};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use super::drive::{Pace, drive};
use super::engine::Engine;
use super::routes::{Front, routes};
use crate::base::{Clock as _, SystemClock};
use crate::serving::Error;
use crate::serving::simulated::page::Identity;
use crate::serving::simulated::spec::{WorldSpec, in_range};
use crate::serving::simulated::start_up;
use crate::sim::Replica;

/// Longest wait for connections to close at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// Serves one engine of `spec` with its start config until `shutdown`; streams under way are then cut, as a server that
/// is killed cuts them. `speed` simulated seconds pass in each second.
///
/// The page counts in simulated seconds. Simulated time ends after 213 days.
///
/// Errors: [`Error::InvalidWorld`] for a spec or a speed that makes no sense, [`Error::StartFailed`] when the config
/// cannot run, [`Error::Io`] when the listener breaks.
pub async fn serve(
    spec: WorldSpec,
    listener: TcpListener,
    speed: f64,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    spec.check()?;
    in_range("speed", speed, (0.001, 1000.0), "0.001 to 1000")?;
    let replica = Replica::new(spec.replica(&spec.config)?).map_err(|r| start_up::refused(&r))?;
    let started_ms = SystemClock.now().0;
    let started_s = started_ms as f64 / 1000.0;
    let identity = Identity::new(&spec.model, &replica, started_s, started_s);
    let max_model_len = replica.spec().config.max_model_len;
    let (commands, received) = unbounded_channel();
    let closing = CancellationToken::new();
    let engine = Engine::new(replica, identity);
    let driver = tokio::spawn(drive(engine, Pace::new(speed), received, closing.clone()));
    let front = Front {
        commands,
        seed: spec.seed(),
        model: spec.model,
        max_model_len,
        started_ms,
        requests: AtomicU64::new(0),
    };
    // Each token is its own small write: it must not wait for the one before to be acknowledged.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serving = axum::serve(listener, routes(front))
        .with_graceful_shutdown(closing.clone().cancelled_owned())
        .into_future();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = shutdown => {
            closing.cancel();
            // A client that does not read would keep its connection for ever.
            tokio::time::timeout(CLOSING, serving).await.unwrap_or(Ok(()))
        }
    };
    closing.cancel();
    let _ = driver.await;
    ended.map_err(|source| Error::Io { what: "serving the simulated engine".to_owned(), source })
}
