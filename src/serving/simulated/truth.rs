//! The world's own coefficients: near those the search uses, never the same.

use rand_distr::{Distribution, StandardNormal};

use crate::base::SeededRng;
use crate::sim::Coefficients;

/// `fitted` with each coefficient moved by its own log-normal factor of spread `sigma`; shares stay under 1.
pub(super) fn truth(fitted: &Coefficients, sigma: f64, seed: u64) -> Coefficients {
    let mut rng = SeededRng::stream(seed, "truth");
    let mut moved = |value: f64| {
        let z: f64 = StandardNormal.sample(rng.inner());
        value * (sigma * z).exp()
    };
    Coefficients {
        mfu: moved(fitted.mfu).min(0.95),
        mbu_weights: moved(fitted.mbu_weights).min(0.98),
        mfu_attention: moved(fitted.mfu_attention).min(0.95),
        mbu_kv: moved(fitted.mbu_kv).min(0.98),
        allreduce_latency_s: moved(fitted.allreduce_latency_s),
        allreduce_efficiency: moved(fitted.allreduce_efficiency).min(0.98),
        per_layer_s: moved(fitted.per_layer_s),
        per_step_s: moved(fitted.per_step_s),
        per_request_s: moved(fitted.per_request_s),
        ttft_overhead_s: moved(fitted.ttft_overhead_s),
        eager_factor: moved(fitted.eager_factor),
        slowdown: fitted.slowdown,
    }
}
