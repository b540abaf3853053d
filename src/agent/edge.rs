//! What an edge keeps beside the agent's own records, and threads it makes under names of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::door::CREATED;
use super::{Agent, Error, graphs};
use crate::base::{Clock, Documents, SystemClock, ThreadId};
use crate::graph::Source;

impl Agent {
    /// Durable documents of the store, for records that belong to an edge alone.
    pub fn documents(&self) -> &Arc<dyn Documents> {
        &self.parts().store.documents
    }

    /// An id that no thread has.
    pub fn fresh_thread(&self) -> ThreadId {
        self.parts().fresh_thread(SystemClock.now())
    }

    /// Makes a thread of this id that has no run yet. `false`: there is one.
    pub async fn create_thread_as(&self, thread: &ThreadId) -> Result<bool, Error> {
        if self.parts().runtime.state(thread).await?.is_some() {
            return Ok(false);
        }
        let made = json!({"created_ms": SystemClock.now().0});
        let put = self.documents().put(CREATED, thread.as_str(), Some(0), made).await;
        Ok(put.map_err(Error::Run)?.is_some())
    }

    /// Whether a tool would take these arguments; nothing is called.
    ///
    /// Errors: no such tool, arguments that do not fit.
    pub fn check_call(&self, tool: &str, args: &Value) -> Result<(), Error> {
        Ok(self.parts().registry.check(tool, args)?)
    }

    /// Prompts by file name.
    pub fn prompts(&self) -> BTreeMap<String, String> {
        self.parts().shelf.now().prompts.clone()
    }

    /// Checks the text of a graph file; its name when it is fine.
    ///
    /// Errors: [`Error::Graph`] with every finding.
    pub fn check_graph_text(&self, text: &str) -> Result<String, Error> {
        let source = Source { file: "graph.yaml".to_owned(), text: text.to_owned() };
        let now = self.parts().shelf.now();
        let registry = &self.parts().registry;
        let graph = graphs::check(&source, Vec::new(), registry, &now.prompts, &now.graphs)?;
        Ok(graph.name)
    }

    /// Whether a thread is there.
    pub async fn has_thread(&self, thread: &ThreadId) -> Result<bool, Error> {
        match self.look(thread).await {
            Ok(_) => Ok(true),
            Err(Error::UnknownThread(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
