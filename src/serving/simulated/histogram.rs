//! Prometheus histograms with vLLM's bucket edges.

/// TTFT [s]. Source of all edges: vLLM 0.32, `vllm/v1/metrics/loggers.py`.
const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Gaps between tokens, and time per output token [s].
const TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Whole requests and their phases [s].
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
/// Tokens of one engine step.
const STEP: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
/// The `n` parameter.
const N: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// Evictions of one request.
const PREEMPTIONS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];
/// Mantissas of the edges of lengths.
const MANTISSAS: [u64; 3] = [1, 2, 5];

/// What a histogram counts, which decides its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Ttft,
    Token,
    Request,
    Step,
    N,
    Preemptions,
    /// 1, 2, 5, 10 … up to the longest request [tokens].
    Length(u32),
}

impl Scale {
    fn edges(self) -> Vec<f64> {
        match self {
            Self::Ttft => TTFT.to_vec(),
            Self::Token => TOKEN.to_vec(),
            Self::Request => REQUEST.to_vec(),
            Self::Step => STEP.to_vec(),
            Self::N => N.to_vec(),
            Self::Preemptions => PREEMPTIONS.to_vec(),
            Self::Length(max) => {
                let decades = (0..).map(|exponent| 10_u64.pow(exponent));
                let edges = decades.flat_map(|decade| MANTISSAS.map(|m| m * decade));
                edges.take_while(|edge| *edge <= u64::from(max)).map(|edge| edge as f64).collect()
            }
        }
    }
}

/// A cumulative histogram.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    edges: Vec<f64>,
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    pub(super) fn new(scale: Scale) -> Self {
        let edges = scale.edges();
        Self { counts: vec![0; edges.len()], edges, sum: 0.0, count: 0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        let at = self.edges.partition_point(|edge| *edge < value);
        if let Some(bucket) = self.counts.get_mut(at) {
            *bucket += 1;
        }
    }

    /// (upper edge, observations at or under it), the last edge infinite.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut below = 0;
        let finite = self.edges.iter().zip(&self.counts).map(move |(edge, count)| {
            below += count;
            (*edge, below)
        });
        finite.chain([(f64::INFINITY, self.count)])
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }
}
