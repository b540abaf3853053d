//! Is the load still the one under which the thresholds were frozen?

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::base::Millis;

/// Arrivals the present rate is read from.
const ARRIVALS: usize = 64;
/// A load up to this much above the baseline's is still comparable, ratio.
const HEADROOM: f64 = 1.15;

/// The arrival rate now against that of the baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Requests per second under which the thresholds were taken; `None`: unknown.
    baseline_rps: Option<f64>,
    /// Start times of the latest requests.
    arrivals: VecDeque<Millis>,
    /// Start of the first request.
    first: Option<Millis>,
    /// All requests.
    requests: u64,
}

impl Load {
    /// Compares with `baseline_rps` [requests/s].
    pub fn against(baseline_rps: Option<f64>) -> Self {
        Self { baseline_rps, ..Self::default() }
    }

    /// Takes in one request's start.
    pub fn note(&mut self, started: Millis) {
        self.first.get_or_insert(started);
        self.requests += 1;
        self.arrivals.push_back(started);
        if self.arrivals.len() > ARRIVALS {
            self.arrivals.pop_front();
        }
    }

    /// The mean rate so far becomes the reference where it is more than the baseline's.
    pub fn raise_reference(&mut self) {
        let (Some(baseline_rps), Some(first)) = (self.baseline_rps, self.first) else { return };
        let last = self.arrivals.iter().max().copied().unwrap_or(first);
        let span_s = last.since(first) as f64 / 1000.0;
        if span_s > 0.0 {
            self.baseline_rps = Some(baseline_rps.max(self.requests as f64 / span_s));
        }
    }

    /// Whether an absolute bound from the baseline still means something. Without a baseline rate it has to.
    pub fn is_comparable(&self) -> bool {
        let Some(baseline_rps) = self.baseline_rps else { return true };
        self.now_rps().is_none_or(|rps| rps <= HEADROOM * baseline_rps)
    }

    fn now_rps(&self) -> Option<f64> {
        // They are ordered by their end, not by their start.
        let (first, last) = (self.arrivals.iter().min()?, self.arrivals.iter().max()?);
        let span_s = last.since(*first) as f64 / 1000.0;
        (self.arrivals.len() == ARRIVALS && span_s > 0.0).then(|| (ARRIVALS - 1) as f64 / span_s)
    }
}
