//! Ids, time, randomness and coded errors: what every room shares, and no word of any trade.

mod clock;
mod documents;
mod error;
mod ids;
mod rng;
mod sse;

pub use clock::{Clock, ManualClock, Millis, SystemClock};
pub use documents::{Document, Documents};
pub use error::{Coded, Problem};
pub use ids::{EffectKey, RolloutId, RunId, ThreadId, TrialId, stable_hash};
pub use rng::{Rng, SeededRng};
pub use sse::{SseEvent, SseReader};
