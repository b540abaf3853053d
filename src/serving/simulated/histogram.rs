//! Prometheus histograms with vLLM's bucket edges.

use std::fmt::Write;

/// vLLM 0.32's edges for TTFT [s].
pub(super) const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// For gaps between tokens and time per output token [s].
pub(super) const TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// For whole requests and their phases [s].
pub(super) const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
/// For tokens of a step.
pub(super) const STEP_TOKENS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
/// For prompt and answer lengths [tokens].
pub(super) const LENGTH: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// A cumulative histogram.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    edges: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    pub(super) fn new(edges: &'static [f64]) -> Self {
        Self { edges, counts: vec![0; edges.len()], sum: 0.0, count: 0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        let at = self.edges.partition_point(|edge| *edge < value);
        if let Some(bucket) = self.counts.get_mut(at) {
            *bucket += 1;
        }
    }

    /// Exposition lines of `vllm:{name}`.
    pub(super) fn write(&self, page: &mut String, name: &str, help: &str, labels: &str) {
        let mut below = 0;
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} histogram");
        for (edge, count) in self.edges.iter().zip(&self.counts) {
            below += count;
            let _ = writeln!(page, "vllm:{name}_bucket{{{labels},le=\"{edge:?}\"}} {below}.0");
        }
        let _ = writeln!(page, "vllm:{name}_bucket{{{labels},le=\"+Inf\"}} {}.0", self.count);
        let _ = writeln!(page, "vllm:{name}_count{{{labels}}} {}.0", self.count);
        let _ = writeln!(page, "vllm:{name}_sum{{{labels}}} {:?}", self.sum);
    }
}
