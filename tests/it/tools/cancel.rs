//! Calls that nobody waits for any more: what they started is ended, and nothing new begins.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perf_agent::base::{Coded, EffectKey, Millis, SystemClock};
use perf_agent::domain::*;
use perf_agent::serving::simulated::World;
use perf_agent::serving::{self, Health, Launcher, LoadDriver, LoadSpec, Purpose, Running, Target};
use perf_agent::tools::{Call, Error, Ledger, Registry};
use perf_agent::tuning::{self, SearchBudget, search_until};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::nodes::support::{Looks, registry, watched};
use crate::serving::simulated::support::spec;
use crate::tuning::fixtures::{chat_slo, int, seats_taken};
use crate::tuning::injected::{load, search_request};

/// Remembers nothing.
pub(super) struct Forgetful;

#[async_trait]
impl Ledger for Forgetful {
    async fn begin(&self, _: &EffectKey, _: &str) -> Result<Option<Value>, Error> {
        Ok(None)
    }

    async fn finish(&self, _: &EffectKey, _: &Value) -> Result<(), Error> {
        Ok(())
    }
}

async fn call(
    registry: &Registry,
    tool: &str,
    args: Value,
    cancel: &CancellationToken,
) -> Result<Value, Error> {
    let call = Call {
        tool,
        args,
        key: EffectKey("call".to_owned()),
        run: "run".to_owned(),
        consents: Vec::new(),
        model: "none".to_owned(),
        ledger: &Forgetful,
        emit: Arc::new(|_| {}),
        cancel: cancel.clone(),
    };
    registry.call(call).await
}

/// A host whose servers start at once, or never, and whose loads never end.
#[derive(Default)]
struct Host {
    running: Mutex<Vec<Running>>,
    never_ready: bool,
    /// A server was ordered, or a load began: whichever is the last that happens here.
    at_work: Notify,
}

#[async_trait]
impl Launcher for Host {
    async fn launch(
        &self,
        key: &EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
    ) -> Result<Running, serving::Error> {
        let id = format!("server of {key}");
        let running = Running {
            backend: Backend { id, url: "http://127.0.0.1:9".to_owned() },
            config: config.clone(),
            purpose,
            key: key.clone(),
            started: Millis(0),
            ready: None,
        };
        self.running.lock().unwrap().push(running.clone());
        if self.never_ready {
            self.at_work.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(running)
    }

    async fn running(&self) -> Result<Vec<Running>, serving::Error> {
        Ok(self.running.lock().unwrap().clone())
    }

    async fn health(&self, _: &str) -> Result<Health, serving::Error> {
        Ok(Health::Healthy)
    }

    async fn assign(&self, _: &str, _: Purpose) -> Result<(), serving::Error> {
        Ok(())
    }

    async fn stop(&self, backend: &str) -> Result<(), serving::Error> {
        self.running.lock().unwrap().retain(|server| server.backend.id != backend);
        Ok(())
    }
}

#[async_trait]
impl LoadDriver for Host {
    async fn drive(&self, _: &Backend, _: &LoadSpec) -> Result<Vec<RequestRecord>, serving::Error> {
        self.at_work.notify_one();
        std::future::pending().await
    }
}

/// A deployment `chat` on `host` that users load, with a stable server of somebody's.
async fn staged(host: &Arc<Host>) -> Arc<Registry> {
    let stable = EffectKey("stable".to_owned());
    host.running.lock().unwrap().push(Running {
        backend: Backend { id: "stable".to_owned(), url: "http://127.0.0.1:8".to_owned() },
        config: ServingConfig::default(),
        purpose: Purpose::Stable,
        key: stable,
        started: Millis(0),
        ready: Some(Millis(0)),
    });
    let looks = Arc::new(Looks::new(|_, _| Ok(seats_taken())));
    let target = Target {
        launcher: Some(host.clone()),
        load: Some(host.clone()),
        ..watched("chat", &looks)
    };
    registry([target], Arc::new(SystemClock))
}

fn trial() -> Value {
    let config = ServingConfig::default().with(Knob::MaxNumSeqs, int(64));
    let proposal = Proposal {
        name: "seats-64".to_owned(),
        deployment: "chat".to_owned(),
        config,
        change: Default::default(),
        rationale: "more seats".to_owned(),
        prediction: None,
    };
    json!({ "proposal": proposal, "objective": chat_slo() })
}

fn servers(host: &Host) -> Vec<String> {
    host.running.lock().unwrap().iter().map(|server| server.backend.id.clone()).collect()
}

#[tokio::test]
async fn a_cancelled_trial_ends_its_server_and_no_other() {
    for never_ready in [false, true] {
        let host = Arc::new(Host { never_ready, ..Host::default() });
        let (registry, cancel) = (staged(&host).await, CancellationToken::new());
        let token = cancel.clone();
        let trying =
            tokio::spawn(async move { call(&registry, "run_trial", trial(), &token).await });
        host.at_work.notified().await;
        assert_eq!(servers(&host).len(), 2);
        cancel.cancel();
        let error = trying.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "tools.cancelled");
        assert_eq!(servers(&host), ["stable"], "never ready: {never_ready}");
    }
}

