//! The journal of a run as the events of LangGraph's stream modes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::follow::{answered, problem_of};
use super::messages::{Piece, Talks};
use super::paths::{Paths, Role, Spot, inside, nodes_of};
use super::protocol::{Place, stamp, step, task_id};
use super::record::{Execution, Mode, RunRecord};
use super::refusal::Refusal;
use super::snapshot::{checkpoint, id_of, source, value_of};
use crate::agent::{JournalEntry, Lineage, ThreadState};
use crate::api::state::App;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) event: String,
    pub(super) data: Value,
}

impl Said {
    pub(super) fn new(event: &str, data: Value) -> Self {
        Self { event: event.to_owned(), data }
    }
}

/// Turns journal entries into events.
pub(super) struct Translator {
    app: App,
    run: RunRecord,
    execution: Execution,
    /// Seq of the newest checkpoint that was looked at.
    seen: u64,
    /// The state that is open.
    state: Option<ThreadState>,
    /// A superstep is over, and its state has not been sent.
    closing: bool,
    /// Whether anything but answers came: the next answer belongs to another run.
    worked: bool,
    /// Id of the state that was sent last.
    parent_id: Option<String>,
    paths: Paths,
    /// The values that were sent last.
    sent: Option<Value>,
    /// Calls of subgraphs that go on, by path, with the values that were sent of them.
    calls: BTreeMap<String, Value>,
    /// Calls that are over as soon as the state they led to was sent.
    leaving: Vec<String>,
    talks: Talks,
    said: Vec<Said>,
}

impl Translator {
    /// Of a run that was handed over.
    pub(super) fn new(app: &App, run: RunRecord, execution: Execution) -> Self {
        let shape = app.agent().graph_shape(&run.graph).ok();
        Self {
            app: app.clone(),
            paths: Paths::new(&run.thread, &execution.run, shape),
            sent: None,
            calls: BTreeMap::new(),
            leaving: Vec::new(),
            talks: Talks::default(),
            seen: execution.seq_from,
            run,
            execution,
            state: None,
            closing: false,
            worked: false,
            parent_id: None,
            said: Vec::new(),
        }
    }

    /// Sends these kinds instead of those that the run was made with.
    pub(super) fn set_modes(&mut self, modes: std::collections::BTreeSet<Mode>) {
        self.run.order.modes = modes;
    }

    /// Begins with what follows `state`: nobody saw what came before.
    pub(super) fn go_on_from(&mut self, state: ThreadState) {
        if state.run == self.execution.run {
            (self.seen, self.state) = (state.seq, Some(state));
        }
    }

    pub(super) fn run(&self) -> &RunRecord {
        &self.run
    }

    /// The events of an entry, and whether the run is over with it. `None`: the entry belongs to the run after this one.
    pub(super) async fn entry(
        &mut self,
        entry: &JournalEntry,
    ) -> Result<Option<(Vec<Said>, bool)>, Refusal> {
        let data = &entry.data;
        let node = data["node"].as_str().unwrap_or_default();
        let mut over = false;
        match entry.kind.as_str() {
            "RUN_STARTED" => self.started().await?,
            "RUN_FORKED" => self.state = self.advance().await?,
            "RESUMED" if self.worked => return Ok(None),
            "RESUMED" => self.resumed(node).await?,
            "STEP_STARTED" => self.step_started(node).await?,
            "STEP_FINISHED" => self.step_finished(node, data),
            "INTERRUPT" => self.interrupted(node, data),
            "CUSTOM" => self.emitted(entry.seq, node, &data["data"]),
            "RETRY" => self.talks.forget(node),
            "RUN_FINISHED" => {
                self.close().await?;
                over = true;
            }
            "RUN_ERROR" => {
                self.close().await?;
                let problem = problem_of(data);
                let (error, message, hint) = (problem.code, problem.message, problem.hint);
                let data =
                    json!({"error": error, "message": message, "hint": hint, "node": data["node"]});
                self.said.push(Said::new("error", data));
                over = true;
            }
            "RUN_CANCELLED" => {
                let data =
                    json!({"error": "UserInterrupt", "message": "User interrupted this run"});
                self.said.push(Said::new("error", data));
                over = true;
            }
            _ => {}
        }
        self.worked |= !matches!(entry.kind.as_str(), "RESUMED" | "RUN_STARTED" | "RUN_FORKED");
        Ok(Some((std::mem::take(&mut self.said), over)))
    }

