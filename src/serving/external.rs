//! A server that others run: it is observed, and a change to it is written down for a person to make.

use super::{Error, dialect};
use crate::domain::{Deployment, EngineKind, ServingConfig, changes_between};

/// Where the new server of the printed command listens: beside the old one, which keeps its port.
const EXAMPLE_ADDRESS: (&str, u16) = ("0.0.0.0", 8001);

/// The change from the deployment's config to `config`: what changes, the command line, and its difference.
///
/// A knob that the engine refuses is named with the reason instead of a command.
pub fn advice(deployment: &Deployment, config: &ServingConfig) -> String {
    let changes = changes_between(&deployment.config, config);
    if changes.is_empty() {
        return format!("`{}` already runs this config: nothing to change.\n", deployment.name);
    }
    let mut text = format!(
        "{} on `{}` ({}, {}):\n\n",
        if changes.len() == 1 {
            "1 change".to_owned()
        } else {
            format!("{} changes", changes.len())
        },
        deployment.name,
        deployment.engine,
        deployment.served_model,
    );
    let shown = |value: &Option<_>| {
        value.as_ref().map_or("engine's default".to_owned(), |value: &crate::domain::KnobValue| {
            value.to_string()
        })
    };
    for (knob, change) in &changes {
        text += &format!("  {knob}: {} → {}\n", shown(&change.from), shown(&change.to));
    }
    match command(deployment, &deployment.config)
        .and_then(|old| Ok((old, command(deployment, config)?)))
    {
        Ok((old, new)) => text + &commands(&old, &new),
        Err(error) => text + &format!("\nThere is no command line for this: {error}\n"),
    }
}

fn commands(old: &[String], new: &[String]) -> String {
    format!(
        "\nDifference of the command lines:\n\n{}\nStart a new server beside the old one \
         (host and port are examples):\n\n  {}\n\nThen send new requests to the new server, wait until the old one has \
         none left,\nand only then stop it: a server that is stopped cuts the streams it serves.\n",
        difference(old, new),
        new.join(" \\\n    "),
    )
}

fn difference(old: &[String], new: &[String]) -> String {
    let line = |sign: char, word: &String| format!("  {sign} {word}\n");
    let gone = old.iter().filter(|word| !new.contains(word)).map(|word| line('-', word));
    let added = new.iter().filter(|word| !old.contains(word)).map(|word| line('+', word));
    gone.chain(added).collect()
}

/// The command line, one flag with its value per entry, environment first.
fn command(deployment: &Deployment, config: &ServingConfig) -> Result<Vec<String>, Error> {
    let (host, port) = EXAMPLE_ADDRESS;
    let launch = dialect(deployment.engine).launch(&deployment.served_model, config, host, port)?;
    let model = deployment.model.as_ref().map_or(&deployment.served_model, |model| &model.name);
    let program = match deployment.engine {
        EngineKind::Vllm => format!("vllm serve {}", quoted(model)),
        EngineKind::Sglang => {
            format!("python -m sglang.launch_server --model-path {}", quoted(model))
        }
        EngineKind::Tgi => format!("text-generation-launcher --model-id {}", quoted(model)),
    };
    let env = launch.env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let mut words: Vec<String> = env.chain([program]).collect();
    for arg in &launch.args {
        match words.last_mut() {
            Some(flag) if !arg.starts_with("--") && flag.starts_with("--") => {
                flag.push(' ');
                flag.push_str(&quoted(arg));
            }
            _ => words.push(quoted(arg)),
        }
    }
    Ok(words)
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
