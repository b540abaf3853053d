//! E1: is the share of bad units larger than an allowed one? A mixture over Beta priors cut off at it.

use serde::{Deserialize, Serialize};
use statrs::function::beta::{beta_reg, ln_beta};

/// Sequential test of H0: P(bad | past) ≤ p0. Its e-value is a nonnegative supermartingale under H0, so by
/// Ville's inequality it ever reaches 1/α with probability ≤ α.
///
/// ln E = ln B(a+S, b+n−S) + ln(1 − I_p0(a+S, b+n−S)) − ln B(a, b) − ln(1 − I_p0(a, b)) − S ln p0 − (n−S) ln(1−p0)
///
/// Source: Robbins (1970), "Statistical methods related to the law of the iterated logarithm"; the prior is a
/// Beta(a, b) restricted to (p0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceedance {
    /// Largest allowed share of bad units, 0–1.
    p0: f64,
    /// Prior's pseudo-count of bad units.
    a: f64,
    /// Prior's pseudo-count of good units.
    b: f64,
    /// Bad units.
    bad: u64,
    /// All units.
    units: u64,
    /// Largest ln E so far.
    ln_peak: f64,
}

impl Exceedance {
    /// Failures, allowed share `p0`; prior Beta(1, 29): at α = .005 a config that fails 5 % of its requests is
    /// caught after a median of 34, one that fails 10 % after 18.
    pub fn failures(p0: f64) -> Self {
        Self::new(p0, 1.0, 29.0)
    }

    /// Misses of a bound that a share `p0` may miss; the prior's mean is 2·p0 (p0 = .05: Beta(2, 18)).
    pub fn misses(p0: f64) -> Self {
        Self::new(p0, 2.0, (1.0 / p0 - 2.0).max(1.0))
    }

    fn new(p0: f64, a: f64, b: f64) -> Self {
        Self { p0, a, b, bad: 0, units: 0, ln_peak: 0.0 }
    }

    /// Folds one unit.
    pub fn observe(&mut self, bad: bool) {
        self.units += 1;
        self.bad += u64::from(bad);
        // A good unit can only lower the e-value.
        if bad {
            self.ln_peak = self.ln_peak.max(self.ln_e());
        }
    }

    /// ln of the e-value now; finite.
    pub fn ln_e(&self) -> f64 {
        let (bad, good) = (self.bad as f64, (self.units - self.bad) as f64);
        let posterior = ln_upper_beta(self.a + bad, self.b + good, self.p0);
        let prior = ln_upper_beta(self.a, self.b, self.p0);
        posterior - prior - bad * self.p0.ln() - good * (-self.p0).ln_1p()
    }

    /// Largest ln E so far: it spoke once this reached ln(1/α).
    pub fn ln_peak(&self) -> f64 {
        self.ln_peak
    }

    /// Units seen.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Bad units seen.
    pub fn bad(&self) -> u64 {
        self.bad
    }

    /// Largest allowed share of bad units, 0–1.
    pub fn p0(&self) -> f64 {
        self.p0
    }
}

/// ln ∫_p0^1 p^(a−1) (1−p)^(b−1) dp.
fn ln_upper_beta(a: f64, b: f64, p0: f64) -> f64 {
    // I_{1−p0}(b, a) = 1 − I_p0(a, b), without the cancellation.
    let tail = beta_reg(b, a, 1.0 - p0);
    if tail > TAIL_MIN { ln_beta(a, b) + tail.ln() } else { ln_far_tail(a, b, p0) }
}

/// Below this a tail is no longer a number to trust: it underflows, and its logarithm with it.
const TAIL_MIN: f64 = 1e-250;

/// The same far beyond the mean, where it would underflow: (1−p0)^b p0^a / b · ₂F₁(1, a+b; b+1; 1−p0).
///
/// Source: NIST Digital Library of Mathematical Functions, 8.17.8. The terms fall at once: p0 is above the mean.
fn ln_far_tail(a: f64, b: f64, p0: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0.0);
    while term > 1e-12 * sum && n < 100_000.0 {
        term *= (a + b + n) / (b + 1.0 + n) * (1.0 - p0);
        sum += term;
        n += 1.0;
    }
    b * (-p0).ln_1p() + a * p0.ln() - b.ln() + f64::ln(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_one() {
        assert!(Exceedance::failures(0.001).ln_e().abs() < 1e-9);
    }

    #[test]
    fn is_a_mean_of_likelihood_ratios() {
        // Against a numeric integral of the definition: ∫ p^S q^(n−S) prior(p) dp / (p0^S q0^(n−S)).
        let mut test = Exceedance::misses(0.05);
        (0..40).for_each(|i| test.observe(i % 8 == 0));
        let (cells, mut above, mut prior) = (200_000, 0.0, 0.0);
        for cell in 0..cells {
            let p = 0.05 + 0.95 * (f64::from(cell) + 0.5) / f64::from(cells);
            let density = p.powf(1.0) * (1.0 - p).powf(17.0);
            prior += density;
            above += density * (p / 0.05).powi(5) * ((1.0 - p) / 0.95).powi(35);
        }
        assert!((test.ln_e() - (above / prior).ln()).abs() < 1e-6);
    }

    #[test]
    fn the_far_tail_continues_the_near_one() {
        for (a, b, p0) in [(3.0, 4000.0, 0.05), (40.0, 9000.0, 0.05), (1.0, 300_000.0, 0.001)] {
            let near = ln_beta(a, b) + beta_reg(b, a, 1.0 - p0).ln();
            assert!((near - ln_far_tail(a, b, p0)).abs() < 1e-6 * near.abs(), "{a} {b} {p0}");
        }
    }

    #[test]
    fn ten_thousands_of_good_units_are_never_an_alarm() {
        // The tail of 34 bad ones in 31029 at 5 % underflows; its e-value once came out as 1e289.
        for (bad, units, p0) in [(34, 31_029, 0.05), (0, 1_000_000, 0.001), (3, 1_000_000, 0.05)] {
            let test = Exceedance { bad, units, ..Exceedance::misses(p0) };
            assert!(test.ln_e().is_finite() && test.ln_e() < -5.0, "{}", test.ln_e());
        }
    }
}
