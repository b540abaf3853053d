//! Runs as they happen: server-sent events from a thread's journal, which can be gone on with after any of them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::{Said, Translator};
use super::follow::Outcome;
use super::launch::{journal_end, launch};
use super::order::{Ordered, RunRequest, Sender, check_modes};
use super::record::{Ended, Mode, RunRecord};
use super::refusal::{Detail, Params, Refusal};
use super::register::{self, Following, now};
use super::runs::{Attended, on_disconnect, places};
use super::threads::known;
use crate::agent::{Journal, JournalEntry};
use crate::api::Error;
use crate::api::security::Caller;
use crate::api::state::App;
use crate::base::{Clock, Coded, RunId, SystemClock, ThreadId};

/// How often a run that was put off is looked at, once its time has come [ms].
const LOOK_MS: u64 = 20;

/// Runs a graph, answers its question or lets it go on, and sends what happens.
///
/// First `metadata`, then events named after the stream modes, `error` when it failed.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/stream", tag = "runs", request_body = RunRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = "4XX", body = Detail),
    ),
)]
pub(in crate::api) async fn stream_run(
    State(app): State<App>,
    Path(thread): Path<String>,
    Ordered(request): Ordered,
) -> Result<Response, Refusal> {
    streamed(app, Some(&thread), request).await
}

/// Runs a graph on a thread of its own and sends what happens.
#[utoipa::path(
    post, path = "/runs/stream", tag = "runs", request_body = RunRequest,
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = "4XX", body = Detail),
    ),
)]
pub(in crate::api) async fn stream_stateless(
    State(app): State<App>,
    Ordered(request): Ordered,
) -> Result<Response, Refusal> {
    streamed(app, None, request).await
}

async fn streamed(
    app: App,
    thread: Option<&str>,
    request: RunRequest,
) -> Result<Response, Refusal> {
    let launched = launch(&app, thread, &request).await?;
    let guard = Attended::new(&app, &launched.run, request.on_disconnect, &request.sender);
    let following = Some(launched.outcome);
    let run = launched.run;
    let places = match thread {
        Some(_) => places(&run, "stream"),
        None => {
            let place = format!("/runs/{}", run.id);
            [(header::LOCATION, format!("{place}/stream")), (header::CONTENT_LOCATION, place)]
        }
    };
    let modes = BTreeSet::new();
    let events = Feed::sent(app, run, following, Since::Begin, guard, modes).await?;
    Ok(answer(places, events))
}

/// How to look at a run that goes on.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct StreamParams {
    #[serde(default)]
    cancel_on_disconnect: Option<String>,
    /// Kinds of event, separated by commas; left out: those of the run.
    #[serde(default)]
    stream_mode: Option<String>,
}

/// What happens in a run from now on; with `Last-Event-ID` from after that event on, `-1`: from its begin.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs/{run_id}/stream", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
        ("Last-Event-ID" = Option<String>, Header, description = "The event after which to begin"),
        ("stream_mode" = Option<String>, Query, description = "Kinds of event, separated by commas"),
        ("cancel_on_disconnect" = Option<bool>, Query, description = "Whether the run is cancelled when the one who looks goes"),
    ),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = "4XX", body = Detail),
    ),
)]
pub(in crate::api) async fn join_stream(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((thread, run)): Path<(String, String)>,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let thread = known(&app, &thread).await?;
    let run = RunId(run);
    let following = app.register.following(&run);
    let record = register::run(app.agent(), &thread, run.as_str()).await?;
    let modes = params.stream_mode.as_deref().unwrap_or_default();
    let modes: Vec<&str> = modes.split(',').filter(|mode| !mode.is_empty()).collect();
    let mut chosen = BTreeSet::new();
    for mode in modes {
        let mode: Mode = serde_json::from_value(json!(mode))
            .map_err(|_| Refusal::invalid(format!("there is no stream mode `{mode}`")))?;
        chosen.insert(mode);
    }
    check_modes(&chosen)?;
    let from = Since::header(&headers);
    let on_disconnect = on_disconnect(params.cancel_on_disconnect.as_deref());
    let guard = Attended::new(&app, &record, on_disconnect, &Sender::from(&caller));
    let places = places(&record, "stream");
    let events = Feed::sent(app, record, following, from, guard, chosen).await?;
    Ok(answer(places, events))
}

