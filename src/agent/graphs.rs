//! Graphs by name: loaded and proven at start, drawn and checked on request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::catalogue::Catalogue;
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
    /// SVG that needs nothing else.
    Svg,
}

/// Every graph of the folder. A file that is refused leaves the graph in force that was there `before`. Returns the graphs, and
/// what was refused by name of graph or file.
pub(super) fn load_what_is_valid(
    settings: &Settings,
    registry: &Registry,
    prompts: &Texts,
    before: &Catalogue,
) -> Result<(BTreeMap<String, Arc<Graph>>, Vec<(String, Error)>), Error> {
    let sources = sources::graphs(settings.graphs.as_deref())?;
    Ok(what_is_valid(sources, registry, prompts, before))
}

/// The valid graphs of these files, and what was refused: see [`load_what_is_valid`].
pub(super) fn what_is_valid(
    sources: Vec<Source>,
    registry: &Registry,
    prompts: &Texts,
    before: &Catalogue,
) -> (BTreeMap<String, Arc<Graph>>, Vec<(String, Error)>) {
    let mut vocabulary = vocabulary::vocabulary(registry, prompts);
    let mut refused = Vec::new();
    for (source, outline) in in_order(sources, &mut vocabulary) {
        match load(&source, &vocabulary) {
            Ok(graph) => drop(vocabulary.graphs.insert(graph.name.clone(), graph)),
            Err(error) => {
                let name = outline.map_or_else(|| source.file.clone(), |outline| outline.name);
                if let Some(last) = before.graphs.get(&name) {
                    vocabulary.graphs.insert(name.clone(), (**last).clone());
                }
                refused.push((name, error));
            }
        }
    }
    // A file that cannot even be told the name of was some graph: which, nobody knows, so all stay.
    if refused.iter().any(|(name, _)| !vocabulary.graphs.contains_key(name)) {
        for (name, graph) in &before.graphs {
            vocabulary.graphs.entry(name.clone()).or_insert_with(|| (**graph).clone());
        }
    }
    let graphs = vocabulary.graphs.into_iter().map(|(name, graph)| (name, Arc::new(graph)));
    (graphs.collect(), refused)
}

/// Files in the order in which they can be loaded; those in a circle come last, and are noted as such.
fn in_order(
    sources: Vec<Source>,
    vocabulary: &mut graph::Vocabulary,
) -> Vec<(Source, Option<graph::Outline>)> {
    let outlined = sources.into_iter().map(|source| {
        let outline = graph::outline(&source);
        (source, outline)
    });
    let mut open: Vec<(Source, Option<graph::Outline>)> = outlined.collect();
    let mut ordered = Vec::with_capacity(open.len());
    while !open.is_empty() {
        let names: BTreeSet<String> =
            open.iter().filter_map(|(_, outline)| Some(outline.as_ref()?.name.clone())).collect();
        let waits = |outline: &Option<graph::Outline>| {
            let uses = outline.iter().flat_map(|outline| &outline.uses);
            uses.into_iter().any(|name| names.contains(name))
        };
        let (later, now): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(_, outline)| waits(outline));
        open = later;
        if now.is_empty() {
            vocabulary.circular = names;
            ordered.append(&mut open);
        }
        ordered.extend(now);
    }
    ordered
}

/// Checks a file against this registry, these prompts and these graphs.
pub(super) fn check_graph_file(
    path: &Path,
    registry: &Registry,
    prompts: &BTreeMap<String, String>,
    graphs: &BTreeMap<String, Arc<Graph>>,
) -> Result<(Graph, Source), Error> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Io { what: format!("reading {file}"), source })?;
    // Other files beside it may be parts of it; what is wrong with those is theirs to say.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let beside =
        std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let yaml = beside.map(|entry| entry.path()).filter(|other| {
        other != path && other.extension().is_some_and(|extension| extension == "yaml")
    });
    let texts = yaml.filter_map(|other| {
        let text = std::fs::read_to_string(&other).ok()?;
        Some(Source { file: other.display().to_string(), text })
    });
    let source = Source { file, text };
    let graph = check(&source, texts.collect(), registry, prompts, graphs)?;
    Ok((graph, source))
}

/// Checks the text of a graph file; `open`: files that may be parts of it.
pub(super) fn check(
    source: &Source,
    mut open: Vec<Source>,
    registry: &Registry,
    prompts: &BTreeMap<String, String>,
    graphs: &BTreeMap<String, Arc<Graph>>,
) -> Result<Graph, Error> {
    let mut vocabulary = vocabulary::vocabulary(registry, prompts);
    let own = graph::outline(source).map(|outline| outline.name);
    for (name, graph) in graphs {
        vocabulary.graphs.insert(name.clone(), (**graph).clone());
    }
    loop {
        let before = open.len();
        open.retain(|other| match graph::load(other, &vocabulary) {
            Ok(graph) => {
                vocabulary.graphs.insert(graph.name.clone(), graph);
                false
            }
            Err(_) => true,
        });
        if open.len() == before {
            break;
        }
    }
    // A graph is no part of itself.
    if let Some(own) = own {
        vocabulary.graphs.retain(|name, graph| *name != own && !includes(graph, &own));
        vocabulary.circular.insert(own);
    }
    load(source, &vocabulary)
}

fn includes(graph: &Graph, name: &str) -> bool {
    graph.nodes.iter().any(|node| match &node.kind {
        graph::Kind::Graph(sub) => sub.graph.name == name || includes(&sub.graph, name),
        _ => false,
    })
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
        Drawing::Svg => graph::svg(graph),
    }
}

/// The JSON Schema of graph files, for editors.
pub fn graph_schema() -> serde_json::Value {
    graph::schema()
}
