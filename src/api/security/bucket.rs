//! How often a key may ask: a bucket of tokens that fills at a steady rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::base::Millis;

/// A token that came in parts may be this much less than one.
const ROUNDING: f64 = 1e-9;

/// One bucket per key. Only known keys come here, and one name for all without: there are never more than that.
#[derive(Debug)]
pub(super) struct Buckets {
    /// Tokens that come in [1/s]; a bucket holds two seconds' worth.
    rate_rps: f64,
    held: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Millis,
}

impl Buckets {
    /// Buckets that fill with `rate_rps`, and hold twice that.
    pub(super) fn new(rate_rps: f64) -> Self {
        Self { rate_rps, held: Mutex::default() }
    }

    /// Takes a token of `key`. Without one: when there is one again [s], rounded up.
    pub(super) fn take(&self, key: &str, now: Millis) -> Result<(), u64> {
        let burst = (self.rate_rps * 2.0).max(1.0);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket { tokens: burst, at: now };
        let bucket = held.entry(key.to_owned()).or_insert(full);
        let seconds = now.since(bucket.at) as f64 / 1_000.0;
        bucket.tokens = (bucket.tokens + seconds * self.rate_rps).min(burst);
        bucket.at = bucket.at.max(now);
        if bucket.tokens >= 1.0 - ROUNDING {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and small: the rate is checked where it is read"
        )]
        let seconds = ((1.0 - bucket.tokens) / self.rate_rps).ceil() as u64;
        Err(seconds.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_each_key_has_its_own() {
        let buckets = Buckets::new(0.5);
        assert_eq!(buckets.take("a", Millis(0)), Ok(()));
        assert_eq!(buckets.take("a", Millis(0)), Err(2));
        assert_eq!(buckets.take("b", Millis(0)), Ok(()));
        assert_eq!(buckets.take("a", Millis(1_900)), Err(1));
        assert_eq!(buckets.take("a", Millis(2_000)), Ok(()));
        // A clock that goes back gives nothing.
        assert_eq!(buckets.take("a", Millis(0)), Err(2));
        assert_eq!(buckets.take("a", Millis(1_000_000)), Ok(()));
        assert!(buckets.take("a", Millis(1_000_000)).is_err(), "it overflows at its burst");
    }
}
