//! The config page and the config code agree.

use perf_agent::agent::ConfigFile;

#[test]
fn the_example_on_the_page_is_a_config_file() {
    let page = include_str!("../../../docs/config.md");
    let example = page.split("```yaml").nth(1).unwrap().split("```").next().unwrap();
    ConfigFile::parse("docs/config.md", example).unwrap();
}

#[test]
fn what_cannot_be_together_is_refused() {
    let two = "deployments:\n  - launcher: simulated\n  - launcher: simulated\n";
    let steps = "rollout: { steps_percent: [50, 25, 100] }";
    let load = "trial: { load_ratio: 0 }";
    for (text, expected) in [(two, "owns the clock"), (steps, "rise"), (load, "load_ratio")] {
        let error = ConfigFile::parse("c.yaml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
