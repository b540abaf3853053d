//! Runs graphs in supersteps, durably: plan → run in parallel on one snapshot → fold → commit → route.
//!
//! The runtime owns three traits that other rooms plug into: [`CheckpointStore`], [`Engine`] and [`NodeFactory`].

mod node;

pub use node::{
    Answer, Effects, ErrorClass, Grant, Node, NodeError, NodeFactory, Outcome, Question, StateView,
    TaskContext, Usage, WaitFor,
};
