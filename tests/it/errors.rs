//! `docs/errors.md` and the sources know the same codes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms whose codes are released.
const ROOMS: [&str; 14] = [
    "agent", "api", "cli", "llm", "loadgen", "nodes", "proxy", "rollout", "runtime", "serving",
    "sim", "store", "tools", "tuning",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Looks like a code and is none: names of random streams, of hashes and of files.
const NOT_CODES: [&str; 5] =
    ["llm.retry", "rollout.launch", "proxy.sock", "proxy.json", "proxy.log"];

fn is_code(text: &str) -> bool {
    if NOT_CODES.contains(&text) {
        return false;
    }
    let Some((room, reason)) = text.split_once('.') else { return false };
    let words = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ROOMS.contains(&room) && !reason.is_empty() && reason.chars().all(words)
}

/// Codes in error positions: `=> "room.reason"`, `code: "…"`, `const …_CODE`, `invalid("…"`, `[cli.…]`.
fn codes_in(text: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for piece in text.split('"').skip(1).step_by(2) {
        if is_code(piece) {
            codes.insert(piece.to_owned());
        }
        if let Some(code) = piece.split_once("error: [").and_then(|(_, rest)| rest.split_once(']'))
            && is_code(code.0)
        {
            codes.insert(code.0.to_owned());
        }
    }
    codes
}

#[test]
fn every_code_has_a_heading_and_every_heading_a_code() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let headings: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    let mut codes = BTreeSet::new();
    for path in sources(&root.join("src")) {
        codes.extend(codes_in(&std::fs::read_to_string(path).unwrap()));
    }
    let missing: Vec<_> = codes.difference(&headings).collect();
    let stale: Vec<_> = headings.difference(&codes).collect();
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
    assert!(stale.is_empty(), "docs/errors.md has codes nobody gives: {stale:?}");
}
