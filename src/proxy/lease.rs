//! What happens when the agent falls silent in mid-rollout: everyone returns to stable.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use tokio::sync::watch;

use crate::base::{Clock, Millis};

use super::backends::BackendState;
use super::metrics::Metrics;
use super::routing::Router;
use super::upstream;

/// Pause between two looks at a stable arm that is down [ms].
const RETRY_MS: u64 = 1_000;

/// Longest wait for a stable backend to say that it is healthy.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches the lease for ever. Reverts when it ends and a stable backend is healthy; while none is, the canary
/// keeps its users, for it may be the only one alive.
pub async fn watch_lease(router: Arc<Router>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) {
    let mut lease = router.lease();
    loop {
        let until = *lease.borrow_and_update();
        match until {
            None => {
                if lease.changed().await.is_err() {
                    return;
                }
            }
            Some(until) => {
                let renewed = wait(&mut lease, &*clock, until).await;
                if renewed {
                    continue;
                }
                if !stable_is_healthy(&router).await {
                    tracing::warn!(
                        "the lease ended but no stable backend is healthy: weights stay"
                    );
                    wait(&mut lease, &*clock, clock.now().plus(RETRY_MS)).await;
                } else if router.revert_if_expired() {
                    metrics.lease_reverted();
                    tracing::warn!("the lease ended: all sessions return to stable");
                }
            }
        }
    }
}

/// Waits for `until`; true when the lease changed first.
async fn wait(
    lease: &mut watch::Receiver<Option<Millis>>,
    clock: &dyn Clock,
    until: Millis,
) -> bool {
    tokio::select! {
        biased;
        changed = lease.changed() => changed.is_ok(),
        () = clock.sleep_until(until) => false,
    }
}

async fn stable_is_healthy(router: &Router) -> bool {
    let Some(routing) = router.current() else { return false };
    for backend in routing.stable() {
        if is_healthy(backend).await {
            return true;
        }
    }
    false
}

/// `GET /health` is answered, and not with a server's error. All three engines have it; a server without it
/// says 404 and so shows that it is alive.
async fn is_healthy(backend: &BackendState) -> bool {
    let client = upstream::client::<Empty<bytes::Bytes>>(HEALTH_TIMEOUT, Duration::ZERO);
    let uri = upstream::uri(&backend.authority, "/health");
    let Ok(request) = http::Request::get(uri).body(Empty::new()) else { return false };
    let answer = tokio::time::timeout(HEALTH_TIMEOUT, client.request(request)).await;
    matches!(answer, Ok(Ok(answer)) if !answer.status().is_server_error())
}
