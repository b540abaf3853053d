//! How long prompts and answers are: drawn from recorded traces, or log-normal.

use std::sync::LazyLock;

use rand_distr::{Distribution, StandardNormal};

use crate::base::{Rng, SeededRng};
use crate::domain::TokenLengths;

/// z of the 95th percentile of a normal distribution.
const Z_P95: f64 = 1.645;

/// Where lengths come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lengths {
    /// Pairs of (prompt, answer) as they were recorded together [tokens].
    Recorded(&'static [(u32, u32)]),
    /// Independent log-normals.
    Fitted { input: LogNormal, output: LogNormal },
}

static AZURE_CONVERSATION: LazyLock<Vec<(u32, u32)>> =
    LazyLock::new(|| parse(include_str!("../../data/traces/azure2023_conv_sample.csv")));
static AZURE_CODE: LazyLock<Vec<(u32, u32)>> =
    LazyLock::new(|| parse(include_str!("../../data/traces/azure2023_code_sample.csv")));
static MOONCAKE: LazyLock<Vec<(u32, u32)>> =
    LazyLock::new(|| parse(include_str!("../../data/traces/mooncake_conversation_sample.csv")));

fn parse(csv: &str) -> Vec<(u32, u32)> {
    let row = |line: &str| {
        let (input, output) = line.split_once(',')?;
        Some((input.trim().parse().ok()?, output.trim().parse().ok()?))
    };
    csv.lines().skip(1).filter_map(row).collect()
}

impl Lengths {
    /// Azure's 2023 conversation trace.
    pub(super) fn azure_conversation() -> Self {
        Self::Recorded(&AZURE_CONVERSATION)
    }

    /// Azure's 2023 code trace.
    pub(super) fn azure_code() -> Self {
        Self::Recorded(&AZURE_CODE)
    }

    /// Mooncake's conversation trace.
    pub(super) fn mooncake() -> Self {
        Self::Recorded(&MOONCAKE)
    }

    /// One request's prompt and answer, each at least 1 token.
    pub(super) fn draw(&self, rng: &mut SeededRng) -> (u32, u32) {
        let (input, output) = match self {
            Self::Recorded(rows) if !rows.is_empty() => {
                rows[(rng.unit() * rows.len() as f64) as usize % rows.len()]
            }
            Self::Recorded(_) => (1, 1),
            Self::Fitted { input, output } => (input.draw(rng), output.draw(rng)),
        };
        (input.max(1), output.max(1))
    }
}

/// A log-normal over token counts, cut far out: one monstrous draw would decide a whole trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogNormal {
    mu: f64,
    sigma: f64,
    max: f64,
}

impl LogNormal {
    /// With this mean [tokens] and this spread of the logarithm.
    pub(super) fn new(mean: f64, sigma: f64) -> Self {
        let mean = mean.max(1.0);
        Self { mu: mean.ln() - sigma * sigma / 2.0, sigma, max: (16.0 * mean).ceil() }
    }

    /// With the observed mean, and the spread between what the tail (`p95 = median · exp(1.645 σ)`) and the mean
    /// (`mean = median · exp(σ²/2)`) say. Cut at four times the observed 95th percentile.
    pub(super) fn fit(lengths: &TokenLengths) -> Self {
        let (mean, p50, p95) = (lengths.mean.max(1.0), lengths.p50.max(1.0), lengths.p95.max(1.0));
        let by_tail = (p95 / p50).max(1.0).ln() / Z_P95;
        let by_mean = (2.0 * (mean / p50).max(1.0).ln()).sqrt();
        let sigma = (0.5 * (by_tail + by_mean)).clamp(0.01, 2.0);
        Self { max: (4.0 * p95.max(mean)).ceil(), ..Self::new(mean, sigma) }
    }

    fn draw(&self, rng: &mut SeededRng) -> u32 {
        let z: f64 = StandardNormal.sample(rng.inner());
        (self.mu + self.sigma * z).exp().round().clamp(1.0, self.max) as u32
    }
}
