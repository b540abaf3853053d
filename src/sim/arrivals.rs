//! Who asks what, when: sessions of turns whose prompts grow, with arrivals by Poisson or in bursts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_distr::{Distribution, Exp1, Gamma};

use super::Request;
use super::load::Workload;
use super::sequence::HASH_TOKENS;
use crate::base::{Rng, SeededRng};

/// A fast reader takes this long per token of the answer before the next question [s].
const READ_S_PER_TOKEN: f64 = 0.03;
/// A turn adds at least so many tokens of its own to the conversation, prompts shorter than twice that half of them.
const QUESTION_TOKENS: u32 = 32;
/// Longest session [turns]: the geometric distribution has no end.
const TURNS_MAX: u32 = 64;

/// An endless stream of requests in order of arrival, one history per seed.
#[derive(Debug, Clone)]
pub struct Arrivals {
    workload: Workload,
    /// Two streams, so that a changed rate moves the same requests.
    times: SeededRng,
    contents: SeededRng,
    seed: u64,
    sessions_per_s: f64,
    next_session_s: f64,
    sessions: u64,
    requests: u64,
    /// Later turns by time.
    turns: BinaryHeap<Reverse<Turn>>,
}

/// A session's next turn.
#[derive(Debug, Clone)]
struct Turn {
    at_s: f64,
    session: u64,
    /// Lengths of this turn and those after it, the last first.
    lengths: Vec<(u32, u32)>,
    /// Hashes of the conversation so far.
    history: Vec<u64>,
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_s.total_cmp(&other.at_s).then(self.session.cmp(&other.session))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Arrivals {
    /// Requests at `rate_rps` [requests/s] on average, from time 0. The stream is in full swing then: sessions that began
    /// before have turns to come.
    pub fn new(workload: Workload, rate_rps: f64, seed: u64) -> Self {
        let mut arrivals = Self {
            times: SeededRng::stream(seed, "arrivals"),
            contents: SeededRng::stream(seed, "requests"),
            seed,
            sessions_per_s: rate_rps / workload.turns_mean,
            workload,
            next_session_s: 0.0,
            sessions: 0,
            requests: 0,
            turns: BinaryHeap::new(),
        };
        arrivals.next_session_s = arrivals.gap_s() - arrivals.before_s();
        while arrivals.peek_s() < 0.0 {
            arrivals.next_request();
        }
        arrivals
    }

    /// How long before time 0 the first session must begin for the turns to have settled [s].
    fn before_s(&self) -> f64 {
        let pause_s = self.workload.think_mean_s + READ_S_PER_TOKEN * 1000.0;
        if self.workload.turns_mean > 1.0 { 4.0 * self.workload.turns_mean * pause_s } else { 0.0 }
    }

    /// Changes the rate of new sessions from now on [requests/s, counted by their turns].
    pub fn set_rate(&mut self, rate_rps: f64) {
        self.sessions_per_s = rate_rps / self.workload.turns_mean;
    }

    /// When the next request arrives [s].
    pub fn peek_s(&self) -> f64 {
        self.turns.peek().map_or(self.next_session_s, |turn| turn.0.at_s.min(self.next_session_s))
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        let due = self.turns.peek().is_some_and(|turn| turn.0.at_s <= self.next_session_s);
        match self.turns.pop() {
            Some(Reverse(turn)) if due => self.ask(turn),
            other => {
                self.turns.extend(other);
                let turn = self.open_session();
                self.ask(turn)
            }
        }
    }

    fn open_session(&mut self) -> Turn {
        self.sessions += 1;
        let stops = 1.0 / self.workload.turns_mean;
        let mut turns = 1;
        while turns < TURNS_MAX && self.contents.unit() >= stops {
            turns += 1;
        }
        let draw = |_| self.workload.lengths.draw(&mut self.contents);
        let mut lengths: Vec<(u32, u32)> = (0..turns).map(draw).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let at_s = self.next_session_s;
        self.next_session_s += self.gap_s();
        Turn { at_s, session: self.sessions, lengths, history: Vec::new() }
    }

    fn ask(&mut self, mut turn: Turn) -> Request {
        self.requests += 1;
        let (input_tokens, output_tokens) = turn.lengths.pop().unwrap_or((1, 1));
        let last = turn.lengths.is_empty();
        let prefix_hashes = self.hashes(&turn.history, input_tokens, output_tokens, last);
        let request = Request {
            id: self.requests,
            arrival_s: turn.at_s,
            input_tokens,
            output_tokens,
            prefix_hashes,
            session: turn.session,
        };
        if !last {
            let wait: f64 = Exp1.sample(self.contents.inner());
            turn.at_s +=
                f64::from(output_tokens) * READ_S_PER_TOKEN + wait * self.workload.think_mean_s;
            turn.history.clone_from(&request.prefix_hashes);
            self.turns.push(Reverse(turn));
        }
        request
    }

    /// Hashes of the conversation's whole pieces: what everybody sends, what the session said before, then pieces of
    /// this turn alone, its answer included. The last are named only if there is a turn to come that may send them.
    fn hashes(&self, history: &[u64], input: u32, output: u32, last: bool) -> Vec<u64> {
        let question = QUESTION_TOKENS.min(input / 2);
        let repeatable = ((input - question) / HASH_TOKENS) as usize;
        let common = (f64::from(input) * self.workload.common_ratio) as u32;
        let common = (common.max(self.workload.system_tokens.min(input)) / HASH_TOKENS) as usize;
        let pieces = ((input + output) / HASH_TOKENS) as usize;
        let known = history.len().min(repeatable);
        let mut hashes = Vec::with_capacity(if last { known.max(common) } else { pieces });
        hashes.extend_from_slice(&history[..known]);
        hashes.extend((known..common).map(|piece| mix(self.seed ^ mix(piece as u64))));
        if !last {
            let own = mix(self.seed ^ self.requests.rotate_left(32));
            hashes.extend((hashes.len()..pieces).map(|piece| mix(own ^ piece as u64)));
        }
        hashes
    }

    fn gap_s(&mut self) -> f64 {
        let mean = 1.0 / self.sessions_per_s.max(1e-9);
        let cv = self.workload.arrival_cv;
        if (cv - 1.0).abs() < 1e-9 {
            let gap: f64 = Exp1.sample(self.times.inner());
            return gap * mean;
        }
        // Gamma gaps: shape 1/cv², scale cv² · mean.
        match Gamma::new(1.0 / (cv * cv), cv * cv * mean) {
            Ok(gamma) => gamma.sample(self.times.inner()),
            Err(_) => mean,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        Some(self.next_request())
    }
}

/// The first `count` requests of a workload.
pub fn generate(workload: &Workload, rate_rps: f64, seed: u64, count: usize) -> Vec<Request> {
    Arrivals::new(workload.clone(), rate_rps, seed).take(count).collect()
}

/// The requests of a workload that arrive from `from_s` to before `until_s` [s]; the stream begins at 0.
pub fn generate_between(
    workload: &Workload,
    rate_rps: f64,
    seed: u64,
    (from_s, until_s): (f64, f64),
) -> Vec<Request> {
    let arrivals = Arrivals::new(workload.clone(), rate_rps, seed);
    let later = arrivals.skip_while(|request| request.arrival_s < from_s);
    later.take_while(|request| request.arrival_s < until_s).collect()
}

/// splitmix64's finaliser: close inputs, far outputs.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