/// An event stream with its headers.
fn answer<const N: usize>(
    places: [(HeaderName, String); N],
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let sse = Sse::new(events).keep_alive(KeepAlive::new().text("heartbeat"));
    let mut response = (places, sse).into_response();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// At the run's begin.
    Begin,
    /// After this event.
    After(u64, u64),
    /// With what happens from now on.
    Now,
}

impl Since {
    fn header(headers: &HeaderMap) -> Self {
        let Some(id) = headers.get("last-event-id").and_then(|id| id.to_str().ok()) else {
            return Self::Now;
        };
        let parts = id.split_once('-');
        let numbers = parts.and_then(|(seq, n)| Some((seq.parse().ok()?, n.parse().ok()?)));
        numbers.map_or(Self::Begin, |(seq, n)| Self::After(seq, n))
    }
}

/// A run that was put off, once it has begun or was cancelled.
async fn begun(app: &App, mut run: RunRecord) -> Result<RunRecord, Refusal> {
    while run.execution.is_none() && run.ended.is_none() {
        // Before the look: what happens after it is not missed.
        let recalled = app.register.recalled.notified();
        run = register::run(app.agent(), &run.thread, run.id.as_str()).await?;
        if run.execution.is_some() || run.ended.is_some() {
            break;
        }
        let look = run.due.unwrap_or_default().max(now().plus(LOOK_MS));
        tokio::select! {
            () = SystemClock.sleep_until(look) => {}
            () = recalled => {}
            () = app.drivers.stopped() => return Err(Error::Stopping.into()),
        }
    }
    Ok(run)
}

/// The events of one run.
struct Feed {
    app: App,
    translator: Translator,
    journal: Journal,
    following: Option<Following>,
    /// How it ended, once that is known.
    outcome: Option<Outcome>,
    from: Since,
    /// Place in the journal of what is sent, and how many events of it were.
    at: (u64, u64),
    queue: VecDeque<Event>,
    execution: RunId,
    over: bool,
    guard: Option<Attended>,
}

impl Feed {
    async fn open(
        app: &App,
        run: RunRecord,
        following: Option<Following>,
        from: Since,
        guard: Attended,
    ) -> Result<Self, Refusal> {
        let Some(execution) = run.execution.clone() else {
            return Err(Refusal::missing(format!("Run {} was cancelled before it began", run.id)));
        };
        let ended = run.ended.clone().map(|ended| Outcome { ended, body: Value::Null });
        let journal = match from {
            Since::Now => journal_end(app, &run.thread, execution.journal_from).await?.0,
            Since::Begin | Since::After(..) => {
                app.agent().follow(&run.thread, execution.journal_from)
            }
        };
        let metadata = json!({"run_id": run.id, "attempt": 1});
        let mut feed = Self {
            app: app.clone(),
            journal,
            outcome: if following.is_none() { ended } else { None },
            following,
            from,
            at: (execution.journal_from, 0),
            queue: VecDeque::new(),
            execution: execution.run.clone(),
            translator: Translator::new(app, run, execution),
            over: false,
            guard: Some(guard),
        };
        if matches!(from, Since::Now)
            // After the end of the journal: what is behind that is told by what comes.
            && let Some(state) = app.agent().look(&feed.translator.run().thread).await?
        {
            feed.translator.go_on_from(state);
        }
        feed.push(vec![Said::new("metadata", metadata)]);
        Ok(feed)
    }

