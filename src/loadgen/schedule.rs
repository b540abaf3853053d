//! When each request is sent and how long it is: fixed before the first one, by the seed alone.

use rand_distr::{Distribution as _, Gamma, StandardNormal};

use super::LoadOptions;
use crate::base::SeededRng;
use crate::domain::TokenLengths;

/// z of the 95th percentile of the standard normal distribution.
const Z95: f64 = 1.644_853_626_951_472_7;

/// One request to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// After the start of the load [s].
    pub at_s: f64,
    /// Which conversation.
    pub session: u64,
    /// Which turn of it, from 0.
    pub turn: u32,
}

/// Every arrival of warm-up and window, in order of time.
///
/// Gaps are gamma-distributed with mean 1/rate and the profile's coefficient of variation: 1 is Poisson, 0 a metronome.
pub fn schedule(options: &LoadOptions) -> Vec<Arrival> {
    let mut rng = SeededRng::stream(options.seed, "arrivals");
    let rate = options.profile.request_rate_rps;
    let end_s = options.warmup_s + options.duration_s;
    // As many conversations under way as give each its think time between two turns.
    let slots = match options.sessions.turns {
        1 => 1,
        _ => (rate * options.sessions.think_s).ceil().max(1.0) as u64,
    };
    let turns = u64::from(options.sessions.turns.max(1));
    let mut arrivals = Vec::new();
    let mut at_s = 0.0;
    for number in 0.. {
        at_s += gap_s(rate, options.profile.arrival_cv, &mut rng);
        if at_s >= end_s {
            break;
        }
        let (slot, round) = (number % slots, number / slots);
        let session = (round / turns) * slots + slot;
        arrivals.push(Arrival { at_s, session, turn: (round % turns) as u32 });
    }
    arrivals
}

fn gap_s(rate_rps: f64, cv: f64, rng: &mut SeededRng) -> f64 {
    let mean = 1.0 / rate_rps;
    // Below this the gamma's shape has no meaning in an f64 any more.
    if cv < 1e-3 {
        return mean;
    }
    let gamma = Gamma::new(1.0 / (cv * cv), mean * cv * cv);
    gamma.map_or(mean, |gamma| gamma.sample(rng.inner()))
}

/// Prompt and answer length of one turn [tokens], whatever was drawn for others.
pub(super) fn lengths(options: &LoadOptions, session: u64, turn: u32) -> (u32, u32) {
    let mut rng = SeededRng::stream(options.seed, &format!("lengths/{session}/{turn}"));
    let input = draw(&options.profile.input_tokens, &mut rng);
    let output = draw(&options.profile.output_tokens, &mut rng);
    (input, output.min(options.max_tokens))
}

/// Log-normal through the median and the 95th percentile, at most twice the latter, at least 1.
fn draw(lengths: &TokenLengths, rng: &mut SeededRng) -> u32 {
    let sigma = (lengths.p95 / lengths.p50).ln().max(0.0) / Z95;
    let z: f64 = StandardNormal.sample(rng.inner());
    let drawn = lengths.p50 * (sigma * z).exp();
    drawn.min(2.0 * lengths.p95.max(lengths.p50)).round().max(1.0) as u32
}
