//! Random graphs, as files: the loader proves each one before it is run.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use perf_agent::base::{Rng, SeededRng};
use perf_agent::graph::{Effect, Graph, Source, ToolFacts, Vocabulary, load};
use serde_json::json;

/// What the worker of a node does, beside writing its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Plain,
    /// Side effects under the ledger.
    Effect(&'static str),
    /// Asks a person.
    Ask,
    /// Waits for a timer.
    Timer,
    /// Waits for a signal that bears the node's name.
    Signal,
    /// Fails now and then, sometimes for good.
    Flaky,
    /// Takes longer than its timeout now and then.
    Slow,
    /// Panics now and then.
    Panics,
}

/// A graph, and what its nodes do.
pub struct Sample {
    pub graph: Arc<Graph>,
    pub roles: HashMap<String, Role>,
}

/// Distinct graphs: loading one costs more than running it.
const SAMPLES: u64 = 400;

/// The graph of `seed`.
pub fn sample(seed: u64) -> Arc<Sample> {
    static KNOWN: Mutex<Option<HashMap<u64, Arc<Sample>>>> = Mutex::new(None);
    let key = seed % SAMPLES;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry(key).or_insert_with(|| Arc::new(draw(key))).clone()
}

/// Below `n`, uniform.
pub fn below(rng: &mut SeededRng, n: u64) -> u64 {
    rng.next_u64() % n.max(1)
}

fn draw(seed: u64) -> Sample {
    let mut rng = SeededRng::stream(seed, "simulated graph");
    let count = 2 + below(&mut rng, 6) as usize;
    let mut roles: Vec<Role> = (0..count).map(|_| role(&mut rng)).collect();
    let text = text(seed, &roles, &mut rng);
    if meets(seed) {
        roles.push(Role::Plain);
    }
    let any =
        ToolFacts { effect: Effect::Read, approval: false, args: json!(true), output: json!(true) };
    let vocabulary =
        Vocabulary { tools: [("work".to_owned(), any)].into(), ..Vocabulary::default() };
    let source = Source { file: format!("{seed}.yaml"), text: text.clone() };
    // Where it can be proven, the same graph without a barrier between its supersteps.
    let text_eager = text.replacen("name:", "mode: eager\nname:", 1);
    let eager = Source { file: source.file.clone(), text: text_eager };
    let proven = if is_apart(seed) { load(&eager, &vocabulary).ok() } else { None };
    let graph = proven.map_or_else(|| load(&source, &vocabulary), Ok).unwrap_or_else(|findings| {
        let found: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        panic!("{text}\n{found}")
    });
    let roles = roles.into_iter().enumerate().map(|(ix, role)| (format!("n{ix}"), role)).collect();
    Sample { graph: Arc::new(graph), roles }
}

/// Every node of such a graph has a channel of its own.
fn is_apart(seed: u64) -> bool {
    seed % 4 == 1
}

/// In such a graph the branches that would end meet in one more node: by a join, or because it is deferred.
fn meets(seed: u64) -> bool {
    seed % 3 == 2
}

/// In such a graph one node is held, before or after it runs, until somebody lets it go on.
fn pauses(seed: u64) -> bool {
    seed % 5 == 3 && !is_apart(seed)
}

fn role(rng: &mut SeededRng) -> Role {
    match below(rng, 16) {
        0 => Role::Effect("idempotent"),
        1 => Role::Effect("probe"),
        2..=4 => Role::Effect("at_most_once"),
        5 | 6 => Role::Ask,
        7 => Role::Timer,
        8 => Role::Signal,
        9 | 10 => Role::Flaky,
        11 => Role::Slow,
        12 => Role::Panics,
        _ => Role::Plain,
    }
}

/// Shared channels that any number of nodes may write at once.
const SHARED: [&str; 7] = ["total", "least", "most", "items", "kinds", "facts", "talk"];

