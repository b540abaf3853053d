//! Graphs by name: loaded and proven at start, drawn and checked on request.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::sources::Texts;
use super::{Error, Settings, sources, vocabulary};
use crate::graph::{self, Graph, Source};
use crate::tools::Registry;

/// How to draw a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    /// Lines of text.
    Ascii,
    /// Mermaid.
    Mermaid,
}

/// Every graph of the folder.
///
/// Errors: [`Error::Graph`] with every finding of the first file that is refused.
pub(super) fn load_all(
    settings: &Settings,
    registry: &Registry,
    prompts: &Texts,
) -> Result<BTreeMap<String, Arc<Graph>>, Error> {
    let vocabulary = vocabulary::vocabulary(registry, prompts);
    let mut graphs = BTreeMap::new();
    for source in sources::graphs(settings.graphs.as_deref())? {
        let graph = load(&source, &vocabulary)?;
        graphs.insert(graph.name.clone(), Arc::new(graph));
    }
    Ok(graphs)
}

/// Checks a file against this registry and these prompts.
pub fn check_graph_file(
    path: &Path,
    registry: &Registry,
    prompts: &BTreeMap<String, String>,
) -> Result<String, Error> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Io { what: format!("reading {file}"), source })?;
    let vocabulary = vocabulary::vocabulary(registry, prompts);
    load(&Source { file, text }, &vocabulary).map(|graph| graph.name)
}

fn load(source: &Source, vocabulary: &graph::Vocabulary) -> Result<Graph, Error> {
    graph::load(source, vocabulary).map_err(|findings| {
        let rendered = graph::render(source, &findings);
        Error::Graph { findings, rendered }
    })
}

/// Draws a graph.
pub(super) fn draw(graph: &Graph, drawing: Drawing) -> String {
    match drawing {
        Drawing::Ascii => graph::diagram::ascii(graph),
        Drawing::Mermaid => graph::diagram::mermaid(graph),
    }
}

/// The JSON Schema of graph files, for editors.
pub fn graph_schema() -> serde_json::Value {
    graph::schema()
}
