//! The difference of two configs in the flags of an engine, as a person would type them.

use super::{Launch, dialect};
use crate::domain::{EngineKind, Knob, KnobValue, ServingConfig};

/// What changes on the command line: `- --max-num-seqs 4`, `+ --max-num-seqs 32`; environment variables as `NAME=value`.
///
/// A config that the engine would refuse is shown by its knobs instead: a refusal, too, must be readable.
pub fn flag_diff(engine: EngineKind, from: &ServingConfig, to: &ServingConfig) -> Vec<String> {
    let (from, to) = match (settings(engine, from), settings(engine, to)) {
        (Some(from), Some(to)) => (from, to),
        _ => (knobs(from), knobs(to)),
    };
    let gone = from.iter().filter(|one| !to.contains(one)).map(|one| format!("- {one}"));
    let new = to.iter().filter(|one| !from.contains(one)).map(|one| format!("+ {one}"));
    gone.chain(new).collect()
}

fn settings(engine: EngineKind, config: &ServingConfig) -> Option<Vec<String>> {
    let launch = dialect(engine).launch("model", config, "127.0.0.1", 0).ok()?;
    Some(each(&launch))
}

/// One text per flag, its value with it.
fn each(launch: &Launch) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for arg in &launch.args {
        match found.last_mut() {
            Some(flag) if !arg.starts_with("--") => {
                flag.push(' ');
                flag.push_str(arg);
            }
            _ => found.push(arg.clone()),
        }
    }
    found.extend(launch.env.iter().map(|(name, value)| format!("{name}={value}")));
    found
}

fn knobs(config: &ServingConfig) -> Vec<String> {
    let shown = |(knob, value): (&Knob, &KnobValue)| format!("{knob}: {value}");
    config.0.iter().map(shown).collect()
}
