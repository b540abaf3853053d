//! What a caller asks a run to do, and the record that is made of it.

use std::collections::BTreeSet;

use axum::extract::{FromRequest, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use utoipa::ToSchema;

use super::assistants::AssistantRecord;
use super::record::{Mode, Order, RunRecord, Strategy, ThreadRecord};
use super::refusal::{Input, Refusal};
use super::register::now;
use super::states::CheckpointConfig;
use super::webhook;
use crate::agent::{Pauses, StartRequest};
use crate::api::Error;
use crate::api::security::{Caller, Scope, lifts};
use crate::api::state::App;
use crate::base::{Millis, RunId, ThreadId};

/// A run to make. Fields that are not named here mean nothing.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::api) struct RunRequest {
    /// Name of a graph, or id of an assistant.
    pub(super) assistant_id: String,
    /// The graph's input. Left out: what is held goes on, or the graph runs on nothing.
    #[serde(default)]
    input: Option<Value>,
    /// Answers a question, or changes the state, instead of an input.
    #[serde(default)]
    command: Option<Command>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// `configurable`: values for the graph's context that it declares; `tags`; `recursion_limit`: most supersteps of a run that begins, where
    /// the graph's own limits allow more.
    #[serde(default)]
    config: Option<Map<String, Value>>,
    /// Read-only values that the graph declares.
    #[serde(default)]
    context: Option<Map<String, Value>>,
    /// The state to begin at; left out: the newest.
    #[serde(default)]
    checkpoint: Option<CheckpointConfig>,
    /// The state to begin at, by its id alone.
    #[serde(default)]
    checkpoint_id: Option<String>,
    /// What a stream sends; left out: `values`.
    #[serde(default)]
    stream_mode: Option<StreamMode>,
    /// Whether events of subgraphs are sent too.
    #[serde(default)]
    stream_subgraphs: Option<bool>,
    /// Whether events have ids, so that a stream can be gone on with after one.
    #[serde(default)]
    stream_resumable: Option<bool>,
    /// Nodes before which the run is held.
    #[serde(default)]
    interrupt_before: Option<Nodes>,
    /// Nodes after which the run is held.
    #[serde(default)]
    interrupt_after: Option<Nodes>,
    /// Called with the run when it has ended.
    #[serde(default)]
    webhook: Option<String>,
    /// Refused: there is no LangSmith here to give feedback to.
    #[serde(default)]
    feedback_keys: Option<Vec<String>>,
    /// `sync` or `async`: every superstep is kept before the next one starts. `exit` is refused.
    #[serde(default)]
    durability: Option<Durability>,
    /// The older word for `durability`: `false` is refused.
    #[serde(default)]
    checkpoint_during: Option<bool>,
    /// What to do with runs that go on.
    #[serde(default)]
    pub(super) multitask_strategy: Option<Strategy>,
    /// `create`: makes the thread that is not there.
    #[serde(default)]
    pub(super) if_not_exists: IfNotExists,
    /// Starts this much later [s].
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    after_seconds: Option<Number>,
    /// `cancel`: the run is cancelled when the one who waits for it goes.
    #[serde(default)]
    pub(super) on_disconnect: OnDisconnect,
    /// What becomes of the thread that is made for a run without one.
    #[serde(default)]
    pub(super) on_completion: OnCompletion,
    /// Whose order it is: never the body's to say.
    #[serde(skip)]
    #[schema(ignore)]
    pub(super) sender: Sender,
}

/// In whose name a run is made.
#[derive(Debug, Clone, Default)]
pub(super) struct Sender {
    /// Whom records of consent name; `None`: whoever operates this server.
    pub(super) by: Option<String>,
    /// Whether it may consent to effects on users.
    pub(super) approves: bool,
}

impl From<&Caller> for Sender {
    fn from(caller: &Caller) -> Self {
        Self { by: caller.consenter(), approves: caller.may(Scope::Approve) }
    }
}

/// A run that somebody orders, with who that is.
pub(super) struct Ordered(pub(super) RunRequest);

impl<S: Send + Sync> FromRequest<S> for Ordered {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let sender = request.extensions().get::<Caller>().map(Sender::from).unwrap_or_default();
        let Input(order) = Input::<RunRequest>::from_request(request, state).await?;
        Ok(Self(RunRequest { sender, ..order }))
    }
}

/// An answer, or a change of the state.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::api) struct Command {
    /// The answer to the open question, or an object of answers by the ids of their questions.
    #[serde(default)]
    resume: Option<Value>,
    /// Channel → what is written to it.
    #[serde(default)]
    update: Option<Map<String, Value>>,
    /// The node, or nodes, to go on with.
    #[serde(default)]
    goto: Option<Nodes>,
}

