//! Ids as types, and the hash that makes derived ids stable.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Millis, Rng};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            schemars::JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// A fresh id (uuid v7): sorts by `now`, its random part from `rng`.
            pub fn fresh(now: Millis, rng: &mut dyn Rng) -> Self {
                Self(fresh_uuid(now, rng))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One conversation with a graph: the series of checkpoints under one id.
    ThreadId
);
id!(
    /// One execution of a graph on a thread.
    RunId
);
id!(
    /// One rollout of one config.
    RolloutId
);
id!(
    /// One trial of one config under load.
    TrialId
);
id!(
    /// Names a side effect for ever: the same call has the same key after any restart.
    EffectKey
);

fn fresh_uuid(now: Millis, rng: &mut dyn Rng) -> String {
    let mut random = [0_u8; 10];
    for chunk in random.chunks_mut(8) {
        let word = rng.next_u64().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    uuid::Builder::from_unix_timestamp_millis(now.0, &random).into_uuid().to_string()
}

/// SHA-256 over length-prefixed parts, as 32 hex digits (128 bits): no two lists of parts collide by concatenation.
pub fn stable_hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
