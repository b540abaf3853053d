//! `graph test`: what a case may expect, and what it finds.

use super::support::run;

const HEAD: &str = "schema: graph/v1
name: case
input: { goal: string, detail: { type: object, optional: true } }
state:
  page: { type: object, nullable: true }
  sure: { enum: ['yes', 'no'], default: 'no' }
  count: { type: integer, default: 0 }
output: [sure, count]
nodes:
  look: { tool: read_metrics, args: { deployment: '{{ detail.name }}' }, writes: page }
  ask: { approval: { ask: go.md, answer: { enum: ['yes', 'no'] }, grants: [], expires: 2h, on_expiry: 'no' }, writes: sure }
  ask_on: { approval: { ask: go.md, answer: { enum: ['yes', 'no'] }, grants: [] }, writes: sure }
  hear: { wait: { signal: go }, writes: count }
  hear_in_time: { wait: { signal: go, timeout: 1h }, writes: count }
edges:
";

/// A graph of these edges with one test, run: its exit code and what it printed.
fn tested(edges: &str, test: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("prompts");
    std::fs::create_dir_all(&prompts).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/prompts")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, prompts.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(prompts.join("go.md"), "Go for {{ detail.name }}?").unwrap();
    let nodes = ["look", "ask", "ask_on", "hear", "hear_in_time"];
    let used = |line: &&str| {
        let name = line.trim_start().split(':').next().unwrap();
        !nodes.contains(&name) || edges.split_whitespace().any(|word| word == name)
    };
    let head: Vec<&str> = HEAD.lines().filter(used).collect();
    let text = format!(
        "{}\n  - {edges}\ntests:\n  - name: it\n    input: {{ goal: g, detail: {{ name: chat }} }}\n{test}",
        head.join("\n")
    );
    std::fs::write(folder.path().join("case.yaml"), text).unwrap();
    let ended = run(folder.path(), &["graph", "test", "case.yaml", "--prompts", "prompts"]);
    (ended.code, format!("{}{}", ended.out, ended.err))
}

fn passes(edges: &str, test: &str) {
    let (code, said) = tested(edges, test);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_run_that_nobody_answers_may_be_expected_to_stay_where_it_asks() {
    passes("start -> ask_on -> end", "    status: interrupted\n    path: [ask_on]\n");
    let (code, said) = tested("start -> ask_on -> end", "    status: done\n");
    assert_eq!(code, 1);
    assert!(said.contains("expected done, was interrupted: nobody answers `ask_on`"), "{said}");
}

#[test]
fn a_question_that_nobody_answers_expires() {
    passes("start -> ask -> end", "    output: { sure: 'no' }\n    path: [ask]\n");
    passes("start -> ask -> end", "    answers: { ask: ['yes'] }\n    output: { sure: 'yes' }\n");
}

#[test]
fn a_signal_is_its_value_stays_away_or_comes_too_late() {
    passes("start -> hear -> end", "    answers: { hear: [3] }\n    output: { count: 3 }\n");
    passes("start -> hear -> end", "    status: waiting\n");
    passes("start -> hear_in_time -> end", "    status: error\n");
    let wrong = "    answers: { hear: [three] }\n    output: { count: 3 }\n";
    let (code, said) = tested("start -> hear -> end", wrong);
    assert_eq!(code, 1);
    assert!(said.contains("does not accept"), "{said}");
}

#[test]
fn templates_are_filled_in_as_the_real_nodes_do() {
    passes("start -> look -> end", "    answers: { look: [{}] }\n    path: [look]\n");
    // The same without the input that the arguments name.
    let unset = "  - name: unset\n    input: { goal: g }\n    answers: { look: [{}] }\n";
    let (code, said) =
        tested("start -> look -> end", &format!("    answers: {{ look: [{{}}] }}\n{unset}"));
    assert_eq!(code, 1);
    assert!(said.contains("arguments of `look`"), "{said}");
}
