//! A state graph as data: the definition, the loader that proves it, expressions, diagrams.

mod channels;
mod consent;
mod data;
mod definition;
pub mod diagram;
mod edges;
mod expression;
mod fields;
mod file;
mod finding;
mod flow;
mod kinds;
mod limits;
mod load;
mod nodes;
mod parallel;
mod render;
mod rewrite;
mod scan;
mod shape;
mod syntax;
mod template;
mod types;
mod typing;
mod values;
mod vocabulary;
mod words;
mod yaml;

pub use definition::{
    AgentSpec, ApprovalSpec, Channel, EdgeTarget, ForeachSpec, Graph, Kind, Lifetime, Limits, Node,
    NodeIx, OnError, Reducer, Repeat, RetryPolicy, Route, ToolCallSpec, WaitSpec,
};
pub use expression::Expression;
pub use file::schema;
pub use finding::Finding;
pub use load::load;
pub use render::render;
pub use template::{render_args, render_text};
pub use vocabulary::{Effect, Source, ToolFacts, Vocabulary};
