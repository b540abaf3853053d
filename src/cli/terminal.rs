//! A person at a terminal: questions shown, answers read.

use std::io::{BufRead, IsTerminal, Write};

use console::style;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::live;

/// Columns of what people read.
const WIDTH: usize = 80;

/// Whether somebody is there to be asked.
pub(super) fn is_attended() -> bool {
    std::io::stdin().is_terminal() && live::is_screen()
}

/// Shows a question.
pub(super) fn show(question: &str) {
    println!("\n{}", painted(question.trim_end()));
}

/// Reads one answer; `None`: they left, by Ctrl-D or Ctrl-C. An empty line is asked again.
pub(super) async fn answer(stop: &CancellationToken) -> Option<String> {
    loop {
        print!("\n{} ", style(">").cyan().bold());
        std::io::stdout().flush().ok()?;
        let line = tokio::select! {
            line = line() => line,
            () = stop.cancelled() => None,
        };
        let Some(line) = line else {
            println!();
            return None;
        };
        match line.trim() {
            "" => println!("an answer, or Ctrl-C to leave: the question stays open"),
            answer => return Some(answer.to_owned()),
        }
    }
}

/// One line of standard input. Read by a thread of its own: a runtime would wait for one of its own before it ends, and
/// nothing but a key press can end a read.
async fn line() -> Option<String> {
    let (send, receive) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).unwrap_or(0);
        let _ = send.send((read > 0).then_some(line));
    });
    receive.await.ok().flatten()
}

/// The little Markdown that questions use, as a terminal shows it: fences of a diff, `**bold**`, `` `code` ``.
pub(super) fn painted(text: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            lines.push(diff_line(line));
        } else {
            let bold = spans(line, "**", |inside| style(inside).bold().to_string());
            let line = spans(&bold, "`", |inside| style(inside).cyan().to_string());
            lines.push(wrapped(&line, if line.starts_with("- ") { 2 } else { 0 }));
        }
    }
    lines.join("\n")
}

/// One line of a diff, red or green.
pub(super) fn diff_line(line: &str) -> String {
    let line = format!("  {line}");
    match line.trim_start().chars().next() {
        Some('-') => style(line).red().to_string(),
        Some('+') => style(line).green().to_string(),
        _ => line,
    }
}

/// Replaces what stands between pairs of `mark`; an odd mark out stays.
fn spans(line: &str, mark: &str, paint: impl Fn(&str) -> String) -> String {
    let parts: Vec<&str> = line.split(mark).collect();
    if parts.len().is_multiple_of(2) {
        return line.to_owned();
    }
    let painted = |(place, part): (usize, &&str)| match place % 2 {
        0 => (*part).to_owned(),
        _ => paint(part),
    };
    parts.iter().enumerate().map(painted).collect()
}

/// `text` broken between words at [`WIDTH`]; lines after the first begin with `indent` spaces.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| console::measure_text_width(line));
        let fits = line + 1 + console::measure_text_width(word) <= WIDTH;
        match lines.last_mut() {
            Some(line) if line.trim().is_empty() => line.push_str(word),
            Some(line) if fits => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{}{word}", " ".repeat(indent))),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::painted;

    #[test]
    fn a_question_loses_its_marks_and_keeps_its_words() {
        let asked = "**Change** of `a`\n```diff\n- --x 1\n+ --x 2\n```\n2 ** 3";
        assert_eq!(painted(asked), "Change of a\n  - --x 1\n  + --x 2\n2 ** 3");
    }
}