    /// The events of a run; of one that was put off once it begins, with heartbeats until then.
    async fn sent(
        app: App,
        run: RunRecord,
        following: Option<Following>,
        from: Since,
        guard: Attended,
        modes: BTreeSet<Mode>,
    ) -> Result<BoxStream<'static, Result<Event, Infallible>>, Refusal> {
        let is_put_off = run.execution.is_none() && run.ended.is_none();
        let opened = async move {
            let run = begun(&app, run).await?;
            let mut feed = Self::open(&app, run, following, from, guard).await?;
            if !modes.is_empty() {
                feed.translator.set_modes(modes);
            }
            Ok::<_, Refusal>(feed.events())
        };
        if !is_put_off {
            return Ok(opened.await?.boxed());
        }
        let late = opened.map(|opened| match opened {
            Ok(events) => events.boxed(),
            Err(refusal) => {
                let data = json!({"error": "api.stream_failed", "message": refusal.detail()});
                let event = Event::default().event("error").data(data.to_string());
                stream::iter([Ok(event)]).boxed()
            }
        });
        Ok(late.flatten_stream().boxed())
    }

    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        stream::unfold(self, |mut feed| async move {
            let event = feed.next().await?;
            Some((Ok(event), feed))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.over {
                self.written_down().await;
                return None;
            }
            if let Err(refusal) = self.read().await {
                self.fail("api.stream_failed", refusal.detail());
            }
        }
    }

    /// Reads on in the journal, or learns that the run has ended.
    async fn read(&mut self) -> Result<(), Refusal> {
        // Boxed, here and below: a stream that waits must not hold the room that translating takes.
        if self.outcome.is_some() {
            return Box::pin(self.drain()).await;
        }
        let Some(following) = self.following.clone() else {
            self.fail(Error::Stopping.code(), &Error::Stopping.to_string());
            return Ok(());
        };
        tokio::select! {
            biased;
            entry = self.journal.next() => {
                let entry = entry.map_err(crate::agent::Error::from)?;
                Box::pin(self.enter(&entry)).await
            }
            outcome = register::ended(following) => {
                match outcome {
                    Some(outcome) => self.outcome = Some(outcome),
                    None => self.fail(Error::Stopping.code(), &Error::Stopping.to_string()),
                }
                Ok(())
            }
        }
    }

    /// What is left in the journal of a run that has ended.
    async fn drain(&mut self) -> Result<(), Refusal> {
        while let Some(entry) = self.journal.try_next().await.map_err(crate::agent::Error::from)? {
            self.enter(&entry).await?;
            if self.over {
                return Ok(());
            }
        }
        match self.outcome.as_ref().map(|outcome| outcome.ended.clone()) {
            Some(Ended::Held) => {
                let said = self.translator.held();
                self.push(said);
            }
            Some(Ended::Failed(problem)) => self.fail(&problem.code, &problem.message),
            _ => {}
        }
        self.over = true;
        Ok(())
    }

    async fn enter(&mut self, entry: &JournalEntry) -> Result<(), Refusal> {
        if entry.run != self.execution {
            return Ok(());
        }
        match self.translator.entry(entry).await? {
            Some((said, over)) => {
                self.at = (entry.seq, 0);
                self.push(said);
                self.over |= over;
            }
            None => {
                // What comes now belongs to the run that went on with this one.
                if let Some(Ended::Held) = self.outcome.as_ref().map(|outcome| &outcome.ended) {
                    let said = self.translator.held();
                    self.push(said);
                }
                self.over = true;
            }
        }
        Ok(())
    }

    fn fail(&mut self, code: &str, message: &str) {
        let data = json!({"error": code, "message": message});
        self.push(vec![Said::new("error", data)]);
        self.over = true;
    }

    /// Queues events, those before the place to begin at left out.
    fn push(&mut self, said: Vec<Said>) {
        for said in said {
            let (seq, n) = self.at;
            self.at.1 += 1;
            let wanted = match self.from {
                Since::Begin => true,
                Since::After(after, m) => (seq, n) > (after, m),
                Since::Now => said.event != "metadata" || self.outcome.is_none(),
            };
            if wanted {
                let event = Event::default().event(said.event).data(said.data.to_string());
                let resumable = self.translator.run().order.resumable;
                self.queue.push_back(if resumable {
                    event.id(format!("{seq}-{n}"))
                } else {
                    event
                });
            }
        }
    }

    /// Waits until the run's record says how it ended: whoever sees the end of the stream can ask for it.
    async fn written_down(&mut self) {
        if let Some(following) = self.following.take() {
            register::ended(following).await;
        }
        if let Some(guard) = self.guard.take() {
            guard.stays();
        }
        let _ = &self.app;
    }
}

/// What to look for on a thread.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct ThreadStreamParams {
    /// Separated by commas; only `run_modes` is there.
    #[serde(default)]
    stream_modes: Option<String>,
}

/// Everything that happens on a thread from now on, whichever run it belongs to; with `Last-Event-ID` from there on.
#[utoipa::path(
    get, path = "/threads/{thread_id}/stream", tag = "threads",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("Last-Event-ID" = Option<String>, Header, description = "The event after which to begin"),
        ("stream_modes" = Option<String>, Query, description = "`run_modes`: what the runs were made with"),
    ),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = "4XX", body = Detail),
    ),
)]
pub(in crate::api) async fn join_thread(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(params): Params<ThreadStreamParams>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let modes = params.stream_modes.as_deref().unwrap_or_default();
    if let Some(mode) = modes.split(',').find(|mode| !matches!(*mode, "" | "run_modes")) {
        return Err(Refusal::invalid(format!("`stream_modes`: `{mode}` is not sent")));
    }
    let thread = known(&app, &thread).await?;
    let (from, journal) = match Since::header(&headers) {
        Since::After(seq, n) => {
            let begin = begin_of(&app, &thread, seq).await?;
            ((seq, n), app.agent().follow(&thread, begin))
        }
        Since::Begin => ((0, 0), app.agent().follow(&thread, 0)),
        Since::Now => ((0, 0), journal_end(&app, &thread, 0).await?.0),
    };
    let (translators, queue) = (HashMap::new(), VecDeque::new());
    let all = Thread { app, thread, journal, from, translators, queue };
    let events = stream::unfold(all, |mut all| async move {
        let event = all.next().await?;
        Some((Ok(event), all))
    });
    let none: [(HeaderName, String); 0] = [];
    Ok(answer(none, events))
}

