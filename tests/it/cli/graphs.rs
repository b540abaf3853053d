//! Graph files as people edit them: tested, drawn, changed under a running server.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

use super::support::{command, run};

const PART: &str = "schema: graph/v1
name: part
input: { draft: string }
state: { n: { type: integer, reducer: sum, default: 0 }, good: { type: boolean, default: false } }
output: [good]
limits: { supersteps: 20 }
nodes:
  look: { tool: read_metrics, args: { deployment: '{{ draft }}' }, retry: { max: 1 } }
  count: { set: { n: 1, good: '{{ n >= 1 }}' } }
edges:
  - start -> look -> count
  - { from: count, to: [{ when: 'n < 2', to: look }, { else: end }] }
tests:
  - name: it looks twice, and once more when it gets no answer
    input: { draft: chat }
    answers: { look: [{}, { fails: timeout }, {}] }
    path: [look, count, look, count]
    output: { n: 2, good: true }
";

const WHOLE: &str = "schema: graph/v1
name: whole
input: { goal: string }
context: { approval: { enum: [ask, never] } }
state: { good: { type: boolean, default: false } }
output: [good]
nodes:
  part: { graph: { name: part, in: { draft: '{{ goal }}' }, out: { good: '{{ good }}' } } }
  hold: { wait: { for: 2h } }
edges: [ start -> part -> hold -> end ]
tests:
  - name: the part answers
    input: { goal: chat }
    context: { approval: ask }
    answers: { part/look: [{}, {}] }
    path: [part, part/look, part/count, part/look, part/count, hold]
    output: { good: true }
  - name: this one is wrong
    input: { goal: chat }
    context: { approval: ask }
    answers: { part/look: [{}, {}, {}] }
    path: [part, hold]
    output: { good: false }
    status: error
";

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join("graphs").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_bare_file_name_finds_its_parts_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), WHOLE).unwrap();
    std::fs::write(folder.path().join("b.yaml"), PART).unwrap();
    let checked = run(folder.path(), &["graph", "check", "a.yaml"]);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
}

#[test]
fn the_tests_of_a_graph_are_run_with_scripted_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (part, whole) =
        (write(folder.path(), "a.yaml", WHOLE), write(folder.path(), "b.yaml", PART));
    let done = run(folder.path(), &["graph", "test", &part, &whole]);
    assert_eq!(done.code, 1, "{}", done.out);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(
        lines[0].ends_with("a.yaml: the part answers") && lines[0].starts_with("ok"),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("FAIL"), "{lines:#?}");
    for said in [
        "status: expected error, was done",
        "path: expected part -> hold",
        "output `good`",
        "1 of `part/look`",
    ] {
        assert!(done.out.contains(said), "{said}: {}", done.out);
    }
    assert!(lines.last().unwrap().starts_with("ok"), "{lines:#?}");
    let json = run(folder.path(), &["graph", "test", &part, "--format", "json"]);
    let read: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(read[0]["tests"][0]["problems"], serde_json::json!([]));
}

#[test]
fn a_drawing_needs_nothing_but_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = run(folder.path(), &["graph", "show", "optimize", "--drawing", "svg"]);
    assert!(drawn.out.starts_with("<svg ") && drawn.out.trim_end().ends_with("</svg>"));
    assert_eq!(drawn.out.matches("<rect").count(), drawn.out.matches("class=\"name\"").count());
    assert!(!drawn.out.contains("href") && !drawn.out.contains("script"));
}

#[test]
fn a_file_that_is_refused_takes_only_its_own_graph_away() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "part.yaml", PART);
    let one = write(folder.path(), "one.yaml", &PART.replace("name: part", "name: one\nnmae: x"));
    let two = write(folder.path(), "two.yaml", &PART.replace("name: part", "name: two\nlimit: {}"));
    // Each file's findings are shown, not only the first one's.
    let checked = run(folder.path(), &["graph", "check", &one, &two]);
    assert_eq!(checked.code, 1);
    assert!(checked.err.contains("nmae") && checked.err.contains("`limit`"), "{}", checked.err);
    let asked = ["--graphs", "graphs", "--store", "sqlite:runs.db"];
    let shown = run(folder.path(), &[&["graph", "show", "part"], &asked[..2]].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    let listed = run(folder.path(), &[&["threads", "list"], &asked[..]].concat());
    assert_eq!(listed.code, 0, "{}", listed.err);
    // Who asks for the refused one learns why.
    let refused = run(folder.path(), &[&["graph", "show", "one"], &asked[..2]].concat());
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("nmae"), "{}", refused.err);
    let unknown = run(folder.path(), &[&["graph", "show", "three"], &asked[..2]].concat());
    assert!(unknown.err.contains("one (refused)"), "{}", unknown.err);
    let drawn = run(folder.path(), &["graph", "show", "graphs/part.yaml"]);
    assert_eq!((drawn.code, drawn.out.contains("look")), (0, true), "{}", drawn.err);
}

/// What `GET path` answers.
fn get(base: &str, path: &str) -> String {
    let host = base.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads lines until one has `word`.
fn wait_for(lines: &mut impl Iterator<Item = std::io::Result<String>>, word: &str) -> String {
    lines.map(Result::unwrap).find(|line| line.contains(word)).unwrap()
}

#[test]
fn a_running_server_takes_up_an_edit_and_keeps_the_last_valid_version_of_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "part.yaml", PART);
    let args = ["serve", "--port", "0", "--model", "expert", "--graphs", "graphs"];
    let mut command = command(folder.path(), &args);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut complained = BufReader::new(server.stderr.take().unwrap()).lines();
    let line = wait_for(&mut told, "http://");
    let base = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    assert!(get(base, "/graphs/part").contains("look"));

    write(folder.path(), "part.yaml", &PART.replace("look", "peek"));
    wait_for(&mut told, "graph part: reloaded");
    assert!(get(base, "/graphs/part").contains("peek"));

    write(folder.path(), "part.yaml", "schema: graph/v1\nname: part\nnodes: 7\n");
    wait_for(&mut complained, "graph part: refused; the last valid version stays");
    wait_for(&mut complained, "PA0");
    assert!(get(base, "/graphs/part").contains("peek"));

    write(folder.path(), "part.yaml", PART);
    wait_for(&mut told, "graph part: reloaded");
    assert!(get(base, "/graphs/part").contains("look"));
    server.kill().unwrap();
    server.wait().unwrap();
}
