//! Quantiles of many latencies in a few numbers, for reports; no verdict reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets grow by 4 %: a quantile is off by at most 2 %.
const GROWTH_LN: f64 = 0.039_220_713;

/// Counts in geometric buckets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sketch(BTreeMap<i32, u64>);

impl Sketch {
    /// Takes in one latency [ms] above 0.
    pub fn note(&mut self, ms: f64) {
        if ms.is_finite() && ms > 0.0 {
            *self.0.entry((ms.ln() / GROWTH_LN).floor() as i32).or_default() += 1;
        }
    }

    /// The `q`-quantile [ms], the geometric middle of its bucket; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.0.values().sum();
        let rank = (q * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in &self.0 {
            seen += count;
            if seen >= rank {
                return Some(((f64::from(*bucket) + 0.5) * GROWTH_LN).exp());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut sketch = Sketch::default();
        (1..=1000).for_each(|ms| sketch.note(f64::from(ms)));
        let p95 = sketch.quantile(0.95).unwrap_or_default();
        assert!((p95 / 950.0 - 1.0).abs() < 0.021, "{p95}");
        assert_eq!(Sketch::default().quantile(0.5), None);
    }
}
