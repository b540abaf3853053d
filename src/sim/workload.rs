//! Who asks what, when: sessions of turns whose prompts grow, with arrivals by Poisson or in bursts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::LazyLock;

use rand_distr::{Distribution, Exp1, Gamma, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Request;
use super::blocks::HASH_TOKENS;
use crate::base::{Rng, SeededRng};
use crate::domain::{TokenLengths, WorkloadProfile};

/// A built-in workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Chat: lengths of Azure's 2023 conversation trace, 1155 in and 211 out on average.
    Chat,
    /// Code completion: Azure's 2023 code trace, 2048 in and 28 out, in bursts.
    Code,
    /// Reasoning: 1 k in, 1.4 k out.
    Reasoning,
    /// Agents: many turns over a long shared prefix.
    Agents,
}

/// Where lengths come from.
#[derive(Debug, Clone, PartialEq)]
enum Lengths {
    /// Pairs of (input, output) drawn from a recorded trace.
    Recorded(&'static [(u32, u32)]),
    /// Independent log-normals.
    Fitted { input: LogNormal, output: LogNormal },
}

/// A load without its rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    lengths: Lengths,
    /// Coefficient of variation of the gaps between session starts; 1 is Poisson.
    arrival_cv: f64,
    /// Turns of a session, mean of a geometric distribution.
    turns_mean: f64,
    /// Pause between an answer's expected end and the next turn, mean [s].
    think_mean_s: f64,
    /// Leading prompt tokens that every session shares (a system prompt).
    system_tokens: u32,
    /// Share of each prompt that the session's earlier turns already sent, from the second turn on.
    history_ratio: f64,
}

static CHAT: LazyLock<Vec<(u32, u32)>> =
    LazyLock::new(|| recorded(include_str!("../../data/traces/azure2023_conv_sample.csv")));
static CODE: LazyLock<Vec<(u32, u32)>> =
    LazyLock::new(|| recorded(include_str!("../../data/traces/azure2023_code_sample.csv")));

fn recorded(csv: &str) -> Vec<(u32, u32)> {
    let row = |line: &str| {
        let (input, output) = line.split_once(',')?;
        Some((input.trim().parse().ok()?, output.trim().parse().ok()?))
    };
    csv.lines().skip(1).filter_map(row).collect()
}

impl Workload {
    /// A built-in workload.
    pub fn of(kind: Kind) -> Self {
        let fitted = |input: f64, output: f64| Lengths::Fitted {
            input: LogNormal::new(input, 0.6),
            output: LogNormal::new(output, 0.7),
        };
        let chat = Self {
            lengths: Lengths::Recorded(&CHAT),
            arrival_cv: 1.0,
            turns_mean: 2.0,
            think_mean_s: 20.0,
            system_tokens: 0,
            history_ratio: 0.6,
        };
        match kind {
            Kind::Chat => chat,
            Kind::Code => {
                Self { lengths: Lengths::Recorded(&CODE), arrival_cv: 4.0, turns_mean: 1.0, ..chat }
            }
            Kind::Reasoning => Self { lengths: fitted(1000.0, 1400.0), turns_mean: 1.3, ..chat },
            Kind::Agents => Self {
                lengths: fitted(6000.0, 250.0),
                turns_mean: 6.0,
                think_mean_s: 3.0,
                system_tokens: 1024,
                history_ratio: 0.85,
                ..chat
            },
        }
    }

    /// A workload that looks like what was observed: log-normal lengths by mean and median, shared prefixes by ratio.
    pub fn from_profile(profile: &WorkloadProfile) -> Self {
        Self {
            lengths: Lengths::Fitted {
                input: LogNormal::fit(&profile.input_tokens),
                output: LogNormal::fit(&profile.output_tokens),
            },
            arrival_cv: profile.arrival_cv.clamp(0.1, 20.0),
            turns_mean: 1.0,
            think_mean_s: 0.0,
            system_tokens: (profile.input_tokens.mean * profile.shared_prefix_ratio.clamp(0.0, 1.0))
                as u32,
            history_ratio: 0.0,
        }
    }

    fn lengths(&self, rng: &mut SeededRng) -> (u32, u32) {
        match &self.lengths {
            Lengths::Recorded(rows) if !rows.is_empty() => {
                rows[(rng.unit() * rows.len() as f64) as usize % rows.len()]
            }
            Lengths::Recorded(_) => (1, 1),
            Lengths::Fitted { input, output } => (input.draw(rng), output.draw(rng)),
        }
    }
}

/// A log-normal over token counts, cut at 32,768.
#[derive(Debug, Clone, Copy, PartialEq)]
struct LogNormal {
    mu: f64,
    sigma: f64,
}

impl LogNormal {
    fn new(mean: f64, sigma: f64) -> Self {
        Self { mu: mean.max(1.0).ln() - sigma * sigma / 2.0, sigma }
    }

