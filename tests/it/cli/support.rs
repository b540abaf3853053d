//! Runs the binary in a folder of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a command printed and how it ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `perf-agent ARGS` in `folder`, without a key, a terminal or an answer.
pub fn run(folder: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perf-agent"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    for name in ["GROQ_API_KEY", "LLM_BASE_URL", "GROQ_MODEL"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs it with `--format json` and reads the object.
pub fn run_json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let mut all = args.to_vec();
    all.extend(["--format", "json"]);
    let ended = run(folder, &all);
    let value = serde_json::from_str(&ended.out);
    (ended.code, value.unwrap_or_else(|_| panic!("no JSON: {}{}", ended.out, ended.err)))
}

/// A file of `examples/`.
pub fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}