    /// The last events of a run that is held: it asks nothing, and waits.
    pub(super) fn held(&mut self) -> Vec<Said> {
        self.asked(json!([]));
        std::mem::take(&mut self.said)
    }

    async fn started(&mut self) -> Result<(), Refusal> {
        let Some(state) = self.advance().await? else { return Ok(()) };
        if self.wants_states() {
            let parent = match state.lineage.parent {
                0 => None,
                seq => self.app.agent().state_at(&self.run.thread, seq).await?,
            };
            self.say_checkpoint(&state, Some(parent.as_ref()));
        }
        self.say_state(&state);
        self.state = Some(state);
        Ok(())
    }

    /// A run that goes on says first where it stands.
    async fn resumed(&mut self, node: &str) -> Result<(), Refusal> {
        if self.state.is_none() {
            let seq = self.execution.seq_from;
            self.state = self.app.agent().state_at(&self.run.thread, seq).await?;
            if let Some(state) = self.state.clone() {
                let app = self.app.clone();
                self.parent_id = Some(id_of(&state.lineage));
                self.say(Mode::Values, "values", "", || json!(answered(&app, &state)));
            }
        }
        let nodes = match (&self.state, node) {
            (Some(state), "") => state.next.clone(),
            (_, node) => vec![node.to_owned()],
        };
        for node in nodes {
            self.say_task(&node);
        }
        Ok(())
    }

    async fn step_started(&mut self, node: &str) -> Result<(), Refusal> {
        self.close().await?;
        self.talks.forget(node);
        let held = |state: &ThreadState| state.held.iter().any(|held| held == node);
        if !self.state.as_ref().is_some_and(held) {
            self.say_task(node);
        }
        Ok(())
    }

    fn step_finished(&mut self, path: &str, data: &Value) {
        self.closing = true;
        let spot = self.paths.spot(path);
        let failed = !data["error"].is_null();
        match spot.role {
            // The node that calls a subgraph is through when the subgraph is.
            Role::Enter if !failed => {
                self.calls.insert(path.to_owned(), Value::Null);
                return;
            }
            Role::Leave => self.leaving.push(called(&spot)),
            Role::Enter | Role::Work => {}
        }
        let writes = inside(&spot.frame, data["writes"].as_object().into_iter().flatten());
        let (frame, node) = (spot.frame.as_str(), spot.node.as_str());
        if !failed {
            self.say(Mode::Updates, "updates", frame, || json!({node: writes}));
        }
        let id = self.task_id(&spot);
        let error = data["error"]["message"].clone();
        self.say_debugged(
            Mode::Tasks,
            "tasks",
            frame,
            "task_result",
            || json!({"id": id, "name": node, "error": error, "result": writes, "interrupts": []}),
        );
    }

    fn interrupted(&mut self, path: &str, data: &Value) {
        let asked = json!([{"value": value_of(&data["question"]), "id": data["id"]}]);
        self.asked(asked.clone());
        let spot = self.paths.spot(path);
        let (id, node) = (self.task_id(&spot), spot.node.as_str());
        self.say_debugged(
            Mode::Tasks,
            "tasks",
            &spot.frame,
            "task_result",
            || json!({"id": id, "name": node, "error": null, "result": {}, "interrupts": asked}),
        );
    }

    /// What a node says while it runs; what its model writes is a message too.
    fn emitted(&mut self, seq: u64, path: &str, data: &Value) {
        let spot = self.paths.spot(path);
        // To LangGraph's clients everybody in a graph has its one writer.
        let frame = if self.run.order.subgraphs { spot.frame.as_str() } else { "" };
        self.say(Mode::Custom, "custom", frame, || data.clone());
        if let Some(piece) = self.talks.hear(&self.execution.run, seq, path, data) {
            self.say_message(&spot, &piece);
        }
    }

    fn say_message(&mut self, spot: &Spot, piece: &Piece) {
        let modes = &self.run.order.modes;
        let about = || self.about_message(spot);
        if modes.contains(&Mode::MessagesTuple) {
            let data = json!([piece.chunk(), about()]);
            self.say(Mode::MessagesTuple, "messages", &spot.frame, || data);
        } else if modes.contains(&Mode::Messages) && !self.is_hidden(&spot.frame) {
            if piece.first {
                let data = json!({piece.id.as_str(): {"metadata": about()}});
                self.said.push(Said::new("messages/metadata", data));
            }
            let (event, data) = piece.so_far();
            self.said.push(Said::new(event, data));
        }
    }

