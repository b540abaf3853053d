//! Material that is too large for the repository: recordings and measurements, where this machine has them.

use std::path::{Path, PathBuf};

/// A file or folder of the shared material, or a loud line and `None`; with `PERF_AGENT_NO_SKIP` its absence is a failure.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PERF_AGENT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let full = root.join(path);
    if !full.exists() {
        let strict = std::env::var_os("PERF_AGENT_NO_SKIP").is_some();
        assert!(!strict, "{} is not there, and nothing may be skipped", full.display());
        println!("skipped: {} is not there; set PERF_AGENT_SHARED", full.display());
        return None;
    }
    Some(full)
}

/// Text of a file of the shared material, or a loud line and `None`.
pub fn shared_text(path: &str) -> Option<String> {
    shared(path).map(|full| std::fs::read_to_string(full).unwrap())
}