/// One node, or several; `*` is every node.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Nodes {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Nodes {
    fn names(&self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name.clone()],
            Self::Many(names) => names.clone(),
        }
    }

    fn shown(nodes: Option<&Self>) -> Value {
        match nodes {
            None => Value::Null,
            Some(Self::One(name)) => json!(name),
            Some(Self::Many(names)) => json!(names),
        }
    }
}

/// One kind of event, or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum StreamMode {
    /// One.
    One(Mode),
    /// Several.
    Many(Vec<Mode>),
}

/// When states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum Durability {
    /// Before the next superstep.
    Sync,
    /// While the next superstep runs. Here they are kept before.
    Async,
    /// When the run ends. Refused.
    Exit,
}

/// What to do where a thread is not there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum IfNotExists {
    /// 404.
    #[default]
    Reject,
    /// It is made.
    Create,
}

/// What to do when the one who waits goes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum OnDisconnect {
    /// The run goes on.
    #[default]
    Continue,
    /// The run is cancelled.
    Cancel,
}

/// What becomes of a thread that was made for one run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum OnCompletion {
    /// It goes when the run has ended.
    #[default]
    Delete,
    /// It stays.
    Keep,
}

/// Refuses kinds of event that nothing here makes.
pub(super) fn check_modes<'a>(modes: impl IntoIterator<Item = &'a Mode>) -> Result<(), Refusal> {
    match modes.into_iter().any(|mode| *mode == Mode::Events) {
        true => Err(Refusal::invalid("`stream_mode`: nothing here makes LangChain's own `events`")),
        false => Ok(()),
    }
}

impl RunRequest {
    /// A run that was asked for before, in the name of `sender`.
    pub(super) fn from_value(value: Value, sender: Sender) -> Result<Self, Refusal> {
        let read = serde_json::from_value(value);
        let request: Self = read.map_err(|error| Refusal::invalid(error.to_string()))?;
        Ok(Self { sender, ..request })
    }

