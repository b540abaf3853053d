//! `/metrics`: this process, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, Method, StatusCode, header};
use serde_json::json;

use super::Error;
use super::state::App;

/// Threads counted at most: the newest.
const THREADS_MAX: usize = 10_000;

/// What this process has counted since it began.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    runs_started: AtomicU64,
    /// By route; then the few methods and statuses that it was answered with.
    requests: Mutex<BTreeMap<String, Vec<(&'static str, StatusCode, Answers)>>>,
}

/// Labels and value of each sample.
type Samples = Vec<(String, String)>;

#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    count: u64,
    seconds: f64,
}

/// What requests are counted under. Any token is a method to HTTP: what strangers invent must make no series of its own.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}

impl Metrics {
    /// A request was answered, or its stream has begun.
    pub(super) fn answered(
        &self,
        method: &Method,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) {
        let method = known(method);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if !requests.contains_key(route) {
            requests.insert(route.to_owned(), Vec::new());
        }
        let Some(kinds) = requests.get_mut(route) else { return };
        let same = kinds.iter().position(|(m, s, _)| (*m, *s) == (method, status));
        let place = same.unwrap_or_else(|| {
            kinds.push((method, status, Answers::default()));
            kinds.sort_by_key(|(method, status, _)| (*method, *status));
            kinds.iter().position(|(m, s, _)| (*m, *s) == (method, status)).unwrap_or(0)
        });
        let answers = &mut kinds[place].2;
        answers.count += 1;
        answers.seconds += took.as_secs_f64();
    }

    /// A run was started.
    pub(super) fn run_started(&self) {
        self.runs_started.fetch_add(1, Ordering::Relaxed);
    }

    fn page(&self, threads: &BTreeMap<String, u64>, at_work: usize) -> String {
        let mut page = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(page, "{name}{labels} {value}");
            }
        };
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        family("perf_agent_build_info", "gauge", "Which build this is.", &[(version, "1".into())]);
        let by_status: Vec<_> = threads
            .iter()
            .map(|(status, count)| (format!("{{status=\"{status}\"}}"), count.to_string()))
            .collect();
        let help = "Last runs of the newest threads of the store, by status.";
        family("perf_agent_runs", "gauge", help, &by_status);
        let started = self.runs_started.load(Ordering::Relaxed).to_string();
        let help = "Runs started by this process.";
        family("perf_agent_runs_started_total", "counter", help, &[(String::new(), started)]);
        let help = "Threads that this process works on now.";
        let at_work = [(String::new(), at_work.to_string())];
        family("perf_agent_threads_at_work", "gauge", help, &at_work);
        let (counts, seconds) = self.requests();
        family("perf_agent_http_requests_total", "counter", "Requests answered.", &counts);
        let help = "Time until the answer began, summed.";
        family("perf_agent_http_request_seconds_total", "counter", help, &seconds);
        page
    }

    fn requests(&self) -> (Samples, Samples) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds =
            requests.iter().flat_map(|(route, kinds)| kinds.iter().map(move |k| (route, k)));
        kinds
            .map(|(route, (method, status, answers))| {
                let status = status.as_u16();
                let labels =
                    format!("{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}");
                let seconds = (labels.clone(), answers.seconds.to_string());
                ((labels, answers.count.to_string()), seconds)
            })
            .unzip()
    }
}

/// Runs by status, requests by route and status, the build.
#[utoipa::path(
    get, path = "/metrics", tag = "metrics",
    responses((status = 200, description = "Prometheus text 0.0.4", content_type = "text/plain", body = String)),
)]
pub(super) async fn page(
    State(app): State<App>,
) -> Result<([(HeaderName, &'static str); 1], String), Error> {
    let mut threads = BTreeMap::new();
    for thread in app.agent().threads(THREADS_MAX).await? {
        let status = json!(thread.status).as_str().unwrap_or_default().to_owned();
        *threads.entry(status).or_default() += 1;
    }
    let page = app.metrics.page(&threads, app.drivers.at_work());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page))
}
