//! From a page of metrics to a load that a simulator can repeat.

use crate::domain::{Observation, WorkloadProfile};

/// The load behind an observation; `None` when no request finished or lengths are unknown.
///
/// The rate is that of arrivals: what finished plus what piled up, so an overloaded server does not look idle.
/// The page shows no gaps between arrivals, so they are taken as Poisson (`arrival_cv` 1). The prefix hit ratio is the share
/// an ideal cache would save as far as this page can tell; where the page has none, no saving is assumed.
pub fn profile_of(observation: &Observation) -> Option<WorkloadProfile> {
    let request_rate_rps = arrival_rps(observation).filter(|rate| *rate > 0.0)?;
    Some(WorkloadProfile {
        request_rate_rps,
        arrival_cv: 1.0,
        input_tokens: observation.input_tokens?,
        output_tokens: observation.output_tokens?,
        shared_prefix_ratio: observation.prefix_hit_ratio.unwrap_or(0.0).clamp(0.0, 0.99),
    })
}

/// Requests that arrived per second: finished plus the growth of running and waiting [1/s].
pub fn arrival_rps(observation: &Observation) -> Option<f64> {
    let client = observation.client.as_ref().filter(|client| client.window_s > 0.0);
    let by_client = client.map(|client| client.requests as f64 / client.window_s);
    let finished = observation.finished_rps.or(by_client)?;
    let growth = |gauge: Option<crate::domain::Distribution>| gauge.map_or(0.0, |g| g.slope_per_s);
    Some((finished + growth(observation.running) + growth(observation.waiting)).max(0.0))
}