    /// Where a message comes from.
    fn about_message(&self, spot: &Spot) -> Value {
        let task = format!("{}:{}", spot.node, self.task_id(spot));
        let namespace = match spot.frame.as_str() {
            "" => task,
            frame => format!("{}|{task}", self.paths.namespace(frame)),
        };
        let mut about = self.run.metadata.clone();
        let own = json!({
            "run_id": self.run.id,
            "thread_id": self.run.thread,
            "graph_id": self.run.graph,
            "langgraph_step": self.state.as_ref().map(|state| step(&state.lineage, false) + 1),
            "langgraph_node": spot.node,
            "langgraph_triggers": [format!("branch:to:{}", spot.node)],
            "langgraph_path": ["__pregel_pull", spot.node],
            "langgraph_checkpoint_ns": namespace,
            "checkpoint_ns": namespace,
        });
        about.extend(own.as_object().cloned().unwrap_or_default());
        Value::Object(about)
    }

    /// Questions go with the updates, or with the values where nobody wants updates.
    fn asked(&mut self, questions: Value) {
        let modes = &self.run.order.modes;
        let mode = if modes.contains(&Mode::Updates) { Mode::Updates } else { Mode::Values };
        let event = if mode == Mode::Updates { "updates" } else { "values" };
        self.say(mode, event, "", || json!({"__interrupt__": questions}));
    }

    /// Sends the state that the supersteps before led to.
    async fn close(&mut self) -> Result<(), Refusal> {
        if !std::mem::take(&mut self.closing) {
            return Ok(());
        }
        if let Some(state) = self.advance().await? {
            self.say_state(&state);
            self.state = Some(state);
        }
        Ok(())
    }

