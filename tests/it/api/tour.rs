//! A tour of the API: every operation called once as a client would, and what was sent and answered. The examples of the
//! OpenAPI document are made of it.

use std::collections::BTreeMap;

use perf_agent::agent::{ConfigFile, Settings};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::langgraph::nested;
use super::own_threads::SIGNALLED;
use super::rollouts::paused;
use super::support::{GOAL, Served, settings};

/// Longest text and list of an example: a reader sees the form.
const TEXT_CHARS_MAX: usize = 600;
const LIST_MAX: usize = 1;

/// What was sent and answered, by `get /path`.
pub struct Tour {
    served: Served,
    seen: BTreeMap<String, Value>,
    _folder: Option<TempDir>,
}

/// Every operation's request and answer.
pub async fn whole() -> BTreeMap<String, Value> {
    let mut tour = Tour::simulated().await;
    tour.itself().await;
    tour.assistants().await;
    tour.threads().await;
    tour.runs().await;
    tour.crons().await;
    tour.store().await;
    tour.checkpoints().await;
    tour.files().await;
    tour.trade().await;
    tour.trials().await;
    tour.rollouts().await;
    tour.seed().await;
    // Each in a world of its own: a rollout changes the one it is in.
    let (mut ordered, mut back) = (Tour::simulated().await, Tour::simulated().await);
    ordered.orders().await;
    back.rollback().await;
    let (mut limited, mut real) = (Tour::simulated().await, Tour::real().await);
    limited.limited().await;
    real.deployments().await;
    for other in [ordered, back, limited, real] {
        tour.seen.extend(other.seen);
    }
    tour.seen
}

