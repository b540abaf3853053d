//! Behaviour of `llm` through its public door.
