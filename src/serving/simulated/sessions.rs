//! Sessions seen since the salt changed: who is new, and with which probability a session was dealt.

use std::collections::HashMap;

/// First sight of each session under the present salt.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    salt: String,
    dealt: HashMap<u64, f64>,
}

impl Sessions {
    /// The probability at the session's first request under this salt, and whether this is it.
    pub(super) fn see(&mut self, salt: &str, session: u64, probability: f64) -> (f64, bool) {
        if self.salt != salt {
            self.salt = salt.to_owned();
            self.dealt.clear();
        }
        match self.dealt.get(&session) {
            Some(known) => (*known, false),
            None => {
                self.dealt.insert(session, probability);
                (probability, true)
            }
        }
    }
}
