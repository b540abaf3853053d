//! A state graph as data: the definition, the loader that proves it, expressions, diagrams.

mod channels;
mod consent;
mod data;
mod definition;
mod expression;

pub use definition::{
    AgentSpec, ApprovalSpec, Channel, EdgeTarget, ForeachSpec, Graph, Kind, Lifetime, Limits, Node,
    NodeIx, OnError, Reducer, Repeat, RetryPolicy, Route, ToolCallSpec, WaitSpec,
};
pub use expression::Expression;