fn text(seed: u64, roles: &[Role], rng: &mut SeededRng) -> String {
    let mut state = String::from(
        "  total: { type: integer, reducer: sum, default: 0 }
  least: { type: integer, reducer: min, default: 1000 }
  most: { type: integer, reducer: max, default: 0 }
  items: { type: { array: integer }, reducer: append, default: [] }
  kinds: { type: { array: integer }, reducer: union }
  facts: { type: object, reducer: merge }
  talk: { type: { array: object }, reducer: messages, lifetime: run }\n",
    );
    let mut nodes = String::new();
    let mut edges = String::from("  - start -> n0\n");
    let count = roles.len();
    // Drawn apart, so that what is drawn below stays what it was.
    let mut rare = SeededRng::stream(seed, "rare things");
    let paused = pauses(seed).then(|| below(&mut rare, count as u64) as usize);
    let end = if meets(seed) { format!("n{count}") } else { "end".to_owned() };
    // Every node but the first hangs on an earlier one, so that all are reached.
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for ix in 1..count {
        next[below(rng, ix as u64) as usize].push(ix);
    }
    for (ix, role) in roles.iter().enumerate() {
        let own = below(rng, 3) == 0 || is_apart(seed);
        let repeats = own && *role == Role::Plain && below(rng, 2) == 0;
        let writes = if own { format!("r{ix}") } else { SHARED[below(rng, 7) as usize].to_owned() };
        if own {
            let lifetime = ["thread", "run", "step"]
                [below(rng, if repeats || is_apart(seed) { 2 } else { 3 }) as usize];
            writeln!(state, "  r{ix}: {{ type: integer, default: 0, lifetime: {lifetime} }}")
                .unwrap();
        }
        let mut more = String::new();
        if repeats {
            write!(more, ", reads: [r{ix}], repeat: {{ every: 5s, until: \"r{ix} % 4 == 0\" }}")
                .unwrap();
        }
        if matches!(role, Role::Flaky | Role::Slow | Role::Panics) && below(rng, 2) == 0 {
            let to = next[ix].first().map_or("end".to_owned(), |to| format!("n{to}"));
            write!(more, ", on_error: [{{ to: {to} }}]").unwrap();
        }
        if paused == Some(ix) {
            let when = ["before", "after"][below(&mut rare, 2) as usize];
            write!(more, ", pause: {when}").unwrap();
        }
        let retries = below(rng, 4);
        writeln!(
            nodes,
            "  n{ix}: {{ tool: work, writes: {writes}, timeout: 60s, retry: {{ max: {retries}, initial: 500ms }}{more} }}"
        )
        .unwrap();
        edges.push_str(&ways(ix, &next[ix], (count, &end), rng));
    }
    if meets(seed) {
        let leaves: Vec<String> =
            (0..count).filter(|ix| next[*ix].is_empty()).map(|ix| format!("n{ix}")).collect();
        let (after, few) = (leaves.join(", "), 1 + below(&mut rare, leaves.len() as u64));
        let how = match below(&mut rare, 4) {
            _ if leaves.len() < 2 => "defer: true".to_owned(),
            0 => "defer: true".to_owned(),
            1 => format!("join: {{ after: [{after}], need: any }}"),
            2 => format!("join: {{ after: [{after}], need: {few} }}"),
            _ => format!("join: {{ after: [{after}], need: all }}"),
        };
        writeln!(nodes, "  n{count}: {{ tool: work, writes: total, {how} }}").unwrap();
        writeln!(edges, "  - n{count} -> end").unwrap();
    }
    format!(
        "schema: graph/v1\nname: sample{seed}\ninput: {{ given: {{ type: integer, optional: true }} }}
state:\n{state}output: [total, items]\nlimits: {{ supersteps: 60, visits_per_node: 6 }}\nnodes:\n{nodes}edges:\n{edges}"
    )
}

/// Ways on from a node: to all its children, or one by a condition, sometimes back to where it came from. Without children it
/// leads to `end`.
fn ways(ix: usize, next: &[usize], (count, end): (usize, &str), rng: &mut SeededRng) -> String {
    let onward: Vec<String> = next.iter().map(|to| format!("n{to}")).collect();
    match (onward.as_slice(), below(rng, 3)) {
        ([], 0) if ix > 0 => {
            let back = below(rng, ix as u64);
            format!(
                "  - {{ from: n{ix}, to: [{{ when: \"visits.n{ix} < 3\", to: n{back} }}, {{ else: {end} }}] }}\n"
            )
        }
        ([], _) => format!("  - n{ix} -> {end}\n"),
        ([only], 0) if count > 2 => format!(
            "  - {{ from: n{ix}, to: [{{ when: \"total % 2 == 1 and visits.n{ix} < 3\", to: n{ix} }}, {{ else: {only} }}] }}\n"
        ),
        ([one, other], 1) => format!(
            "  - {{ from: n{ix}, to: [{{ when: \"items | length > 2\", to: {one} }}, {{ else: {other} }}] }}\n"
        ),
        (all, _) => format!("  - {{ from: n{ix}, to: [{}] }}\n", all.join(", ")),
    }
}
