//! The table in force, kept on disk so that a restart goes on routing.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use crate::domain::TrafficTable;

use super::Error;

/// The table that was in force; `None` when none ever was.
///
/// Errors: [`Error::StateFile`] when the file is there and does not read back. Starting without it could send
/// users to no one, so a person decides.
pub fn load(path: &Path) -> Result<Option<TrafficTable>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| failed(path, error))
}

/// Makes `table` the one a restart finds: written beside, synced, renamed.
///
/// Errors: [`Error::StateFile`]; the file then still holds the table before.
pub fn save(path: &Path, table: &TrafficTable) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(table).map_err(|error| failed(path, error))?;
    let beside = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The rename itself is durable once the folder is.
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| failed(path, error))
}

fn failed(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::StateFile { path: path.to_owned(), detail: cause.to_string() }
}
