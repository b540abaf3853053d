//! Orders to a rollout that come while somebody looks at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use perf_agent::base::EffectKey;
use perf_agent::domain::{RequestRecord, TrafficTable};
use perf_agent::serving::simulated::World;
use perf_agent::serving::{self, TrafficPlane};
use perf_agent::tools::{Call, Consent, Registry};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::cancel::Forgetful;
use crate::nodes::support::registry;
use crate::serving::simulated::support::spec;

/// A data plane: once armed, an order is carried out between the look at the table and what is made of it.
struct Meddled {
    plane: Arc<dyn TrafficPlane>,
    registry: OnceLock<Arc<Registry>>,
    rollout: OnceLock<String>,
    armed: AtomicBool,
}

#[async_trait]
impl TrafficPlane for Meddled {
    async fn apply(&self, table: &TrafficTable) -> Result<(), serving::Error> {
        self.plane.apply(table).await
    }

    async fn observed(&self) -> Result<TrafficTable, serving::Error> {
        let table = self.plane.observed().await;
        if self.armed.swap(false, Ordering::SeqCst) {
            let args = json!({"rollout": self.rollout.get().unwrap()});
            // Boxed: the order looks at the table too.
            Box::pin(call(self.registry.get().unwrap(), "promote_rollout", args)).await;
        }
        table
    }

    async fn in_flight(&self, backend: &str) -> Result<u64, serving::Error> {
        self.plane.in_flight(backend).await
    }

    async fn records(&self, after: u64) -> Result<(Vec<RequestRecord>, u64), serving::Error> {
        self.plane.records(after).await
    }

    async fn renew(&self) -> Result<(), serving::Error> {
        self.plane.renew().await
    }
}

async fn call(registry: &Registry, tool: &str, args: Value) -> Value {
    let call = Call {
        tool,
        args,
        key: EffectKey("call".to_owned()),
        run: "run".to_owned(),
        consents: vec![Consent { by: "ada".to_owned() }],
        model: "none".to_owned(),
        ledger: &Forgetful,
        emit: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    registry.call(call).await.unwrap()
}

#[tokio::test]
async fn a_look_that_an_order_overtakes_does_not_take_the_new_table_for_a_foreign_one() {
    let world = World::open(spec(1), None).unwrap();
    let (clock, mut target) = (world.clock(), world.target());
    let plane = Arc::new(Meddled {
        plane: target.traffic.take().unwrap(),
        registry: OnceLock::new(),
        rollout: OnceLock::new(),
        armed: AtomicBool::new(false),
    });
    target.traffic = Some(plane.clone());
    let (name, mut config) = (target.deployment.name.clone(), json!(target.deployment.config));
    config["max_num_seqs"] = json!(64);
    let registry = registry([target], clock.clone());
    assert!(plane.registry.set(registry.clone()).is_ok());

    let proposal = json!({"name": "seats", "deployment": name, "config": config, "change": {},
        "rationale": "to see", "prediction": null});
    let objective = json!({"deployment": name, "improve": "throughput", "keep": [],
        "targets": [{"metric": "ttft", "statistic": "p95", "max_ms": 300.0}]});
    let args = json!({"proposal": proposal, "objective": objective});
    let trial = call(&registry, "run_trial", args).await;
    let args = json!({"trial": trial, "objective": objective});
    let started = call(&registry, "start_rollout", args).await;
    let id = started["id"].as_str().unwrap().to_owned();
    plane.rollout.set(id.clone()).unwrap();
    let args = json!({"rollout": id});
    let mut status = started;
    while status["state"]["name"] != "observing" {
        clock.sleep_ms(5_000).await;
        status = call(&registry, "rollout_status", args.clone()).await;
        assert_eq!(status["finished"], false, "{status}");
    }
    plane.armed.store(true, Ordering::SeqCst);
    let seen = call(&registry, "rollout_status", args.clone()).await;
    assert!(!plane.armed.load(Ordering::SeqCst));
    assert_eq!(seen["canary_percent"], 100.0, "{seen}");
    assert_ne!(seen["state"]["name"], "needs_human", "{seen}");
}
