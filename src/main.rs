//! The binary: no command is joined yet, and it says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "perf-agent: [cli.no_command] this version has no commands yet: the graph loader, the simulator, the tuner, \
         the proxy and the load generator are a library (`perf_agent`)\n  \
         hint: see README.md for what is there, and `cargo doc --open`"
    );
    ExitCode::from(2)
}
