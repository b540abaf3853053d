//! The graphs and prompts that new runs use. Files may change while the agent runs: what is valid replaces what was there, what
//! is not is reported, and the last valid version stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::sources::Texts;
use super::{Agent, Error, Settings, graphs, sources};
use crate::graph::{Finding, Graph};
use crate::tools::Registry;

/// Graphs by name, and the prompts they may name.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) graphs: BTreeMap<String, Arc<Graph>>,
    pub(super) prompts: Texts,
    /// Files that were refused, by name of graph or, where that cannot be told, by file.
    pub(super) refused: BTreeMap<String, Refusal>,
}

/// Why a graph file was refused.
#[derive(Clone)]
pub(super) struct Refusal {
    findings: Vec<Finding>,
    rendered: String,
}

impl Catalogue {
    /// A graph by name.
    ///
    /// Errors: why its file was refused, if it was; [`Error::UnknownGraph`].
    pub(super) fn graph(&self, name: &str) -> Result<Arc<Graph>, Error> {
        if let Some(graph) = self.graphs.get(name) {
            return Ok(graph.clone());
        }
        if let Some(Refusal { findings, rendered }) = self.refused.get(name).cloned() {
            return Err(Error::Graph { findings, rendered });
        }
        let graphs = self.graphs.keys().cloned();
        let refused = self.refused.keys().map(|refused| format!("{refused} (refused)"));
        let known = graphs.chain(refused).collect::<Vec<_>>().join(", ");
        Err(Error::UnknownGraph { name: name.to_owned(), known })
    }
}

/// The catalogue of the moment, and what the files looked like when it was read.
pub(super) struct Shelf {
    now: RwLock<Arc<Catalogue>>,
    seen: Mutex<u64>,
    /// `system.md` of the moment: what every conversation begins with belongs to no graph.
    system: Arc<ArcSwap<String>>,
}

/// A graph file that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// The graph, or the file where it could not be read so far.
    pub what: String,
    /// Why it was refused; `None`: new runs use it from now on.
    pub refused: Option<Error>,
}

impl Shelf {
    /// Reads everything. A file that is refused takes only its own graph away: who asks for that one learns why.
    ///
    /// Errors: a folder that cannot be read.
    pub(super) fn read(settings: &Settings, registry: &Registry) -> Result<Self, Error> {
        let seen = stamp(settings);
        let prompts = sources::prompts(settings.prompts.as_deref())?;
        let nothing = Catalogue::default();
        let (graphs, refused) = graphs::load_what_is_valid(settings, registry, &prompts, &nothing)?;
        for (graph, error) in &refused {
            tracing::warn!(graph, %error, "its file is refused; the other graphs are there");
        }
        let refused = refusals(&refused);
        let system = Arc::new(ArcSwap::from_pointee(system_of(&prompts)));
        let now = RwLock::new(Arc::new(Catalogue { graphs, prompts, refused }));
        Ok(Self { now, seen: Mutex::new(seen), system })
    }

    /// `system.md`, of whichever moment it is read in.
    pub(super) fn system(&self) -> Arc<ArcSwap<String>> {
        self.system.clone()
    }

    /// What new runs use now.
    pub(super) fn now(&self) -> Arc<Catalogue> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Agent {
    /// Reads graphs and prompts again if a file has changed since they were read. What was read again; empty: nothing changed.
    ///
    /// Errors: a folder that cannot be read.
    pub fn reload_if_changed(&self) -> Result<Vec<Reloaded>, Error> {
        let mut seen = self.parts().shelf.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(self.settings());
        if *seen == stamp {
            return Ok(Vec::new());
        }
        *seen = stamp;
        self.reload()
    }

    /// Changes files while nobody else changes or reads them, and reads them again. What is refused of others by then is logged.
    pub(super) fn alone<T>(&self, change: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let mut seen = self.parts().shelf.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let done = change()?;
        *seen = stamp(self.settings());
        for Reloaded { what, refused } in self.reload()? {
            if let Some(error) = refused {
                tracing::warn!(graph = what, %error, "refused; the last valid version stays");
            }
        }
        Ok(done)
    }

    fn reload(&self) -> Result<Vec<Reloaded>, Error> {
        let shelf = &self.parts().shelf;
        let before = shelf.now();
        let prompts = sources::prompts(self.settings().prompts.as_deref())?;
        let (graphs, refused) =
            graphs::load_what_is_valid(self.settings(), &self.parts().registry, &prompts, &before)?;
        let hash = |graph: &Arc<Graph>| graph.hash.clone();
        let changed = graphs
            .iter()
            .filter(|(name, graph)| before.graphs.get(*name).map(hash) != Some(hash(graph)))
            .map(|(name, _)| Reloaded { what: name.clone(), refused: None });
        let mut reloaded: Vec<Reloaded> = changed.collect();
        let refusals = refusals(&refused);
        reloaded.extend(
            refused.into_iter().map(|(what, error)| Reloaded { what, refused: Some(error) }),
        );
        shelf.system.store(Arc::new(system_of(&prompts)));
        let next = Arc::new(Catalogue { graphs, prompts, refused: refusals });
        *shelf.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(reloaded)
    }
}

fn refusals(refused: &[(String, Error)]) -> BTreeMap<String, Refusal> {
    let why = |(name, error): &(String, Error)| match error {
        Error::Graph { findings, rendered } => {
            let (findings, rendered) = (findings.clone(), rendered.clone());
            Some((name.clone(), Refusal { findings, rendered }))
        }
        _ => None,
    };
    refused.iter().filter_map(why).collect()
}

fn system_of(prompts: &Texts) -> String {
    prompts.get("system.md").cloned().unwrap_or_default()
}

/// Something that differs when a file of the folders was changed, made or removed. What is built in never does.
fn stamp(settings: &Settings) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for folder in [&settings.graphs, &settings.prompts].into_iter().flatten() {
        entries(folder).hash(&mut hasher);
    }
    hasher.finish()
}

fn entries(folder: &Path) -> Vec<(std::ffi::OsString, u64, Option<std::time::SystemTime>)> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let seen = listing.filter_map(|entry| {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        Some((entry.file_name(), metadata.len(), metadata.modified().ok()))
    });
    let mut seen: Vec<_> = seen.collect();
    seen.sort_unstable();
    seen
}
