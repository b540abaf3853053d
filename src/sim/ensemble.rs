//! Many versions of the step-time model's constants, as unsure as we are about each: what they disagree on, we do not
//! know. A prediction is the middle of what they say, its interval what most of them say.

use rand_distr::{Distribution, StandardNormal};

use super::Coefficients;
use crate::base::SeededRng;

/// Standard deviation of the logarithm of constants that the measured rows pin down.
const KNOWN: f64 = 0.055;
/// The same for constants that hide behind each other: link latency, link efficiency, launches, the host.
const HIDDEN: f64 = 0.2;
/// The same for what no constant explains: equal measurements of equal settings scatter by about a tenth.
const SCATTER: f64 = 0.06;

impl Coefficients {
    /// `count` versions of these constants, each moved by its own log-normal factor; the same for the same seed.
    ///
    /// Spreads are set so that 80 % intervals hold 75 to 90 % of the measured rows (`docs/simulator.md`).
    pub fn ensemble(&self, count: usize, seed: u64) -> Vec<Self> {
        let mut rng = SeededRng::stream(seed, "ensemble");
        (0..count).map(|_| self.moved(&mut rng)).collect()
    }

    fn moved(&self, rng: &mut SeededRng) -> Self {
        let mut moved = |value: f64, spread: f64| {
            let z: f64 = StandardNormal.sample(rng.inner());
            value * (spread * z).exp()
        };
        Self {
            mfu: moved(self.mfu, KNOWN),
            mbu_weights: moved(self.mbu_weights, KNOWN),
            mfu_attention: moved(self.mfu_attention, HIDDEN),
            mbu_kv: moved(self.mbu_kv, KNOWN),
            allreduce_latency_s: moved(self.allreduce_latency_s, HIDDEN),
            allreduce_efficiency: moved(self.allreduce_efficiency, HIDDEN),
            per_layer_s: moved(self.per_layer_s, HIDDEN),
            per_step_s: moved(self.per_step_s, HIDDEN),
            per_request_s: moved(self.per_request_s, HIDDEN),
            ttft_overhead_s: moved(self.ttft_overhead_s, HIDDEN),
            eager_factor: moved(self.eager_factor, HIDDEN),
            slowdown: moved(self.slowdown, SCATTER),
        }
    }
}
