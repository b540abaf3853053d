//! Keeps the agent registered, and says truthfully how it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::OrchestratorOptions;
use super::course::{Answer, Course, Next};
use super::link::Link;
use crate::api::state::App;
use crate::base::{Rng, SeededRng};

/// Longest look at oneself before a heartbeat: what takes longer is not well.
const PULSE: Duration = Duration::from_secs(5);
/// Of it, at each deployment.
const LOOK: Duration = Duration::from_secs(4);

/// The task that keeps the agent registered.
pub(in crate::api) struct Keeper {
    link: Arc<Link>,
    app: App,
    stop: CancellationToken,
    /// Ends with the id that is registered then.
    work: JoinHandle<Option<String>>,
}

impl Keeper {
    /// Begins to register. `None`: the URL cannot be called; health shows why.
    pub(in crate::api) fn start(app: App, options: &OrchestratorOptions) -> Option<Self> {
        let model = app.agent().model_line().to_owned();
        let link = match Link::new(options, app.listen, &model) {
            Ok(link) => Arc::new(link),
            Err(reason) => {
                tracing::error!("the orchestrator is never called: {reason}");
                app.standing.refused(reason);
                return None;
            }
        };
        app.standing.connecting(None);
        let stop = CancellationToken::new();
        let kept = keep(app.clone(), link.clone(), options.clone(), stop.clone());
        Some(Self { link, app, stop, work: tokio::spawn(kept) })
    }

    /// Ends the heartbeats and takes leave.
    pub(in crate::api) async fn leave(self) {
        self.stop.cancel();
        let Ok(Some(id)) = self.work.await else { return };
        match self.link.leave(&id).await {
            Ok(()) => self.app.standing.left(),
            Err(reason) => {
                tracing::warn!("the orchestrator did not hear that this agent left: {reason}")
            }
        }
    }
}

async fn keep(
    app: App,
    link: Arc<Link>,
    options: OrchestratorOptions,
    stop: CancellationToken,
) -> Option<String> {
    let mut rng = SeededRng::stream(options.seed, "orchestrator");
    let mut course = Course::new();
    loop {
        if stop.is_cancelled() {
            return course.id;
        }
        let began = Instant::now();
        let answer = {
            let mut call = std::pin::pin!(call(&app, &link, &course));
            tokio::select! {
                answer = &mut call => answer,
                () = stop.cancelled() => match &course.id {
                    Some(id) => return Some(id.clone()),
                    // It may be on its way into the register: only its answer says who has to be taken out.
                    None => call.await,
                },
            }
        };
        let latency_ms = began.elapsed().as_secs_f64() * 1000.0;
        let failure = match &answer {
            Answer::Failed(reason) => Some(reason.clone()),
            Answer::Unknown => Some("it forgot this agent".to_owned()),
            _ => None,
        };
        let next = course.take(answer, rng.unit());
        match (&next, failure, &course.id) {
            (Next::Stop(reason), ..) => {
                tracing::error!("the orchestrator will not have this agent: {reason}");
                app.standing.refused(reason.clone());
                return None;
            }
            (Next::After(ms), Some(reason), _) => {
                tracing::warn!(again_in_ms = ms, "the orchestrator: {reason}");
                app.standing.connecting(Some(reason));
            }
            (_, None, Some(id)) => app.standing.registered(id, latency_ms),
            (_, None, None) => {}
        }
        let Next::After(ms) = next else { return None };
        tokio::select! {
            () = options.clock.sleep_ms(ms) => {}
            () = stop.cancelled() => return course.id,
        }
    }
}

async fn call(app: &App, link: &Link, course: &Course) -> Answer {
    match &course.id {
        None => link.register().await,
        Some(id) => {
            let (status, metadata) = pulse(app).await;
            link.beat(id, status, metadata).await
        }
    }
}

/// How the agent is. Without its store it can take no work; without a deployment only some.
async fn pulse(app: &App) -> (&'static str, Value) {
    let at_work = app.drivers.at_work();
    let Ok(checks) = tokio::time::timeout(PULSE, app.agent().pulse(LOOK)).await else {
        return ("degraded", json!({"threads_at_work": at_work, "failing": null}));
    };
    let failing: Vec<&str> = checks
        .iter()
        .filter(|check| check.ok == Some(false))
        .map(|check| check.name.as_str())
        .collect();
    let status = match failing.as_slice() {
        [] => "healthy",
        names if names.contains(&"store") => "unhealthy",
        _ => "degraded",
    };
    (status, json!({"threads_at_work": at_work, "failing": failing}))
}
