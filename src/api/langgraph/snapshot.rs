//! States of a thread as LangGraph has them. It writes a state for the input of a run and one for each superstep; we write a
//! checkpoint whenever something changed: all that share one lineage are one state of LangGraph's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::paths::{Paths, Role, inside, nodes_of};
use super::protocol::{self, Place, stamp};
use super::record::{RunRecord, server};
use super::refusal::Refusal;
use super::register;
use crate::agent::{JournalEntry, Lineage, Origin, ThreadState};
use crate::api::state::App;
use crate::base::ThreadId;

/// Checkpoints read at a time.
const PAGE: usize = 64;

/// The checkpoints of one state, oldest first; never empty.
pub(super) struct Moment {
    states: Vec<ThreadState>,
}

impl Moment {
    fn first(&self) -> &ThreadState {
        &self.states[0]
    }

    pub(super) fn newest(&self) -> &ThreadState {
        &self.states[self.states.len() - 1]
    }

    fn lineage(&self) -> &Lineage {
        &self.first().lineage
    }

    /// The states of LangGraph's that it stands for, the newer first: whether it is the one before the input.
    pub(super) fn faces(&self) -> &'static [bool] {
        if self.lineage().origin == Origin::Start { &[false, true] } else { &[false] }
    }

    pub(super) fn place(&self, input: bool) -> Place {
        Place { seq: self.lineage().seq, input }
    }
}

/// Reads the states of one thread.
pub(super) struct History<'a> {
    app: &'a App,
    thread: &'a ThreadId,
    runs: Vec<RunRecord>,
    head: Option<ThreadState>,
    /// Checkpoints of runs that were rolled back: after the first of each pair, up to the second.
    rolled_back: Vec<(u64, u64)>,
    /// Whether the states of subgraphs are shown with the tasks that call them.
    deep: bool,
    /// Read when the first state wants it.
    journal: Option<Vec<JournalEntry>>,
}

impl<'a> History<'a> {
    /// Errors: there is no such thread.
    pub(super) async fn open(app: &'a App, thread: &'a ThreadId) -> Result<Self, Refusal> {
        let head = app.agent().look(thread).await?;
        let runs = register::runs_of(app.agent(), thread).await?;
        let rolled_back = register::thread(app.agent(), thread).await?.rolled_back;
        Ok(Self { app, thread, runs, head, rolled_back, deep: false, journal: None })
    }

    /// The same history, with the states of subgraphs where `deep` says so.
    pub(super) fn with_subgraphs(self, deep: bool) -> Self {
        Self { deep, ..self }
    }

    /// The last checkpoint before those of the rolled-back run that `seq` belongs to.
    fn taken_back_to(&self, seq: u64) -> Option<u64> {
        let own = self.rolled_back.iter().find(|(from, to)| (from + 1..=*to).contains(&seq));
        own.map(|(from, _)| *from)
    }

    /// Whether a state belongs to a run that was rolled back.
    pub(super) fn is_taken_back(&self, moment: &Moment) -> bool {
        self.taken_back_to(moment.first().seq).is_some()
    }

    /// The state the thread stands at; `None`: nothing ran yet.
    pub(super) async fn newest(&self) -> Result<Option<Moment>, Refusal> {
        match &self.head {
            // Until the run that displaced it has begun.
            Some(head) if self.taken_back_to(head.seq).is_some() => {
                let mut seq = head.seq;
                while let Some(before) = self.taken_back_to(seq) {
                    seq = before;
                }
                if seq == 0 { Ok(None) } else { self.at(seq).await }
            }
            Some(head) => match self.at(head.lineage.seq).await? {
                Some(moment) => Ok(Some(moment)),
                // The checkpoint that made it was pruned.
                None => self.at(head.seq).await,
            },
            None => Ok(None),
        }
    }

