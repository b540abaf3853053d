//! Who a process is, and what belongs to a server: read from `/proc`.
//!
//! Three signs, because each fails somewhere. The mark in the environment finds what left the process group, but a
//! process that renames itself overwrites its environment (vLLM's `VLLM::EngineCore` and `VLLM::Worker` do). The group
//! finds those, but not what left it. Descent finds both, but only while the parent lives.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process, setpriority_process};

use super::book::Process;

/// Environment variable that marks a server and what it starts.
pub(super) const MARK: &str = "PERF_AGENT_BACKEND";

/// A process that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) process: Process,
    /// Value of the mark.
    pub(super) mark: String,
    /// Whether it leads its process group: the server itself, not one of its workers.
    pub(super) leads: bool,
}

/// The process now known by `pid`; `None` when there is none, or only its zombie.
pub(super) fn process(pid: i32) -> Option<Process> {
    Some(stat(pid)?.process(&boot()))
}

/// Whether exactly this process still runs.
pub(super) fn is_alive(known: &Process) -> bool {
    process(known.pid).is_some_and(|now| now.born == known.born)
}

/// Every process of this user whose mark starts with `prefix`.
pub(super) fn marked(prefix: &str) -> Vec<Marked> {
    let boot = boot();
    let read = |stat: Stat| {
        let mark = mark_of(stat.pid).filter(|mark| mark.starts_with(prefix))?;
        Some(Marked { process: stat.process(&boot), mark, leads: stat.group == stat.pid })
    };
    all().into_iter().filter_map(read).collect()
}

/// A server and everything that belongs to it: what carries exactly `mark`, what is in the group of `server`, dead or
/// alive, and what these started.
pub(super) fn family(server: Option<&Process>, mark: &str) -> Vec<Process> {
    let (boot, all) = (boot(), all());
    // A living leader with another birth means that the number was given out again: that group is not the server's.
    let group = server.filter(|server| {
        let leader = all.iter().find(|stat| stat.pid == server.pid);
        let same = leader.is_none_or(|leader| leader.process(&boot).born == server.born);
        same && server.born.starts_with(&boot)
    });
    let in_group = |stat: &Stat| {
        group.is_some_and(|server| stat.group == server.pid && stat.session == server.session)
    };
    let own = |stat: &&Stat| in_group(stat) || mark_of(stat.pid).is_some_and(|own| own == mark);
    let mut pids: BTreeSet<i32> = all.iter().filter(own).map(|stat| stat.pid).collect();
    loop {
        let known = pids.len();
        let children = all.iter().filter(|stat| pids.contains(&stat.parent)).map(|stat| stat.pid);
        let children: Vec<i32> = children.collect();
        pids.extend(children);
        if pids.len() == known {
            break;
        }
    }
    all.iter().filter(|stat| pids.contains(&stat.pid)).map(|stat| stat.process(&boot)).collect()
}

/// A tenth of the share of those who serve users (weight 110 against 1024, sched(7)): at 19 a start beside busy cores
/// did not end within ten minutes.
const TRIAL_NICENESS: i32 = 10;

/// Lowest priority for a process that was just started, and so for what it starts.
pub(super) fn yield_to_others(process: &Process) {
    if let Err(error) = setpriority_process(Pid::from_raw(process.pid), TRIAL_NICENESS) {
        tracing::warn!(pid = process.pid, %error, "it competes with those who serve users");
    }
}

/// Gives these processes the share that others have. Raising it takes a privilege; without it they have the rest, which
/// is all of it once the others are gone.
pub(super) fn yield_no_more(family: &[Process]) {
    for process in family {
        let threads = fs::read_dir(format!("/proc/{}/task", process.pid));
        for thread in threads.into_iter().flatten().flatten() {
            let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
            if let Err(error) = setpriority_process(id.and_then(Pid::from_raw), 0) {
                tracing::info!(pid = process.pid, %error, "it keeps its low priority");
                return;
            }
        }
    }
}

/// Sends `signal` to exactly this process. That it is gone already is as good.
pub(super) fn signal(process: &Process, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.pid).filter(|_| is_alive(process)) {
        let _ = kill_process(pid, signal);
    }
}

struct Stat {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    start_ticks: u64,
}

impl Stat {
    fn process(&self, boot: &str) -> Process {
        let born = format!("{boot}/{}", self.start_ticks);
        Process { pid: self.pid, born, session: self.session }
    }
}

/// Every living process but this one.
fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own).filter_map(stat).collect()
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: read from the last one on. Field numbers as in proc_pid_stat(5).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i32>().ok();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let start_ticks = fields.get(22 - 3)?.parse().ok()?;
    Some(Stat { pid, parent: number(4)?, group: number(5)?, session: number(6)?, start_ticks })
}

fn mark_of(pid: i32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environ.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        let value = variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}
