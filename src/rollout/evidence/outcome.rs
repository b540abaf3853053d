//! What one session says about one metric.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::domain::{Finish, Metric, RequestRecord};

/// A session's latency as evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// It was measured [ms].
    Measured(f64),
    /// It never came: slower than anything measured.
    Worst,
}

impl Outcome {
    /// What the session's first request says about `metric`; `None`: nothing, which is neither good nor bad.
    ///
    /// A request that failed has no first token and no end: [`Outcome::Worst`] for TTFT and E2E latency. A client that
    /// left while waiting longer than `centre_ms` waited at least that long; one that left sooner says nothing.
    pub fn of(request: &RequestRecord, metric: Metric, centre_ms: Option<f64>) -> Option<Self> {
        let value = match metric {
            Metric::Ttft => request.ttft_ms,
            Metric::Tpot => request.tpot_ms,
            Metric::Itl => request.itl_max_ms,
            Metric::E2e => request.e2e_ms,
            Metric::Throughput | Metric::Goodput | Metric::ErrorRate => None,
        };
        if let Some(ms) = value {
            return (ms.is_finite() && ms >= 0.0).then_some(Self::Measured(ms));
        }
        if !matches!(metric, Metric::Ttft | Metric::E2e) {
            return None;
        }
        match request.finish {
            Finish::Failed | Finish::Cut => Some(Self::Worst),
            Finish::Complete => None,
            Finish::ClientGone => {
                let waited_ms = request.finished.since(request.started) as f64;
                centre_ms.is_some_and(|centre| waited_ms > centre).then_some(Self::Measured(waited_ms))
            }
        }
    }

    /// Whether it is beyond `limit_ms`.
    pub fn misses(self, limit_ms: f64) -> bool {
        match self {
            Self::Measured(ms) => ms > limit_ms,
            Self::Worst => true,
        }
    }
}

/// Sessions the centre looks back on: enough to be steady, few enough to follow the day's load.
const CENTRE_SESSIONS: usize = 101;

/// Median of the latest ln latencies of both arms. Known before the next session, so any bet may use it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Centre(VecDeque<f64>);

impl Centre {
    /// Begins with one value [ms], the baseline's median, where known.
    pub fn starting_at(ms: Option<f64>) -> Self {
        Self(ms.filter(|ms| *ms > 0.0).map(f64::ln).into_iter().collect())
    }

    /// The median of ln latency; `None` before the first session.
    pub fn ln(&self) -> Option<f64> {
        let mut values: Vec<f64> = self.0.iter().copied().collect();
        let middle = values.len() / 2;
        (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
    }

    /// Takes in one measured latency [ms].
    pub fn note(&mut self, outcome: Outcome) {
        let Outcome::Measured(ms) = outcome else { return };
        if ms > 0.0 {
            self.0.push_back(ms.ln());
        }
        if self.0.len() > CENTRE_SESSIONS {
            self.0.pop_front();
        }
    }
}
