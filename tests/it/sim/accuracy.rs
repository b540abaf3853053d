//! How far the simulator is from real vLLM. `--nocapture` prints the tables of `docs/simulator.md`.

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{Coefficients, Completion, ReplicaSpec, Request};

use super::measured::{Row, closed_loop, mean, open_loop, open_loop_spec, quantile, rows};
use super::support::{Journal, request, serve, spec_of};

const FITTED_MODEL: &str = "meta-llama/Llama-3.1-70B";

fn relative(simulated: f64, real: f64) -> f64 {
    (simulated / real - 1.0).abs()
}

#[test]
fn tpot_of_closed_loops_is_within_the_bar() {
    let Some(rows) = rows(FITTED_MODEL) else { return };
    let mut errors = Vec::new();
    println!("| device | TP | in/out | clients | TPOT ms | simulated | error |");
    for row in &rows {
        let simulated = row.simulated_tpot_ms(&row.spec(FITTED_MODEL, &Coefficients::default()));
        errors.push(relative(simulated, row.tpot_ms));
        println!(
            "| {} | {} | {}/{} | {} | {:.2} | {simulated:.2} | {:+.1} % |",
            row.gpu,
            row.tensor_parallel,
            row.input,
            row.output,
            row.concurrency,
            row.tpot_ms,
            100.0 * (simulated / row.tpot_ms - 1.0),
        );
    }
    let (mean, median) = (mean(errors.iter().copied()), quantile(errors, 0.5));
    println!(
        "{} rows: TPOT error mean {:.1} %, median {:.1} %",
        rows.len(),
        100.0 * mean,
        100.0 * median
    );
    assert!(mean < 0.10 && median < 0.07, "mean {mean}, median {median}");
}

#[test]
fn every_request_of_the_open_loops_is_within_the_bars() {
    for (name, tensor_parallel) in [("Llama-3.1-8B", 1), ("Qwen3-32B", 2)] {
        let Some(served) = open_loop(name) else { return };
        let trace: Vec<Request> = served.iter().map(|s| s.request.clone()).collect();
        let spec = open_loop_spec(name, tensor_parallel);
        let (_, mut journal) = serve(&spec, &trace, Journal::default());
        journal.completions.sort_by_key(|c| c.id);
        let pairs = || served.iter().zip(&journal.completions);
        let e2e = mean(pairs().map(|(s, c)| relative(c.e2e_ms(), s.e2e_ms)));
        let tpot = mean(pairs().map(|(s, c)| relative(c.tpot_ms().unwrap(), s.tpot_ms)));
        let ttft = quantile(pairs().map(|(s, c)| relative(c.ttft_ms(), s.ttft_ms)).collect(), 0.5);
        let at = |q: f64| {
            let real = quantile(served.iter().map(|s| s.ttft_ms).collect(), q);
            relative(
                quantile(journal.completions.iter().map(Completion::ttft_ms).collect(), q),
                real,
            )
        };
        println!(
            "| {name} | E2E {:.1} % | TPOT {:.1} % | TTFT {:.1} % | p50 {:.1} % | p99 {:.1} % |",
            100.0 * e2e,
            100.0 * tpot,
            100.0 * ttft,
            100.0 * at(0.5),
            100.0 * at(0.99),
        );
        assert!(e2e < 0.067, "{name} E2E {e2e}");
        assert!(ttft < 0.176, "{name} TTFT {ttft}");
        assert!(at(0.99) < 0.29, "{name} TTFT p99 {}", at(0.99));
    }
}

#[test]
fn intervals_of_the_ensemble_hold_what_they_promise() {
    let Some(rows) = rows(FITTED_MODEL) else { return };
    let ensemble = Coefficients::default().ensemble(24, 1);
    let inside = |row: &&Row| {
        let tpot = |k: &Coefficients| row.simulated_tpot_ms(&row.spec(FITTED_MODEL, k));
        let said: Vec<f64> = ensemble.iter().map(tpot).collect();
        (quantile(said.clone(), 0.1)..=quantile(said, 0.9)).contains(&row.tpot_ms)
    };
    // Every third row: they differ enough, and the test stays short.
    let rows: Vec<&Row> = rows.iter().step_by(3).collect();
    let share = rows.iter().filter(|row| inside(row)).count() as f64 / rows.len() as f64;
    println!("80 % intervals hold {:.0} % of {} rows", 100.0 * share, rows.len());
    assert!((0.75..=0.90).contains(&share), "{share}");
}

#[test]
fn fp8_gains_are_of_the_measured_size_and_no_factor_of_two() {
    println!("| model | TP | in/out | clients | TPOT | prefill alone |");
    for (name, tensor_parallel) in [("Llama-3.1-8B", 1), ("Qwen3-32B", 2), ("Llama-3.1-70B", 4)] {
        for (input, output, concurrency) in [(1024, 512, 1), (1024, 512, 64), (8192, 256, 8)] {
            let row =
                Row { gpu: "H100", tensor_parallel, input, output, concurrency, tpot_ms: 0.0 };
            let figures = |config: ServingConfig| {
                let parallel = KnobValue::Int(tensor_parallel);
                let spec: ReplicaSpec =
                    spec_of(name, "H100", &config.with(Knob::TensorParallelSize, parallel));
                let (_, alone) = serve(&spec, &[request(1, 0.0, input, 2)], Journal::default());
                let done = closed_loop(&spec, &row);
                (mean(done.iter().filter_map(Completion::tpot_ms)), alone.completions[0].ttft_ms())
            };
            let text = |value: &str| KnobValue::Text(value.to_owned());
            let bf16 = figures(ServingConfig::default());
            let fp8 = figures(
                ServingConfig::default()
                    .with(Knob::Quantization, text("fp8"))
                    .with(Knob::KvCacheDtype, text("fp8")),
            );
            let (tpot, prefill) = (fp8.0 / bf16.0 - 1.0, fp8.1 / bf16.1 - 1.0);
            println!(
                "| {name} | {tensor_parallel} | {input}/{output} | {concurrency} | {:+.0} % | {:+.0} % |",
                100.0 * tpot,
                100.0 * prefill
            );
            // Measured: −23 to −38 % and −14 to −32 %. We are at the optimistic end, by up to 7 points.
            assert!((-0.45..-0.23).contains(&tpot), "{name} {tpot}");
            assert!((-0.40..-0.14).contains(&prefill), "{name} {prefill}");
        }
    }
}
