//! Graphs and prompts that an edge replaces: checked against all that hangs on them, then put in the place of their file in one
//! step. New runs use them at once; what is refused is not written.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::catalogue::Catalogue;
use super::naming::{NAME, is_name};
use super::sources::Texts;
use super::{Agent, Error, graphs, sources};
use crate::base::stable_hash;
use crate::graph::{self, Source};

/// Ending of prompt files.
const PROMPT: &str = ".md";

/// What must be there for a text to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Any version.
    Any,
    /// One of these versions.
    OneOf(Vec<String>),
}

/// A text of a folder, as it is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The whole file.
    pub text: String,
    /// Changes with every byte of it.
    pub version: String,
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its version.
    pub version: String,
    /// There was none before.
    pub created: bool,
}

impl Agent {
    /// The file of a graph; `None`: there is none of that name.
    ///
    /// Errors: a folder that cannot be read.
    pub fn graph_text(&self, name: &str) -> Result<Option<Text>, Error> {
        let sources = sources::graphs(self.settings().graphs.as_deref())?;
        Ok(place_of(&sources, name).map(|at| Text::of(sources[at].text.clone())))
    }

    /// A prompt; `None`: there is none of that name.
    ///
    /// Errors: a folder that cannot be read.
    pub fn prompt_text(&self, name: &str) -> Result<Option<Text>, Error> {
        let mut prompts = sources::prompts(self.settings().prompts.as_deref())?;
        Ok(prompts.remove(name).map(Text::of))
    }

    /// Writes the file of a graph, if it and every graph that uses it are fine then. Takes as long as loading all graphs.
    ///
    /// Errors: [`Error::BuiltIn`], [`Error::InvalidName`], [`Error::Stale`], [`Error::NameTaken`]; [`Error::Graph`] with every
    /// finding; a file that cannot be written. Nothing was written then.
    pub fn put_graph(&self, name: &str, text: &str, expected: &Expected) -> Result<Written, Error> {
        let built_in = || Error::BuiltIn { what: "graphs", flag: "--graphs" };
        let folder = self.settings().graphs.clone().ok_or_else(built_in)?;
        check_name("graph", name)?;
        self.alone(|| {
            let before = sources::graphs(Some(&folder))?;
            let own = folder.join(format!("{name}.yaml"));
            let place = place_of(&before, name).or_else(|| broken_at(&before, &own));
            let current = place.map(|at| version(&before[at].text));
            expected.check("graph", name, current.as_deref())?;
            let file = place.map_or(own, |at| PathBuf::from(&before[at].file));
            if place.is_none() && file.exists() {
                return Err(Error::NameTaken { file: file.display().to_string() });
            }
            let source = Source { file: file.display().to_string(), text: text.to_owned() };
            let mut after = before.clone();
            match place {
                Some(at) => after[at] = source.clone(),
                None => after.push(source.clone()),
            }
            let prompts = sources::prompts(self.settings().prompts.as_deref())?;
            self.check_change((before, &prompts), (after, &prompts), Some(&source.file))?;
            let named = graph::outline(&source).map(|outline| outline.name).unwrap_or_default();
            if named != name {
                return Err(Error::InvalidName {
                    what: "graph",
                    name: name.to_owned(),
                    expected: format!("its text says `name: {named}`"),
                });
            }
            replace(&file, text)?;
            Ok(Written { version: version(text), created: current.is_none() })
        })
    }

    /// Writes a prompt, if every graph is as fine with it as before. Takes as long as loading all graphs.
    ///
    /// Errors: as [`Agent::put_graph`]; the findings are those of the graphs that name the prompt.
    pub fn put_prompt(
        &self,
        name: &str,
        text: &str,
        expected: &Expected,
    ) -> Result<Written, Error> {
        let built_in = || Error::BuiltIn { what: "prompts", flag: "--prompts" };
        let folder = self.settings().prompts.clone().ok_or_else(built_in)?;
        check_name("prompt", name.strip_suffix(PROMPT).unwrap_or_default())?;
        self.alone(|| {
            let before = sources::prompts(Some(&folder))?;
            let current = before.get(name).map(|text| version(text));
            expected.check("prompt", name, current.as_deref())?;
            let mut after = before.clone();
            after.insert(name.to_owned(), text.to_owned());
            let graphs = sources::graphs(self.settings().graphs.as_deref())?;
            self.check_change((graphs.clone(), &before), (graphs, &after), None)?;
            replace(&folder.join(name), text)?;
            Ok(Written { version: version(text), created: current.is_none() })
        })
    }