    /// How long it is put off [ms].
    pub(super) fn after_ms(&self) -> Result<u64, Refusal> {
        let seconds = self.after_seconds.as_ref().and_then(Number::as_f64).unwrap_or(0.0);
        if !(0.0..=3.2e7).contains(&seconds) {
            return Err(Refusal::invalid("`after_seconds` is 0 to a year"));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range: checked above"
        )]
        Ok((seconds * 1_000.0) as u64)
    }

    /// What its stream sends.
    fn modes(&self) -> Vec<Mode> {
        match &self.stream_mode {
            Some(StreamMode::One(mode)) => vec![*mode],
            Some(StreamMode::Many(modes)) if !modes.is_empty() => modes.clone(),
            _ => vec![Mode::Values],
        }
    }

    /// Refuses what is not there, before anything is started for it.
    fn check_words(&self) -> Result<(), Refusal> {
        check_modes(&self.modes())?;
        if self.durability == Some(Durability::Exit) || self.checkpoint_during == Some(false) {
            return Err(Refusal::invalid(
                "`durability`: every superstep is kept before the next one starts: `sync` or `async`",
            ));
        }
        if self.feedback_keys.as_ref().is_some_and(|keys| !keys.is_empty()) {
            return Err(Refusal::invalid("`feedback_keys`: there is no LangSmith here"));
        }
        self.supersteps_max(&Map::new()).map(drop)
    }

    /// Where the webhook goes.
    pub(super) fn webhook(&self) -> Option<&str> {
        self.webhook.as_deref()
    }

    /// The record of the run that is asked for. `at`: when it was asked for.
    pub(super) fn record(
        &self,
        app: &App,
        assistant: &AssistantRecord,
        thread: &ThreadRecord,
        at: Millis,
    ) -> Result<RunRecord, Refusal> {
        let graph = assistant.graph()?.to_owned();
        let id = RunId(app.register.fresh_id());
        let metadata = self.metadata_of(assistant, thread)?;
        let order = self.order(app, assistant, &thread.thread)?;
        let after_ms = self.after_ms()?;
        let modes = self.modes();
        let config = self.config_of(app, assistant, &graph, thread, &id, &metadata)?;
        let command = self.command.as_ref().map(|command| {
            json!({
                "resume": command.resume,
                "update": command.update,
                "goto": Nodes::shown(command.goto.as_ref()),
            })
        });
        let kwargs = json!({
            "input": self.input,
            "command": command,
            "config": config,
            "context": self.context.clone().unwrap_or_default(),
            "stream_mode": modes,
            "interrupt_before": Nodes::shown(self.interrupt_before.as_ref()),
            "interrupt_after": Nodes::shown(self.interrupt_after.as_ref()),
            "webhook": self.webhook,
            "feedback_keys": self.feedback_keys,
            "temporary": thread.temporary,
            "subgraphs": self.stream_subgraphs.unwrap_or(false),
            "resumable": self.stream_resumable.unwrap_or(false),
            "checkpoint_during": true,
            "durability": self.durability.unwrap_or(Durability::Async),
        });
        Ok(RunRecord {
            id,
            thread: thread.thread.clone(),
            assistant: assistant.id.clone(),
            graph,
            metadata,
            kwargs,
            order: Order { modes: BTreeSet::from_iter(modes), ..order },
            multitask: self.multitask_strategy.unwrap_or_default(),
            created: at,
            updated: at,
            due: (after_ms > 0).then(|| at.plus(after_ms)),
            execution: None,
            ended: None,
        })
    }

    /// Whose run it is, what its thread and its caller say of it.
    fn metadata_of(
        &self,
        assistant: &AssistantRecord,
        thread: &ThreadRecord,
    ) -> Result<Map<String, Value>, Refusal> {
        let [_, _, own] = assistant.gives()?;
        let mut metadata = own.clone();
        metadata.entry("created_by").or_insert(json!("system"));
        metadata.extend(thread.metadata.clone());
        metadata.extend(self.metadata.clone().unwrap_or_default());
        if !thread.temporary {
            metadata.insert("graph_id".to_owned(), json!(assistant.graph()?));
        }
        metadata.insert("assistant_id".to_owned(), json!(assistant.id));
        Ok(metadata)
    }

    fn config_of(
        &self,
        app: &App,
        assistant: &AssistantRecord,
        graph: &str,
        thread: &ThreadRecord,
        run: &RunId,
        metadata: &Map<String, Value>,
    ) -> Result<Value, Refusal> {
        let [given, ..] = assistant.gives()?;
        let mut config = given.clone();
        config.extend(self.config.clone().unwrap_or_default());
        let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
        let mut configurable = object(given.get("configurable")).unwrap_or_default();
        let own = self.config.as_ref().and_then(|config| object(config.get("configurable")));
        configurable.extend(own.unwrap_or_default());
        let after = self.after_seconds.clone().unwrap_or_else(|| Number::from(0));
        let added = json!({
            "langgraph_auth_user": null,
            "langgraph_auth_user_id": "",
            "langgraph_auth_permissions": [],
            "langgraph_request_id": app.register.fresh_id(),
            "__request_start_time_ms__": now().0,
            "__after_seconds__": after,
            "run_id": run,
            "thread_id": thread.thread,
            "graph_id": graph,
            "assistant_id": assistant.id,
            "user_id": "",
        });
        configurable.extend(added.as_object().cloned().unwrap_or_default());
        if let Some(id) = self.begin_at(&thread.thread)? {
            configurable.insert("checkpoint_id".to_owned(), json!(id));
        }
        let mut all = object(config.get("metadata")).unwrap_or_default();
        all.extend(metadata.clone());
        config.insert("configurable".to_owned(), json!(configurable));
        config.insert("metadata".to_owned(), json!(all));
        Ok(Value::Object(config))
    }

    /// Most supersteps of a run: what the request says, or else its assistant.
    fn supersteps_max(&self, given: &Map<String, Value>) -> Result<Option<u64>, Refusal> {
        let own = self.config.as_ref().and_then(|config| config.get("recursion_limit"));
        let limit = own.or_else(|| given.get("recursion_limit")).filter(|limit| !limit.is_null());
        let whole = |limit: &Value| limit.as_u64().filter(|limit| *limit > 0);
        let refused = || Refusal::invalid("`config.recursion_limit` is a whole number above 0");
        limit.map(|limit| whole(limit).ok_or_else(refused)).transpose()
    }

    /// Id of the state to begin at.
    fn begin_at(&self, thread: &ThreadId) -> Result<Option<String>, Refusal> {
        let named = self.checkpoint.as_ref().map(|name| name.id(thread)).transpose()?.flatten();
        Ok(named.or(self.checkpoint_id.as_deref()).map(str::to_owned))
    }

    fn order(
        &self,
        app: &App,
        assistant: &AssistantRecord,
        thread: &ThreadId,
    ) -> Result<Order, Refusal> {
        self.check_form()?;
        let context = self.context_for(app, assistant)?;
        self.check_consent(&context)?;
        let command = self.command.as_ref();
        Ok(Order {
            input: self.input.clone(),
            resume: command.and_then(|command| command.resume.clone()),
            update: command.and_then(|command| command.update.clone()),
            goto: self.goto(),
            context,
            before: self.interrupt_before.as_ref().map(Nodes::names).unwrap_or_default(),
            after: self.interrupt_after.as_ref().map(Nodes::names).unwrap_or_default(),
            supersteps_max: self.supersteps_max(assistant.gives()?[0])?,
            checkpoint: self.begin_at(thread)?,
            from: None,
            modes: BTreeSet::new(),
            subgraphs: self.stream_subgraphs.unwrap_or(false),
            resumable: self.stream_resumable.unwrap_or(false),
            webhook: self.webhook.clone(),
            by: self.sender.by.clone(),
        })
    }

    fn goto(&self) -> Vec<String> {
        let goto = self.command.as_ref().and_then(|command| command.goto.as_ref());
        goto.map(Nodes::names).unwrap_or_default()
    }

    /// Errors: fields that contradict each other, or say nothing that can be done.
    fn check_form(&self) -> Result<(), Refusal> {
        let command = self.command.as_ref();
        if command.is_some() && self.input.is_some() {
            return Err(Refusal::invalid(
                "`input` starts a run and `command` goes on with one: give one of them",
            ));
        }
        if command.is_some_and(|command| command.resume.is_some()) && !self.goto().is_empty() {
            return Err(Refusal::invalid("`resume` and `goto` contradict each other"));
        }
        if self.input.as_ref().is_some_and(|input| !input.is_object()) {
            return Err(Refusal::invalid("`input` is an object: channel → value"));
        }
        let configurable = self.config.as_ref().and_then(|config| config.get("configurable"));
        if configurable.is_some_and(|values| !values.is_object() && !values.is_null()) {
            return Err(Refusal::invalid("`config.configurable` is an object"));
        }
        self.check_words()?;
        self.after_ms().map(drop)
    }

    /// Refuses what can never run, before anything is made or stopped for it. `fresh`: its thread holds nothing yet, so that
    /// the graph begins with what is given here.
    pub(super) async fn check(
        &self,
        app: &App,
        assistant: &AssistantRecord,
        fresh: bool,
    ) -> Result<(), Refusal> {
        self.webhook().map(|url| webhook::check(app, url)).transpose()?;
        self.check_form()?;
        let context = self.context_for(app, assistant)?;
        self.check_consent(&context)?;
        if self.command.is_some() || (self.input.is_none() && !fresh) {
            return Ok(());
        }
        let none = Map::new();
        let given = self.input.as_ref().and_then(Value::as_object).unwrap_or(&none);
        let graph = assistant.graph()?.to_owned();
        let (input, writes) = app.agent().sorted_input(&graph, given)?;
        let pauses = Pauses {
            before: self.interrupt_before.as_ref().map(Nodes::names).unwrap_or_default(),
            after: self.interrupt_after.as_ref().map(Nodes::names).unwrap_or_default(),
        };
        let input = Value::Object(input);
        let start = StartRequest { graph, input, writes, context, pauses, ..Default::default() };
        Ok(app.agent().check_start(start).await?)
    }

    /// Whether it consents to effects on users: by what it says itself, or by what its assistant gives.
    pub(super) fn consents(&self, app: &App, assistant: &AssistantRecord) -> Result<bool, Refusal> {
        Ok(self.lifts(&self.context_for(app, assistant)?))
    }

    /// An answer, or a change of the state by hand, consents like a lifted approval does.
    fn lifts(&self, context: &Map<String, Value>) -> bool {
        self.command.is_some() || lifts(context)
    }

    /// Errors: it consents, and its sender may not.
    fn check_consent(&self, context: &Map<String, Value>) -> Result<(), Refusal> {
        match self.lifts(context) && !self.sender.approves {
            true => Err(Error::Forbidden(Scope::Approve).into()),
            false => Ok(()),
        }
    }

    /// The context of its run: the assistant's, and over it its own.
    fn context_for(
        &self,
        app: &App,
        assistant: &AssistantRecord,
    ) -> Result<Map<String, Value>, Refusal> {
        // What a graph does not declare is no concern of its runs, unless the caller says so expressly.
        let declared = app.agent().graph_shape(assistant.graph()?)?.context;
        let [config, given, _] = assistant.gives()?;
        let own = self.config.as_ref().and_then(|config| config.get("configurable"));
        let mut context = Map::new();
        let sources = [
            config.get("configurable").and_then(Value::as_object),
            Some(given),
            own.and_then(Value::as_object),
        ];
        for source in sources.into_iter().flatten() {
            let fitting = source.iter().filter(|(name, _)| declared.contains_key(*name));
            context.extend(fitting.map(|(name, value)| (name.clone(), value.clone())));
        }
        context.extend(self.context.clone().unwrap_or_default());
        Ok(context)
    }
}
