//! A state graph as data: the definition, the loader that proves it, expressions, diagrams.

mod cases;
mod channels;
mod consent;
mod data;
mod definition;
pub mod diagram;
mod eager;
mod edges;
mod expression;
mod fields;
mod file;
mod finding;
mod flow;
mod joins;
mod kinds;
mod limits;
mod load;
mod migrations;
mod nodes;
mod outline;
mod parallel;
mod plain;
mod render;
mod rewrite;
mod scan;
mod shape;
mod svg;
mod syntax;
mod template;
mod types;
mod typing;
mod values;
mod vocabulary;
mod words;
mod yaml;

pub use cases::{Case, ScriptedAnswer, cases};
pub use definition::{
    AgentSpec, ApprovalSpec, Cache, Channel, EdgeTarget, ForeachSpec, Graph, Join, Kind, Lifetime,
    Limits, Memory, Migration, Mode, Node, NodeIx, OnError, Pause, Reducer, Repeat, RetryPolicy,
    Route, SubgraphSpec, ToolCallSpec, WaitSpec,
};
pub use expression::Expression;
pub use file::schema;
pub use finding::Finding;
pub use load::load;
pub use outline::{Outline, outline};
pub use render::render;
pub use svg::svg;
pub use template::{render_args, render_text};
pub use vocabulary::{Effect, Source, ToolFacts, Vocabulary};
