//! What users saw: one record per request that ended, numbered, bounded.

use std::collections::VecDeque;

use super::server::{Ended, Owner};
use crate::base::Millis;
use crate::domain::{Arm, Finish, RequestRecord};

/// Records that are kept; at 5.5 requests per second this is ten hours.
const KEPT: usize = 200_000;

/// Records in the order in which requests ended, each with the index of the server it was meant for.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    /// Number of the oldest that is kept.
    first: u64,
    kept: VecDeque<(usize, RequestRecord)>,
}

impl Records {
    pub(super) fn push(&mut self, server: usize, record: RequestRecord) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back((server, record));
    }

    /// Records there have ever been.
    pub(super) fn total(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// Those after number `after` that are still kept.
    pub(super) fn after(&self, after: u64) -> Vec<RequestRecord> {
        let skipped = after.saturating_sub(self.first);
        let from = usize::try_from(skipped).map_or(self.kept.len(), |n| n.min(self.kept.len()));
        self.kept.range(from..).map(|(_, record)| record.clone()).collect()
    }

    /// Those that ended after `from` and not after `to` and were meant for one of `servers`.
    pub(super) fn between(
        &self,
        (from, to): (Millis, Millis),
        servers: &[usize],
    ) -> Vec<&RequestRecord> {
        // They are in order but for what a first token takes to reach its client, so look back a little further.
        let newest = self.kept.iter().rev();
        let recent = newest.take_while(|(_, record)| record.finished.plus(1_000) > from);
        let inside = recent.filter(|(server, record)| {
            record.finished > from && record.finished <= to && servers.contains(server)
        });
        inside.map(|(_, record)| record).collect()
    }
}

/// The record of a request that is over. `moment` turns world seconds into moments.
pub(super) fn record(ended: &Ended, moment: impl Fn(f64) -> Millis) -> RequestRecord {
    let Ended { held, at_s, status, complete, .. } = ended;
    let (session, arm, canary_probability, first_turn, randomized) = match &held.owner {
        Owner::User(dealt) => {
            let session = dealt.session.clone();
            (session, dealt.arm, dealt.probability, dealt.first_turn, dealt.randomized)
        }
        // Synthetic load goes around the data plane: nobody was dealt anything.
        Owner::Load { load, session } => {
            (format!("load-{load}-{session}"), Arm::Canary, 1.0, true, false)
        }
    };
    let ms = |from_s: f64, to_s: f64| (to_s - from_s) * 1000.0;
    let finish = match (complete, held.first_token_s) {
        (true, _) => Finish::Complete,
        (false, Some(_)) => Finish::Cut,
        (false, None) => Finish::Failed,
    };
    let gaps = held.output_tokens.saturating_sub(1);
    let first_token_s = held.first_token_s.filter(|_| *complete && gaps > 0);
    RequestRecord {
        arm,
        canary_probability,
        session,
        first_turn,
        randomized,
        started: moment(held.arrival_s),
        finished: moment(*at_s),
        ttft_ms: held.first_token_s.map(|first_s| ms(held.arrival_s, first_s)),
        tpot_ms: first_token_s.map(|first_s| ms(first_s, *at_s) / f64::from(gaps)),
        itl_max_ms: held.gap_max_s.map(|gap_s| gap_s * 1000.0),
        e2e_ms: complete.then(|| ms(held.arrival_s, *at_s)),
        input_tokens: Some(held.input_tokens),
        output_tokens: held.output_tokens,
        status: *status,
        finish,
    }
}
