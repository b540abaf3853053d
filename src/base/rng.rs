//! Randomness as an argument: one seed, one history.

use rand::{Rng as _, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A source of random words. Everything random is drawn through this.
pub trait Rng: Send {
    /// The next 64 random bits.
    fn next_u64(&mut self) -> u64;

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        // 53 bits: every value is exact in an f64.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// PCG seeded by a number: fast, small, the same on every machine.
#[derive(Debug, Clone)]
pub struct SeededRng(Pcg64Mcg);

impl SeededRng {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// An independent generator for one `stream` of the same seed (arrivals, lengths, faults …).
    pub fn stream(seed: u64, stream: &str) -> Self {
        let mixed = super::stable_hash(&[&seed.to_string(), stream]);
        Self::new(u64::from_str_radix(&mixed[..16], 16).unwrap_or(seed))
    }

    /// The generator as `rand` sees it, for `rand_distr`.
    pub fn inner(&mut self) -> &mut Pcg64Mcg {
        &mut self.0
    }
}

impl Rng for SeededRng {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
