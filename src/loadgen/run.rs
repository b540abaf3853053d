//! The open loop: requests leave on time, whatever became of those before them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::LoadClient;
use super::report::{LoadReport, share_within};
use super::{Error, LoadOptions, prompt, schedule};
use crate::base::{Clock, Millis};
use crate::domain::{Finish, RequestRecord, RequestStats};

/// Puts a load on its endpoint and waits for the last answer. Dropping the future aborts every request.
///
/// Errors: [`Error`] before anything is sent; failed requests are in the report.
pub async fn run(options: &LoadOptions, clock: Arc<dyn Clock>) -> Result<LoadReport, Error> {
    let endpoint = options.endpoint()?;
    let client = LoadClient::new(endpoint, Duration::from_secs_f64(options.timeout_s));
    let mut under_way = JoinSet::new();
    let mut lateness_max_ms = 0.0_f64;
    let (start, start_at) = (Instant::now(), clock.now());
    for (number, arrival) in schedule(options).into_iter().enumerate() {
        let body = Bytes::from(prompt::body(options, &arrival).to_string());
        let due = start + Duration::from_secs_f64(arrival.at_s);
        tokio::time::sleep_until(due).await;
        let late_ms = due.elapsed().as_secs_f64() * 1e3;
        lateness_max_ms = lateness_max_ms.max(late_ms);
        let (client, clock, seed) = (client.clone(), Arc::clone(&clock), options.seed);
        let measured = arrival.at_s >= options.warmup_s;
        under_way.spawn(async move {
            let record = client.send(&arrival, seed, body, &*clock).await;
            (number, measured, record)
        });
    }
    let mut records = Vec::new();
    while let Some(ended) = under_way.join_next().await {
        if let Ok((number, true, record)) = ended {
            records.push((number, record));
        }
    }
    records.sort_by_key(|(number, _)| *number);
    let records = records.into_iter().map(|(_, record)| record).collect();
    Ok(report(options, records, start_at, lateness_max_ms))
}

fn report(
    options: &LoadOptions,
    records: Vec<RequestRecord>,
    start_at: Millis,
    lateness_max_ms: f64,
) -> LoadReport {
    let duration_s = options.duration_s;
    let window_end = start_at.plus(((options.warmup_s + duration_s) * 1e3) as u64);
    let last = records.iter().map(|record| record.finished).max().unwrap_or(window_end);
    let drain_s = last.since(window_end) as f64 / 1e3;
    let complete = records.iter().filter(|record| record.finish == Finish::Complete).count() as f64;
    let all: Vec<&RequestRecord> = records.iter().collect();
    let objective = options.objective.as_ref();
    LoadReport {
        stats: RequestStats::of(&all, duration_s, objective),
        offered_rps: records.len() as f64 / duration_s,
        completed_rps: complete / (duration_s + drain_s),
        drain_s,
        within_objective: objective.and_then(|objective| share_within(&records, objective)),
        lateness_max_ms,
        records,
    }
}
