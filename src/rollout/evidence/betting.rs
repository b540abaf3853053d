//! E2: two arms compared by betting that the coin which dealt a session says something about its latency.

use serde::{Deserialize, Serialize};

use super::{Outcome, Ruler};

/// Stakes of the bets; their wealths are averaged, so no stake has to be chosen.
pub const LAMBDAS: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8];

/// Share of stable sessions beyond the frozen p95.
const TAIL_SHARE: f64 = 0.05;

/// Which claim is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// H0: canary ≤ factor × stable. Rejected: the canary harms.
    Harm,
    /// H0: canary ≥ factor × stable. Rejected: the canary is not inferior.
    Promotion,
}

/// How a session was dealt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Whether it went to the canary.
    pub on_canary: bool,
    /// The known probability of that, above 0 and below 1.
    pub probability: f64,
}

/// Sequential two-sample test on sessions dealt by a known coin.
///
/// A ∈ {0, 1} says whether the canary got the session and π with which probability; g ∈ \[−1, 1\] scores its
/// latency. Under H0 the arm is independent of the outcome, s = (A − π)·g has mean 0 given the past, and
/// E = Π(1 + λ s) is a martingale **whatever the load did to both arms and however π was ramped**.
/// The canary's latency is divided by `factor` first: that is the tolerance (harm) or the margin (promotion).
///
/// Two scores, averaged as e-values: location g = clip((ln y − median of the past) / span, −1, 1), the span 2.4
/// standard deviations of the past and at most 1.2; and tail g = 1{y > T} − .05 with T the p95 of stable, frozen before the first session.
/// The capital is spread over `parts` starts, one per compared share, half of it on the first: what a lightly loaded
/// canary earned at 5 % cannot be held against what it does to users at 50 %.
///
/// Source: Shafer (2021), "Testing by betting"; Waudby-Smith & Ramdas (2024), "Estimating means of bounded
/// random variables by betting".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    direction: Direction,
    factor: f64,
    /// Starts that the capital is spread over, at least 1.
    parts: usize,
    started: Vec<Pair>,
    sessions: u64,
    ln_peak: f64,
}

/// The two bets of one start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    location: Bets,
    tail: Option<Bets>,
}

/// ln wealth of each stake.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Bets([f64; LAMBDAS.len()]);

impl Comparison {
    /// A test whose canary latencies are divided by `factor`; `parts` starts share its capital.
    pub fn new(direction: Direction, factor: f64, parts: usize) -> Self {
        let parts = parts.max(1);
        Self { direction, factor, parts, started: Vec::new(), sessions: 0, ln_peak: 0.0 }
    }

    /// Puts the next part of the capital to work; without effect once all of it works.
    pub fn begin_part(&mut self) {
        if self.started.len() < self.parts {
            self.started.push(Pair::default());
        }
    }

    /// Folds one session. `ruler` comes from the past alone, `tail_ms` is the frozen p95 of stable [ms].
    pub fn observe(&mut self, draw: Draw, outcome: Outcome, ruler: Ruler, tail_ms: Option<f64>) {
        debug_assert!(draw.probability > 0.0 && draw.probability < 1.0);
        let ms = match outcome {
            Outcome::Measured(ms) if draw.on_canary => ms / self.factor,
            Outcome::Measured(ms) => ms,
            Outcome::Worst => f64::INFINITY,
        };
        let sign = match self.direction {
            Direction::Harm => 1.0,
            Direction::Promotion => -1.0,
        };
        let coin = sign * (f64::from(u8::from(draw.on_canary)) - draw.probability);
        let location = coin * ruler.score(ms);
        let tail = tail_ms.map(|limit| coin * (f64::from(u8::from(ms > limit)) - TAIL_SHARE));
        for pair in &mut self.started {
            pair.location.bet(location);
            if let Some(score) = tail {
                pair.tail.get_or_insert_default().bet(score);
            }
        }
        self.sessions += 1;
        self.ln_peak = self.ln_peak.max(self.ln_e());
    }