    /// The state that checkpoint `seq` belongs to.
    pub(super) async fn at(&self, seq: u64) -> Result<Option<Moment>, Refusal> {
        let agent = self.app.agent();
        let Some(state) = agent.state_at(self.thread, seq).await? else { return Ok(None) };
        let lineage = state.lineage.seq;
        let mut states = vec![state];
        let mut next = seq + 1;
        while let Some(state) = agent.state_at(self.thread, next).await? {
            if state.lineage.seq != lineage {
                break;
            }
            states.push(state);
            next += 1;
        }
        // The head knows of answers that lie in the inbox.
        if let (Some(head), Some(last)) = (&self.head, states.last_mut())
            && head.seq == last.seq
        {
            last.clone_from(head);
        }
        Ok(Some(Moment { states }))
    }

    /// The states before checkpoint `before` (`None`: all), newest first, until `enough` says so.
    pub(super) async fn before(
        &self,
        mut before: Option<u64>,
        mut enough: impl FnMut(&Moment) -> bool,
    ) -> Result<Vec<Moment>, Refusal> {
        let mut moments: Vec<Moment> = Vec::new();
        let mut group: Vec<ThreadState> = Vec::new();
        let close = |group: &mut Vec<ThreadState>| {
            group.reverse();
            (!group.is_empty()).then(|| Moment { states: std::mem::take(group) })
        };
        loop {
            let states = self.app.agent().history_before(self.thread, before, PAGE).await?;
            let Some(oldest) = states.last().map(|state| state.seq) else { break };
            before = Some(oldest);
            for state in states {
                let same = group.last().is_none_or(|other| other.lineage.seq == state.lineage.seq);
                if !same
                    && let Some(moment) = close(&mut group)
                    && !self.is_taken_back(&moment)
                {
                    let done = enough(&moment);
                    moments.push(moment);
                    if done {
                        return Ok(moments);
                    }
                }
                group.push(state);
            }
        }
        moments.extend(close(&mut group).filter(|moment| !self.is_taken_back(moment)));
        Ok(moments)
    }

