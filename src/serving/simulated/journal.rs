//! The world's journal: one JSON line per action, so that the fleet outlives the agent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use super::action::{Action, Line};
use super::fleet::Fleet;
use crate::serving::Error;

/// The simulator whose history a journal holds: another one would tell another history.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An open journal. While it is open no other process can open it.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: String,
}

impl Journal {
    /// Opens or creates the journal of a world, and lets `fleet` live through what it holds. A torn last line is cut off.
    ///
    /// Errors: [`Error::Corrupt`] when it is another world's, a line inside does not read, or the history comes out
    /// differently; [`Error::Io`], also when another process has it open.
    pub(super) fn open(path: &Path, fleet: &mut Fleet) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let io = |source| Error::Io { what: format!("journal {shown}"), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io(std::io::Error::new(
                ErrorKind::WouldBlock,
                "another process lives in this world",
            )),
            TryLockError::Error(source) => io(source),
        })?;
        let (lines, whole_bytes) = read(&file, &shown)?;
        file.set_len(whole_bytes).map_err(io)?;
        let mut journal = Self { file, path: shown };
        let fingerprint = fleet.spec.fingerprint();
        match lines.split_first() {
            None => {
                let action = Action::World { fingerprint, version: VERSION.to_owned() };
                journal.append(&Line { at_ms: 0, ended: 0, action })?;
            }
            Some((first, rest)) => {
                journal.check_world(first, &fingerprint)?;
                journal.replay(rest, fleet)?;
            }
        }
        Ok(journal)
    }

    /// Appends a line; a control action is on disk when this returns, anything else with the operating system.
    ///
    /// Errors: [`Error::Io`].
    pub(super) fn append(&mut self, line: &Line) -> Result<(), Error> {
        let io = |source| Error::Io { what: format!("journal {}", self.path), source };
        let mut text = serde_json::to_vec(line).map_err(|e| io(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(io)?;
        if line.action.is_control() { self.file.sync_data().map_err(io) } else { Ok(()) }
    }

    fn check_world(&self, first: &Line, expected: &str) -> Result<(), Error> {
        match &first.action {
            Action::World { fingerprint, .. } if fingerprint != expected => Err(self.corrupt(
                "it is another world's: bring back the `world:` section it was made with, or \
                 remove it to begin anew",
            )),
            Action::World { version, .. } if version != VERSION => Err(self.corrupt(&format!(
                "version {version} made it and this is {VERSION}, whose simulator may tell another \
                 history: remove it to begin anew"
            ))),
            Action::World { .. } => Ok(()),
            _ => Err(self.corrupt("its first line does not say which world it is")),
        }
    }

    fn replay(&self, lines: &[Line], fleet: &mut Fleet) -> Result<(), Error> {
        for (number, line) in lines.iter().enumerate() {
            if line.ended != fleet.records.total() {
                let (number, held, now) = (number + 2, line.ended, fleet.records.total());
                return Err(self.corrupt(&format!(
                    "line {number} was written after {held} requests and the replay comes to {now}"
                )));
            }
            if line.action == Action::Pass {
                fleet.advance_to(line.at_ms as f64 / 1000.0);
            } else {
                fleet.perform(&line.action);
            }
        }
        Ok(())
    }

    fn corrupt(&self, detail: &str) -> Error {
        Error::Corrupt { what: format!("journal {}", self.path), detail: detail.to_owned() }
    }
}

/// Every whole line, and how many bytes they take.
fn read(file: &File, path: &str) -> Result<(Vec<Line>, u64), Error> {
    let mut reader = BufReader::new(file);
    let (mut lines, mut whole_bytes, mut text) = (Vec::new(), 0_u64, Vec::new());
    loop {
        text.clear();
        let io = |source| Error::Io { what: format!("journal {path}"), source };
        let bytes = reader.read_until(b'\n', &mut text).map_err(io)?;
        if !text.ends_with(b"\n") {
            return Ok((lines, whole_bytes));
        }
        let line = serde_json::from_slice(&text).map_err(|error| Error::Corrupt {
            what: format!("journal {path}"),
            detail: format!("line {}: {error}", lines.len() + 1),
        })?;
        lines.push(line);
        whole_bytes += bytes as u64;
    }
}
