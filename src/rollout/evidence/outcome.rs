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
                centre_ms
                    .is_some_and(|centre| waited_ms > centre)
                    .then_some(Self::Measured(waited_ms))
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
const LOOK_BACK: usize = 101;
/// Below this many sessions a spread is not believed.
const SPREAD_SESSIONS_MIN: usize = 20;
/// A score saturates at this many standard deviations from the centre.
const SPAN_SD: f64 = 2.4;
/// Largest span, ln: a factor of 3.3, and what is used before a spread is known.
const SPAN_LN_MAX: f64 = 1.2;
/// Smallest span, ln: a factor of 1.1.
const SPAN_LN_MIN: f64 = 0.1;
/// Standard deviations in one median absolute deviation of a normal distribution.
const SD_PER_MAD: f64 = 1.4826;

/// The latest ln latencies of both arms, as a ruler for the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Past(VecDeque<f64>);

/// Where the latencies were and how far they spread. Known before the next session, so any bet may use it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ruler {
    /// Median of ln latency \[ln ms\].
    pub centre_ln: f64,
    /// Distance from the centre at which a score saturates, ln.
    pub span_ln: f64,
}

impl Ruler {
    /// −1 far below the centre, 1 far above it.
    pub fn score(&self, ms: f64) -> f64 {
        ((ms.ln() - self.centre_ln) / self.span_ln).clamp(-1.0, 1.0)
    }
}

impl Past {
    /// Begins with one value [ms], the baseline's median, where known.
    pub fn starting_at(ms: Option<f64>) -> Self {
        Self(ms.filter(|ms| *ms > 0.0).map(f64::ln).into_iter().collect())
    }

    /// The ruler for the next session; `None` before the first one.
    pub fn ruler(&self) -> Option<Ruler> {
        let mut values: Vec<f64> = self.0.iter().copied().collect();
        let centre_ln = median(&mut values)?;
        values.iter_mut().for_each(|value| *value = (*value - centre_ln).abs());
        let known = self.0.len() >= SPREAD_SESSIONS_MIN;
        let spread = median(&mut values).filter(|_| known).map(|mad| SPAN_SD * SD_PER_MAD * mad);
        let span_ln = spread.unwrap_or(SPAN_LN_MAX).clamp(SPAN_LN_MIN, SPAN_LN_MAX);
        Some(Ruler { centre_ln, span_ln })
    }

    /// Takes in one outcome.
    pub fn note(&mut self, outcome: Outcome) {
        let Outcome::Measured(ms) = outcome else { return };
        if ms > 0.0 {
            self.0.push_back(ms.ln());
        }
        if self.0.len() > LOOK_BACK {
            self.0.pop_front();
        }
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
