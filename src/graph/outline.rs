//! What a graph file is called and which others it needs: enough to load files in the right order.

use super::Source;
use super::finding::Findings;
use super::yaml::{self, Data, Tree};

/// A graph file before it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Its name.
    pub name: String,
    /// Names of the graphs that are nodes of it.
    pub uses: Vec<String>,
}

/// The outline of a file; `None` when it cannot be read so far: the loader says why.
pub fn outline(source: &Source) -> Option<Outline> {
    let tree = yaml::parse(&source.text, &mut Findings::new(&source.file))?;
    let name = text(member(&tree, "name")?)?.to_owned();
    let mut uses = Vec::new();
    if let Some(Data::Map(nodes)) = member(&tree, "nodes").map(|nodes| &nodes.data) {
        let named = |node: &Tree| text(member(member(node, "graph")?, "name")?).map(str::to_owned);
        uses.extend(nodes.iter().filter_map(|node| named(&node.value)));
    }
    Some(Outline { name, uses })
}

fn member<'t>(tree: &'t Tree, key: &str) -> Option<&'t Tree> {
    match &tree.data {
        Data::Map(entries) => {
            entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
        }
        _ => None,
    }
}

fn text(tree: &Tree) -> Option<&str> {
    match &tree.data {
        Data::Text(text) => Some(text),
        _ => None,
    }
}
