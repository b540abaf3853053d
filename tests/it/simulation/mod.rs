//! Deterministic simulation: random graphs in bad weather, the whole runtime in virtual time, thousands of seeds.
//!
//! A world has a real runtime, the real engine and the real memory store; between them a [`storm::Storm`] kills the
//! program between any two calls of the store or of a side effect, drops answers, delays, and loses wakes. The laws
//! are checked at every commit and at the end, and in any weather a graph must come to the end it has in fine weather.
//!
//! `PERF_AGENT_SIM_SEEDS=100000` hunts longer, `PERF_AGENT_SIM_FROM=5000000` elsewhere, `PERF_AGENT_SIM_SEED=17` looks at one.
//! A seed that fails is printed and written to `kept.txt`, which every later run begins with.

mod actors;
pub mod clock;
mod graphs;
mod laws;
mod outside;
mod storm;
mod world;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use perf_agent::base::Clock;
use perf_agent::engine::Local;
use perf_agent::graph::{Mode, Route};
use perf_agent::runtime::{CheckpointStore, Engine, Runtime, RuntimeParts};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use actors::Actors;
use storm::{Storm, StormyEngine, StormyStore};
use world::{Process, World};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 10_000;
/// By then every thread has come to rest, whatever happened [ms of virtual time].
const HORIZON_MS: u64 = 48 * 3_600_000;

/// How long a program that was given up goes on, where it does [ms].
const ZOMBIE_MS: u64 = 20_000;

/// How the threads of one world ended, and how their journals read.
struct Ending {
    outcomes: Vec<Value>,
    journals: String,
}

/// Runs one world to its end. Errors: the laws it broke.
fn run(seed: u64, sample_of: u64, storm: Storm) -> Result<Ending, String> {
    let world = World::new(seed, sample_of, storm);
    world.clock.clone().run(async {
        let supervisor = tokio::spawn(supervise(world.clone()));
        let users = world.threads.iter().map(|thread| outside::user(world.clone(), thread.clone()));
        let users: Vec<_> = users.map(tokio::spawn).collect();
        tokio::select! {
            biased;
            done = futures::future::join_all(users) => {
                for user in done {
                    user.map_err(|error| format!("a user panicked: {error}"))?;
                }
            }
            () = world.clock.sleep_ms(HORIZON_MS) => world.broken(stuck(&world).await),
        }
        supervisor.abort();
        laws::at_the_end(&world).await;
        let mut ending = Ending { outcomes: Vec::new(), journals: String::new() };
        for thread in &world.threads {
            ending.outcomes.push(laws::outcome(&world, thread).await);
            let journal = world.store.events(thread, 0, usize::MAX).await.unwrap();
            ending.journals.push_str(&format!("{journal:#?}\n"));
        }
        world.verdict().map(|()| ending)
    })
}

async fn stuck(world: &World) -> String {
    let mut threads = String::new();
    for thread in &world.threads {
        if let Some(head) = world.store.head(thread).await.unwrap()
            && !head.status.is_over()
        {
            threads.push_str(&format!(" {thread} is {} in {:?}", head.status.name(), head.tasks));
        }
    }
    format!("stuck after {} calls:{threads}", world.calls.load(Ordering::Relaxed))
}

/// Starts the program again whenever it has died.
async fn supervise(world: Arc<World>) {
    loop {
        let dead = CancellationToken::new();
        let store = Arc::new(StormyStore { world: world.clone(), dead: dead.clone() });
        let local = Arc::new(Local::new(store.clone(), world.clock.clone()));
        let engine = Arc::new(StormyEngine { world: world.clone(), local });
        let runtime = Runtime::new(RuntimeParts {
            store: store.clone(),
            nodes: Arc::new(Actors(store)),
            clock: world.clock.clone(),
            rng_seed: world.word(),
            engine: Some(engine.clone()),
        });
        let stop = CancellationToken::new();
        world.set_process(Some(Arc::new(Process { runtime: runtime.clone(), dead: dead.clone() })));
        let (serving, stopping) = (engine.clone(), stop.clone());
        let mut serving =
            tokio::spawn(async move { serving.serve(Arc::new(runtime), stopping).await });
        let drain_ms = world.storm.drain.filter(|_| world.once_in(Some(2))).map(|n| n * 100);
        tokio::select! {
            biased;
            () = dead.cancelled() => {}
            ended = &mut serving => {
                if !dead.is_cancelled() {
                    world.broken(format!("the engine ended by itself: {ended:?}"));
                }
            }
            () = world.clock.sleep_ms(drain_ms.unwrap_or(u64::MAX)) => {
                stop.cancel();
                tokio::select! {
                    biased;
                    () = dead.cancelled() => {}
                    _ = &mut serving => {}
                }
            }
        }
        world.set_process(None);
        dead.cancel();
        let (zombie, clock) = (world.storm.two_owners, world.clock.clone());
        tokio::spawn(async move {
            if zombie {
                // It does not know yet that it was given up.
                clock.sleep_ms(ZOMBIE_MS).await;
            }
            serving.abort();
        });
        world.clock.sleep_ms(1 + world.below(5_000)).await;
    }
}

