//! Help and lists as people see them.

use std::path::Path;

use super::support::run;

pub fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cli/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; UPDATE_GOLDEN=1 accepts it");
}

#[test]
fn help_is_as_it_was_agreed() {
    let folder = tempfile::tempdir().unwrap();
    check("help.txt", &run(folder.path(), &["--help"]).out);
    for command in ["optimize", "resume", "threads", "graph", "tools", "serve"] {
        let help = run(folder.path(), &[command, "--help"]);
        assert_eq!(help.code, 0, "{}", help.err);
        check(&format!("{command}.txt"), &help.out);
    }
}

#[test]
fn the_graphs_that_come_with_it_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    check("optimize.ascii", &run(folder.path(), &["graph", "show", "optimize"]).out);
    let mermaid = ["graph", "show", "watch", "--drawing", "mermaid"];
    check("watch.mermaid", &run(folder.path(), &mermaid).out);
}
