//! Cumulative histograms between two scrapes: added up, subtracted, and read as latencies.

use crate::domain::{HistogramEdge, Latency, TokenLengths};

/// Observations of one window, by bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// Upper edge and observations at or under it, ascending; the last edge is `+Inf`.
    buckets: Vec<(f64, f64)>,
    /// Sum of all observations, in the histogram's unit.
    sum: f64,
}

impl Histogram {
    /// Adds `count` observations at or under `edge` (cumulative, as on the page).
    pub(super) fn add_bucket(&mut self, edge: f64, count: f64) {
        if edge.is_nan() || !count.is_finite() {
            return;
        }
        match self.buckets.binary_search_by(|(known, _)| known.total_cmp(&edge)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (edge, count)),
        }
    }

    /// Adds to the sum of all observations.
    pub(super) fn add_sum(&mut self, sum: f64) {
        if sum.is_finite() {
            self.sum += sum;
        }
    }

    /// Adds another histogram's observations.
    pub(super) fn add(&mut self, other: &Self) {
        for (edge, count) in &other.buckets {
            self.add_bucket(*edge, *count);
        }
        self.add_sum(other.sum);
    }

    /// What was observed since `start`. A count that shrank was reset: all of it is new.
    pub(super) fn since(&self, start: &Self) -> Self {
        if self.count() < start.count() {
            return self.clone();
        }
        let before = |edge: f64| {
            let at = start.buckets.binary_search_by(|(known, _)| known.total_cmp(&edge));
            at.map_or(0.0, |at| start.buckets[at].1)
        };
        let buckets = self.buckets.iter().map(|&(edge, n)| (edge, (n - before(edge)).max(0.0)));
        Self { buckets: buckets.collect(), sum: (self.sum - start.sum).max(0.0) }
    }

    /// Observations.
    pub(super) fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// Sum ÷ count; `None` when nothing was observed.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.count() > 0.0).then(|| self.sum / self.count())
    }

    /// The `q`-quantile of observations that are not negative, linear inside its bucket, in the histogram's unit;
    /// `None` when nothing was observed.
    ///
    /// Above the last finite edge nothing is known but that edge: it is returned, and is then a lower bound. The sum
    /// bounds it from above: a share `1 − q` lies at or over the quantile, so it is at most `mean ÷ (1 − q)`. Without
    /// that, queue times of microseconds would read as 285 ms, for vLLM's first edge is 300 ms.
    ///
    /// Source: Prometheus, `histogram_quantile` of classic histograms; Markov's inequality.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let (lower, linear) = self.interpolate(q)?;
        let bound = self.mean()? / (1.0 - q);
        // The bucket is certain; a sum that disagrees with it was scraped a moment apart.
        Some(linear.min(bound).max(lower))
    }

    /// The lower edge of the bucket that holds the quantile, and the point inside it.
    fn interpolate(&self, q: f64) -> Option<(f64, f64)> {
        let rank = (self.count() > 0.0).then(|| q * self.count())?;
        // Buckets are scraped one by one while the engine writes: a later one may lag behind. Never step back.
        let (mut lower, mut below) = (0.0_f64, 0.0_f64);
        for &(edge, count) in &self.buckets {
            if edge.is_infinite() {
                return Some((lower, lower));
            }
            if count >= rank && count > below {
                let share = ((rank - below) / (count - below)).clamp(0.0, 1.0);
                return Some((lower, lower + (edge - lower) * share));
            }
            (lower, below) = (edge, below.max(count));
        }
        Some((lower, lower))
    }

    /// The histogram as a latency, its unit being seconds; `None` when nothing was observed.
    pub(super) fn latency_from_seconds(&self) -> Option<Latency> {
        let ms = |seconds: f64| milliseconds(seconds);
        let finite = self.buckets.iter().filter(|(edge, _)| edge.is_finite());
        let count = self.count();
        Some(Latency {
            count: count.round() as u64,
            mean_ms: ms(self.mean()?),
            p50_ms: ms(self.quantile(0.5)?),
            p95_ms: ms(self.quantile(0.95)?),
            p99_ms: ms(self.quantile(0.99)?),
            edges: finite
                .map(|&(edge, n)| HistogramEdge { le_ms: ms(edge), fraction: (n / count).min(1.0) })
                .collect(),
        })
    }

    /// The histogram as token counts; `None` when nothing was observed.
    pub(super) fn token_lengths(&self) -> Option<TokenLengths> {
        let (mean, p50) = (self.mean()?, self.quantile(0.5)?);
        Some(TokenLengths { mean, p50, p95: self.quantile(0.95)? })
    }
}

