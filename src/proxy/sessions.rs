//! Which sessions a rollout has seen, and the canary probability each of them started with.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Sessions per half. Two halves: the newest ones and the ones before them.
const HALF: usize = 131_072;

/// A bounded memory of sessions under one salt. When full, the longest unseen half is forgotten: such a session,
/// should it return, counts as new.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    recent: HashMap<u64, f64>,
    older: HashMap<u64, f64>,
}

/// How a session stood when it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    /// Canary probability at its first request, 0–1.
    pub canary_probability: f64,
    /// This is that first request.
    pub first_turn: bool,
}

impl Sessions {
    /// Notes a request of `session` at the present canary probability; tells how the session began.
    pub fn note(&self, session: u64, canary_probability: f64) -> Start {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&logged) = halves.recent.get(&session) {
            return Start { canary_probability: logged, first_turn: false };
        }
        let logged = halves.older.remove(&session);
        if halves.recent.len() >= HALF {
            halves.older = std::mem::take(&mut halves.recent);
        }
        let start = logged.unwrap_or(canary_probability);
        halves.recent.insert(session, start);
        Start { canary_probability: start, first_turn: logged.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_is_the_one_at_the_first_turn() {
        let sessions = Sessions::default();
        let first = sessions.note(7, 0.05);
        assert_eq!(first, Start { canary_probability: 0.05, first_turn: true });
        let later = sessions.note(7, 0.5);
        assert_eq!(later, Start { canary_probability: 0.05, first_turn: false });
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_who_came_last() {
        let sessions = Sessions::default();
        sessions.note(0, 0.05);
        for session in 1..=(2 * HALF as u64) {
            sessions.note(session, 0.25);
        }
        assert!(sessions.note(0, 0.5).first_turn, "forgotten long ago");
        assert!(!sessions.note(2 * HALF as u64 - 5, 0.5).first_turn, "seen just now");
    }
}
