//! The binary: parse arguments, run the command, exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The TLS provider must be chosen before any client is built; a second choice is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::try_from_env("PERF_AGENT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One thread: a simulated world then has one history, and one run keeps one core busy at most.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(perf_agent::cli::run()).into(),
        Err(error) => {
            eprintln!("error: [cli.runtime] no async runtime could be started: {error}");
            ExitCode::FAILURE
        }
    }
}
