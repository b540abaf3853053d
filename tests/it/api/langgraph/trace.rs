//! What LangGraph's own server answered to its own client, asked of ours: the same up to ids and times.

use std::collections::HashMap;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

use crate::api::support::Served;
use crate::material::shared_text;

/// Began with the recording: what is older was left by an earlier one.
const BEGAN: &str = "2026-11-24T02:09:00";
/// Values that differ from run to run, and mean nothing.
const FREE: [&str; 3] = ["langgraph_request_id", "__request_start_time_ms__", "langgraph_api_url"];
/// Where the recording was cut [characters].
const CUT: usize = 6_000;

/// The recording; `None`: the shared material is not there.
fn recording() -> Option<Vec<Value>> {
    let text = shared_text("acceptance/langgraph/sdk_trace.jsonl")?;
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Which of our ids stands for which recorded one.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// A recorded text with our ids in it.
    fn ours(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// Compares; ids stand for each other from their first meeting on.
    fn compare(&mut self, at: &str, theirs: &Value, ours: &Value) -> Vec<String> {
        match (theirs, ours) {
            (Value::Object(a), Value::Object(b)) => self.objects(at, a, b),
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
                .iter()
                .zip(b)
                .enumerate()
                .flat_map(|(ix, (a, b))| self.compare(&format!("{at}[{ix}]"), a, b))
                .collect(),
            (Value::String(a), Value::String(b)) => self.strings(at, a, b),
            _ if theirs == ours => Vec::new(),
            _ => vec![format!("{at}: {theirs} was {ours}")],
        }
    }

    fn objects(
        &mut self,
        at: &str,
        theirs: &Map<String, Value>,
        ours: &Map<String, Value>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in theirs {
            // Questions of tasks are listed under the tasks' ids.
            let renamed = if is_id(key) && theirs.len() == ours.len() {
                ours.keys().next().cloned().unwrap_or_default()
            } else {
                key.clone()
            };
            match ours.get(&renamed) {
                None => found.push(format!("{at}.{key}: missing")),
                Some(_) if FREE.contains(&key.as_str()) => {}
                Some(held) => found.extend(self.compare(&format!("{at}.{key}"), value, held)),
            }
        }
        let extra = ours.keys().filter(|key| !theirs.contains_key(*key) && !is_id(key));
        found.extend(extra.map(|key| format!("{at}.{key}: not in the recording")));
        found
    }

    fn strings(&mut self, at: &str, theirs: &str, ours: &str) -> Vec<String> {
        if is_time(theirs) && is_time(ours) {
            return Vec::new();
        }
        if is_id(theirs) && is_id(ours) {
            let known = self.0.entry(theirs.to_owned()).or_insert_with(|| ours.to_owned());
            return if known == ours {
                Vec::new()
            } else {
                vec![format!("{at}: {known} was {ours}")]
            };
        }
        if self.ours(theirs) == ours {
            Vec::new()
        } else {
            vec![format!("{at}: {theirs:?} was {ours:?}")]
        }
    }

    /// Learns the ids of a place in the path of another.
    fn places(&mut self, at: &str, theirs: &str, ours: &str) -> Vec<String> {
        let (a, b): (Vec<&str>, Vec<&str>) =
            (theirs.split('/').collect(), ours.split('/').collect());
        if a.len() != b.len() {
            return vec![format!("{at}: {theirs} was {ours}")];
        }
        a.iter().zip(b).flat_map(|(a, b)| self.strings(at, a, b)).collect()
    }
}

fn is_id(text: &str) -> bool {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    (text.len() == 36 && text.matches('-').count() == 4 || text.len() == 32) && hex(text)
}

fn is_time(text: &str) -> bool {
    text.len() > 18 && text.starts_with("20") && text.as_bytes()[10] == b'T'
        || text.starts_with("19") && text.len() > 18
}

/// The events of a stream: name, data, whether it has an id. One that was cut off is left out.
fn events(text: &str) -> Vec<Value> {
    let lines = text.replace("\r\n", "\n");
    let text = lines.as_str();
    let mut blocks: Vec<&str> =
        text.split("\n\n").filter(|block| !block.trim().is_empty()).collect();
    if text.ends_with(|c| c != '\n') {
        blocks.pop();
    }
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    };
    let blocks = blocks.into_iter().filter(|block| field(block, "event:").is_some());
    blocks
        .map(|block| {
            let data: Value = serde_json::from_str(&field(block, "data:").unwrap()).unwrap();
            let id = field(block, "id:").is_some();
            json!({"event": field(block, "event:"), "data": data, "id": id})
        })
        .collect()
}