    /// The next state that the run has made.
    async fn advance(&mut self) -> Result<Option<ThreadState>, Refusal> {
        if !self.wants_states() {
            return Ok(None);
        }
        let agent = self.app.agent();
        while let Some(state) = agent.state_at(&self.run.thread, self.seen + 1).await? {
            self.seen = state.seq;
            if state.run == self.execution.run && state.lineage.seq == state.seq {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    fn wants_states(&self) -> bool {
        let wanted = [
            Mode::Values,
            Mode::Checkpoints,
            Mode::Debug,
            Mode::Tasks,
            Mode::Messages,
            Mode::MessagesTuple,
        ];
        wanted.iter().any(|mode| self.run.order.modes.contains(mode))
    }

    fn say_state(&mut self, state: &ThreadState) {
        self.say_calls(state);
        let values = json!(answered(&self.app, state));
        // A superstep of a subgraph is none of the graph's own.
        let inner = !self.calls.is_empty() && self.sent.as_ref() == Some(&values);
        if !inner {
            self.say(Mode::Values, "values", "", || values.clone());
            self.say_checkpoint(state, None);
        }
        self.sent = Some(values);
    }

    /// What the calls of subgraphs that go on stand at, as far as that changed.
    fn say_calls(&mut self, state: &ThreadState) {
        if self.run.order.subgraphs {
            let paths: Vec<String> = self.calls.keys().cloned().collect();
            for path in paths {
                let values = json!(inside(&path, &state.values));
                if self.calls.insert(path.clone(), values.clone()).as_ref() != Some(&values) {
                    self.say(Mode::Values, "values", &path, || values);
                }
            }
        }
        for path in self.leaving.drain(..) {
            self.calls.remove(&path);
        }
    }

    /// `input`: the state before the input was applied, which grew from that one.
    fn say_checkpoint(&mut self, state: &ThreadState, input: Option<Option<&ThreadState>>) {
        let modes = &self.run.order.modes;
        if !modes.contains(&Mode::Checkpoints) && !modes.contains(&Mode::Debug) {
            return;
        }
        let lineage = &state.lineage;
        let place = Place { seq: lineage.seq, input: input.is_some() };
        let id = place.id(lineage);
        let starts = lineage.origin == crate::agent::Origin::Start;
        let parent = match input {
            Some(parent) => parent.map(|parent| id_of(&parent.lineage)),
            None if starts => Some(Place { input: true, ..place }.id(lineage)),
            None => self.parent_id.clone(),
        };
        let values = match input {
            None => json!(inside("", &state.values)),
            Some(parent) => {
                json!(parent.map(|parent| inside("", &parent.values)).unwrap_or_default())
            }
        };
        let next: Vec<String> = match input {
            Some(_) => vec!["__start__".to_owned()],
            None => nodes_of("", &state.next).into_iter().map(|(node, _)| node).collect(),
        };
        let tasks: Vec<Value> = next
            .iter()
            .map(|node| {
                let id = self.task_id_at(lineage, &self.paths.spot(node));
                json!({"id": id, "name": node, "interrupts": [], "state": null})
            })
            .collect();
        let payload = json!({
            "config": self.config(&id),
            "parent_config": parent.as_deref().map(|id| self.config(id)),
            "values": values,
            "metadata": {
                "source": source(lineage, input.is_some()),
                "step": step(lineage, input.is_some()),
                "parents": {},
            },
            "next": next,
            "tasks": tasks,
        });
        self.say(Mode::Checkpoints, "checkpoints", "", || payload.clone());
        if self.run.order.modes.contains(&Mode::Debug) {
            let mut payload = payload;
            let thread = &self.run.thread;
            payload["checkpoint"] = checkpoint(thread, &id);
            payload["parent_checkpoint"] = json!(parent.map(|id| checkpoint(thread, &id)));
            let data = json!({
                "step": step(lineage, input.is_some()),
                "timestamp": stamp(lineage.at),
                "type": "checkpoint",
                "payload": payload,
            });
            self.said.push(Said::new("debug", data));
        }
        self.parent_id = Some(id);
    }

    fn say_task(&mut self, path: &str) {
        let spot = self.paths.spot(path);
        if spot.role == Role::Leave {
            return;
        }
        let id = self.task_id(&spot);
        let Some(state) = &self.state else { return };
        let input = json!(inside(&spot.frame, &state.values));
        let metadata = Value::Object(self.run.metadata.clone());
        let node = spot.node.as_str();
        self.say_debugged(Mode::Tasks, "tasks", &spot.frame, "task", || {
            json!({
                "id": id,
                "name": node,
                "input": input,
                "triggers": [format!("branch:to:{node}")],
                "metadata": metadata,
                "interrupts": [],
            })
        });
    }

    /// Says something as what it is, and once more with its time.
    fn say_debugged(
        &mut self,
        mode: Mode,
        event: &str,
        frame: &str,
        kind: &str,
        data: impl Fn() -> Value,
    ) {
        self.say(mode, event, frame, &data);
        let Some(state) = &self.state else { return };
        let (step, timestamp) = (step(&state.lineage, false) + 1, stamp(state.updated));
        self.say(
            Mode::Debug,
            "debug",
            frame,
            || json!({"step": step, "timestamp": timestamp, "type": kind, "payload": data()}),
        );
    }

    /// Says something of a subgraph (empty: of the graph itself), if that is wanted.
    fn say(&mut self, mode: Mode, event: &str, frame: &str, data: impl FnOnce() -> Value) {
        if !self.run.order.modes.contains(&mode) || self.is_hidden(frame) {
            return;
        }
        let event = match frame {
            "" => event.to_owned(),
            frame => format!("{event}|{}", self.paths.namespace(frame)),
        };
        self.said.push(Said { event, data: data() });
    }

    fn is_hidden(&self, frame: &str) -> bool {
        !frame.is_empty() && !self.run.order.subgraphs
    }

    fn task_id(&self, spot: &Spot) -> String {
        let state = self.state.as_ref();
        state.map_or_else(String::new, |state| self.task_id_at(&state.lineage, spot))
    }

    fn task_id_at(&self, lineage: &Lineage, spot: &Spot) -> String {
        let path = called(spot);
        match spot.role {
            Role::Work => task_id(self.run.thread.as_str(), lineage, &path),
            Role::Enter | Role::Leave => self.paths.call(&path),
        }
    }

    fn config(&self, id: &str) -> Value {
        let mut configurable: Map<String, Value> = self.run.configurable();
        configurable.insert("checkpoint_ns".to_owned(), json!(""));
        configurable.insert("checkpoint_id".to_owned(), json!(id));
        json!({"configurable": configurable})
    }
}

/// The path of a node.
fn called(spot: &Spot) -> String {
    match spot.frame.as_str() {
        "" => spot.node.clone(),
        frame => format!("{frame}/{}", spot.node),
    }
}
