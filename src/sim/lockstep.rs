//! The requests that decode in step: each gets its next token in every step, so none is touched until it leaves.
//!
//! A member's progress is the set's counter less its value when it joined. A step, or a run of steps, costs the same
//! for one member and for a thousand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::ticks::Ps;

/// The set.
#[derive(Debug, Clone)]
pub(super) struct Lockstep {
    /// Tokens every member has got since the beginning of time.
    counter: u64,
    size: u32,
    /// Σ of the members' contexts [tokens].
    context: u64,
    /// How many members begin a new block when the counter is this, modulo the block size.
    phases: Vec<u32>,
    /// Who finishes when: (counter, stamp of joining, slot). Members that left early stay until popped.
    finishes: BinaryHeap<Reverse<(u64, u64, u32)>>,
    stamps: u64,
    /// Step durations as (counter at the step's end, duration), each longer than all that follow.
    longest: Vec<(u64, Ps)>,
}

/// What a member remembers of its joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Joined {
    counter: u64,
    context: u32,
    pub(super) stamp: u64,
}

impl Lockstep {
    pub(super) fn new(block_size: u32) -> Self {
        Self {
            counter: 0,
            size: 0,
            context: 0,
            phases: vec![0; block_size.max(1) as usize],
            finishes: BinaryHeap::new(),
            stamps: 0,
            longest: Vec::new(),
        }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn context(&self) -> u64 {
        self.context
    }

    /// A request in `slot` with `context` tokens in memory and `remaining` to come joins.
    pub(super) fn join(&mut self, slot: u32, context: u32, remaining: u32) -> Joined {
        self.stamps += 1;
        let joined = Joined { counter: self.counter, context, stamp: self.stamps };
        self.size += 1;
        self.context += u64::from(context);
        let phase = self.phase(joined);
        self.phases[phase] += 1;
        let finishes_at = self.counter + u64::from(remaining);
        self.finishes.push(Reverse((finishes_at, self.stamps, slot)));
        joined
    }

    /// A member leaves; returns the tokens it got and the longest step it saw.
    pub(super) fn leave(&mut self, joined: Joined) -> (u32, Ps) {
        let tokens = self.progress(joined);
        let phase = self.phase(joined);
        self.phases[phase] -= 1;
        self.size -= 1;
        self.context -= u64::from(joined.context) + u64::from(tokens);
        let longest = self.longest_since(joined.counter);
        if self.size == 0 {
            self.longest.clear();
            self.finishes.clear();
        }
        (tokens, longest)
    }

    /// Tokens a member has got.
    pub(super) fn progress(&self, joined: Joined) -> u32 {
        (self.counter - joined.counter) as u32
    }

    /// Every member gets `tokens` tokens; the last step of those took `longest`, none took more.
    pub(super) fn advance(&mut self, tokens: u64, longest: Ps) {
        if self.size == 0 {
            return;
        }
        self.counter += tokens;
        self.context += u64::from(self.size) * tokens;
        while self.longest.last().is_some_and(|(_, duration)| *duration <= longest) {
            self.longest.pop();
        }
        self.longest.push((self.counter, longest));
    }

    /// The next member that is through, earliest joined first.
    pub(super) fn pop_finished(&mut self, is_member: impl Fn(u32, u64) -> bool) -> Option<u32> {
        while let Some(Reverse((at, stamp, slot))) = self.finishes.peek().copied() {
            let member = is_member(slot, stamp);
            if member && at > self.counter {
                return None;
            }
            self.finishes.pop();
            if member {
                return Some(slot);
            }
        }
        None
    }

    /// Tokens until the first member is through; `None` when there is none.
    pub(super) fn until_finish(&mut self, is_member: impl Fn(u32, u64) -> bool) -> Option<u64> {
        while let Some(Reverse((at, stamp, slot))) = self.finishes.peek().copied() {
            if is_member(slot, stamp) {
                return Some(at.saturating_sub(self.counter));
            }
            self.finishes.pop();
        }
        None
    }

    /// Blocks the members need for their next `tokens` tokens.
    pub(super) fn blocks_for(&self, tokens: u64) -> u64 {
        let period = self.phases.len() as u64;
        let whole = tokens / period * u64::from(self.size);
        let rest = self.counter..self.counter + tokens % period;
        whole + rest.map(|at| u64::from(self.phases[(at % period) as usize])).sum::<u64>()
    }

    fn phase(&self, joined: Joined) -> usize {
        let period = self.phases.len() as u64;
        let ahead = period - u64::from(joined.context) % period;
        ((joined.counter + ahead) % period) as usize
    }

    fn longest_since(&self, counter: u64) -> Ps {
        let at = self.longest.partition_point(|(end, _)| *end <= counter);
        self.longest.get(at).map_or(0, |(_, duration)| *duration)
    }
}
