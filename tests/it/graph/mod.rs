//! Behaviour of `graph` through its public door.

mod answers;
mod docs;
mod expressions;
mod good;
mod laws;
mod pictures;
mod refusals;
mod vocabulary;

use std::path::PathBuf;

use perf_agent::graph::{Finding, Graph, Source, load};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/graph").join(name)
}

fn load_text(file: &str, text: &str) -> Result<Graph, Vec<Finding>> {
    load(&Source { file: file.to_owned(), text: text.to_owned() }, &vocabulary::vocabulary())
}

/// Compares with the golden file; `UPDATE_GOLDEN=1` accepts what is there.
fn check_golden(path: &std::path::Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; UPDATE_GOLDEN=1 accepts", path.display());
}
