//! How far the simulator is from real vLLM, on measurements that are not in this repository.

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{Coefficients, Completion, Observer, Replica, ReplicaSpec, Request};

use super::support::{request, shared, spec_of};

/// One measured point of a closed loop.
#[derive(Debug, Clone)]
pub struct Row {
    pub gpu: String,
    pub tensor_parallel: i64,
    pub input: u32,
    pub output: u32,
    pub concurrency: u64,
    pub ttft_ms: f64,
    pub tpot_ms: f64,
}

/// vLLM's rows of `model` on H100 and H200.
pub fn rows(model: &str) -> Option<Vec<Row>> {
    let text = shared("silicon/measured.csv")?;
    let row = |line: &str| {
        let f: Vec<&str> = line.split(',').collect();
        let wanted = f[0] == model && f[2] == "vllm" && f[4] == "agg";
        let gpu = match f[1] {
            "h100_sxm" => "H100",
            "h200_sxm" => "H200",
            _ => return None,
        };
        wanted.then(|| Row {
            gpu: gpu.to_owned(),
            tensor_parallel: f[5].parse().unwrap(),
            input: f[12].parse().unwrap(),
            output: f[13].parse().unwrap(),
            concurrency: f[14].parse().unwrap(),
            ttft_ms: f[15].parse().unwrap(),
            tpot_ms: f[16].parse().unwrap(),
        })
    };
    Some(text.lines().skip(1).filter_map(row).collect())
}

/// A closed loop: each client sends its next request when the last one is answered.
struct Clients {
    done: Vec<Completion>,
    fresh: usize,
}

impl Observer for Clients {
    fn every_step(&self) -> bool {
        false
    }

    fn completion(&mut self, completion: &Completion) {
        self.done.push(completion.clone());
        self.fresh += 1;
    }
}

pub fn closed_loop(spec: &ReplicaSpec, row: &Row) -> Vec<Completion> {
    let mut replica = Replica::new(spec.clone()).unwrap();
    let mut clients = Clients { done: Vec::new(), fresh: 0 };
    let total = 4 * row.concurrency;
    let ask = |id: u64, at_s: f64| request(id, at_s, row.input, row.output);
    for id in 0..row.concurrency {
        replica.submit(ask(id, 0.0));
    }
    let (mut sent, mut now_s) = (row.concurrency, 0.0);
    while (clients.done.len() as u64) < total {
        now_s = replica.next_event_s().unwrap().max(now_s) + 1e-9;
        // To the next finish and no further: nothing else makes a client send.
        while clients.fresh == 0 {
            now_s += 0.002;
            replica.advance_to(now_s, &mut clients);
        }
        for _ in 0..std::mem::take(&mut clients.fresh) {
            if sent < total {
                replica.submit(ask(sent, now_s));
                sent += 1;
            }
        }
    }
    clients.done
}

pub fn spec_for(row: &Row, model: &str, kv: &str, coefficients: &Coefficients) -> ReplicaSpec {
    let text = |value: &str| KnobValue::Text(value.to_owned());
    let config = ServingConfig::default()
        .with(Knob::Quantization, text("fp8"))
        .with(Knob::KvCacheDtype, text(kv))
        .with(Knob::MaxModelLen, KnobValue::Int(i64::from(row.input + row.output)))
        .with(Knob::TensorParallelSize, KnobValue::Int(row.tensor_parallel));
    let mut spec = spec_of(model, &row.gpu, &config);
    spec.coefficients = coefficients.clone();
    spec
}

pub fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    values.sum::<f64>() / count
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "prints"]
fn closed_loop_rows() {
    let Some(rows) = rows("meta-llama/Llama-3.1-70B") else { return };
    for (kv, overlaps) in [("auto", true), ("auto", false), ("fp8", true), ("fp8", false)] {
        let (mut errors, mut ttft_errors) = (Vec::new(), Vec::new());
        for row in &rows {
            let mut spec = spec_for(row, "Llama-3.1-70B", kv, &Coefficients::default());
            spec.config.async_scheduling = overlaps;
            let done = match std::panic::catch_unwind(|| closed_loop(&spec, row)) {
                Ok(done) => done,
                Err(_) => continue,
            };
            let tpot = mean(done.iter().filter_map(Completion::tpot_ms));
            let ttft = mean(done.iter().map(Completion::ttft_ms));
            let error = tpot / row.tpot_ms - 1.0;
            errors.push(error.abs());
            ttft_errors.push((ttft / row.ttft_ms - 1.0).abs());
            println!(
                "{kv} {} tp{} {:>5}/{:<5} c{:<3} tpot {:6.2} sim {tpot:6.2} {:+6.1}%  ttft {:8.0} sim {ttft:8.0}",
                row.gpu,
                row.tensor_parallel,
                row.input,
                row.output,
                row.concurrency,
                row.tpot_ms,
                100.0 * error,
                row.ttft_ms
            );
        }
        println!(
            "{kv} overlaps {overlaps}: TPOT mean {:.3} median {:.3}; TTFT median {:.3}",
            mean(errors.iter().copied()),
            median(errors),
            median(ttft_errors)
        );
    }
}

