//! What outlives a crash: the store's contents, the targets of side effects, and what was acknowledged to whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use perf_agent::base::{Clock, Rng, RunId, SeededRng, ThreadId};
use perf_agent::runtime::Runtime;
use perf_agent::store::MemoryStore;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::clock::SimClock;
use super::graphs::{Sample, below, sample};
use super::storm::Storm;

/// Store calls after which a world is given up: something goes round in circles.
const CALLS_MAX: u64 = 200_000;

/// One simulated world.
pub struct World {
    pub seed: u64,
    looked_at: bool,
    pub sample: Arc<Sample>,
    pub storm: Storm,
    pub clock: Arc<SimClock>,
    pub store: MemoryStore,
    pub threads: Vec<ThreadId>,
    /// Draws the faults, in the order in which things happen.
    rng: Mutex<SeededRng>,
    pub calls: AtomicU64,
    process: Mutex<Option<Arc<Process>>>,
    target: Mutex<Target>,
    acks: Mutex<Acks>,
    broken: Mutex<Vec<String>>,
}

/// One life of the program.
pub struct Process {
    pub runtime: Runtime,
    /// Set when it is killed: nothing it does has any effect from then on.
    pub dead: CancellationToken,
}

/// The systems outside that effects act on: an external counter.
#[derive(Default)]
struct Target {
    applied: BTreeMap<String, Applied>,
    /// (run, task, call) → keys under which it came.
    keys: BTreeMap<(String, String, u32), BTreeSet<String>>,
}

struct Applied {
    policy: &'static str,
    times: u32,
}

/// Requests that were acknowledged: none of them may be lost.
#[derive(Default)]
pub struct Acks {
    pub runs: Vec<(ThreadId, RunId)>,
    pub answers: Vec<(ThreadId, String)>,
}

/// A call of a side effect.
pub struct Call<'a> {
    pub run: &'a str,
    pub task: &'a str,
    pub number: u32,
    pub key: &'a str,
    pub policy: &'static str,
}

impl World {
    pub fn new(seed: u64, sample_of: u64, storm: Storm) -> Arc<Self> {
        let mut rng = SeededRng::stream(seed, "simulated faults");
        let threads = 1 + below(&mut SeededRng::stream(sample_of, "threads"), 2);
        Arc::new(Self {
            seed,
            looked_at: std::env::var_os("PERF_AGENT_SIM_SEED").is_some(),
            sample: sample(sample_of),
            storm,
            clock: SimClock::at(1_000 + below(&mut rng, 1_000)),
            store: MemoryStore::new(),
            threads: (0..threads).map(|n| ThreadId(format!("t{n}"))).collect(),
            rng: Mutex::new(rng),
            calls: AtomicU64::new(0),
            process: Mutex::default(),
            target: Mutex::default(),
            acks: Mutex::default(),
            broken: Mutex::default(),
        })
    }

    /// True once in `n` draws, while the storm lasts.
    pub fn once_in(&self, n: Option<u64>) -> bool {
        let calm = self.calls.load(Ordering::Relaxed) > self.storm.calls;
        n.is_some_and(|n| !calm && self.below(n) == 0)
    }

    pub fn below(&self, n: u64) -> u64 {
        below(&mut self.rng.lock().unwrap(), n)
    }

    pub fn word(&self) -> u64 {
        self.rng.lock().unwrap().next_u64()
    }

    /// Counts a call of the store. `false`: there were too many, the world stands still.
    pub fn count(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX
    }

    /// Says what happens, if this world is looked at.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.looked_at {
            let what: String = what().chars().take(400).collect();
            println!("{:>10} {what}", self.clock.now().0);
        }
    }

    /// A law was broken.
    pub fn broken(&self, law: String) {
        self.broken.lock().unwrap().push(law);
    }

    pub fn verdict(&self) -> Result<(), String> {
        let broken = self.broken.lock().unwrap();
        if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
    }

    pub fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap().clone().filter(|process| !process.dead.is_cancelled())
    }

    pub fn set_process(&self, process: Option<Arc<Process>>) {
        *self.process.lock().unwrap() = process;
    }

    /// The side effect happens: an at-most-once target applies whatever comes, any other one each key once.
    pub fn apply(&self, call: &Call<'_>) {
        let mut target = self.target.lock().unwrap();
        let logical = (call.run.to_owned(), call.task.to_owned(), call.number);
        target.keys.entry(logical).or_default().insert(call.key.to_owned());
        let fresh = Applied { policy: call.policy, times: 0 };
        let applied = target.applied.entry(call.key.to_owned()).or_insert(fresh);
        applied.times += 1;
    }

    /// What a person finds who looks at the target.
    pub fn happened(&self, key: &str) -> bool {
        self.target.lock().unwrap().applied.contains_key(key)
    }

    pub fn check_effects(&self) {
        let target = self.target.lock().unwrap();
        for (key, applied) in &target.applied {
            if applied.policy == "at_most_once" && applied.times > 1 {
                self.broken(format!(
                    "the at-most-once effect {key} happened {} times",
                    applied.times
                ));
            }
        }
        let mut owners: HashMap<&String, u32> = HashMap::new();
        for (call, keys) in &target.keys {
            if keys.len() != 1 {
                self.broken(format!("call {call:?} came under the keys {keys:?}"));
            }
            for key in keys {
                *owners.entry(key).or_default() += 1;
            }
        }
        if let Some((key, n)) = owners.into_iter().find(|(_, n)| *n > 1) {
            self.broken(format!("{n} calls share the key {key}"));
        }
    }

    pub fn acks(&self) -> std::sync::MutexGuard<'_, Acks> {
        self.acks.lock().unwrap()
    }
}

/// A number below `n` that depends on the parts alone.
pub fn dice(parts: &[&str], n: u64) -> u64 {
    // FNV-1a: the worlds are many, and SHA-256 is slow unoptimised.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    (hash ^ (hash >> 29)) % n.max(1)
}

/// What the dice know a task of an eager graph by: its node, and how often that was started.
pub fn eager_name(node: &str, visits: u64) -> String {
    format!("{node} for the {visits}. time")
}

/// What an effect answers: the same whoever asks, so that a run cut off comes to the same end.
pub fn result(task: &str, number: u32) -> Value {
    dice(&["result", task, &number.to_string()], 7).into()
}
