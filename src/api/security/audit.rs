//! The audit log: every write, who sent it and how it ended; appended to a file, one JSON object a line.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Error;
use crate::base::Millis;

/// Entries kept in memory where there is no file.
const KEPT_MAX: usize = 1_000;
/// Longest text of a caller's that is written down [bytes]: a line stays under [`LINE_BYTES_MAX`].
const TEXT_BYTES_MAX: usize = 512;
/// Longest line [bytes]: every byte of a caller's text may be written as six.
const LINE_BYTES_MAX: u64 = 8 << 10;

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// When it began [ms since the epoch].
    #[schema(value_type = u64)]
    pub at_ms: Millis,
    /// Who sent it.
    pub who: Who,
    /// `POST /optimize/{thread_id}/approve`.
    pub what: String,
    /// The path as it was sent, without its query.
    pub path: String,
    /// How it ended.
    pub outcome: CallOutcome,
    /// Status of the answer; `null`: there was none.
    pub status: Option<u16>,
    /// The request's id, as in the log and in the answer's `x-request-id`.
    pub request_id: Option<String>,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Who {
    /// Id of the key; `null`: none was asked for.
    pub key: Option<String>,
    /// Name of the key.
    pub name: Option<String>,
    /// The other end of the connection.
    pub from: Option<String>,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// Done, or taken on.
    Done,
    /// Refused: 4xx.
    Refused,
    /// Failed: 5xx.
    Failed,
    /// Whoever asked was gone before the answer; what had been done by then stays done.
    CutOff,
}

/// Where entries go.
pub(in crate::api) struct Audit {
    place: Place,
}

enum Place {
    File { path: PathBuf, file: Mutex<File> },
    Memory(Mutex<VecDeque<AuditEntry>>),
}

impl Audit {
    /// Opens the file for appending, for its owner alone; `None`: entries stay in memory.
    ///
    /// Errors: [`Error::Audit`].
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self { place: Place::Memory(Mutex::default()) }) };
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| unusable(&path, source))?;
        Ok(Self { place: Place::File { path, file: Mutex::new(file) } })
    }

    fn write(&self, entry: AuditEntry) {
        match &self.place {
            Place::Memory(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(entry);
                let surplus = kept.len().saturating_sub(KEPT_MAX);
                kept.drain(..surplus);
            }
            Place::File { path, file } => {
                let line = serde_json::json!(entry).to_string() + "\n";
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // One call: a line is whole, or its writer has crashed.
                if let Err(error) = file.write_all(line.as_bytes()) {
                    tracing::error!(
                        what = entry.what,
                        "not written down in {}: {error}",
                        path.display()
                    );
                }
            }
        }
    }

    /// The newest entries, newest first.
    ///
    /// Errors: [`Error::Audit`].
    pub(in crate::api) fn newest(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        match &self.place {
            Place::Memory(kept) => {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(kept.iter().rev().take(limit).cloned().collect())
            }
            Place::File { path, .. } => {
                let text = tail(path, limit).map_err(|source| unusable(path, source))?;
                // A line that a crash cut, or the cut of the tail itself, is no entry.
                let entries = text.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
                Ok(entries.take(limit).collect())
            }
        }
    }
}

fn unusable(path: &Path, source: std::io::Error) -> Error {
    Error::Audit { file: path.display().to_string(), source }
}

/// The end of a file, long enough for `lines` lines.
fn tail(path: &Path, lines: usize) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let room = (lines as u64).saturating_mul(LINE_BYTES_MAX);
    let from = file.metadata()?.len().saturating_sub(room);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An entry that is being made. Whatever becomes of its request, it is written.
pub(super) struct Open {
    audit: Arc<Audit>,
    entry: Option<AuditEntry>,
}

impl Open {
    /// Begins an entry.
    pub(super) fn begin(
        audit: &Arc<Audit>,
        at_ms: Millis,
        who: Who,
        what: String,
        path: &str,
        request_id: Option<&str>,
    ) -> Self {
        let entry = AuditEntry {
            at_ms,
            who,
            what: shortened(&what),
            path: shortened(path),
            outcome: CallOutcome::CutOff,
            status: None,
            request_id: request_id.map(shortened),
        };
        Self { audit: audit.clone(), entry: Some(entry) }
    }

    /// The request was answered.
    pub(super) fn answered(mut self, status: StatusCode) {
        if let Some(entry) = &mut self.entry {
            entry.status = Some(status.as_u16());
            entry.outcome = match status {
                status if status.is_client_error() => CallOutcome::Refused,
                status if status.is_server_error() => CallOutcome::Failed,
                _ => CallOutcome::Done,
            };
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.write(entry);
        }
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> AuditEntry {
        AuditEntry {
            at_ms: Millis(number),
            who: Who { key: None, name: None, from: None },
            what: "POST /optimize".to_owned(),
            path: shortened(&"\u{1}".repeat(2_000)),
            outcome: CallOutcome::Done,
            status: Some(202),
            request_id: None,
        }
    }

    #[test]
    fn the_newest_entries_are_found_however_long_the_file_is_and_after_a_cut_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(Some(path.clone())).unwrap();
        (0..50).for_each(|number| audit.write(entry(number)));
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at").unwrap();
        let numbers: Vec<u64> =
            audit.newest(3).unwrap().iter().map(|entry| entry.at_ms.0).collect();
        assert_eq!(numbers, [49, 48, 47]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_write_whose_caller_goes_before_the_answer_is_written_down_too() {
        let audit = Arc::new(Audit::open(None).unwrap());
        let who = entry(0).who;
        drop(Open::begin(&audit, Millis(7), who.clone(), "POST /x".to_owned(), "/x", None));
        Open::begin(&audit, Millis(8), who, "POST /x".to_owned(), "/x", None)
            .answered(StatusCode::CONFLICT);
        let newest = audit.newest(9).unwrap();
        let ends: Vec<_> = newest.iter().map(|entry| (entry.outcome, entry.status)).collect();
        assert_eq!(ends, [(CallOutcome::Refused, Some(409)), (CallOutcome::CutOff, None)]);
    }

    #[test]
    fn memory_keeps_the_newest() {
        let audit = Audit::open(None).unwrap();
        (0..2_000).for_each(|number| audit.write(entry(number)));
        let newest = audit.newest(usize::MAX).unwrap();
        assert_eq!((newest.len(), newest[0].at_ms), (KEPT_MAX, Millis(1_999)));
    }
}
