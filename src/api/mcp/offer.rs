//! What a client is offered: tools as their manifests allow, and every graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use crate::agent::{Agent, GraphShape, ToolDescription, ToolEffect};

/// What the person who started the server lets its MCP clients do. A client cannot give itself more, whatever its model says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct McpAccess {
    /// Tools that stage or change something are offered too. Those that touch users need consent all the same.
    pub effects: bool,
    /// Effects on users are approved beforehand.
    pub consent: bool,
}

/// What one client may call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    /// Tools that stage or change something.
    pub(super) effects: bool,
    /// Graphs: each call starts a run.
    pub(super) graphs: bool,
}

/// The tool that says what a run came to.
pub(super) const READ_THREAD: &str = "read_thread";

/// Something that can be called.
pub(super) enum Offer {
    /// A tool of the registry.
    Tool(Box<ToolDescription>),
    /// A graph: a call runs it.
    Graph(Box<GraphShape>),
    /// [`READ_THREAD`].
    ReadThread,
}

/// What a name means to a client.
pub(super) enum Named {
    /// It can be called.
    Offered(Offer),
    /// It changes something, and only what reads is offered here.
    Withheld,
    /// There is nothing of that name.
    Unknown,
}

/// Everything that can be called, by the name a client calls it by.
pub(super) fn all(agent: &Agent, rights: Rights) -> BTreeMap<String, Offer> {
    let mut offers = BTreeMap::from([(READ_THREAD.to_owned(), Offer::ReadThread)]);
    for tool in agent.tools() {
        if tool.enabled && (rights.effects || reads(&tool)) {
            offers.insert(tool.name.clone(), Offer::Tool(Box::new(tool)));
        }
    }
    for name in agent.graph_names().into_iter().filter(|_| rights.graphs) {
        if let Ok(shape) = agent.graph_shape(&name) {
            offers.insert(graph_name(agent, name), Offer::Graph(Box::new(shape)));
        }
    }
    offers
}

/// What `name` means.
pub(super) fn named(agent: &Agent, rights: Rights, name: &str) -> Named {
    if let Some(offer) = all(agent, rights).remove(name) {
        return Named::Offered(offer);
    }
    let withheld = agent.tools().iter().any(|tool| tool.name == name && tool.enabled);
    if withheld { Named::Withheld } else { Named::Unknown }
}

fn reads(tool: &ToolDescription) -> bool {
    tool.effect == ToolEffect::Read
}

/// A graph is called by its name; one that is called like a tool is set apart.
fn graph_name(agent: &Agent, name: String) -> String {
    let taken = name == READ_THREAD || agent.tools().iter().any(|tool| tool.name == name);
    if taken { format!("{name}_graph") } else { name }
}

impl Offer {
    /// Whether a call changes nothing.
    pub(super) fn only_reads(&self) -> bool {
        match self {
            Self::Tool(tool) => reads(tool),
            Self::Graph(_) => false,
            Self::ReadThread => true,
        }
    }

    /// The offer as a client sees it.
    pub(super) fn shown(&self, name: &str) -> Tool {
        match self {
            Self::Tool(tool) => shown_tool(tool),
            Self::Graph(shape) => shown_graph(name, shape),
            Self::ReadThread => shown_read_thread(),
        }
    }
}

fn shown_tool(tool: &ToolDescription) -> Tool {
    let hints = ToolAnnotations::new()
        .read_only(tool.effect == ToolEffect::Read)
        .destructive(tool.effect == ToolEffect::Production)
        .open_world(false);
    let mut shown = Tool::new(tool.name.clone(), tool.tell.clone(), object(&tool.arguments));
    shown.output_schema = is_object(&tool.output).then(|| object(&tool.output));
    shown.annotations = Some(hints);
    shown
}

fn shown_graph(name: &str, shape: &GraphShape) -> Tool {
    let channels: Vec<String> = shape.input.keys().cloned().collect();
    let required = shape.input.iter().filter(|(_, required)| **required);
    let required: Vec<String> = required.map(|(name, _)| name.clone()).collect();
    let mut schema = shape.schema(&channels, &required);
    schema["additionalProperties"] = json!(false);
    let tell = format!(
        "{} Runs the graph `{}` and waits. Where it asks a person, the result says which thread waits and how to answer.",
        shape.description, shape.name
    );
    let mut shown = Tool::new(name.to_owned(), tell, object(&schema));
    shown.output_schema = Some(object(&thread_schema()));
    // What a graph may change is asked of a person by the graph itself.
    shown.annotations =
        Some(ToolAnnotations::new().read_only(false).destructive(false).open_world(false));
    shown
}

fn shown_read_thread() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {
            "thread_id": {"type": "string", "description": "The thread, as the call that started it named it."}
        },
        "required": ["thread_id"],
        "additionalProperties": false,
    });
    let tell = "Says what a run of a graph came to, for instance after a person has answered its question. Waits while it goes on.";
    let mut shown = Tool::new(READ_THREAD, tell, object(&schema));
    shown.output_schema = Some(object(&thread_schema()));
    shown.annotations =
        Some(ToolAnnotations::new().read_only(true).idempotent(true).open_world(false));
    shown
}

/// What a run of a graph gives.
fn thread_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "properties": {
            "thread_id": text("The thread: name it to read_thread."),
            "run_id": {"type": ["string", "null"]},
            "graph": {"type": ["string", "null"]},
            "status": {
                "type": "string",
                "enum": ["idle", "busy", "interrupted", "done", "error", "cancelled"],
                "description": "`interrupted`: a person is asked. `busy`: it waits for a time or a signal."
            },
            "output": {"type": "object", "description": "The graph's output channels, as far as they are set."},
            "questions": {"type": "array", "items": {"type": "object"}},
            "how_to_answer": {"type": ["string", "null"]},
            "error": {"type": ["object", "null"]},
        },
        "required": ["thread_id", "run_id", "graph", "status", "output", "questions", "how_to_answer", "error"],
    })
}

/// Whether every value of a schema is an object: nothing else may be structured content.
pub(super) fn is_object(schema: &Value) -> bool {
    schema["type"] == "object"
}

fn object(schema: &Value) -> Arc<JsonObject> {
    let mut schema = schema.as_object().cloned().unwrap_or_else(Map::new);
    // Arguments are an object, also where there are none.
    schema.entry("type").or_insert_with(|| json!("object"));
    Arc::new(schema)
}
