//! What a server that did not start said last: the error that explains it, and the lines around.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the log's end is read [B].
const TAIL_BYTES: u64 = 64 << 10;
/// Error lines that are kept, the newest.
const ERRORS_MAX: usize = 8;
/// Lines of the tail that are kept.
const TAIL_LINES: usize = 20;

/// What a log says about the end of its server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LastWords {
    /// The likeliest cause: `ValueError: …`.
    pub(super) cause: Option<String>,
    /// Error lines, then the last lines, each once, in the order of the log.
    pub(super) lines: Vec<String>,
}

/// Reads the end of a log. An unreadable log has no last words.
pub(super) fn last_words(log: &Path, from: u64) -> LastWords {
    tail(log, from).map_or_else(|_| LastWords::default(), |text| read(&text))
}

fn tail(log: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(text: &str) -> LastWords {
    let plain: Vec<String> = text.lines().map(without_colours).collect();
    let lines: Vec<&str> = plain.iter().map(|l| l.trim_end()).filter(|l| !l.is_empty()).collect();
    let errors: Vec<(usize, &str)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, error_in(line)?))).collect();
    // Outer processes wrap the cause: vLLM's API server ends with "Engine core initialization failed. See root cause
    // above". The cause is the last error that does not point elsewhere.
    let own = errors.iter().rev().find(|(_, error)| !points_elsewhere(error));
    let cause = own.or(errors.last()).map(|(_, error)| (*error).to_owned());
    let shown_from = errors.len().saturating_sub(ERRORS_MAX);
    let tail_from = lines.len().saturating_sub(TAIL_LINES);
    let mut kept: Vec<String> = Vec::new();
    for (at, error) in &errors[shown_from..] {
        if *at < tail_from && kept.last().is_none_or(|last| last != error) {
            kept.push((*error).to_owned());
        }
    }
    kept.extend(lines[tail_from..].iter().map(|line| (*line).to_owned()));
    LastWords { cause, lines: kept }
}

/// The part of a line from the name of an error on: `(EngineCore pid=7) ERROR [core.py:1] ValueError: no` → `ValueError: no`.
fn error_in(line: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(colon) = line[from..].find(": ").map(|at| from + at) {
        let start = line[..colon]
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let name = &line[start..colon];
        let kind = name.rsplit('.').next().unwrap_or(name);
        if kind.starts_with(|c: char| c.is_ascii_uppercase())
            && (kind.ends_with("Error") || kind.ends_with("Exception"))
        {
            return Some(&line[start..]);
        }
        from = colon + 2;
    }
    None
}

fn points_elsewhere(error: &str) -> bool {
    ["See root cause above", "Engine core initialization failed", "SystemExit"]
        .iter()
        .any(|phrase| error.contains(phrase))
}

/// Leaves out ANSI escape sequences: `ESC [ … letter`.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            chars.find(char::is_ascii_alphabetic);
        } else {
            plain.push(char);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLLM: &str = "\
INFO 11-24 03:10:01 [api_server.py:1] vLLM API server version 0.32.0
\u{1b}[0;36m(EngineCore_DP0 pid=812)\u{1b}[0;0m ERROR 11-24 03:10:09 [core.py:718] Traceback (most recent call last):
(EngineCore_DP0 pid=812) ERROR 11-24 03:10:09 [core.py:718] ValueError: Available memory on node 0 (11.98/17.96 GiB) on startup is less than desired CPU memory utilization (0.92, 16.53 GiB).
(APIServer pid=790) Traceback (most recent call last):
(APIServer pid=790) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
";

    #[test]
    fn the_cause_is_the_root_and_not_the_wrapper() {
        let words = read(VLLM);
        let expected = "ValueError: Available memory on node 0 (11.98/17.96 GiB) on startup is less than desired \
                        CPU memory utilization (0.92, 16.53 GiB).";
        assert_eq!(words.cause.as_deref(), Some(expected));
        assert_eq!(words.lines.len(), 5);
        assert!(words.lines[1].starts_with("(EngineCore_DP0 pid=812) ERROR"), "colours are gone");
    }

    #[test]
    fn an_error_far_above_the_tail_is_kept() {
        let mut log = VLLM.to_owned();
        (0..100).for_each(|n| log += &format!("Process {n} is shutting down\n"));
        let words = read(&log);
        assert!(words.lines[0].starts_with("ValueError: Available memory"));
        assert_eq!(words.lines.len(), 2 + TAIL_LINES);
    }

    #[test]
    fn a_log_without_errors_has_lines_but_no_cause() {
        let words = read("starting\nError handling: on\n\nthe error: none\n");
        assert_eq!(words.cause, None);
        assert_eq!(words.lines, ["starting", "Error handling: on", "the error: none"]);
        assert_eq!(last_words(Path::new("/nonexistent"), 0), LastWords::default());
    }

    proptest::proptest! {
        #[test]
        fn no_log_makes_it_panic(text in "[a-zE: é\u{1b}\\[Error\n.]{0,200}") {
            read(&text);
        }
    }
}
