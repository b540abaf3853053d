//! Measures what a running server can take, through the data plane: a ladder of rates with an SLO.
//!
//! `URL=http://127.0.0.1:8100 MODEL=smol RATES=0.5,1,1.5 cargo bench --bench capacity`; without URL it does nothing.
#![allow(clippy::unwrap_used, reason = "a tool for developers that stops where it cannot go on")]

use std::str::FromStr;
use std::sync::Arc;

use perf_agent::base::SystemClock;
use perf_agent::domain::{
    Arm, ArmWeight, Backend, Metric, Objective, Statistic, Target, TokenLengths, TrafficTable,
    WorkloadProfile,
};
use perf_agent::loadgen::{Ladder, LoadOptions, Rung, Sessions, capacity};
use perf_agent::proxy::{Proxy, ProxyOptions};
use perf_agent::serving::{EmbeddedProxy, TrafficPlane};

fn main() {
    let Ok(url) = std::env::var("URL") else {
        println!("skipped: set URL to the server to measure");
        return;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(measure(url));
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn measure(url: String) {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control.sock");
    let state = folder.path().join("table.json");
    let options = ProxyOptions::new("127.0.0.1:0".parse().unwrap(), control.clone(), state);
    let proxy = Proxy::bind(options, Arc::new(SystemClock)).await.unwrap();
    let listen = proxy.listen();
    tokio::spawn(proxy.serve(std::future::pending()));
    let backends = vec![Backend { id: "measured".to_owned(), url }];
    let plane = EmbeddedProxy::connect(control);
    let table = TrafficTable {
        generation: 1,
        salt: "capacity".to_owned(),
        stable: ArmWeight { arm: Arm::Stable, backends },
        canary: None,
        canary_percent: 0.0,
        lease_ms: None,
    };
    plane.apply(&table).await.unwrap();
    let rates: String = setting("RATES", "0.5,1,1.5,2".to_owned());
    let ladder = Ladder {
        rates_rps: rates.split(',').map(|rate| rate.parse().unwrap()).collect(),
        objective: objective(),
        error_rate_max: 0.0,
    };
    let load = load(&format!("http://{listen}"));
    let found = capacity(&load, &ladder, Arc::new(SystemClock)).await.unwrap();
    println!(
        "{:>5} {:>5} {:>4} {:>6} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>7} {:>4} {:>4} {:>6} {:>6}",
        "rps",
        "pass",
        "n",
        "within",
        "ttft p50",
        "ttft p95",
        "tpot p95",
        "e2e p50",
        "e2e p95",
        "completed",
        "drain s",
        "fail",
        "cut",
        "in",
        "out"
    );
    found.rungs.iter().for_each(print);
    println!("capacity: {:?} .. {:?} req/s", found.passes_rps, found.fails_rps);
}

fn objective() -> Objective {
    let bound = |metric, max_ms| Target { metric, statistic: Statistic::P95, max_ms };
    Objective {
        deployment: "measured".to_owned(),
        targets: vec![bound(Metric::Ttft, 1_000.0), bound(Metric::Tpot, 100.0)],
        keep: Vec::new(),
        improve: None,
    }
}

fn load(url: &str) -> LoadOptions {
    let lengths = |p50: f64, spread: f64| TokenLengths { mean: p50, p50, p95: p50 * spread };
    let (shared, own) = (setting("SHARED", 256.0), setting("IN", 100.0));
    let profile = WorkloadProfile {
        request_rate_rps: 1.0,
        arrival_cv: 1.0,
        input_tokens: lengths(shared + own, 1.15),
        output_tokens: lengths(setting("OUT", 64.0), 1.5),
        shared_prefix_ratio: shared / (shared + own),
    };
    let mut load =
        LoadOptions::new(url, &setting("MODEL", "smol".to_owned()), profile, setting("SEED", 1));
    load.warmup_s = setting("WARMUP", 10.0);
    load.duration_s = setting("DURATION", 60.0);
    load.sessions = Sessions { turns: setting("TURNS", 1), think_s: 10.0 };
    load
}

fn print(rung: &Rung) {
    let (report, stats) = (&rung.report, &rung.report.stats);
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    println!(
        "{:>5.2} {:>5} {:>4} {:>6.2} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9.2} {:>7.1} {:>4} {:>4} {:>6.0} {:>6.0}",
        rung.rate_rps,
        rung.passed,
        stats.requests,
        report.within_objective.unwrap_or(f64::NAN),
        ms(stats.ttft_p50_ms),
        ms(stats.ttft_p95_ms),
        ms(stats.tpot_p95_ms),
        ms(stats.e2e_p50_ms),
        ms(stats.e2e_p95_ms),
        report.completed_rps,
        report.drain_s,
        stats.requests_failed,
        stats.streams_cut,
        mean(report.records.iter().filter_map(|r| r.input_tokens.map(f64::from)).collect()),
        mean(report.records.iter().map(|r| f64::from(r.output_tokens)).collect()),
    );
}