    /// ln of the e-value now.
    pub fn ln_e(&self) -> f64 {
        // Capital that is not yet at work is worth what it was: ln 1 = 0.
        ln_sum_exp((0..self.parts).map(|part| {
            let worth = self.started.get(part).map_or(0.0, Pair::ln_e);
            worth + self.weight(part).ln()
        }))
    }

    /// Half of the capital for the first start, the rest evenly.
    fn weight(&self, part: usize) -> f64 {
        match (self.parts, part) {
            (1, _) => 1.0,
            (_, 0) => 0.5,
            (parts, _) => 0.5 / (parts - 1) as f64,
        }
    }

    /// Largest ln E so far.
    pub fn ln_peak(&self) -> f64 {
        self.ln_peak
    }

    /// What the canary's latencies are divided by.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Sessions of both arms seen.
    pub fn sessions(&self) -> u64 {
        self.sessions
    }
}

impl Pair {
    fn ln_e(&self) -> f64 {
        let location = self.location.ln_e();
        self.tail.as_ref().map_or(location, |tail| ln_mean_exp([location, tail.ln_e()].into_iter()))
    }
}

impl Bets {
    fn bet(&mut self, score: f64) {
        for (ln_wealth, lambda) in self.0.iter_mut().zip(LAMBDAS) {
            *ln_wealth += (lambda * score).ln_1p();
        }
    }

    fn ln_e(&self) -> f64 {
        ln_mean_exp(self.0.iter().copied())
    }
}

/// ln of the mean of exp(x), without overflow.
fn ln_mean_exp(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = values.len() as f64;
    ln_sum_exp(values) - count.ln()
}

/// ln of the sum of exp(x), without overflow.
fn ln_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = values.clone().fold(f64::NEG_INFINITY, f64::max);
    top + values.map(|value| (value - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULER: Ruler = Ruler { centre_ln: 5.3, span_ln: 1.2 };

    fn test(direction: Direction) -> Comparison {
        let mut test = Comparison::new(direction, 1.1, 1);
        test.begin_part();
        test
    }

    #[test]
    fn one_bet_is_fair_under_the_coin() {
        // E[E_1] = π·E(canary) + (1 − π)·E(stable) = 1 for any latency once the tolerance is taken out.
        for probability in [0.05, 0.25, 0.5] {
            let mut mean = 0.0;
            for (on_canary, weight) in [(true, probability), (false, 1.0 - probability)] {
                let mut one = test(Direction::Harm);
                let ms = if on_canary { 330.0 } else { 300.0 };
                let draw = Draw { on_canary, probability };
                one.observe(draw, Outcome::Measured(ms), RULER, Some(280.0));
                mean += weight * one.ln_e().exp();
            }
            assert!((mean - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_late_start_forgets_what_was_earned_before() {
        let slow = Outcome::Measured(400.0);
        let fast = Outcome::Measured(100.0);
        let coin = |on_canary| Draw { on_canary, probability: 0.5 };
        let mut spread = Comparison::new(Direction::Harm, 1.1, 2);
        let mut whole = test(Direction::Harm);
        spread.begin_part();
        for (canary, stable, sessions) in [(fast, slow, 300), (slow, fast, 60)] {
            for i in 0..sessions {
                let outcome = if i % 2 == 0 { canary } else { stable };
                spread.observe(coin(i % 2 == 0), outcome, RULER, None);
                whole.observe(coin(i % 2 == 0), outcome, RULER, None);
            }
            spread.begin_part();
        }
        assert!(spread.ln_e() > 6.0 && whole.ln_e() < 0.0);
    }

    #[test]
    fn a_session_without_an_answer_is_the_worst_there_is() {
        let mut promotion = test(Direction::Promotion);
        let draw = Draw { on_canary: true, probability: 0.5 };
        promotion.observe(draw, Outcome::Worst, RULER, Some(300.0));
        assert!(promotion.ln_e() < 0.0);
    }
}