#[tokio::test]
async fn a_trial_that_is_dropped_where_it_stands_ends_its_server_too() {
    for never_ready in [false, true] {
        let host = Arc::new(Host { never_ready, ..Host::default() });
        let registry = staged(&host).await;
        let token = CancellationToken::new();
        let trying =
            tokio::spawn(async move { call(&registry, "run_trial", trial(), &token).await });
        host.at_work.notified().await;
        trying.abort();
        assert!(trying.await.unwrap_err().is_cancelled());
        assert_eq!(servers(&host), ["stable"], "never ready: {never_ready}");
    }
}

#[tokio::test]
async fn nothing_is_begun_once_the_token_is_set() {
    let looks = Arc::new(Looks::blank());
    let registry = registry([watched("chat", &looks)], Arc::new(SystemClock));
    let cancel = CancellationToken::new();
    let args = json!({ "deployment": "chat" });
    call(&registry, "read_metrics", args.clone(), &cancel).await.unwrap();
    cancel.cancel();
    let error = call(&registry, "read_metrics", args, &cancel).await.unwrap_err();
    assert_eq!((error.code(), looks.begun().len()), ("tools.cancelled", 1));
}

#[test]
fn a_search_stops_within_one_config_of_being_told_so() {
    let budget = SearchBudget { configs_max: 400, final_requests: 1000 };
    let profile = load(8.0, (700.0, 3000.0), (150.0, 500.0));
    let knobs = [(Knob::MaxNumSeqs, int(8))];
    let request = search_request(&knobs, profile, chat_slo(), budget);
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::SeqCst) >= 5;
    let stopped = search_until(&request, &stop).unwrap_err();
    assert!(matches!(stopped, tuning::Error::Stopped), "{stopped}");
    let workers = std::thread::available_parallelism().unwrap().get();
    let asked = asked.into_inner();
    assert!(asked <= 5 + workers + 1, "each worker asks once more, and the round: {asked}");
}

#[tokio::test]
async fn a_simulated_server_that_was_given_up_is_started_anew_under_the_same_key() {
    let world = World::open(spec(1), None).unwrap();
    let target = world.target();
    let (launcher, driver) = (target.launcher.unwrap(), target.load.unwrap());
    let (key, config) = (EffectKey("trial".to_owned()), target.deployment.config);
    let first = launcher.launch(&key, &config, Purpose::Trial).await.unwrap();
    let again = launcher.launch(&key, &config, Purpose::Trial).await.unwrap();
    assert_eq!(first.backend, again.backend, "one server a key");
    launcher.stop(&first.backend.id).await.unwrap();
    let anew = launcher.launch(&key, &config, Purpose::Trial).await.unwrap();
    assert_ne!(first.backend, anew.backend);
    let profile = load(1.0, (100.0, 200.0), (20.0, 40.0));
    let spec = LoadSpec { profile, warmup_s: 0.0, duration_s: 20.0, seed: 1 };
    let seen = driver.drive(&anew.backend, &spec).await.unwrap();
    assert!(!seen.is_empty());
    launcher.stop(&anew.backend.id).await.unwrap();
    let remembered = launcher.launch(&key, &config, Purpose::Trial).await.unwrap();
    assert_eq!(anew.backend, remembered.backend, "its load was over: what it came to is known");
    assert_eq!(driver.drive(&remembered.backend, &spec).await.unwrap(), seen);
}