    /// By median and mean: `mean = median · exp(σ²/2)`; by the p95 where mean and median say nothing.
    fn fit(lengths: &TokenLengths) -> Self {
        let (mean, p50, p95) = (lengths.mean.max(1.0), lengths.p50.max(1.0), lengths.p95.max(1.0));
        let by_tail = (p95 / p50).max(1.0).ln() / 1.645;
        let by_mean = (2.0 * (mean / p50).max(1.0).ln()).sqrt();
        let sigma = (0.5 * (by_tail + by_mean)).clamp(0.01, 2.0);
        Self::new(mean, sigma)
    }

    fn draw(&self, rng: &mut SeededRng) -> u32 {
        let z: f64 = StandardNormal.sample(rng.inner());
        (self.mu + self.sigma * z).exp().round().clamp(1.0, 32_768.0) as u32
    }
}

/// An endless stream of requests in order of arrival, one history per seed.
#[derive(Debug, Clone)]
pub struct Arrivals {
    workload: Workload,
    rng: SeededRng,
    seed: u64,
    sessions_per_s: f64,
    next_session_s: f64,
    sessions: u64,
    requests: u64,
    /// Later turns by time.
    turns: BinaryHeap<Reverse<Turn>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Turn {
    at_s: f64,
    session: u64,
    /// Pieces of the prompt before: the next prompt begins with some of them.
    history: Vec<u64>,
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
    /// Requests at `rate_rps` [requests/s] on average, sessions of several turns counted by their turns.
    pub fn new(workload: Workload, rate_rps: f64, seed: u64) -> Self {
        let sessions_per_s = rate_rps / workload.turns_mean;
        let rng = SeededRng::stream(seed, "arrivals");
        let mut arrivals = Self {
            workload,
            rng,
            seed,
            sessions_per_s,
            next_session_s: 0.0,
            sessions: 0,
            requests: 0,
            turns: BinaryHeap::new(),
        };
        arrivals.next_session_s = arrivals.gap_s();
        arrivals
    }

    /// Changes the rate from now on [requests/s].
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
        let turn = match self.turns.pop() {
            Some(Reverse(turn)) if due => turn,
            other => {
                self.turns.extend(other);
                self.open_session()
            }
        };
        self.request(turn)
    }

    fn open_session(&mut self) -> Turn {
        self.sessions += 1;
        let turn = Turn { at_s: self.next_session_s, session: self.sessions, history: Vec::new() };
        self.next_session_s += self.gap_s();
        turn
    }

    fn request(&mut self, turn: Turn) -> Request {
        let (drawn, output_tokens) = self.workload.lengths(&mut self.rng);
        let input_tokens = drawn.max(1);
        self.requests += 1;
        let hashes = self.hashes(&turn, input_tokens);
        let continues = self.rng.unit() < 1.0 - 1.0 / self.workload.turns_mean;
        if continues {
            let wait: f64 = Exp1.sample(self.rng.inner());
            // The answer is read before the next question comes: 30 ms a token is a fast reader.
            let read_s = f64::from(output_tokens) * 0.03;
            let at_s = turn.at_s + read_s + wait * self.workload.think_mean_s;
            self.turns.push(Reverse(Turn { at_s, session: turn.session, history: hashes.clone() }));
        }
        Request {
            id: self.requests,
            arrival_s: turn.at_s,
            input_tokens,
            output_tokens: output_tokens.max(1),
            prefix_hashes: hashes,
            session: turn.session,
        }
    }

    /// Hashes of the prompt's whole pieces: first everyone's system prompt, or from the second turn on a part of what the
    /// session sent before; then pieces nobody has sent yet.
    fn hashes(&self, turn: &Turn, input: u32) -> Vec<u64> {
        let pieces = (input / HASH_TOKENS) as usize;
        let repeated =
            (f64::from(input) * self.workload.history_ratio) as usize / HASH_TOKENS as usize;
        let system = (self.workload.system_tokens / HASH_TOKENS) as usize;
        let own = mix(self.seed ^ self.requests.rotate_left(32));
        let everyones = (0..system as u64).map(|piece| mix(self.seed ^ piece ^ 0x5157));
        let mut hashes: Vec<u64> = if turn.history.is_empty() {
            everyones.collect()
        } else {
            turn.history.iter().take(repeated.max(system)).copied().collect()
        };
        hashes.truncate(pieces);
        let known = hashes.len();
        hashes.extend((known..pieces).map(|piece| mix(own ^ piece as u64)));
        hashes
    }

    fn gap_s(&mut self) -> f64 {
        let mean = 1.0 / self.sessions_per_s.max(1e-9);
        let cv = self.workload.arrival_cv;
        if (cv - 1.0).abs() < 1e-9 {
            let gap: f64 = Exp1.sample(self.rng.inner());
            return gap * mean;
        }
        // Gamma gaps: shape 1/cv², scale cv² · mean.
        match Gamma::new(1.0 / (cv * cv), cv * cv * mean) {
            Ok(gamma) => gamma.sample(self.rng.inner()),
            Err(_) => mean,
        }
    }
}

/// The first `count` requests of a workload.
pub fn generate(workload: &Workload, rate_rps: f64, seed: u64, count: usize) -> Vec<Request> {
    let mut arrivals = Arrivals::new(workload.clone(), rate_rps, seed);
    (0..count).map(|_| arrivals.next_request()).collect()
}

/// splitmix64's finaliser: close inputs, far outputs.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
