//! One process per file: an advisory lock that the kernel drops with its holder, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::store::Error;

/// Holds the database for this process until dropped.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`. Errors: [`Error::Locked`] with the holder's pid.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let io = |reason: String| Error::Io { path: path.to_owned(), reason };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path(path))
            .map_err(|error| io(error.to_string()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // Who holds it is told if it can be read; that it is held is certain.
                let _ = file.read_to_string(&mut text);
                return Err(Error::Locked { path: path.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(error) => return Err(io(error.to_string())),
        }
        let note = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        // The pid is for people. On a full disk the lock holds without it.
        let _ = note(&mut file);
        Ok(Self { _file: file })
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
