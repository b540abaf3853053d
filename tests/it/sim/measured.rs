//! Real vLLM, measured: readers of the shared material, and the simulator put in the same place.

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{Coefficients, Completion, Observer, Replica, ReplicaSpec, Request};

use super::support::{request, spec_of};
use crate::material::shared_text;

/// One point of a closed loop: means over its requests. Its TTFT says more about the client's ramp than about the server.
#[derive(Debug, Clone)]
pub struct Row {
    pub gpu: &'static str,
    pub tensor_parallel: i64,
    pub input: u32,
    pub output: u32,
    pub concurrency: u64,
    pub tpot_ms: f64,
}

/// vLLM's dense rows of `model` on H100 and H200, FP8 weights and 16-bit KV.
pub fn rows(model: &str) -> Option<Vec<Row>> {
    let text = shared_text("data/silicon/measured.csv")?;
    let row = |line: &str| {
        let f: Vec<&str> = line.split(',').collect();
        let gpu = match f[1] {
            "h100_sxm" => "H100",
            "h200_sxm" => "H200",
            _ => return None,
        };
        (f[0] == model && f[2] == "vllm" && f[4] == "agg").then(|| Row {
            gpu,
            tensor_parallel: f[5].parse().unwrap(),
            input: f[12].parse().unwrap(),
            output: f[13].parse().unwrap(),
            concurrency: f[14].parse().unwrap(),
            tpot_ms: f[16].parse().unwrap(),
        })
    };
    Some(text.lines().skip(1).filter_map(row).collect())
}

impl Row {
    /// A replica as in this row. The rows are of versions in which scheduling did not overlap with execution.
    pub fn spec(&self, model: &str, coefficients: &Coefficients) -> ReplicaSpec {
        let config = ServingConfig::default()
            .with(Knob::Quantization, KnobValue::Text("fp8".to_owned()))
            .with(Knob::MaxModelLen, KnobValue::Int(i64::from(self.input + self.output)))
            .with(Knob::TensorParallelSize, KnobValue::Int(self.tensor_parallel))
            .with(Knob::AsyncScheduling, KnobValue::Bool(false));
        let mut spec = spec_of(model, self.gpu, &config);
        spec.coefficients = coefficients.clone();
        spec
    }

    /// Simulated TPOT [ms].
    pub fn simulated_tpot_ms(&self, spec: &ReplicaSpec) -> f64 {
        mean(closed_loop(spec, self).iter().filter_map(Completion::tpot_ms))
    }
}

/// Clients that each send their next request when the last one is answered.
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

/// `concurrency` clients, four requests each.
pub fn closed_loop(spec: &ReplicaSpec, row: &Row) -> Vec<Completion> {
    let mut replica = Replica::new(spec.clone()).unwrap();
    let mut clients = Clients { done: Vec::new(), fresh: row.concurrency as usize };
    let total = 4 * row.concurrency;
    let (mut sent, mut now_s) = (0, 0.0);
    while (clients.done.len() as u64) < total {
        for _ in 0..std::mem::take(&mut clients.fresh) {
            if sent < total {
                replica.submit(request(sent, now_s, row.input, row.output));
                sent += 1;
            }
        }
        now_s += 0.002;
        replica.advance_to(now_s, &mut clients);
    }
    clients.done
}

/// One request of an open-loop run, with what really happened to it.
#[derive(Debug, Clone)]
pub struct Served {
    pub request: Request,
    pub ttft_ms: f64,
    pub tpot_ms: f64,
    pub e2e_ms: f64,
}

/// The requests of a run of vLLM 0.19, in order of arrival.
pub fn open_loop(name: &str) -> Option<Vec<Served>> {
    let text = shared_text(&format!("data/vllm_requests/{name}_requests.jsonl"))?;
    let mut rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let field = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap();
    rows.sort_by(|a, b| field(a, "arrival_time").total_cmp(&field(b, "arrival_time")));
    // Arrivals are on the wall clock, the rest on a monotonic one; the first request was queued when it arrived.
    let (wall, mono) = (field(&rows[0], "arrival_time"), field(&rows[0], "queued_ts"));
    let served = |(id, row): (usize, &serde_json::Value)| {
        let arrival_s = field(row, "arrival_time") - wall;
        let first_s = field(row, "first_token_ts") - mono;
        let last_s = field(row, "last_token_ts") - mono;
        let (input, output) = (field(row, "input_toks") as u32, field(row, "output_toks") as u32);
        Served {
            request: request(id as u64, arrival_s, input, output),
            ttft_ms: (first_s - arrival_s) * 1e3,
            tpot_ms: (last_s - first_s) * 1e3 / f64::from(output - 1),
            e2e_ms: (last_s - arrival_s) * 1e3,
        }
    };
    Some(rows.iter().enumerate().map(served).collect())
}

/// A replica as in the open-loop runs: in process, so there is no HTTP to add.
pub fn open_loop_spec(name: &str, tensor_parallel: i64) -> ReplicaSpec {
    let config = ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(128))
        .with(Knob::MaxNumBatchedTokens, KnobValue::Int(2048))
        .with(Knob::GpuMemoryUtilization, KnobValue::Float(0.9))
        .with(Knob::TensorParallelSize, KnobValue::Int(tensor_parallel));
    spec_of(name, "RTX-PRO-6000", &config)
}

pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count)
}

pub fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(q * (values.len() - 1) as f64).round() as usize]
}