/// One seed: its world, and the same graph in fine weather unless its users interfere.
fn check(seed: u64, fine: &Mutex<HashMap<u64, Arc<Ending>>>) -> Result<(), String> {
    let storm = Storm::of(seed);
    let sample_of = seed % 400;
    let unruly = storm.unruly;
    let ending = run(seed, sample_of, storm)?;
    if unruly {
        return Ok(());
    }
    let known = fine.lock().unwrap().get(&sample_of).cloned();
    let fine = match known {
        Some(known) => known,
        None => {
            let calm = run(sample_of, sample_of, Storm::default());
            let ending = Arc::new(calm.map_err(|error| format!("in fine weather: {error}"))?);
            fine.lock().unwrap().insert(sample_of, ending.clone());
            ending
        }
    };
    if fine.outcomes == ending.outcomes {
        Ok(())
    } else {
        let text = |ending: &Ending| serde_json::to_string(&ending.outcomes).unwrap_or_default();
        Err(format!("came to another end\n  fine:  {}\n  storm: {}", text(&fine), text(&ending)))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn kept_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/simulation/kept.txt")
}

fn kept() -> Vec<u64> {
    let text = std::fs::read_to_string(kept_file()).unwrap_or_default();
    text.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect()
}

/// Checks `seeds` on all cores; those that failed, with what they broke.
fn check_all(seeds: &[u64]) -> Vec<(u64, String)> {
    let (next, fine, failed) = (AtomicU64::new(0), Mutex::default(), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(law) = check(seed, &fine) {
                        failed.lock().unwrap().push((seed, law));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

#[test]
fn in_any_weather_the_laws_hold_and_every_thread_comes_to_its_end() {
    if let Some(seed) = number("PERF_AGENT_SIM_SEED") {
        println!("{:?}", Storm::of(seed));
        match run(seed, seed % 400, Storm::of(seed)) {
            Ok(ending) => println!("{}", ending.journals),
            Err(law) => println!("{law}"),
        }
        check(seed, &Mutex::default()).unwrap();
        return;
    }
    let from = number("PERF_AGENT_SIM_FROM").unwrap_or(0);
    let mut seeds = kept();
    seeds.extend(from..from + number("PERF_AGENT_SIM_SEEDS").unwrap_or(SEEDS));
    let failed = check_all(&seeds);
    let known = kept();
    for (seed, law) in failed.iter().take(10) {
        println!("seed {seed} broke a law: {law}");
        if !known.contains(seed) {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(kept_file());
            std::io::Write::write_all(&mut file.unwrap(), format!("{seed}\n").as_bytes()).unwrap();
        }
    }
    assert!(failed.is_empty(), "{} of {} seeds broke a law", failed.len(), seeds.len());
}

#[test]
fn one_seed_gives_one_journal_also_in_a_storm() {
    for seed in 0..40 {
        let journals = || run(seed, seed % 400, Storm::of(seed)).map(|ending| ending.journals);
        assert_eq!(journals(), journals(), "seed {seed}");
    }
}

#[test]
fn some_of_the_graphs_are_eager_and_have_branches() {
    let forks =
        |node: &perf_agent::graph::Node| matches!(&node.route, Route::Always(to) if to.len() > 1);
    let eager = (0..400)
        .map(graphs::sample)
        .filter(|sample| sample.graph.mode == Mode::Eager && sample.graph.nodes.iter().any(forks));
    let count = eager.count();
    assert!(count >= 10, "{count}");
}