/// Seconds as milliseconds, rounded to the nanosecond: an edge of 0.075 s is 75 ms and not 75.000000001.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
mod tests {
    use super::*;

    fn of(buckets: &[(f64, f64)], sum: f64) -> Histogram {
        let mut histogram = Histogram::default();
        buckets.iter().for_each(|(edge, count)| histogram.add_bucket(*edge, *count));
        histogram.add_sum(sum);
        histogram
    }

    #[test]
    fn quantiles_are_linear_inside_a_bucket_and_exact_at_its_edge() {
        let histogram = of(&[(0.1, 50.0), (0.2, 100.0), (f64::INFINITY, 100.0)], 10.0);
        assert_eq!(histogram.quantile(0.5), Some(0.1));
        assert!((histogram.quantile(0.75).unwrap() - 0.15).abs() < 1e-12);
        assert!((histogram.quantile(0.25).unwrap() - 0.05).abs() < 1e-12);
        let latency = histogram.latency_from_seconds().unwrap();
        assert_eq!((latency.edges[0].le_ms, latency.edges[0].fraction), (100.0, 0.5));
        assert_eq!((latency.count, latency.mean_ms), (100, 100.0));
    }

    #[test]
    fn above_the_last_edge_a_quantile_is_that_edge() {
        let histogram = of(&[(30.0, 10.0), (f64::INFINITY, 100.0)], 9000.0);
        assert_eq!(histogram.quantile(0.95), Some(30.0));
    }

    #[test]
    fn the_sum_keeps_tiny_observations_tiny_in_a_wide_first_bucket() {
        let histogram = of(&[(0.3, 20.0), (f64::INFINITY, 20.0)], 0.0004);
        assert!((histogram.quantile(0.95).unwrap() - 0.0004).abs() < 1e-9);
        // Where the sum says nothing new, the bucket decides.
        let histogram = of(&[(0.3, 0.0), (0.5, 20.0), (f64::INFINITY, 20.0)], 0.0);
        assert_eq!(histogram.quantile(0.95), Some(0.3));
    }

    #[test]
    fn nothing_observed_is_unknown_and_not_zero() {
        let same = of(&[(1.0, 4.0), (f64::INFINITY, 4.0)], 2.0);
        let window = same.since(&same);
        assert_eq!((window.mean(), window.quantile(0.5)), (None, None));
        assert_eq!(window.latency_from_seconds(), None);
        assert_eq!(window.token_lengths(), None);
    }

    #[test]
    fn a_restart_between_the_scrapes_counts_from_zero() {
        let before = of(&[(1.0, 90.0), (f64::INFINITY, 100.0)], 80.0);
        let after = of(&[(1.0, 1.0), (f64::INFINITY, 4.0)], 8.0);
        assert_eq!(after.since(&before), after);
    }

    proptest::proptest! {
        #[test]
        fn quantiles_never_fall_as_q_rises(counts in proptest::collection::vec(0_u32..50, 1..12), sum in 0.0..200.0_f64) {
            let mut total = 0.0;
            let mut histogram = Histogram::default();
            for (at, count) in counts.iter().enumerate() {
                total += f64::from(*count);
                histogram.add_bucket(at as f64, total);
            }
            histogram.add_bucket(f64::INFINITY, total + 1.0);
            histogram.add_sum(sum);
            let values: Vec<_> = (0..=20).map(|i| histogram.quantile(f64::from(i) / 20.0)).collect();
            proptest::prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{values:?}");
        }
    }
}
