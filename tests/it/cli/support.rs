//! Runs the binary in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What a command printed and how it ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// `perf-agent ARGS` in `folder`, without a key, a terminal or an answer.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perf-agent"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    for name in ["GROQ_API_KEY", "LLM_BASE_URL", "GROQ_MODEL"] {
        command.env_remove(name);
    }
    command
}

/// Runs `perf-agent ARGS` in `folder`.
pub fn run(folder: &Path, args: &[&str]) -> Ended {
    ended(&mut command(folder, args))
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command that goes on until it is told to stop; killed when the test leaves it behind.
pub struct Going {
    child: Child,
    /// The first line it printed.
    pub said: String,
}

impl Going {
    /// Starts it and waits for its first line.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        let mut child = command(folder, args).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(!said.is_empty(), "{args:?} said nothing: {:?}", child.wait());
        Self { child, said }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a service manager would; gives its exit code.
    pub fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers every request the same; gives its base URL.
pub fn answering(status: &'static str, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, status, kind, body));
        }
    });
    url
}

fn answer(stream: TcpStream, status: &str, kind: &str, body: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let (name, value) = line.trim_end().split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        if line.trim_end().is_empty() {
            break;
        }
    }
    // Read whole: a connection closed over unread bytes is reset, and the answer with it.
    lines.read_exact(&mut vec![0; length]).ok()?;
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    (&stream).write_all(text.as_bytes()).ok()
}

/// Runs it with `--format json` and reads the object.
pub fn run_json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let mut all = args.to_vec();
    all.extend(["--format", "json"]);
    let ended = run(folder, &all);
    let value = serde_json::from_str(&ended.out);
    (ended.code, value.unwrap_or_else(|_| panic!("no JSON: {}{}", ended.out, ended.err)))
}

/// A file of `examples/`.
pub fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Where the simulated world of a result keeps its journal.
pub fn journal_file(folder: &Path, result: &Value) -> PathBuf {
    let thread = result["thread_id"].as_str().unwrap();
    folder.join("perf-agent.db.worlds").join(format!("{thread}.jsonl"))
}

/// Everything that was done to the simulated world of a result, in order.
pub fn journal(folder: &Path, result: &Value) -> Vec<Value> {
    let text = std::fs::read_to_string(journal_file(folder, result)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A result without what no two runs share: ids and the time on the wall.
pub fn own_removed(mut result: Value) -> Value {
    for own in ["run_id", "thread_id", "wall_s"] {
        result.as_object_mut().unwrap().remove(own);
    }
    if let Some(rollout) = result["rollout"].as_object_mut() {
        rollout.remove("id");
    }
    for trial in result["trials"].as_array_mut().unwrap() {
        trial["id"] = Value::Null;
    }
    result
}
