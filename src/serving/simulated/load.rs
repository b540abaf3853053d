//! A synthetic load under way or over.

use crate::domain::RequestRecord;
use crate::serving::LoadSpec;
use crate::sim::Request;
use crate::sim::workload::{Arrivals, Workload};

/// Synthetic clients wait this long after the last arrival, then go [s].
const PATIENCE_S: f64 = 60.0;

/// Requests from `from_s` on, open loop, to one server.
pub(super) struct Load {
    /// Equal for the same load on the same server, asked for again.
    pub(super) name: String,
    pub(super) backend: String,
    pub(super) records: Vec<RequestRecord>,
    spec: LoadSpec,
    from_s: f64,
    arrivals: Arrivals,
    /// Requests under way.
    outstanding: u64,
    given_up: bool,
}

impl Load {
    pub(super) fn new(name: &str, backend: &str, spec: &LoadSpec, from_s: f64) -> Self {
        let workload = Workload::from_profile(&spec.profile);
        Self {
            name: name.to_owned(),
            backend: backend.to_owned(),
            records: Vec::new(),
            arrivals: Arrivals::new(workload, spec.profile.request_rate_rps, spec.seed),
            spec: spec.clone(),
            from_s,
            outstanding: 0,
            given_up: false,
        }
    }

    /// When its next request arrives [s since the world's start]; `None` when all have.
    pub(super) fn peek_s(&self) -> Option<f64> {
        let at_s = self.from_s + self.arrivals.peek_s();
        (at_s < self.arrivals_end_s()).then_some(at_s)
    }

    /// When its clients lose patience; `None` when there is nobody left.
    pub(super) fn gives_up_s(&self) -> Option<f64> {
        (!self.is_over()).then(|| self.arrivals_end_s() + PATIENCE_S)
    }

    /// When the last request arrives, at the latest [s since the world's start].
    pub(super) fn arrivals_end_s(&self) -> f64 {
        self.from_s + self.spec.warmup_s + self.spec.duration_s
    }

    /// Whether every request has arrived and ended.
    pub(super) fn is_over(&self) -> bool {
        self.given_up || (self.peek_s().is_none() && self.outstanding == 0)
    }

    /// Its next request, under way from now on.
    pub(super) fn send(&mut self) -> Request {
        let mut request = self.arrivals.next_request();
        request.arrival_s += self.from_s;
        self.outstanding += 1;
        request
    }

    /// One of its requests is over.
    pub(super) fn ended(&mut self, arrival_s: f64, record: RequestRecord) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if arrival_s >= self.from_s + self.spec.warmup_s {
            self.records.push(record);
        }
    }

    /// Nobody waits any longer.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }
}
