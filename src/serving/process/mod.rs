//! Servers as processes of this host. They outlive the agent; the next agent finds them again.
//!
//! Linux only: who a process is, and whose, is read from `/proc`.

mod book;
mod last_words;
mod launcher;
mod options;
mod procfs;
mod recover;
mod spawn;
mod supervise;

pub use launcher::ProcessLauncher;
pub use options::ProcessOptions;
