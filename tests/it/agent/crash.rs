//! `kill -9` at ten moments of an optimization: a resume ends in the same report, and nothing is started twice.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const GOAL: &str = "p95 TTFT under 300 ms, no less throughput";

/// What the run prints when each moment has come.
const MOMENTS: [&str; 10] = [
    "→ list_deployments",
    "● diagnose",
    "→ search_configs",
    "… baseline",
    "… candidate",
    "● deploy",
    "… warming the new version",
    " 25 % observing",
    "100 % soak",
    "● verify",
];

fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perf-agent"));
    command.current_dir(folder).env_remove("GROQ_API_KEY").stdin(Stdio::null());
    command.args(["--store", "sqlite:runs.db", "--seed", "2", "--model", "expert"]);
    command
}

/// Runs to the end, undisturbed or killed once `moment` is printed; gives the thread.
fn optimize(folder: &Path, moment: Option<&str>) -> String {
    let mut child =
        agent(folder).args(["optimize", GOAL, "--yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut thread = String::new();
    let mut came = moment.is_none();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(id) = line.strip_prefix("thread ") {
            id.clone_into(&mut thread);
        }
        if moment.is_some_and(|moment| line.contains(moment)) {
            child.kill().unwrap();
            came = true;
            break;
        }
    }
    child.wait().unwrap();
    assert!(came, "{moment:?} never came");
    thread
}

/// The report as JSON, without what no two runs share.
fn report(folder: &Path, command: &[&str]) -> Value {
    let output = agent(folder).args(command).args(["--format", "json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    for own in ["run_id", "thread_id", "wall_s"] {
        report.as_object_mut().unwrap().remove(own);
    }
    report["rollout"]["id"] = Value::Null;
    for trial in report["trials"].as_array_mut().unwrap() {
        trial["id"] = Value::Null;
    }
    report
}

/// Servers that the world was told to start, by what for.
fn launches(folder: &Path, thread: &str) -> Vec<String> {
    let journal = folder.join("runs.db.worlds").join(format!("{thread}.jsonl"));
    let text = std::fs::read_to_string(journal).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let launched = lines.filter_map(|line| line["action"].get("launch").cloned());
    launched.map(|launch| format!("{} {}", launch["purpose"], launch["config"])).collect()
}

#[test]
fn a_run_killed_at_any_of_ten_moments_ends_in_the_same_report_and_starts_nothing_twice() {
    let calm = tempfile::tempdir().unwrap();
    let thread = optimize(calm.path(), None);
    let expected = report(calm.path(), &["threads", "show", &thread]);
    assert_eq!(expected["status"], "improved");
    let started = launches(calm.path(), &thread);
    assert!(started.len() > 2, "{started:?}");
    std::thread::scope(|scope| {
        for half in MOMENTS.chunks(5) {
            let (expected, started) = (&expected, &started);
            scope.spawn(move || {
                for moment in half {
                    let folder = tempfile::tempdir().unwrap();
                    let thread = optimize(folder.path(), Some(moment));
                    let resumed = report(folder.path(), &["resume", &thread]);
                    assert_eq!(&resumed, expected, "killed at {moment}");
                    assert_eq!(&launches(folder.path(), &thread), started, "killed at {moment}");
                }
            });
        }
    });
}
