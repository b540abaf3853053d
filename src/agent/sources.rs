//! Graphs, prompts and manifests: from folders that people edit, or as they were when this was built.

use std::collections::BTreeMap;
use std::path::Path;

use super::Error;
use crate::graph;
use crate::tools;

macro_rules! built_in {
    ($folder:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../", $folder, "/", $file))),)+]
    };
}

const GRAPHS: &[(&str, &str)] = built_in!("graphs": "optimize.yaml", "watch.yaml");
const PROMPTS: &[(&str, &str)] = built_in!(
    "prompts": "system.md", "understand.md", "diagnose.md", "propose.md", "approve.md", "undecided.md",
    "report.md"
);

/// File name → text.
pub(super) type Texts = BTreeMap<String, String>;

/// Graph files by name, with the folder in front where there is one.
pub(super) fn graphs(folder: Option<&Path>) -> Result<Vec<graph::Source>, Error> {
    let shown = |file: String| match folder {
        Some(folder) => folder.join(file).display().to_string(),
        None => format!("graphs/{file}"),
    };
    let texts = read(folder, GRAPHS, "yaml")?;
    Ok(texts.into_iter().map(|(file, text)| graph::Source { file: shown(file), text }).collect())
}

/// Prompts by file name.
pub(super) fn prompts(folder: Option<&Path>) -> Result<Texts, Error> {
    read(folder, PROMPTS, "md")
}

/// Tool manifests.
pub(super) fn manifests(folder: Option<&Path>) -> Result<Vec<tools::Manifest>, Error> {
    let mut texts = Texts::new();
    match folder {
        None => texts.extend(
            tools::built_in_manifests().into_iter().map(|(f, t)| (f.to_owned(), t.to_owned())),
        ),
        Some(folder) => {
            for area in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
                for (file, text) in read(Some(&area), &[], "yaml")? {
                    texts.insert(area.join(file).display().to_string(), text);
                }
            }
        }
    }
    let parsed = texts.iter().map(|(file, text)| tools::Manifest::parse(file, text));
    Ok(parsed.collect::<Result<_, _>>()?)
}

fn read(folder: Option<&Path>, built_in: &[(&str, &str)], ending: &str) -> Result<Texts, Error> {
    let Some(folder) = folder else {
        return Ok(built_in.iter().map(|(f, t)| ((*f).to_owned(), (*t).to_owned())).collect());
    };
    let mut texts = Texts::new();
    for path in entries(folder)? {
        if path.extension().is_some_and(|e| e == ending) {
            let text = std::fs::read_to_string(&path).map_err(|source| io(&path, source))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            texts.insert(name, text);
        }
    }
    Ok(texts)
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let listing = std::fs::read_dir(folder).map_err(|source| io(folder, source))?;
    let mut paths: Vec<_> = listing.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    Ok(paths)
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("reading {}", path.display()), source }
}
