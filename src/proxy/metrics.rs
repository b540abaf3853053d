//! The proxy's own figures, for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Arm, Finish, RequestRecord};

use super::routing::Router;

const ARMS: [(Arm, &str); 2] = [(Arm::Stable, "stable"), (Arm::Canary, "canary")];
const FINISHES: [(Finish, &str); 4] = [
    (Finish::Complete, "complete"),
    (Finish::Failed, "failed"),
    (Finish::Cut, "cut"),
    (Finish::ClientGone, "client_gone"),
];
/// Upper edges [s]; those of vLLM's TTFT where users feel a difference.
const TTFT_EDGES_S: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];
/// Upper edges [s]; those of vLLM's time per output token.
const TPOT_EDGES_S: [f64; 9] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1.0];

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    arms: [ArmMetrics; 2],
    connect_retries: AtomicU64,
    unrouted: AtomicU64,
    lease_reverts: AtomicU64,
}

#[derive(Debug, Default)]
struct ArmMetrics {
    finishes: [AtomicU64; 4],
    output_tokens: AtomicU64,
    ttft: Histogram,
    tpot: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; 9],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, edges_s: &[f64; 9], ms: Option<f64>) {
        let Some(ms) = ms else { return };
        if let Some(index) = edges_s.iter().position(|edge| ms <= edge * 1e3) {
            add(&self.buckets[index], 1);
        }
        add(&self.count, 1);
        add(&self.sum_us, (ms * 1e3) as u64);
    }

    fn write(&self, page: &mut String, name: &str, arm: &str, edges_s: &[f64; 9]) {
        let mut total = 0;
        for (edge, bucket) in edges_s.iter().zip(&self.buckets) {
            total += read(bucket);
            let _ = writeln!(page, "{name}_bucket{{arm=\"{arm}\",le=\"{edge}\"}} {total}");
        }
        let (count, sum_s) = (read(&self.count), read(&self.sum_us) as f64 / 1e6);
        let _ = writeln!(page, "{name}_bucket{{arm=\"{arm}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "{name}_sum{{arm=\"{arm}\"}} {sum_s}");
        let _ = writeln!(page, "{name}_count{{arm=\"{arm}\"}} {count}");
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// A request ended.
    pub fn finished(&self, record: &RequestRecord) {
        let arm = &self.arms[usize::from(record.arm == Arm::Canary)];
        let index = FINISHES.iter().position(|(finish, _)| *finish == record.finish);
        add(&arm.finishes[index.unwrap_or(0)], 1);
        add(&arm.output_tokens, u64::from(record.output_tokens));
        arm.ttft.observe(&TTFT_EDGES_S, record.ttft_ms);
        arm.tpot.observe(&TPOT_EDGES_S, record.tpot_ms);
    }

    /// A backend took no connection and another one was tried.
    pub fn retried(&self) {
        add(&self.connect_retries, 1);
    }

    /// A request came before any table.
    pub fn unrouted(&self) {
        add(&self.unrouted, 1);
    }

    /// The lease ended and all sessions went back to stable.
    pub fn lease_reverted(&self) {
        add(&self.lease_reverts, 1);
    }

    /// Leases that ended.
    pub fn lease_reverts(&self) -> u64 {
        read(&self.lease_reverts)
    }

    /// The page.
    pub fn page(&self, router: &Router) -> String {
        let mut page = String::with_capacity(4096);
        self.write_requests(&mut page);
        self.write_latencies(&mut page);
        for (name, counter) in [
            ("connect_retries", &self.connect_retries),
            ("unrouted_requests", &self.unrouted),
            ("lease_reverts", &self.lease_reverts),
        ] {
            let _ = writeln!(page, "# TYPE perf_agent_proxy_{name} counter");
            let _ = writeln!(page, "perf_agent_proxy_{name}_total {}", read(counter));
        }
        let _ = writeln!(page, "# TYPE perf_agent_proxy_in_flight gauge");
        for (id, count) in router.backends().in_flight() {
            let id = id.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(page, "perf_agent_proxy_in_flight{{backend=\"{id}\"}} {count}");
        }
        if let Some(routing) = router.current() {
            let (generation, weight) = (routing.table.generation, routing.canary_weight());
            let _ = writeln!(page, "# TYPE perf_agent_proxy_generation gauge");
            let _ = writeln!(page, "perf_agent_proxy_generation {generation}");
            let _ = writeln!(page, "# TYPE perf_agent_proxy_canary_weight_ratio gauge");
            let _ = writeln!(page, "perf_agent_proxy_canary_weight_ratio {weight}");
        }
        page
    }

    fn write_requests(&self, page: &mut String) {
        let _ = writeln!(page, "# TYPE perf_agent_proxy_requests counter");
        for ((_, arm), counts) in ARMS.iter().zip(&self.arms) {
            for ((_, finish), count) in FINISHES.iter().zip(&counts.finishes) {
                let labels = format!("arm=\"{arm}\",finish=\"{finish}\"");
                let _ =
                    writeln!(page, "perf_agent_proxy_requests_total{{{labels}}} {}", read(count));
            }
        }
        let _ = writeln!(page, "# TYPE perf_agent_proxy_output_tokens counter");
        for ((_, arm), counts) in ARMS.iter().zip(&self.arms) {
            let tokens = read(&counts.output_tokens);
            let _ =
                writeln!(page, "perf_agent_proxy_output_tokens_total{{arm=\"{arm}\"}} {tokens}");
        }
    }

    fn write_latencies(&self, page: &mut String) {
        let (ttft, tpot) = ("perf_agent_proxy_ttft_seconds", "perf_agent_proxy_tpot_seconds");
        let _ = writeln!(page, "# TYPE {ttft} histogram");
        for ((_, arm), figures) in ARMS.iter().zip(&self.arms) {
            figures.ttft.write(page, ttft, arm, &TTFT_EDGES_S);
        }
        let _ = writeln!(page, "# TYPE {tpot} histogram");
        for ((_, arm), figures) in ARMS.iter().zip(&self.arms) {
            figures.tpot.write(page, tpot, arm, &TPOT_EDGES_S);
        }
    }
}
