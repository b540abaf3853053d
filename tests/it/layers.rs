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

/// Source text without comments and without what stands in strings, line by line as it was: only code counts.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut at) = (String::new(), 0);
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        let before = at.checked_sub(1).map(|i| chars[i]);
        let end = match (chars[at], next) {
            ('/', Some('/')) => end_of_line(&chars, at),
            ('/', Some('*')) => end_of_block(&chars, at),
            ('"', _) => end_of_string(&chars, at),
            ('r', Some('"' | '#')) if !before.is_some_and(is_word) || before == Some('b') => {
                end_of_raw(&chars, at)
            }
            // A quoted character; anything else behind a quote is a lifetime.
            ('\'', Some('\\')) => end_of_escape(&chars, at),
            ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
            (one, _) => {
                code.push(one);
                at += 1;
                continue;
            }
        };
        if matches!(chars[at], '"' | 'r') {
            code.push_str("\"\"");
        }
        code.extend(chars[at..end.min(chars.len())].iter().filter(|c| **c == '\n'));
        at = end;
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

/// Blocks may hold blocks.
fn end_of_block(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"…"`, `r#"…"#`; the word itself where it is `r#name`.
fn end_of_raw(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at + 1;
    }
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (at + 2 + hashes..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes)
}

/// `'\n'`, `'\''`, `'\u{…}'`.
fn end_of_escape(chars: &[char], at: usize) -> usize {
    (at + 3..chars.len()).find(|i| chars[*i] == '\'').map_or(chars.len(), |i| i + 1)
}

/// Whether code climbs over its parent's parent, in a path or in braces.
fn climbs_twice(code: &str) -> bool {
    let packed: String = code.split_whitespace().collect();
    packed.match_indices("super::").any(|(at, _)| {
        let rest = &packed[at + "super::".len()..];
        let listed = rest.strip_prefix('{').map(top_level_names).unwrap_or_default();
        rest.starts_with("super::") || listed.iter().any(|name| name == "super")
    })
}

/// Every function with a body: its name and its lines.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let rest = &code[at + "fn ".len()..];
        let called = name(rest);
        if code[..at].ends_with(is_word) || called.is_empty() {
            continue;
        }
        let Some(open) = rest.find(['{', ';']) else { continue };
        if let Some(close) = closing(&rest[open..]) {
            found.push((called, rest[..open + close].matches('\n').count() + 1));
        }
    }
    found
}

/// Where the block that opens the text closes; `None`: it opens none.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (c == '}').then_some(at);
        }
    }
    None
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
        if climbs_twice(&code) {
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
    let p90 = lengths[lengths.len() * 9 / 10];
    assert!(p90 <= 400, "the 90th percentile file has {p90} lines");
}

#[test]
fn functions_stay_small() {
    let (mut lengths, mut wrong) = (Vec::new(), Vec::new());
    for path in sources(&root().join("src")) {
        let code = code_of(&std::fs::read_to_string(&path).unwrap());
        for (called, lines) in functions(&code) {
            if lines > 70 {
                wrong.push(format!("{}: `{called}` has {lines} lines", path.display()));
            }
            lengths.push(lines);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    lengths.sort_unstable();
    let (median, p90) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
    assert!(lengths.len() > 2_000, "only {} functions are seen", lengths.len());
    assert!(median <= 10 && p90 <= 35, "median {median}, p90 {p90}");
}

#[test]
fn an_import_in_braces_is_seen() {
    let code = "use crate::{base, domain::{Knob, Metric}, sim};\nuse crate::llm::Error;";
    let seen: Vec<String> = rooms_used(code).into_iter().collect();
    assert_eq!(seen, ["base", "domain", "llm", "sim"]);
}

#[test]
fn only_code_counts() {
    let text = "let a = \"crate::sim // {\"; // crate::llm\n/* crate::a /* b */ c */ let b = '\"';\n\
                let c = r#\"crate::x\n\"y\"\"#; let d = '\\''; fn f<'a>(x: &'a str) {}\n";
    let code = code_of(text);
    assert!(!code.contains("crate::") && !code.contains("b */"), "{code}");
    assert!(code.contains("let b = ;") && code.contains("fn f<'a>(x: &'a str) {}"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count(), "{code}");
}

#[test]
fn a_climb_over_two_rooms_is_seen_in_braces_too() {
    assert!(climbs_twice("use super::super::x;"));
    assert!(climbs_twice("use super::{\n    a, super::x};"));
    assert!(!climbs_twice("use super::{a, b::{c}};\nuse super::d;"));
}

#[test]
fn the_lines_of_a_function_are_counted_from_its_name_to_its_brace() {
    let code =
        "trait T {\n    fn a(&self);\n}\nfn b() -> u8 {\n    if x {\n    }\n    1\n}\nfn c() {}\n";
    assert_eq!(functions(code), [("b".to_owned(), 5), ("c".to_owned(), 1)]);
}
