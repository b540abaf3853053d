//! The import rule: `ARCHITECTURE.md` says which room may import which, and this test reads both it and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rows `| rooms | may import |` of the table under "Who may import whom".
fn table() -> Table {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| room | may import |")).skip(2);
    let mut table = Table::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let allowed: BTreeSet<String> =
            cells[1].split_whitespace().filter(|w| *w != "–").map(str::to_owned).collect();
        for room in cells[0].split('·').map(str::trim) {
            table.insert(room.to_owned(), allowed.clone());
        }
    }
    table
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Source text without comments and string contents, so that only code counts.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// Rooms named after `crate::`, alone or in braces.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            used.extend(top_level_names(list));
        } else {
            used.insert(name(rest));
        }
    }
    used
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First path segment of every item of a brace list.
fn top_level_names(list: &str) -> Vec<String> {
    let (mut names, mut depth, mut item_start) = (Vec::new(), 0, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => item_start = true,
            c if item_start && c.is_alphabetic() => {
                names.push(name(&list[at..]));
                item_start = false;
            }
            _ => {}
        }
    }
    names
}

fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let (table, mut wrong) = (table(), Vec::new());
    for path in sources(&root().join("src")) {
        let room = room_of(&path);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(allowed) = table.get(&room) else {
            wrong.push(format!("{}: room `{room}` is not in the table", path.display()));
            continue;
        };
        let code = code_of(&std::fs::read_to_string(&path).unwrap());
        for used in rooms_used(&code) {
            let known = table.contains_key(&used);
            if known && used != room && !allowed.contains(&used) {
                wrong.push(format!("{}: `{room}` may not import `{used}`", path.display()));
            }
        }
        if code.contains("super::super::") {
            wrong.push(format!("{}: super::super", path.display()));
        }
        if code.contains("pub use crate::") {
            wrong.push(format!("{}: re-exports past its own door", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let table = table();
    let mut done = BTreeSet::new();
    while done.len() < table.len() {
        let next: Vec<String> = table
            .iter()
            .filter(|(room, uses)| !done.contains(*room) && uses.iter().all(|u| done.contains(u)))
            .map(|(room, _)| room.clone())
            .collect();
        assert!(!next.is_empty(), "these rooms import each other: {:?}", table.keys());
        done.extend(next);
    }
}

#[test]
fn lib_lists_every_room_of_the_table() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for room in table().keys() {
        assert!(lib.contains(&format!("pub mod {room};")), "src/lib.rs does not list `{room}`");
    }
}

#[test]
fn pure_rooms_have_no_async_and_the_machine_no_word_of_the_trade() {
    let src = root().join("src");
    for room in ["domain", "sim", "tuning", "rollout"] {
        for path in sources(&src.join(room)) {
            let code = code_of(&std::fs::read_to_string(&path).unwrap());
            for word in ["async fn", ".await", "SystemTime::now", "Instant::now", "rand::rng("] {
                assert!(!code.contains(word), "{}: `{word}` in a pure room", path.display());
            }
        }
    }
    for room in ["graph", "runtime", "store", "engine"] {
        for path in sources(&src.join(room)) {
            let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
            for word in ["vllm", "ttft", "kv_cache", "canary", "serving engine", "sglang"] {
                assert!(!text.contains(word), "{}: `{word}` in the machine", path.display());
            }
        }
    }
}

#[test]
fn source_files_stay_small() {
    let mut lengths = Vec::new();
    for path in sources(&root().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(text.starts_with("//!"), "{} has no //! header", path.display());
        assert!(lines <= 600, "{} has {lines} lines", path.display());
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 150, "the median file has {median} lines");
}

#[test]
fn an_import_in_braces_is_seen() {
    let code = "use crate::{base, domain::{Knob, Metric}, sim};\nuse crate::llm::Error;";
    let seen: Vec<String> = rooms_used(code).into_iter().collect();
    assert_eq!(seen, ["base", "domain", "llm", "sim"]);
}