    /// Refuses a change after which a graph is refused that was fine before; `own`: the file that must be fine in any case.
    fn check_change(
        &self,
        before: (Vec<Source>, &Texts),
        after: (Vec<Source>, &Texts),
        own: Option<&str>,
    ) -> Result<(), Error> {
        let refused = |(sources, prompts): (Vec<Source>, &Texts)| {
            let nothing = Catalogue::default();
            graphs::what_is_valid(sources, &self.parts().registry, prompts, &nothing).1
        };
        let bad_before: BTreeSet<String> =
            refused(before).into_iter().map(|(name, _)| name).collect();
        let (mut findings, mut rendered) = (Vec::new(), String::new());
        for (name, error) in refused(after) {
            let Error::Graph { findings: found, rendered: shown } = error else {
                return Err(error);
            };
            let is_own = own.is_some_and(|own| found.iter().any(|finding| finding.file == own));
            if is_own {
                // What else is refused only follows from this.
                return Err(Error::Graph { findings: found, rendered: shown });
            }
            if !bad_before.contains(&name) {
                findings.extend(found);
                rendered.push_str(&shown);
            }
        }
        if findings.is_empty() { Ok(()) } else { Err(Error::Graph { findings, rendered }) }
    }
}

impl Text {
    fn of(text: String) -> Self {
        Self { version: version(&text), text }
    }
}

impl Expected {
    fn check(&self, what: &'static str, name: &str, current: Option<&str>) -> Result<(), Error> {
        let holds = match (self, current) {
            (Self::Absent, current) => current.is_none(),
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(versions), Some(current)) => versions.iter().any(|one| one == current),
        };
        let stale =
            || Error::Stale { what, name: name.to_owned(), current: current.map(str::to_owned) };
        if holds { Ok(()) } else { Err(stale()) }
    }
}

/// Names a text: two texts of one version are the same.
fn version(text: &str) -> String {
    stable_hash(&["text", text])
}

/// The file that holds the graph of that name: of several the one that counts.
fn place_of(sources: &[Source], name: &str) -> Option<usize> {
    let holds = |source: &Source| graph::outline(source).is_some_and(|it| it.name == name);
    sources.iter().rposition(holds)
}

/// A file from which no name can be read: whoever writes the graph that it is called after mends it.
fn broken_at(sources: &[Source], file: &Path) -> Option<usize> {
    let is_it = |source: &Source| Path::new(&source.file) == file;
    sources.iter().position(|source| is_it(source) && graph::outline(source).is_none())
}

fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let ending = if what == "prompt" { ", then `.md`" } else { "" };
    Err(Error::InvalidName { what, name: name.to_owned(), expected: format!("{NAME}{ending}") })
}

/// Puts `text` in the place of a file: whoever looks sees the old one or the new one, whole, after a power cut too.
fn replace(file: &Path, text: &str) -> Result<(), Error> {
    let written = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // Not the ending of a graph or prompt: nobody loads it.
        let fresh = folder.join(format!(".{name}.{}.new", std::process::id()));
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut open = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        let filled = open.write_all(text.as_bytes()).and_then(|()| {
            if let Ok(old) = std::fs::metadata(file) {
                open.set_permissions(old.permissions())?;
            }
            open.sync_all()?;
            std::fs::rename(&fresh, file)
        });
        if let Err(error) = filled {
            // Nothing hangs on it; the first error is the one to tell.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        File::open(folder)?.sync_all()
    };
    let what = format!("writing {}", file.display());
    written().map_err(|source| Error::Io { what, source })
}
