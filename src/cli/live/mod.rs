//! The run as it happens: a tree in a terminal, plain lines elsewhere.

mod lines;
mod row;
mod screen;
mod show;
mod tree;
mod words;

pub(super) use show::{Live, is_screen};
