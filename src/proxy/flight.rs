//! One request on its way through a backend: counted, watched, and recorded however it ends.

use std::sync::Arc;
use std::time::Instant;

use crate::base::Millis;
use crate::domain::{AnswerReader, Arm, Finish, RequestRecord};

use super::backends::{BackendState, InFlight};
use super::metrics::Metrics;
use super::recorder::Recorder;
use super::routing::Assigned;

/// Where records go.
#[derive(Debug)]
pub struct Journal {
    /// The ring.
    pub recorder: Recorder,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// When a request began.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    /// On the wall.
    pub at: Millis,
    /// For measuring.
    pub instant: Instant,
}

/// How the exchange with the backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The backend sent all that it announced.
    Whole,
    /// It broke off, or fell silent.
    Broken,
}

/// One attempt at one backend. Dropping it ends the attempt: without an [`End`], the client went away.
#[derive(Debug)]
pub struct Flight {
    /// `None`: not a generation, counted in flight but not recorded.
    journal: Option<Arc<Journal>>,
    began: Began,
    arm: Arm,
    assigned: Assigned,
    status: u16,
    reader: Option<AnswerReader>,
    end: Option<End>,
    _seat: InFlight,
}

impl Flight {
    /// Begins an attempt at `backend` of `arm`.
    pub fn begin(
        journal: Option<Arc<Journal>>,
        began: Began,
        arm: Arm,
        assigned: Assigned,
        backend: &Arc<BackendState>,
    ) -> Self {
        let _seat = backend.enter();
        Self { journal, began, arm, assigned, status: 0, reader: None, end: None, _seat }
    }

    /// The backend answered with `status` and will send a body of this content type.
    pub fn answered(&mut self, status: u16, content_type: Option<&str>) {
        self.status = status;
        if self.journal.is_some() && status < 400 {
            self.reader = match content_type {
                Some(kind) if kind.starts_with("text/event-stream") => {
                    Some(AnswerReader::streamed())
                }
                Some(kind) if kind.starts_with("application/json") => Some(AnswerReader::whole()),
                _ => None,
            };
        }
    }

    /// Bytes of the answer came by.
    pub fn passed(&mut self, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.feed(bytes, self.began.instant.elapsed().as_secs_f64() * 1e3);
        }
    }

    /// The exchange with the backend ended.
    pub fn ended(&mut self, end: End) {
        self.end = Some(end);
    }

    /// Another backend of the same arm takes over: this attempt is no evidence.
    pub fn discard(mut self) {
        self.journal = None;
    }

    fn finish(&self, finished: bool) -> Finish {
        match (self.status, self.end) {
            (400.., _) | (0, Some(_)) => Finish::Failed,
            _ if finished => Finish::Complete,
            (_, None) => Finish::ClientGone,
            // Neither a stream of events nor JSON: nothing says whether it is finished but its end.
            (_, Some(End::Whole)) if self.reader.is_none() => Finish::Complete,
            (_, Some(_)) => Finish::Cut,
        }
    }

    fn record(&self) -> RequestRecord {
        let elapsed = self.began.instant.elapsed();
        let facts = self.reader.as_ref().map(AnswerReader::facts).unwrap_or_default();
        let finish = self.finish(facts.finished);
        RequestRecord {
            arm: self.arm,
            canary_probability: self.assigned.canary_probability,
            session: self.assigned.session.clone(),
            first_turn: self.assigned.first_turn,
            randomized: self.assigned.randomized,
            started: self.began.at,
            finished: self.began.at.plus(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            ttft_ms: facts.ttft_ms,
            tpot_ms: facts.tpot_ms,
            itl_max_ms: facts.itl_max_ms,
            e2e_ms: facts.e2e_ms.filter(|_| finish == Finish::Complete),
            input_tokens: facts.input_tokens,
            output_tokens: facts.output_tokens,
            status: self.status,
            finish,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(journal) = self.journal.take() else { return };
        let record = self.record();
        journal.metrics.finished(&record);
        journal.recorder.push(record);
    }
}
