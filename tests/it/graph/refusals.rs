//! Each refusal has a file in `bad/` and the findings it must give beside it.

use super::{check_golden, folder, load_text};

#[test]
fn every_bad_graph_is_refused_with_these_findings() {
    let mut files: Vec<_> = std::fs::read_dir(folder("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "the bad graphs are there");
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Err(findings) = load_text(&name, &text) else { panic!("{name} is accepted") };
        let listed: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        check_golden(&path.with_extension("expected"), &listed);
    }
}
