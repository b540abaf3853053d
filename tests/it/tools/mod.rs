//! Behaviour of `tools` through its public door: schemas as they were agreed, manifests as they may be.

mod cancel;
mod orders;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cli::support::run;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The registry's descriptions, through the command that everyone has.
fn described() -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let listed = run(folder.path(), &["tools", "list", "--format", "json"]).out;
    serde_json::from_str(&listed).unwrap()
}

#[test]
fn schemas_are_as_they_were_agreed() {
    for tool in described() {
        let name = tool["name"].as_str().unwrap();
        let text =
            format!("{:#}\n", json!({"arguments": tool["arguments"], "output": tool["output"]}));
        let path = root().join("tools/schemas").join(format!("{name}.json"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let agreed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, agreed, "{} differs; UPDATE_GOLDEN=1 accepts it", path.display());
    }
}

#[test]
fn only_the_tools_that_touch_users_need_consent() {
    for tool in described() {
        let name = tool["name"].as_str().unwrap();
        let gated = tool["approval"] == "required";
        let moves_users = matches!(
            name,
            "start_rollout" | "rollout_status" | "resume_rollout" | "promote_rollout"
        );
        assert_eq!(gated, moves_users, "{name}");
    }
}

/// Copies `tools/`, changes one manifest, and asks for the list.
fn with_manifest(area_and_name: &str, from: &str, to: &str) -> super::cli::support::Ended {
    let folder = tempfile::tempdir().unwrap();
    for area in ["metrics", "gpu", "tuning", "rollout"] {
        let target = folder.path().join("tools").join(area);
        std::fs::create_dir_all(&target).unwrap();
        for entry in std::fs::read_dir(root().join("tools").join(area)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
        }
    }
    let file = folder.path().join("tools").join(area_and_name);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let tool = tool_of(Path::new(area_and_name));
    let args = ["tools", "call", tool.as_str(), "{}", "--tools", "tools"];
    run(folder.path(), &args)
}

fn tool_of(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_manifest_can_switch_a_tool_off() {
    // The graphs name the tool too, so the agent does not even start with them: it says what is missing.
    let ended = with_manifest("metrics/query_history.yaml", "enabled: true", "enabled: false");
    assert_ne!(ended.code, 0);
    assert!(ended.err.contains("query_history"), "{}", ended.err);
}

#[test]
fn a_manifest_can_not_declare_less_than_its_tool_does() {
    let ended =
        with_manifest("rollout/start_rollout.yaml", "effect: production", "effect: read      ");
    assert!(ended.err.contains("tools.bad_manifest"), "{}", ended.err);
}

#[test]
fn a_manifest_can_gate_a_tool_that_is_free() {
    let ended =
        with_manifest("metrics/list_deployments.yaml", "approval: none", "approval: required");
    assert!(ended.err.contains("approv"), "{}", ended.err);
}
