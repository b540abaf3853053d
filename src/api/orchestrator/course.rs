//! What to do after each answer of the orchestrator: pure.

/// From one heartbeat to the next when the orchestrator does not say [s].
const INTERVAL_S: u64 = 30;
/// Shortest and longest interval that is obeyed [s].
const INTERVAL_RANGE_S: (u64, u64) = (1, 3_600);
/// First pause after a failure, and the longest [ms].
const PAUSE_MS: (u64, u64) = (1_000, 60_000);

/// An answer of the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It gave this agent an id.
    Registered {
        /// The id.
        id: String,
        /// The interval it asks for [s].
        interval_s: Option<u64>,
    },
    /// It heard a heartbeat.
    Heard {
        /// The interval it asks for [s].
        interval_s: Option<u64>,
    },
    /// It does not know the id.
    Unknown,
    /// It will never take this.
    Refused(String),
    /// The same call may succeed later.
    Failed(String),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait so long [ms], then call again.
    After(u64),
    /// Never again.
    Stop(String),
}

/// How an agent stands with its orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    /// Its id; `None`: to be registered.
    pub(super) id: Option<String>,
    interval_s: u64,
    failures: u32,
}

impl Course {
    /// Not registered yet.
    pub(super) fn new() -> Self {
        Self { id: None, interval_s: INTERVAL_S, failures: 0 }
    }

    /// What comes after `answer`. `unit`, 0–1, spreads the pauses.
    pub(super) fn take(&mut self, answer: Answer, unit: f64) -> Next {
        match answer {
            Answer::Registered { id, interval_s } => {
                self.id = Some(id);
                self.obey(interval_s.or(Some(INTERVAL_S)));
                // Only a healthy agent is sent work, so the first heartbeat does not wait; an id that is forgotten again and again does.
                Next::After(if self.failures > 1 { self.pause(unit) } else { 0 })
            }
            Answer::Heard { interval_s } => {
                self.failures = 0;
                self.obey(interval_s);
                Next::After(self.interval_s * 1_000)
            }
            Answer::Unknown => {
                self.id = None;
                self.failures = self.failures.saturating_add(1);
                Next::After(if self.failures > 1 { self.pause(unit) } else { 0 })
            }
            Answer::Failed(_) => {
                self.failures = self.failures.saturating_add(1);
                Next::After(self.pause(unit))
            }
            Answer::Refused(reason) => Next::Stop(reason),
        }
    }

    fn obey(&mut self, interval_s: Option<u64>) {
        if let Some(asked) = interval_s {
            self.interval_s = asked.clamp(INTERVAL_RANGE_S.0, INTERVAL_RANGE_S.1);
        }
    }

    /// Twice as long after each failure, and between half and all of it.
    fn pause(&self, unit: f64) -> u64 {
        let doubled = PAUSE_MS.0.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        let longest = doubled.min(PAUSE_MS.1) as f64;
        (longest * (0.5 + 0.5 * unit)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(id: &str) -> Answer {
        Answer::Registered { id: id.to_owned(), interval_s: Some(10) }
    }

    #[test]
    fn the_interval_is_the_orchestrators_within_reason() {
        let mut course = Course::new();
        assert_eq!(course.take(registered("a"), 0.5), Next::After(0));
        assert_eq!(course.take(Answer::Heard { interval_s: None }, 0.5), Next::After(10_000));
        assert_eq!(course.take(Answer::Heard { interval_s: Some(45) }, 0.5), Next::After(45_000));
        assert_eq!(course.take(Answer::Heard { interval_s: Some(0) }, 0.5), Next::After(1_000));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread() {
        let mut course = Course::new();
        let failed = || Answer::Failed("refused".to_owned());
        let pauses: Vec<Next> = (0..8).map(|_| course.take(failed(), 1.0)).collect();
        let ms = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
        assert_eq!(pauses, ms.map(Next::After));
        assert_eq!(course.take(failed(), 0.0), Next::After(30_000));
        course.failures = u32::MAX;
        assert_eq!(course.take(failed(), 1.0), Next::After(60_000));
    }

    #[test]
    fn an_id_that_is_forgotten_is_asked_for_anew_at_once_and_then_less_and_less() {
        let mut course = Course::new();
        course.take(registered("a"), 1.0);
        assert_eq!(course.take(Answer::Unknown, 1.0), Next::After(0));
        assert_eq!(course.id, None);
        assert_eq!(course.take(registered("b"), 1.0), Next::After(0));
        assert_eq!(course.id.as_deref(), Some("b"));
        assert_eq!(course.take(Answer::Unknown, 1.0), Next::After(2_000));
        course.take(registered("c"), 1.0);
        course.take(Answer::Heard { interval_s: None }, 1.0);
        assert_eq!(course.take(Answer::Unknown, 1.0), Next::After(0));
    }

    #[test]
    fn a_refusal_is_the_end() {
        let refused = Answer::Refused("no".to_owned());
        assert_eq!(Course::new().take(refused, 0.5), Next::Stop("no".to_owned()));
    }
}