    /// A state as the wire has it; `input`: the one before the input was applied.
    pub(super) async fn shown(&mut self, moment: &Moment, input: bool) -> Result<Value, Refusal> {
        let lineage = *moment.lineage();
        let parent = match lineage.parent {
            0 => None,
            seq => self.app.agent().state_at(self.thread, seq).await?,
        };
        let face = moment.place(input);
        let id = face.id(&lineage);
        let parent_id = match (&parent, moment.faces().len() == 2 && !input) {
            (_, true) => Some(moment.place(true).id(&lineage)),
            (Some(parent), false) => Some(id_of(&parent.lineage)),
            (None, false) => None,
        };
        let (next, tasks, values) = if input {
            let values = parent.map(|parent| inside("", &parent.values)).unwrap_or_default();
            (json!(["__start__"]), json!([self.start_task(moment).await?]), json!(values))
        } else {
            let tasks = self.tasks(moment).await?;
            let next: Vec<&Value> = tasks.iter().map(|task| &task["name"]).collect();
            (json!(next), json!(tasks), json!(inside("", &moment.newest().values)))
        };
        let interrupts: Vec<Value> = tasks
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|task| task["interrupts"].as_array().cloned().unwrap_or_default())
            .collect();
        Ok(json!({
            "values": values,
            "next": next,
            "tasks": tasks,
            "metadata": self.metadata(moment, input),
            "created_at": stamp(lineage.at),
            "checkpoint": checkpoint(self.thread, &id),
            "parent_checkpoint": parent_id.as_ref().map(|id| checkpoint(self.thread, id)),
            "interrupts": interrupts,
            "checkpoint_id": id,
            "parent_checkpoint_id": parent_id,
        }))
    }

    /// The run of LangGraph's that made a state.
    fn run(&self, moment: &Moment) -> Option<&RunRecord> {
        let state = moment.first();
        self.runs
            .iter()
            .filter_map(|run| Some((run, run.execution.as_ref()?)))
            .filter(|(_, e)| e.run == state.run && e.seq_from < state.seq)
            .max_by_key(|(_, execution)| execution.seq_from)
            .map(|(run, _)| run)
    }

    /// What is known about who made a state.
    pub(super) fn metadata(&self, moment: &Moment, input: bool) -> Value {
        let state = moment.first();
        let mut metadata = Map::new();
        match self.run(moment) {
            Some(run) => {
                let configurable = run.configurable();
                metadata.extend(run.metadata.clone());
                metadata.extend(server(self.app.register.url()));
                metadata.insert("run_id".to_owned(), json!(run.id));
                metadata.insert("langgraph_auth_user_id".to_owned(), json!(""));
                let request = configurable.get("langgraph_request_id");
                metadata.insert("langgraph_request_id".to_owned(), json!(request));
            }
            None => {
                metadata.insert("created_by".to_owned(), json!("system"));
                metadata.insert("run_id".to_owned(), json!(state.run));
            }
        }
        let id = protocol::assistant_id(&state.graph);
        metadata.insert("graph_id".to_owned(), json!(state.graph));
        metadata.entry("assistant_id").or_insert(json!(id));
        metadata.insert("thread_id".to_owned(), json!(self.thread));
        metadata.insert("user_id".to_owned(), json!(""));
        metadata.insert("source".to_owned(), json!(source(&state.lineage, input)));
        metadata.insert("step".to_owned(), json!(protocol::step(&state.lineage, input)));
        metadata.insert("parents".to_owned(), json!({}));
        Value::Object(metadata)
    }

    /// What was and is to do in a state.
    async fn tasks(&mut self, moment: &Moment) -> Result<Vec<Value>, Refusal> {
        let is_head = self.head.as_ref().is_some_and(|head| head.seq == moment.newest().seq);
        let shown = if is_head { moment.newest() } else { moment.first() };
        if shown.next.is_empty() {
            return Ok(Vec::new());
        }
        let asked = if is_head { std::slice::from_ref(shown) } else { &moment.states[..] };
        let mut interrupts: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for open in asked.iter().flat_map(|state| &state.interrupts) {
            let by_id = interrupts.entry(open.node.clone()).or_default();
            let question = json!({"id": open.id, "value": value_of(&json!(open.question))});
            by_id.insert(open.id.clone(), question);
        }
        let (run, superstep) = (shown.run.clone(), shown.superstep);
        let (mut results, mut errors) = (BTreeMap::new(), BTreeMap::new());
        for entry in self.journal().await?.iter().filter(|entry| entry.run == run) {
            let Some(node) = entry.data["node"].as_str() else { continue };
            match entry.kind.as_str() {
                "STEP_FINISHED" if entry.data["superstep"] == json!(superstep) => {
                    results.insert(node.to_owned(), entry.data["writes"].clone());
                }
                // It belongs to the superstep that was open: the last one.
                "RUN_ERROR" if is_head && shown.error.is_some() => {
                    errors.insert(node.to_owned(), entry.data["problem"]["message"].clone());
                }
                _ => {}
            }
        }
        let shape = self.app.agent().graph_shape(&shown.graph).ok();
        let told = Told {
            paths: Paths::new(self.thread, &run, shape),
            thread: self.thread,
            state: shown,
            lineage: *moment.lineage(),
            interrupts,
            results,
            errors,
            deep: self.deep,
        };
        Ok(told.tasks(""))
    }

    /// The task that applies the input.
    async fn start_task(&mut self, moment: &Moment) -> Result<Value, Refusal> {
        let run = moment.first().run.clone();
        let began = self
            .journal()
            .await?
            .iter()
            .find(|entry| entry.kind == "RUN_STARTED" && entry.run == run)
            .map(|entry| entry.data["input"].clone());
        Ok(json!({
            "id": protocol::task_id(self.thread.as_str(), moment.lineage(), "__start__"),
            "name": "__start__",
            "path": ["__pregel_pull", "__start__"],
            "error": null,
            "interrupts": [],
            "checkpoint": null,
            "state": null,
            "result": began,
        }))
    }

    async fn journal(&mut self) -> Result<&[JournalEntry], Refusal> {
        if self.journal.is_none() {
            let mut journal = self.app.agent().follow(self.thread, 0);
            let mut entries = Vec::new();
            while let Some(entry) = journal.try_next().await.map_err(crate::agent::Error::from)? {
                entries.push(entry);
            }
            self.journal = Some(entries);
        }
        Ok(self.journal.as_deref().unwrap_or_default())
    }
}