/// Where the run began that was at work at this place of the journal: what it says next hangs on what it said before.
async fn begin_of(app: &App, thread: &ThreadId, seq: u64) -> Result<u64, Refusal> {
    let mut journal = app.agent().follow(thread, 0);
    let mut begins: HashMap<RunId, u64> = HashMap::new();
    let mut begin = 0;
    while let Some(entry) = journal.try_next().await.map_err(crate::agent::Error::from)? {
        if entry.seq > seq {
            break;
        }
        begin = *begins.entry(entry.run).or_insert(entry.seq - 1);
    }
    Ok(begin)
}

/// Whether a run begins here, or goes on.
fn begins(entry: &JournalEntry) -> bool {
    matches!(entry.kind.as_str(), "RUN_STARTED" | "RUN_FORKED" | "RESUMED")
}

/// The events of one thread.
struct Thread {
    app: App,
    thread: ThreadId,
    journal: Journal,
    /// The event after which to begin: its place in the journal and its number there.
    from: (u64, u64),
    translators: HashMap<RunId, Translator>,
    queue: VecDeque<Event>,
}

impl Thread {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let entry = tokio::select! {
                entry = self.journal.next() => entry.ok()?,
                () = self.app.drivers.stopped() => return None,
            };
            // Boxed: a stream that waits must not hold the room that translating takes.
            Box::pin(self.enter(&entry)).await.ok()?;
        }
    }

    async fn enter(&mut self, entry: &JournalEntry) -> Result<(), Refusal> {
        if begins(entry) || !self.translators.contains_key(&entry.run) {
            self.begin(entry).await?;
        }
        let Some(translator) = self.translators.get_mut(&entry.run) else { return Ok(()) };
        let (said, over) = translator.entry(entry).await?.unwrap_or_default();
        for (n, said) in (1..).zip(said) {
            self.push((entry.seq, n), said);
        }
        if over {
            self.translators.remove(&entry.run);
        }
        Ok(())
    }

    /// Queues an event, those before the place to begin at left out.
    fn push(&mut self, (seq, n): (u64, u64), said: Said) {
        if (seq, n) > self.from {
            let event = Event::default().event(said.event).data(said.data.to_string());
            self.queue.push_back(event.id(format!("{seq}-{n}")));
        }
    }

    /// A run begins, or goes on under another name.
    async fn begin(&mut self, entry: &JournalEntry) -> Result<(), Refusal> {
        // Whoever made the run writes it down while holding the lock.
        let shared = self.app.register.clone();
        let _held = shared.lock(&self.thread).await;
        let runs = register::runs_of(self.app.agent(), &self.thread).await?;
        let run = runs
            .into_iter()
            .filter_map(|run| run.execution.clone().map(|execution| (run, execution)))
            .filter(|(_, e)| e.run == entry.run && e.journal_from < entry.seq)
            .max_by_key(|(_, execution)| execution.journal_from);
        let Some((run, execution)) = run else { return Ok(()) };
        let same = self.translators.get(&entry.run).is_some_and(|t| t.run().id == run.id);
        if !same {
            let metadata = json!({"run_id": run.id, "attempt": 1});
            self.push((entry.seq, 0), Said::new("metadata", metadata));
            let mut translator = Translator::new(&self.app, run, execution);
            // Somebody who came while it was at work.
            if !begins(entry)
                && let Some(state) = self.app.agent().look(&self.thread).await?
                && let Some(before) = state.seq.checked_sub(1)
                && let Some(state) = self.app.agent().state_at(&self.thread, before).await?
            {
                translator.go_on_from(state);
            }
            self.translators.insert(entry.run.clone(), translator);
        }
        Ok(())
    }
}
