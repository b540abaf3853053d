//! The command line: flags, exit codes, what is printed.

mod args;
mod chart;
mod commands;
mod exit;
mod keys;
mod live;
mod mcp;
mod optimize;
mod report;
mod serve;
mod settings;
mod store;
mod terminal;
mod threads;

use clap::Parser;

pub use args::Cli;
pub use exit::Exit;

/// Parses, runs, prints; the exit code says how it ended.
pub async fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit;
        }
    };
    let json = cli.common.format == Some(args::Format::Json);
    match commands::dispatch(cli).await {
        Ok(exit) => exit,
        Err(error) => exit::report(&error, json),
    }
}
