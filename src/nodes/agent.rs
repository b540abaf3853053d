//! `agent`: a model with tools and a typed answer: a tool loop, then one generation in the answer's schema.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::factory::scope;
use super::{Parts, call, error};
use crate::base::{Coded, Problem};
use crate::graph::{AgentSpec, render_text};
use crate::llm::{self, ChatReply, ChatRequest, Message, OutputSpec, Sink, ToolCall, ToolSpec};
use crate::runtime::{ErrorClass, Node, NodeError, Outcome, StateView, TaskContext, Usage};
use crate::tools;

/// Answers that do not fit the schema are shown to the model with the reason, at most this often.
const REPAIRS_MAX: u32 = 3;
/// Ledger numbers of generations start here, above those of tool calls.
const FIRST_REPLY: u32 = 1_000_000;
/// The same call with the same arguments this often ends the tool loop.
const SAME_CALL_MAX: usize = 3;
/// A tool's result is shown to the model up to this length [characters].
const RESULT_CHARS_MAX: usize = 6_000;

/// Reads what its prompt names; writes its typed answer to `writes`.
pub(super) struct AgentNode {
    pub(super) parts: Parts,
    pub(super) spec: AgentSpec,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for AgentNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let mut talk = Talk::begin(self, view, cx)?;
        talk.use_tools().await?;
        let answer = talk.answer().await?;
        let usage = cx.spent.read();
        let writes = self.writes.iter().map(|channel| (channel.clone(), answer.clone())).collect();
        Ok(Outcome::Update { writes, grant: None, usage })
    }
}

/// One visit's conversation.
struct Talk<'a> {
    node: &'a AgentNode,
    view: &'a StateView,
    cx: &'a TaskContext,
    request: ChatRequest,
    seen: Vec<(String, Value)>,
    calls_made: u32,
    replies: u32,
}

impl<'a> Talk<'a> {
    fn begin(
        node: &'a AgentNode,
        view: &'a StateView,
        cx: &'a TaskContext,
    ) -> Result<Self, NodeError> {
        let spec = &node.spec;
        let state = prompt(spec, view)?;
        let system = (!spec.system_text.is_empty())
            .then(|| Message::System { content: spec.system_text.clone() });
        let mut facts = view.channels.clone();
        facts.insert("context".to_owned(), json!(view.context));
        facts.insert("visits".to_owned(), json!(view.visits));
        let request = ChatRequest {
            prompt: spec.prompt.clone(),
            messages: system.into_iter().chain([Message::User { content: state }]).collect(),
            tools: Vec::new(),
            output: None,
            facts,
            completion_tokens_max: node.parts.completion_tokens_max,
        };
        Ok(Self { node, view, cx, request, seen: Vec::new(), calls_made: 0, replies: 0 })
    }

