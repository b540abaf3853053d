//! What the wire says that has no meaning of its own: versions, forms of ids and of times.

use jiff::Timestamp;
use uuid::Uuid;

use crate::agent::Lineage;
use crate::base::{Millis, stable_hash};

/// The version of LangGraph whose wire this speaks.
pub(super) const LANGGRAPH_VERSION: &str = "1.2.22";
/// The version of LangGraph's server whose routes these are.
pub(super) const API_VERSION: &str = "0.16.7";
/// LangGraph's namespace for the ids of graphs.
const GRAPHS: Uuid = Uuid::from_u128(0x6ba7_b821_9dad_11d1_80b4_00c0_4fd4_30c8);
/// From the begin of the Gregorian calendar to that of Unix time [100 ns].
const GREGORIAN: u64 = 0x01b2_1dd2_1381_4000;

/// A moment as the wire has it: `2026-11-24T02:09:08.123000+00:00`.
pub(super) fn stamp(at: Millis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// The id of a graph's own assistant.
pub(super) fn assistant_id(graph: &str) -> String {
    Uuid::new_v5(&GRAPHS, graph.as_bytes()).to_string()
}

/// A task's id: the same for ever.
pub(super) fn task_id(thread: &str, lineage: &Lineage, node: &str) -> String {
    let seq = lineage.seq.to_string();
    hyphenated(&stable_hash(&["task", thread, &seq, node]))
}

/// The id of a call of a subgraph: the same through all of its supersteps.
pub(super) fn call_id(thread: &str, run: &str, path: &str) -> String {
    hyphenated(&stable_hash(&["call", thread, run, path]))
}

/// The id of the message that begins with entry `seq` of a journal.
pub(super) fn message_id(run: &str, seq: u64) -> String {
    format!("run--{}", hyphenated(&stable_hash(&["message", run, &seq.to_string()])))
}

/// Whether `id` has the form of an id of threads and runs.
pub(super) fn is_uuid(id: &str) -> bool {
    id.len() == 36 && Uuid::try_parse(id).is_ok()
}

fn hyphenated(hex: &str) -> String {
    u128::from_str_radix(hex, 16).map(|bits| Uuid::from_u128(bits).to_string()).unwrap_or_default()
}

/// A state by name: what LangGraph calls a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The checkpoint that made it.
    pub(super) seq: u64,
    /// Before the input was applied: a state that LangGraph has and we only show.
    pub(super) input: bool,
}

impl Place {
    /// The id of this state: a UUID (version 6) that sorts by time and step, as LangGraph's does.
    pub(super) fn id(self, lineage: &Lineage) -> String {
        let ticks = (lineage.at.0.saturating_mul(10_000)).saturating_add(GREGORIAN);
        let step = lineage.step.saturating_sub(u64::from(self.input));
        let high = ticks >> 28 & 0xffff_ffff;
        let middle = ticks >> 12 & 0xffff;
        let low = ticks & 0xfff | 0x6000;
        let clock = step & 0x3fff | 0x8000;
        let node = (self.seq << 1 | u64::from(self.input)) & 0xffff_ffff_ffff;
        format!("{high:08x}-{middle:04x}-{low:04x}-{clock:04x}-{node:012x}")
    }

    /// The state that an id names, on whatever thread.
    pub(super) fn of(id: &str) -> Option<Self> {
        let bits = Uuid::try_parse(id).ok()?.as_u128() & 0xffff_ffff_ffff;
        let node = u64::try_from(bits).ok()?;
        Some(Self { seq: node >> 1, input: node & 1 == 1 })
    }
}

/// The number that LangGraph gives to a state: −1 is the first input.
pub(super) fn step(lineage: &Lineage, input: bool) -> i64 {
    i64::try_from(lineage.step).unwrap_or(i64::MAX) - 2 - i64::from(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_graphs_assistant_is_langgraphs() {
        assert_eq!(assistant_id("trivial"), "014e7ba3-a6dc-5ad3-8da5-be77b72b54c9");
    }

    #[test]
    fn ids_of_states_sort_by_time_and_step_and_lead_back() {
        let lineage =
            Lineage { step: 12, seq: 7, at: Millis(1_795_486_153_524), ..Lineage::default() };
        let place = Place { seq: 7, input: false };
        let before = Place { input: true, ..place };
        assert!(before.id(&lineage) < place.id(&lineage));
        let later = Lineage { at: Millis(lineage.at.0 + 1), step: 1, ..lineage };
        assert!(place.id(&lineage) < before.id(&later));
        assert_eq!(Place::of(&place.id(&lineage)), Some(place));
        assert_eq!(Place::of(&before.id(&lineage)), Some(before));
        assert_eq!(Uuid::parse_str(&place.id(&lineage)).unwrap().get_version_num(), 6);
    }

    #[test]
    fn times_are_written_with_microseconds() {
        assert_eq!(stamp(Millis(1_795_486_148_123)), "2026-11-24T02:09:08.123000+00:00");
    }
}
