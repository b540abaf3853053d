//! The world's journal: one JSON line per action, so that the fleet outlives the agent.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use super::action::{Action, Line};
use crate::serving::Error;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: String,
}

impl Journal {
    /// Opens or creates the journal of a world, and returns what it holds. A torn last line is cut off.
    ///
    /// Errors: [`Error::Corrupt`] when it is another world's or a line inside does not read; [`Error::Io`].
    pub(super) fn open(path: &Path, fingerprint: &str) -> Result<(Self, Vec<Line>), Error> {
        let shown = path.display().to_string();
        let io = |source| Error::Io { what: format!("journal {shown}"), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io)?;
        let (lines, whole_bytes) = read(&file, &shown)?;
        file.set_len(whole_bytes).map_err(io)?;
        let mut journal = Self { file, path: shown.clone() };
        match lines.first() {
            None => {
                let action = Action::World { fingerprint: fingerprint.to_owned() };
                journal.append(&Line { at_ms: 0, action })?;
            }
            Some(Line { action: Action::World { fingerprint: held }, .. })
                if held == fingerprint => {}
            Some(_) => {
                let detail =
                    "it belongs to another world; remove it or use another store".to_owned();
                return Err(Error::Corrupt { what: shown, detail });
            }
        }
        Ok((journal, lines))
    }

    /// Appends a line; an action is on disk when this returns.
    pub(super) fn append(&mut self, line: &Line) -> Result<(), Error> {
        let io = |source| Error::Io { what: format!("journal {}", self.path), source };
        let mut text = serde_json::to_vec(line).map_err(|e| io(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(io)?;
        if line.action.is_control() { self.file.sync_data().map_err(io) } else { Ok(()) }
    }
}

/// Every whole line, and how many bytes they take.
fn read(file: &File, path: &str) -> Result<(Vec<Line>, u64), Error> {
    let mut reader = BufReader::new(file);
    let (mut lines, mut whole_bytes, mut text) = (Vec::new(), 0_u64, String::new());
    loop {
        text.clear();
        let io = |source| Error::Io { what: format!("journal {path}"), source };
        let bytes = reader.read_line(&mut text).map_err(io)?;
        if bytes == 0 || !text.ends_with('\n') {
            return Ok((lines, whole_bytes));
        }
        let line = serde_json::from_str(&text).map_err(|error| Error::Corrupt {
            what: path.to_owned(),
            detail: format!("line {}: {error}", lines.len() + 1),
        })?;
        lines.push(line);
        whole_bytes += bytes as u64;
    }
}