/// One request of the open-loop runs, times since the first arrival [s].
#[derive(Debug, Clone)]
pub struct Served {
    pub request: Request,
    pub ttft_ms: f64,
    pub e2e_ms: f64,
    pub tpot_ms: f64,
}

pub fn open_loop(name: &str) -> Option<Vec<Served>> {
    let text = shared(&format!("vllm_requests/{name}_requests.jsonl"))?;
    let mut rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let field = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap();
    rows.sort_by(|a, b| field(a, "arrival_time").total_cmp(&field(b, "arrival_time")));
    // Arrivals are on the wall clock, the rest on a monotonic one: the first request was queued when it arrived.
    let (wall, mono) = (field(&rows[0], "arrival_time"), field(&rows[0], "queued_ts"));
    let served = |(id, row): (usize, &serde_json::Value)| {
        let arrival_s = field(row, "arrival_time") - wall;
        let (first_s, last_s) =
            (field(row, "first_token_ts") - mono, field(row, "last_token_ts") - mono);
        let (input, output) = (field(row, "input_toks") as u32, field(row, "output_toks") as u32);
        Served {
            request: request(id as u64, arrival_s, input, output),
            ttft_ms: (first_s - arrival_s) * 1e3,
            e2e_ms: (last_s - arrival_s) * 1e3,
            tpot_ms: (last_s - first_s) * 1e3 / f64::from(output - 1),
        }
    };
    Some(rows.iter().enumerate().map(served).collect())
}

pub fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(q * (values.len() - 1) as f64).round() as usize]
}

pub fn compare(name: &str, spec: &ReplicaSpec, served: &[Served], verbose: bool) -> [f64; 4] {
    let trace: Vec<Request> = served.iter().map(|s| s.request.clone()).collect();
    let (_, mut journal) = super::support::serve(spec, &trace, super::support::Journal::default());
    journal.completions.sort_by_key(|c| c.id);
    let pairs = || served.iter().zip(&journal.completions);
    let relative = |a: f64, b: f64| (a / b - 1.0).abs();
    let e2e = mean(pairs().map(|(s, c)| relative(c.e2e_ms(), s.e2e_ms)));
    let ttft_mean =
        relative(mean(pairs().map(|(_, c)| c.ttft_ms())), mean(pairs().map(|(s, _)| s.ttft_ms)));
    let ttft_each = median(pairs().map(|(s, c)| relative(c.ttft_ms(), s.ttft_ms)).collect());
    let tpot = mean(pairs().map(|(s, c)| relative(c.tpot_ms().unwrap(), s.tpot_ms)));
    if verbose {
        println!(
            "{name}: E2E {e2e:.3} TPOT {tpot:.3} TTFT each (median) {ttft_each:.3} mean {ttft_mean:.3}"
        );
        for q in [0.1, 0.25, 0.5, 0.75, 0.9, 0.99] {
            let pick = |f: fn(&Served) -> f64, g: fn(&Completion) -> f64| {
                (
                    quantile(served.iter().map(f).collect(), q),
                    quantile(journal.completions.iter().map(g).collect(), q),
                )
            };
            println!(
                "  q{q}: ttft {:?} tpot {:?} e2e {:?}",
                pick(|s| s.ttft_ms, Completion::ttft_ms),
                pick(|s| s.tpot_ms, |c| c.tpot_ms().unwrap()),
                pick(|s| s.e2e_ms, Completion::e2e_ms)
            );
        }
    }
    [e2e, tpot, ttft_each, ttft_mean]
}

pub fn open_spec(name: &str, coefficients: &Coefficients) -> ReplicaSpec {
    let config = ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(128))
        .with(Knob::MaxNumBatchedTokens, KnobValue::Int(2048))
        .with(Knob::GpuMemoryUtilization, KnobValue::Float(0.9))
        .with(Knob::TensorParallelSize, KnobValue::Int(if name == "Qwen3-32B" { 2 } else { 1 }));
    let mut spec = spec_of(name, "RTX-PRO-6000", &config);
    spec.coefficients = coefficients.clone();
    spec
}

#[test]
#[ignore = "prints"]
fn open_loop_runs() {
    for name in ["Llama-3.1-8B", "Qwen3-32B"] {
        let Some(served) = open_loop(name) else { return };
        let mut spec = open_spec(name, &Coefficients::default());
        compare(name, &spec, &served, true);
        spec.config.async_scheduling = false;
        compare(name, &spec, &served, true);
        for s in served.iter().take(12) {
            println!("{} {} {:.1}", s.request.input_tokens, s.request.arrival_s, s.ttft_ms);
        }
    }
}
