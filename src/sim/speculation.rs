//! Speculative decoding on average: how many tokens a step yields when drafts are accepted with a fixed probability.

/// Probability that one draft token is accepted.
///
/// A prior, not a measurement: published EAGLE and n-gram runs on chat lie between 0.5 and 0.8.
const ACCEPTANCE: f64 = 0.6;

/// Layers of the draft model, in layers of the target: EAGLE drafts with one.
pub(super) const DRAFT_LAYERS: f64 = 1.0;

/// Turns the expected tokens per step into whole tokens: the same sequence of counts in every run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Speculation {
    drafts: u32,
    carried: f64,
}

impl Speculation {
    pub(super) fn new(drafts: u32) -> Self {
        Self { drafts, carried: 0.0 }
    }

    pub(super) fn is_off(&self) -> bool {
        self.drafts == 0
    }

    /// Drafts per request in a step of `requests` requests under `budget` tokens: all of them, or what fits.
    pub(super) fn drafts(&self, requests: u32, budget: u32) -> u32 {
        self.drafts.min((budget / requests.max(1)).saturating_sub(1))
    }

    /// Tokens each request gets from a step with `drafts` drafts.
    ///
    /// `(1 − a^(k+1)) / (1 − a)` on average. Source: Leviathan et al., "Fast Inference from Transformers via
    /// Speculative Decoding", 2023, equation 1.
    pub(super) fn tokens(&mut self, drafts: u32) -> u32 {
        if drafts == 0 {
            return 1;
        }
        let expected = (1.0 - ACCEPTANCE.powi(drafts as i32 + 1)) / (1.0 - ACCEPTANCE);
        self.carried += expected;
        let whole = self.carried.floor();
        self.carried -= whole;
        (whole as u32).max(1)
    }
}
