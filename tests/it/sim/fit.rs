//! Fits the step-time model's constants to measured rows; prints, changes nothing.

use perf_agent::sim::Coefficients;

use super::measured::{Row, mean, rows};

type Field = fn(&mut Coefficients) -> &mut f64;

const FIELDS: [(&str, Field); 8] = [
    ("mfu", |k| &mut k.mfu),
    ("mbu_weights", |k| &mut k.mbu_weights),
    ("mbu_kv", |k| &mut k.mbu_kv),
    ("allreduce_latency_s", |k| &mut k.allreduce_latency_s),
    ("allreduce_efficiency", |k| &mut k.allreduce_efficiency),
    ("per_layer_s", |k| &mut k.per_layer_s),
    ("per_step_s", |k| &mut k.per_step_s),
    ("per_request_s", |k| &mut k.per_request_s),
];

fn errors(rows: &[Row], k: &Coefficients) -> Vec<f64> {
    let error = |row: &Row| {
        let spec = row.spec("Llama-3.1-70B", k);
        (row.simulated_tpot_ms(&spec) / row.tpot_ms).ln()
    };
    rows.iter().map(error).collect()
}

#[test]
#[ignore = "minutes"]
fn fit() {
    let Some(mut rows) = rows("meta-llama/Llama-3.1-70B") else { return };
    rows.retain(|row| !(row.tensor_parallel == 1 && row.concurrency >= 32));
    let prior = Coefficients::default();
    let loss = |k: &Coefficients| {
        let mut ridge = 0.0;
        let (mut a, mut b) = (k.clone(), prior.clone());
        for (_, field) in FIELDS {
            ridge += (*field(&mut a) / *field(&mut b)).ln().powi(2);
        }
        mean(errors(&rows, k).into_iter().map(f64::abs)) + 0.002 * ridge
    };
    let mut best = prior.clone();
    let mut at = loss(&best);
    println!("start {at:.4}");
    let mut stride = 0.25_f64;
    while stride > 0.01 {
        let before = at;
        for (_, field) in FIELDS {
            for factor in [stride.exp(), (-stride).exp()] {
                let mut tried = best.clone();
                *field(&mut tried) *= factor;
                let found = loss(&tried);
                if found < at {
                    (best, at) = (tried, found);
                }
            }
        }
        println!("{stride:.3} {at:.4} {best:?}");
        if before - at < 1e-4 {
            stride /= 2.0;
        }
    }
}
