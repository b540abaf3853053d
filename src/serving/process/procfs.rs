//! Who a process is: read from `/proc`, by number, start time and the mark in its environment.

use std::fs;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::book::Process;

/// Environment variable that marks a server and everything it starts.
pub(super) const MARK: &str = "PERF_AGENT_BACKEND";

/// A process that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) pid: i32,
    /// Value of the mark.
    pub(super) mark: String,
    /// Whether it leads its process group: the server itself, not one of its workers.
    pub(super) leads: bool,
}

/// The process now known by `pid`; `None` when there is none, or only its zombie.
pub(super) fn process(pid: i32) -> Option<Process> {
    let stat = stat(pid)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(Process { pid, born: format!("{}/{}", boot.trim(), stat.start_ticks) })
}

/// Whether exactly this process still runs.
pub(super) fn is_alive(known: &Process) -> bool {
    process(known.pid).as_ref() == Some(known)
}

/// Every process of this user whose mark starts with `prefix`.
pub(super) fn marked(prefix: &str) -> Vec<Marked> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let read = |pid: i32| {
        let mark = mark_of(pid).filter(|mark| mark.starts_with(prefix))?;
        let leads = stat(pid)?.group == pid;
        Some(Marked { pid, mark, leads })
    };
    pids.filter(|pid| *pid != own).filter_map(read).collect()
}

/// Sends `signal` to one process. That it is gone already is as good.
pub(super) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends `signal` to the whole group that `leader` leads.
pub(super) fn signal_group(leader: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(leader) {
        let _ = kill_process_group(pid, signal);
    }
}

struct Stat {
    group: i32,
    start_ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: read from the last one on. Field numbers as in proc_pid_stat(5).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let dead = matches!(field(3)?, "Z" | "X");
    let stat = Stat { group: field(5)?.parse().ok()?, start_ticks: field(22)?.parse().ok()? };
    (!dead).then_some(stat)
}

fn mark_of(pid: i32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environ.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        let value = variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}