    /// Lets the model call its tools until it stops, repeats itself, or has used its turns.
    async fn use_tools(&mut self) -> Result<(), NodeError> {
        self.request.tools = self.tools();
        if self.request.tools.is_empty() {
            return Ok(());
        }
        // The last turn is the answer's.
        for _ in 1..self.node.spec.turns.max(1) {
            let reply = self.chat().await?;
            if reply.tool_calls.is_empty() {
                self.remember(&reply);
                break;
            }
            self.remember(&reply);
            let mut repeated = false;
            for wanted in reply.tool_calls {
                repeated |= self.make(wanted).await?;
            }
            if repeated {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the typed answer until one fits.
    async fn answer(&mut self) -> Result<Value, NodeError> {
        let spec = &self.node.spec;
        self.request.tools = Vec::new();
        self.request.output =
            Some(OutputSpec { name: spec.output_name.clone(), schema: spec.output.clone() });
        let validator = jsonschema::validator_for(&spec.output).map_err(|e| {
            error::invalid("nodes.bad_schema", e.to_string(), "correct `output` of this node")
        })?;
        let mut misfit = String::new();
        for _ in 0..=REPAIRS_MAX {
            let reply = self.chat().await?;
            self.remember(&reply);
            let check = self.node.parts.checks.get(&spec.output_name);
            let fits = |value: Value| match check {
                Some(check) => check(&value).map(|()| value),
                None => Ok(value),
            };
            match parse(&reply.content, &validator).and_then(fits) {
                Ok(answer) => return Ok(answer),
                Err(why) => misfit = why,
            }
            let content = format!("That answer cannot be used: {misfit}. Answer again, JSON only.");
            self.request.messages.push(Message::User { content });
        }
        let model = self.node.parts.model.name();
        let message = format!(
            "{model} gave no usable {} in {REPAIRS_MAX} repairs: {misfit}",
            spec.output_name
        );
        Err(error::invalid("nodes.unusable_answer", message, "try again, or another model"))
    }

    fn tools(&self) -> Vec<ToolSpec> {
        let registry = &self.node.parts.registry;
        let described = self.node.spec.tools.iter().filter_map(|name| registry.description(name));
        described
            .filter(|tool| tool.enabled)
            .map(|tool| ToolSpec {
                name: tool.name,
                description: tool.tell,
                parameters: tool.arguments,
            })
            .collect()
    }

    async fn chat(&mut self) -> Result<ChatReply, NodeError> {
        self.may_go_on()?;
        let reply = self.remembered_chat().await?;
        let llm::Usage { input_tokens, output_tokens, cost_usd, .. } = reply.usage;
        self.cx.spent.add(Usage { input_tokens, output_tokens, cost_usd });
        (self.cx.emit)(json!({"model": {
            "name": reply.model, "prompt": self.request.prompt, "usage": reply.usage,
            "tool_calls": reply.tool_calls.iter().map(|c| &c.name).collect::<Vec<_>>(),
        }}));
        Ok(reply)
    }

    /// One generation, kept in the ledger: a resumed run gets the answer that was given, and pays once.
    async fn remembered_chat(&mut self) -> Result<ChatReply, NodeError> {
        let key = self.cx.effects.key(FIRST_REPLY + self.replies);
        self.replies += 1;
        if let Some(kept) = self.cx.effects.begin(&key, "idempotent").await?
            && let Ok(reply) = serde_json::from_value(kept)
        {
            return Ok(reply);
        }
        let sink = EventSink { cx: self.cx };
        let model = &self.node.parts.model;
        let reply = tokio::select! {
            biased;
            reply = model.chat(&self.request, &sink) => reply.map_err(|e| error::from_model(&e))?,
            () = self.cx.cancel.cancelled() => return Err(error::cancelled(&self.cx.node)),
        };
        self.cx.effects.finish(&key, &json!(reply)).await?;
        Ok(reply)
    }

    /// Whether another generation may be asked for.
    fn may_go_on(&self) -> Result<(), NodeError> {
        if self.cx.cancel.is_cancelled() {
            return Err(error::cancelled(&self.cx.node));
        }
        let used = self.cx.spent.read();
        if self.cx.budget.allows(used) {
            return Ok(());
        }
        let problem = Problem {
            code: "nodes.token_budget".to_owned(),
            message: format!(
                "`{}` took {} tokens and {} USD, and nothing is left of the limits around it",
                self.cx.node,
                used.tokens(),
                used.cost_usd
            ),
            hint: "raise `limits.tokens` or `limits.cost_usd` of the graph".to_owned(),
        };
        Err(NodeError::new(ErrorClass::Limit, problem))
    }

    fn remember(&mut self, reply: &ChatReply) {
        self.request.messages.push(Message::Assistant {
            content: reply.content.clone(),
            reasoning: reply.reasoning.clone(),
            tool_calls: reply.tool_calls.clone(),
        });
    }

    /// Makes one call and shows the model its result or its error. True when the model is going in circles.
    async fn make(&mut self, wanted: ToolCall) -> Result<bool, NodeError> {
        let same = (wanted.name.clone(), wanted.arguments.clone());
        self.seen.push(same.clone());
        let content = if self.node.spec.tools.contains(&wanted.name) {
            let (registry, model) = (&self.node.parts.registry, self.node.parts.model.name());
            let number = self.calls_made;
            self.calls_made += 1;
            let at = (self.view, self.cx);
            let made = call::call_raw(
                registry,
                &model,
                &wanted.name,
                wanted.arguments.clone(),
                number,
                at,
            );
            match made.await {
                Ok(result) => bounded(&result.to_string()),
                // A dead store, an effect in doubt, a run that was cancelled: no business of the model's.
                Err(error @ (tools::Error::Store { .. } | tools::Error::Cancelled)) => {
                    return Err(error::from_tool(&error));
                }
                Err(error) => json!({"error": error.problem()}).to_string(),
            }
        } else {
            let known = self.node.spec.tools.join(", ");
            json!({"error": format!("there is no tool `{}` here; there are: {known}", wanted.name)})
                .to_string()
        };
        let (call_id, name) = (wanted.id, wanted.name);
        self.request.messages.push(Message::Tool { call_id, name, content });
        Ok(self.seen.iter().filter(|made| **made == same).count() >= SAME_CALL_MAX)
    }
}

/// The prompt, with its templates filled in.
pub(super) fn prompt(spec: &AgentSpec, view: &StateView) -> Result<String, NodeError> {
    let filled = render_text(&spec.prompt_text, &scope(view));
    filled.map_err(|message| error::template(&spec.prompt, message))
}

/// Reads an answer: JSON, bare or in a code fence, that fits the schema.
fn parse(content: &str, validator: &jsonschema::Validator) -> Result<Value, String> {
    let text = content.trim();
    let text = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).unwrap_or(text);
    let text = text.strip_suffix("```").unwrap_or(text).trim();
    let value: Value = serde_json::from_str(text).map_err(|e| format!("it is not JSON ({e})"))?;
    let misfits: Vec<String> = validator
        .iter_errors(&value)
        .take(5)
        .map(|misfit| format!("{}: {misfit}", misfit.instance_path()))
        .collect();
    if misfits.is_empty() { Ok(value) } else { Err(misfits.join("; ")) }
}

/// A long result is cut for the model, and says so. The whole one is in the ledger.
fn bounded(text: &str) -> String {
    if text.chars().count() <= RESULT_CHARS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(RESULT_CHARS_MAX).collect();
    format!("{head}… (cut; ask for less)")
}

/// Shows what the model writes while it writes.
struct EventSink<'a> {
    cx: &'a TaskContext,
}

impl Sink for EventSink<'_> {
    fn content(&self, delta: &str) {
        (self.cx.emit)(json!({"content": delta}));
    }
}