/// What is left of a recorded answer without what an earlier recording had left there.
fn without_leftovers(op: &str, answer: Value, left: &mut usize) -> Value {
    match answer {
        Value::Array(items) if op.ends_with(".search") => {
            let before = items.len();
            let items: Vec<Value> = items
                .into_iter()
                .filter(|item| {
                    op == "assistants.search" || item["created_at"].as_str() >= Some(BEGAN)
                })
                .collect();
            *left = before - items.len();
            Value::Array(items)
        }
        Value::Number(n) if op == "threads.count" || op == "crons.count" => {
            json!(n.as_u64().unwrap() - *left as u64)
        }
        other => other,
    }
}

/// What ours says to a recorded request.
async fn asked(served: &Served, names: &Names, line: &Value) -> (u64, HeaderMap, String) {
    let url = format!("{}{}", served.base, names.ours(line["path"].as_str().unwrap()));
    let mut request = served.client.request(line["method"].as_str().unwrap().parse().unwrap(), url);
    if !line["req"].is_null() {
        let body = names.ours(&line["req"].to_string());
        request = request.header("content-type", "application/json").body(body);
    }
    if line["op"] == "runs.join_stream" {
        request = request.header("last-event-id", "0");
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (u64::from(status), headers, response.text().await.unwrap())
}

/// Two operations answer with a defect of the original there; ours does right. False: not one of them.
fn does_right(op: &str, status: u64, text: &str) -> bool {
    match op {
        "threads.get_history before+metadata" => {
            let states: Value = serde_json::from_str(text).unwrap();
            let states = states.as_array().unwrap().iter();
            let sources: Vec<&Value> = states.map(|s| &s["metadata"]["source"]).collect();
            assert_eq!((status, json!(sources)), (200, json!(["loop", "loop"])), "{text}");
        }
        "threads.prune" => assert_eq!((status, text), (200, r#"{"pruned_count":1}"#)),
        _ => return false,
    }
    true
}

/// Where an answer differs from the recorded one.
fn differences(
    names: &mut Names,
    line: &Value,
    (status, headers, text): &(u64, HeaderMap, String),
    left: &mut usize,
) -> Vec<String> {
    let mut found = Vec::new();
    if line["status"] != *status {
        found.push(format!("status: {} was {status}: {text}", line["status"]));
    }
    let theirs = line["res"].as_str().unwrap();
    let stream = theirs.starts_with("event:");
    let body = |text: &str| match stream {
        true => json!(events(text)),
        false => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    };
    let expected = without_leftovers(line["op"].as_str().unwrap(), body(theirs), left);
    for (name, value) in line["headers"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        let ours = headers.get(name).map_or("", |value| value.to_str().unwrap());
        let wanted = match name.as_str() {
            "x-pagination-total" => expected.as_array().unwrap().len().to_string(),
            _ => value.to_owned(),
        };
        found.extend(names.places(name, &wanted, ours));
    }
    let mut actual = body(text);
    if theirs.len() >= CUT
        && let (Some(theirs), Some(ours)) = (expected.as_array(), actual.as_array_mut())
    {
        ours.truncate(theirs.len());
    }
    found.extend(names.compare("body", &expected, &actual));
    found
}

#[tokio::test]
async fn the_answers_are_those_of_langgraphs_own_server_up_to_ids_and_times() {
    let Some(recording) = recording() else { return };
    let served = Served::with_test_graphs("memory:").await;
    let (mut names, mut left) = (Names::default(), 0);
    let mut wrong = Vec::new();
    for line in &recording {
        let op = line["op"].as_str().unwrap();
        let answer = asked(&served, &names, line).await;
        if does_right(op, answer.0, &answer.2) {
            continue;
        }
        let found = differences(&mut names, line, &answer, &mut left);
        wrong.extend(found.into_iter().map(|what| format!("{op}: {what}")));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
