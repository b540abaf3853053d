//! Starts one server process, detached from the agent.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::book::{Book, Process, io};
use super::options::ProcessOptions;
use super::procfs;
use crate::domain::ServingConfig;
use crate::serving::{Error, dialect};

/// Where a backend's log is.
pub(super) fn log_path(options: &ProcessOptions, backend: &str) -> PathBuf {
    options.state_dir.join("logs").join(format!("{backend}.log"))
}

/// Length of a backend's log [B]: what comes after belongs to the next start.
pub(super) fn log_length(options: &ProcessOptions, backend: &str) -> u64 {
    fs::metadata(log_path(options, backend)).map_or(0, |meta| meta.len())
}

/// What every mark of this launcher's servers starts with.
pub(super) fn mark_prefix(options: &ProcessOptions) -> String {
    let dir = fs::canonicalize(&options.state_dir).unwrap_or_else(|_| options.state_dir.clone());
    format!("{}#", dir.display())
}

/// A port of the range that no server of the book has and nobody listens on.
///
/// Errors: [`Error::NoFreePort`].
pub(super) fn free_port(options: &ProcessOptions, book: &Book) -> Result<u16, Error> {
    let given = |port: &u16| book.entries.values().any(|entry| entry.port == *port);
    let free = |port: &u16| TcpListener::bind((options.host.as_str(), *port)).is_ok();
    let found = options.ports.clone().find(|port| !given(port) && free(port));
    found.ok_or_else(|| Error::NoFreePort {
        host: options.host.clone(),
        first: *options.ports.start(),
        last: *options.ports.end(),
    })
}

/// Starts the process: own process group, so that Ctrl-C on the agent does not reach it, no terminal, output to its log.
///
/// Errors: [`Error::Unsupported`] for a knob the engine lacks; [`Error::StartFailed`] when the program cannot be run.
pub(super) fn spawn(
    options: &ProcessOptions,
    backend: &str,
    port: u16,
    config: &ServingConfig,
) -> Result<Process, Error> {
    let launch =
        dialect(options.engine).launch(&options.served_model, config, &options.host, port)?;
    let log = open_log(options, backend)?;
    let errors = log.try_clone().map_err(io("sharing the log"))?;
    let mut command = Command::new(&options.program);
    command
        .args(&options.args)
        .args(&launch.args)
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .env(procfs::MARK, format!("{}{backend}", mark_prefix(options)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0);
    if let Some(dir) = &options.working_dir {
        command.current_dir(dir);
    }
    let mut child = command.spawn().map_err(|error| Error::StartFailed {
        reason: format!("{} cannot be run: {error}", options.program.display()),
        last_lines: Vec::new(),
    })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let ended = Process { pid, born: String::new(), session: 0 };
    let process = procfs::process(pid).unwrap_or(ended);
    // Waits for it in the background, so that it does not stay as a zombie. It is never killed by this.
    tokio::spawn(async move { child.wait().await });
    Ok(process)
}

fn open_log(options: &ProcessOptions, backend: &str) -> Result<File, Error> {
    let path = log_path(options, backend);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(io("creating the log directory"))?;
    }
    let open = OpenOptions::new().create(true).append(true).open(&path);
    open.map_err(io("opening the server's log"))
}