/// What is known of the tasks of a state.
struct Told<'a> {
    paths: Paths,
    thread: &'a ThreadId,
    state: &'a ThreadState,
    lineage: Lineage,
    /// By node and id.
    interrupts: BTreeMap<String, BTreeMap<String, Value>>,
    results: BTreeMap<String, Value>,
    errors: BTreeMap<String, Value>,
    deep: bool,
}

impl Told<'_> {
    /// The tasks of a subgraph (empty: of the graph itself).
    fn tasks(&self, frame: &str) -> Vec<Value> {
        let nodes = nodes_of(frame, &self.state.next).into_iter();
        nodes.map(|(node, deeper)| self.task(frame, &node, !deeper.is_empty())).collect()
    }

    /// `calls`: it is a call of a subgraph that goes on.
    fn task(&self, frame: &str, node: &str, calls: bool) -> Value {
        let path = if frame.is_empty() { node.to_owned() } else { format!("{frame}/{node}") };
        let within = format!("{path}/");
        let own =
            self.interrupts.iter().filter(|(asks, _)| **asks == path || asks.starts_with(&within));
        let open: Vec<&Value> = own.flat_map(|(_, by_id)| by_id.values()).collect();
        let id = match calls || self.paths.spot(&path).role != Role::Work {
            true => self.paths.call(&path),
            false => protocol::task_id(self.thread.as_str(), &self.lineage, &path),
        };
        let namespace = calls.then(|| self.paths.namespace(&path));
        let result = self.results.get(&path).filter(|_| !calls);
        let result = result.map(|writes| inside(frame, writes.as_object().into_iter().flatten()));
        let mut failed = self.errors.iter();
        let error = failed.find(|(at, _)| **at == path || at.starts_with(&within));
        json!({
            "id": id,
            "name": node,
            "path": ["__pregel_pull", node],
            "error": error.map(|(_, message)| message),
            "interrupts": open,
            "checkpoint": namespace.as_ref().map(|ns| {
                json!({"thread_id": self.thread, "checkpoint_ns": ns})
            }),
            "state": namespace.filter(|_| self.deep).map(|ns| self.part(&path, &ns)),
            "result": result,
        })
    }

    /// The state of a subgraph that is being run.
    fn part(&self, path: &str, namespace: &str) -> Value {
        let tasks = self.tasks(path);
        let next: Vec<&Value> = tasks.iter().map(|task| &task["name"]).collect();
        let open = tasks.iter().filter_map(|task| task["interrupts"].as_array()).flatten();
        json!({
            "values": inside(path, &self.state.values),
            "next": next,
            "interrupts": open.collect::<Vec<_>>(),
            "metadata": {},
            "created_at": stamp(self.lineage.at),
            "checkpoint": {"thread_id": self.thread, "checkpoint_ns": namespace},
            "parent_checkpoint": null,
            "tasks": tasks,
        })
    }
}

/// The id of the state that a lineage leads to.
pub(super) fn id_of(lineage: &Lineage) -> String {
    Place { seq: lineage.seq, input: false }.id(lineage)
}

/// A state by name.
pub(super) fn checkpoint(thread: &ThreadId, id: &str) -> Value {
    json!({"checkpoint_id": id, "thread_id": thread, "checkpoint_ns": ""})
}

/// What LangGraph calls the origin of a state.
pub(super) fn source(lineage: &Lineage, input: bool) -> &'static str {
    match lineage.origin {
        _ if input => "input",
        Origin::Start | Origin::Superstep => "loop",
        Origin::Update => "update",
        Origin::Fork => "fork",
    }
}

/// What a question is to LangGraph's clients: its text if that is a JSON object, else all of it.
pub(super) fn value_of(question: &Value) -> Value {
    let text = question["text"].as_str().unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(Value::Object(value)) => Value::Object(value),
        _ => question.clone(),
    }
}

/// The schema that an answer must fit; `None`: any answer does.
pub(super) fn response_schema(question: &Value) -> Option<&Value> {
    const WORDS: [&str; 4] = ["$comment", "description", "examples", "title"];
    let schema = &question["answer_schema"];
    let any = match schema {
        Value::Object(rules) => rules.keys().all(|key| WORDS.contains(&key.as_str())),
        Value::Bool(any) => *any,
        _ => true,
    };
    (!any).then_some(schema)
}
