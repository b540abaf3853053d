//! Sessions seen since the salt changed: who is new, and with which probability a session was dealt.

use std::collections::HashMap;

/// Sessions per half. Two halves: the newest ones and the ones before them.
const HALF: usize = 65_536;

/// First sight of each session under the present salt; the longest unseen are forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    salt: String,
    recent: HashMap<u64, f64>,
    older: HashMap<u64, f64>,
}

impl Sessions {
    /// The canary probability at the session's first request under this salt, and whether this is it.
    pub(super) fn see(&mut self, salt: &str, session: u64, probability: f64) -> (f64, bool) {
        if self.salt != salt {
            *self = Self { salt: salt.to_owned(), ..Self::default() };
        }
        if let Some(known) = self.recent.get(&session) {
            return (*known, false);
        }
        let known = self.older.remove(&session);
        if self.recent.len() >= HALF {
            self.older = std::mem::take(&mut self.recent);
        }
        let dealt = known.unwrap_or(probability);
        self.recent.insert(session, dealt);
        (dealt, known.is_none())
    }
}