impl Tour {
    /// A simulated fleet, with graphs and prompts that may be changed.
    async fn simulated() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let prompts = folder.path().join("prompts");
        std::fs::create_dir(&prompts).unwrap();
        for (from, to) in [
            ("graphs", folder.path()),
            ("tests/graphs", folder.path()),
            ("prompts", &prompts),
            ("tests/graphs/prompts", &prompts),
        ] {
            for file in std::fs::read_dir(root.join(from)).unwrap().map(Result::unwrap) {
                if file.path().is_file() {
                    std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
                }
            }
        }
        std::fs::write(folder.path().join("signalled.yaml"), SIGNALLED).unwrap();
        for (name, text) in [("part", nested::PART), ("whole", nested::WHOLE)] {
            std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        }
        let graphs = Some(folder.path().to_owned());
        let settings = Settings { graphs, prompts: Some(prompts), ..settings("memory:") };
        let served = Served::of(settings).await;
        Self { served, seen: BTreeMap::new(), _folder: Some(folder) }
    }

    /// A deployment that somebody else runs.
    async fn real() -> Self {
        let text = "deployments:\n  - { launcher: external, name: declared, engine: vllm, served_model: m, \
                    endpoints: ['http://127.0.0.1:9'] }\n";
        let config = ConfigFile::parse("config", text).unwrap();
        let served = Served::of(Settings { config, ..settings("memory:") }).await;
        Self { served, seen: BTreeMap::new(), _folder: None }
    }

    /// Calls an operation. `place`: what stands for the parameters of its path, then its query.
    async fn call(
        &mut self,
        method: &str,
        path: &str,
        place: &[&str],
        body: Option<Value>,
    ) -> Value {
        let mut url = format!("{}{path}", self.served.base);
        let parameters = path.matches('{').count();
        for value in &place[..parameters] {
            let (start, end) = (url.find('{').unwrap(), url.find('}').unwrap());
            url.replace_range(start..=end, value);
        }
        url.extend(place[parameters..].iter().copied());
        let request = self.served.client.request(method.to_uppercase().parse().unwrap(), url);
        let request = match &body {
            // Texts are sent as they are, over whatever version is there.
            Some(Value::String(text)) => request.header("if-match", "*").body(text.clone()),
            Some(body) => {
                request.header("accept", "application/json, text/event-stream").json(body)
            }
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
        self.note(method, path, body.unwrap_or_default(), status.as_u16(), answer.clone());
        answer
    }

    fn note(&mut self, method: &str, path: &str, request: Value, status: u16, answer: Value) {
        let example = json!({"request": short(request), "status": status, "answer": short(answer)});
        self.seen.entry(format!("{method} {path}")).or_insert(example);
    }

    async fn get(&mut self, path: &str) -> Value {
        self.call("get", path, &[], None).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.call("post", path, &[], Some(body)).await
    }

    async fn itself(&mut self) {
        for path in [
            "/health",
            "/health/live",
            "/health/ready",
            "/health/version",
            "/info",
            "/ok",
            "/metrics",
            "/docs",
        ] {
            self.get(path).await;
        }
        self.note("get", "/openapi.json", Value::Null, 200, json!({"openapi": "3.1.0"}));
        self.get("/health/detailed").await;
        self.get("/tools").await;
        let mut made =
            self.post("/keys", json!({"name": "ci", "scopes": ["read", "operate"]})).await;
        // No secret, however worthless, is written down.
        made["secret"] = json!("pa_<id>_<64 hexadecimal digits, shown once>");
        self.seen.get_mut("post /keys").unwrap()["answer"] = made.clone();
        self.get("/keys").await;
        let id = made["key"]["id"].as_str().unwrap().to_owned();
        self.call("delete", "/keys/{id}", &[&id], None).await;
        self.get("/audit").await;
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "example", "version": "1"}});
        self.post(
            "/mcp",
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        )
        .await;
    }

    async fn assistants(&mut self) {
        let order = json!({"graph_id": "trivial", "name": "mine", "metadata": {"owner": "me"}});
        let made = self.post("/assistants", order).await;
        let id = made["assistant_id"].as_str().unwrap().to_owned();
        self.post("/assistants/count", json!({"graph_id": "trivial"})).await;
        self.post("/assistants/search", json!({"metadata": {"owner": "me"}, "limit": 10})).await;
        self.call("get", "/assistants/{assistant_id}", &[&id], None).await;
        for part in ["graph", "schemas", "subgraphs"] {
            self.call("get", &format!("/assistants/{{assistant_id}}/{part}"), &[&id], None).await;
        }
        let change = json!({"name": "ours"});
        self.call("patch", "/assistants/{assistant_id}", &[&id], Some(change)).await;
        let first = Some(json!({"version": 1}));
        self.call("post", "/assistants/{assistant_id}/latest", &[&id], first).await;
        let some = Some(json!({"limit": 10}));
        self.call("post", "/assistants/{assistant_id}/versions", &[&id], some).await;
        self.call("delete", "/assistants/{assistant_id}", &[&id], None).await;
        let nested = self.post("/assistants/search", json!({"graph_id": "whole"})).await;
        let id = nested[0]["assistant_id"].as_str().unwrap().to_owned();
        let part = "/assistants/{assistant_id}/subgraphs/{namespace}";
        self.call("get", part, &[&id, "call"], None).await;
    }

    async fn threads(&mut self) {
        let made = self.post("/threads", json!({"metadata": {"owner": "me"}})).await;
        let thread = made["thread_id"].as_str().unwrap().to_owned();
        let order = || Some(json!({"assistant_id": "trivial", "input": {"n": 1}}));
        self.call("post", "/threads/{thread_id}/runs/wait", &[&thread], order()).await;
        self.call("post", "/threads/{thread_id}/runs/stream", &[&thread], order()).await;
        self.call("get", "/threads/{thread_id}", &[&thread], None).await;
        let state = self.call("get", "/threads/{thread_id}/state", &[&thread], None).await;
        let id = state["checkpoint"]["checkpoint_id"].as_str().unwrap().to_owned();
        self.call("get", "/threads/{thread_id}/state/{checkpoint_id}", &[&thread, &id], None).await;
        let named = Some(json!({"checkpoint": {"checkpoint_id": id}}));
        self.call("post", "/threads/{thread_id}/state/checkpoint", &[&thread], named).await;
        self.call("get", "/threads/{thread_id}/history", &[&thread], None).await;
        let two = Some(json!({"limit": 2}));
        self.call("post", "/threads/{thread_id}/history", &[&thread], two).await;
        let change = Some(json!({"values": {"n": 5}, "as_node": "a"}));
        self.call("post", "/threads/{thread_id}/state", &[&thread], change).await;
        self.post("/threads/search", json!({"metadata": {"owner": "me"}, "limit": 10})).await;
        self.post("/threads/count", json!({"metadata": {"owner": "me"}})).await;
        let change = Some(json!({"metadata": {"owner": "us"}}));
        self.call("patch", "/threads/{thread_id}", &[&thread], change).await;
        let one = Some(json!({"seq": 1}));
        let fork = self.call("post", "/threads/{thread_id}/fork", &[&thread], one).await;
        let query = format!("?with={}", fork["thread_id"].as_str().unwrap());
        self.call("get", "/threads/{thread_id}/diff", &[&thread, &query], None).await;
        self.call("get", "/threads/{thread_id}/journal", &[&thread, "?limit=10"], None).await;
        let three = Some(json!({"keep": 3}));
        self.call("post", "/threads/{thread_id}/prune", &[&thread], three).await;
        let query = format!("?thread_id={thread}");
        self.call("get", "/graphs/{name}/migrations", &["trivial", &query], None).await;
        let this = Some(json!({"thread_id": thread}));
        self.call("post", "/graphs/{name}/migrations", &["trivial"], this).await;
        self.signal().await;
        let copy = self.call("post", "/threads/{thread_id}/copy", &[&thread], None).await;
        self.post("/threads/prune", json!({"thread_ids": [copy["thread_id"]]})).await;
        self.call("delete", "/threads/{thread_id}", &[&thread], None).await;
    }

    /// A signal to a run that waits for it.
    async fn signal(&mut self) {
        let thread = self.served.thread().await;
        let order = json!({"assistant_id": "signalled"});
        self.served.post(&format!("/threads/{thread}/runs"), order).await;
        loop {
            let (_, journal) = self.served.get(&format!("/threads/{thread}/journal")).await;
            let entries = journal["entries"].as_array().unwrap();
            if entries.iter().any(|entry| entry["kind"] == "WAITING") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let value = Some(json!({"by": "the night shift"}));
        self.call("post", "/threads/{thread_id}/signals/{name}", &[&thread, "go"], value).await;
    }

    async fn runs(&mut self) {
        let order = json!({"assistant_id": "trivial", "input": {"n": 1}});
        let thread = self.served.thread().await;
        let run =
            self.call("post", "/threads/{thread_id}/runs", &[&thread], Some(order.clone())).await;
        let run = run["run_id"].as_str().unwrap().to_owned();
        let one = "/threads/{thread_id}/runs/{run_id}";
        self.call("get", &format!("{one}/join"), &[&thread, &run], None).await;
        self.call("get", "/threads/{thread_id}/runs", &[&thread], None).await;
        self.call("get", one, &[&thread, &run], None).await;
        self.call("delete", one, &[&thread, &run], None).await;
        let later = json!({"assistant_id": "trivial", "input": {"n": 1}, "after_seconds": 3600});
        for _ in 0..2 {
            let thread = self.served.thread().await;
            let (_, run) =
                self.served.post(&format!("/threads/{thread}/runs"), later.clone()).await;
            let run = run["run_id"].as_str().unwrap().to_owned();
            match self.seen.contains_key(&format!("post {one}/cancel")) {
                true => {
                    let these = json!({"thread_id": thread, "run_ids": [run]});
                    self.post("/runs/cancel", these).await;
                }
                false => {
                    self.call("post", &format!("{one}/cancel"), &[&thread, &run], None).await;
                }
            }
        }
        for path in ["/runs", "/runs/wait", "/runs/stream"] {
            self.post(path, order.clone()).await;
        }
        self.post("/runs/batch", json!([order])).await;
    }

    async fn crons(&mut self) {
        let order = json!({"assistant_id": "trivial", "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "input": {"n": 1}});
        let made = self.post("/runs/crons", order.clone()).await;
        let id = made["cron_id"].as_str().unwrap().to_owned();
        let thread = self.served.thread().await;
        self.call("post", "/threads/{thread_id}/runs/crons", &[&thread], Some(order)).await;
        self.post("/runs/crons/search", json!({"enabled": true, "limit": 10})).await;
        self.post("/runs/crons/count", json!({"enabled": true})).await;
        self.call("get", "/runs/crons/{cron_id}", &[&id], None).await;
        let change = Some(json!({"enabled": false}));
        self.call("patch", "/runs/crons/{cron_id}", &[&id], change).await;
        self.call("delete", "/runs/crons/{cron_id}", &[&id], None).await;
    }

    async fn store(&mut self) {
        let item = json!({"namespace": ["notes", "me"], "key": "one", "value": {"text": "hello"}});
        self.call("put", "/store/items", &[], Some(item)).await;
        self.call("get", "/store/items", &["?namespace=notes.me&key=one"], None).await;
        self.post(
            "/store/items/search",
            json!({"namespace_prefix": ["notes"], "filter": {"text": "hello"}}),
        )
        .await;
        self.post("/store/namespaces", json!({"prefix": ["notes"]})).await;
        let named = json!({"namespace": ["notes", "me"], "key": "one"});
        self.call("delete", "/store/items", &[], Some(named)).await;
    }

    async fn checkpoints(&mut self) {
        let checkpoint = json!({
            "thread_id": "t", "checkpoint_id": "1", "checkpoint": {"type": "json", "data": "e30="},
            "metadata": {"source": "loop", "step": 1, "run_id": "r"}, "channel_versions": {"n": "1"},
            "new_values": {"n": {"type": "json", "data": "MQ=="}},
        });
        self.post("/checkpoints", checkpoint).await;
        let writes = json!({
            "thread_id": "t", "checkpoint_id": "1", "task_id": "task", "task_path": "a",
            "writes": [{"index": 0, "channel": "n", "value": {"type": "json", "data": "Mg=="}}],
        });
        self.post("/checkpoints/writes", writes).await;
        self.post(
            "/checkpoints/search",
            json!({"thread_id": "t", "checkpoint_ns": "", "limit": 1}),
        )
        .await;
        self.post("/checkpoints/copy", json!({"source_thread_id": "t", "target_thread_id": "u"}))
            .await;
        self.post("/checkpoints/prune", json!({"thread_ids": ["u"]})).await;
        self.post("/checkpoints/delete_runs", json!({"run_ids": ["r"]})).await;
        self.call("delete", "/checkpoints/threads/{thread_id}", &["t"], None).await;
    }

    async fn files(&mut self) {
        self.get("/graphs").await;
        self.call("get", "/graphs/{name}", &["trivial"], None).await;
        self.call("get", "/graphs/{name}/diagram", &["trivial"], None).await;
        let text = include_str!("../../graphs/trivial.yaml");
        self.call("put", "/graphs/{name}", &["trivial"], Some(json!(text))).await;
        self.post("/graphs/check", json!({"text": "schema: graph/v1\nname: empty\n"})).await;
        self.get("/prompts").await;
        self.call("get", "/prompts/{name}", &["ok.md"], None).await;
        self.call("put", "/prompts/{name}", &["ok.md"], Some(json!("{\"q\": \"ok?\"}\n"))).await;
    }

    async fn trade(&mut self) {
        self.get("/deployments").await;
        let one = "/deployments/{name}";
        self.call("get", one, &["chat"], None).await;
        self.call("get", &format!("{one}/config"), &["chat"], None).await;
        self.call("get", &format!("{one}/observation"), &["chat"], None).await;
        for part in ["latency", "throughput", "tokens", "gpu", "deployments"] {
            self.get(&format!("/metrics/{part}")).await;
        }
        let query = "?metric=finished_rps&window_s=120&step_s=60";
        self.call("get", "/metrics/history", &[query], None).await;
        self.post("/metrics/collect", json!({"deployment": "chat", "window_s": 60})).await;
        let target = json!({"metric": "ttft", "statistic": "p95", "max_ms": 300.0});
        let analysis =
            self.post("/analyze", json!({"targets": [target], "keep": ["throughput"]})).await;
        let id = analysis["id"].as_str().unwrap().to_owned();
        self.call("get", "/analyze/{id}", &[&id], None).await;
    }

    async fn trials(&mut self) {
        let (_, config) = self.served.get("/deployments/chat/config").await;
        self.post("/test/validate", json!({"deployment": "chat", "config": config})).await;
        let proposal = json!({
            "name": "as-it-is", "deployment": "chat", "config": config, "change": {}, "rationale": "to see", "prediction": null,
        });
        let objective =
            json!({"deployment": "chat", "targets": [], "keep": [], "improve": "throughput"});
        let started =
            self.post("/test/run", json!({"proposal": proposal, "objective": objective})).await;
        let id = started["id"].as_str().unwrap().to_owned();
        while self.served.get(&format!("/test/results/{id}")).await.1["status"] == "running" {}
        self.call("get", "/test/results/{id}", &[&id], None).await;
        self.get("/test/results").await;
        self.call("delete", "/test/{id}", &[&id], None).await;
    }

    async fn rollouts(&mut self) {
        for answer in ["reject", "approve"] {
            let started = self.post("/optimize", json!({"goal": GOAL})).await;
            let thread = started["thread_id"].as_str().unwrap().to_owned();
            self.served.rested(&thread).await;
            self.call("post", &format!("/optimize/{{thread_id}}/{answer}"), &[&thread], None).await;
            self.served.rested(&thread).await;
            if answer == "approve" {
                self.call("get", "/optimize/{thread_id}", &[&thread], None).await;
            }
        }
        self.get("/optimize/history").await;
        self.get("/rollout/status").await;
        let history = self.get("/rollout/history").await;
        let id = history[0]["id"].as_str().unwrap().to_owned();
        self.call("get", "/rollout/{id}", &[&id], None).await;
        self.call("get", "/rollout/{id}/events", &[&id], None).await;
        self.call("post", "/rollout/{id}/abort", &[&id], None).await;
        let task = json!({"task_id": "t-1", "task_type": "tune_inference", "parameters": {"goal": GOAL, "approved": true}});
        self.post("/task", task).await;
    }

    /// Orders to a rollout that goes on.
    async fn orders(&mut self) {
        let (thread, paused) = paused(&self.served).await;
        let id = paused["id"].as_str().unwrap();
        for order in ["resume", "pause", "promote"] {
            self.call("post", &format!("/rollout/{{id}}/{order}"), &[id], None).await;
        }
        assert_eq!(self.served.rested(&thread).await["status"], "improved");
    }

    async fn rollback(&mut self) {
        let (thread, _) = paused(&self.served).await;
        self.post("/rollout/rollback", json!({"deployment": "chat"})).await;
        assert_eq!(self.served.rested(&thread).await["status"], "rolled_back");
    }

    /// Runs that may change some knobs only, or to one config only: as far as their question.
    async fn limited(&mut self) {
        self.get("/optimize/recommendations").await;
        let (_, config) = self.served.get("/deployments/chat/config").await;
        let mut config = config.clone();
        config["max_num_seqs"] = json!(32);
        let given = ("/rollout/start", json!({"config": config, "goal": GOAL}));
        let families = ["batch", "kv-cache", "parallelism", "quantize"];
        let families = families.map(|family| format!("/optimize/{family}"));
        let limited = families.iter().map(|path| (path.as_str(), json!({"goal": GOAL})));
        for (path, body) in limited.chain([given]) {
            let started = self.post(path, body).await;
            let thread = started["thread_id"].as_str().unwrap();
            if self.served.rested(thread).await["status"] == "interrupted" {
                self.served.post(&format!("/optimize/{thread}/reject"), json!({})).await;
                self.served.rested(thread).await;
            }
        }
    }

    async fn seed(&mut self) {
        for path in ["/", "/health", "/health/detailed", "/config", "/capabilities"] {
            self.get(&format!("/api/v1{path}")).await;
        }
        self.note("get", "/api/v1/metrics", Value::Null, 307, Value::Null);
        let engine = super::support::engine().await;
        let page = format!("{engine}/metrics");
        let order = Some(json!({"instance_id": "one", "endpoint": page, "timeout": 30}));
        self.call("post", "/api/v1/collect/{engine}", &["vllm"], order).await;
        let query = format!("?endpoint={page}");
        self.call("get", "/api/v1/metrics/{engine}/{instance_id}", &["vllm", "one", &query], None)
            .await;
        self.call("get", "/api/v1/history/{instance_id}", &["one"], None).await;
        let named = |more: Value| {
            let mut body = json!({"instance_id": "chat", "instance_type": "vllm"});
            body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            body
        };
        let target = json!({"name": "ttft", "metric": "request_metrics.time_to_first_token_seconds", "target_value": 0.3, "comparison": "<="});
        self.post("/api/v1/analyze", named(json!({"slo_targets": [target]}))).await;
        self.post("/api/v1/optimize", named(json!({"constraints": {}}))).await;
        for (answer, query) in [("reject", ""), ("approve", "?approved_by=admin")] {
            let started =
                self.post("/api/v1/workflows", named(json!({"requires_approval": true}))).await;
            let id = started["workflow_id"].as_str().unwrap().to_owned();
            let path = format!("/api/v1/workflows/{id}");
            loop {
                let (_, state) = self.served.get(&path).await;
                match state["status"].as_str().unwrap() {
                    "awaiting_approval" | "completed" | "failed" | "rolled_back" => break,
                    _ => {}
                }
            }
            self.call("get", "/api/v1/workflows/{id}", &[&id], None).await;
            let answering = format!("/api/v1/workflows/{{id}}/{answer}");
            self.call("post", &answering, &[&id, query], None).await;
        }
        self.get("/api/v1/workflows").await;
    }

    async fn deployments(&mut self) {
        let asked = json!({
            "name": "chat-2", "engine": "vllm", "endpoints": ["http://127.0.0.1:8000"], "served_model": "smol",
            "limits": {"ttft_p95_ms": 400.0},
        });
        self.post("/deployments", asked.clone()).await;
        self.call("put", "/deployments/{name}", &["chat-2"], Some(asked)).await;
        self.call("delete", "/deployments/{name}", &["chat-2"], None).await;
    }
}

/// The same, short enough to be read.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > TEXT_CHARS_MAX => {
            json!(text.chars().take(TEXT_CHARS_MAX).chain(['…']).collect::<String>())
        }
        Value::Array(items) => items.into_iter().take(LIST_MAX).map(short).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (name, short(value))).collect::<Map<_, _>>(),
        ),
        other => other,
    }
}
