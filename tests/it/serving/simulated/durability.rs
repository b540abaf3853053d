//! A world outlives the agent: what its journal holds is how it is.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use perf_agent::base::Coded;
use perf_agent::serving::simulated::{World, WorldSpec};

use super::support::{
    canary, driver, good, launcher, load, pass, plane, spec, stable, state, table,
};

fn reopen(spec: &WorldSpec, journal: &Path) -> Arc<World> {
    World::open(spec.clone(), Some(journal.to_owned())).unwrap()
}

fn error_of(spec: WorldSpec, journal: &Path) -> perf_agent::serving::Error {
    World::open(spec, Some(journal.to_owned())).err().unwrap()
}

#[tokio::test]
async fn after_a_kill_the_fleet_is_still_there_in_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("world.jsonl");
    let spec = spec(6);
    let world = reopen(&spec, &journal);
    let stable = stable(&world).await;
    let server = canary(&world, &good()).await;
    let measured = driver(&world).drive(&server.backend, &load(2.0, 20.0, 1)).await.unwrap();
    plane(&world).apply(&table(2, &stable, Some(&server.backend), 25.0)).await.unwrap();
    pass(&world, 33.3).await;
    let before = state(&world).await;
    drop(world);
    let world = reopen(&spec, &journal);
    assert_eq!(state(&world).await, before);
    // Doing again what was half done finds it done.
    assert_eq!(canary(&world, &good()).await, server);
    let again = driver(&world).drive(&server.backend, &load(2.0, 20.0, 1)).await.unwrap();
    assert_eq!(again, measured);
    assert_eq!(state(&world).await, before, "and nothing has moved");
    // And both lives go on alike.
    pass(&world, 60.0).await;
    launcher(&world).stop(&server.backend.id).await.unwrap();
    let after = state(&world).await;
    drop(world);
    assert_eq!(state(&reopen(&spec, &journal)).await, after);
}

#[tokio::test]
async fn a_launch_that_was_killed_half_way_ends_when_it_would_have() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("world.jsonl");
    let spec = spec(6);
    let world = reopen(&spec, &journal);
    let began = world.clock().now();
    {
        let launching = canary_in_background(&world);
        pass(&world, 7.0).await;
        launching.abort();
        assert!(launching.await.unwrap_err().is_cancelled());
    }
    drop(world);
    let world = reopen(&spec, &journal);
    assert_eq!(world.clock().now().since(began), 7_000);
    let server = canary(&world, &good()).await;
    assert_eq!(world.clock().now().since(began), 20_000);
    assert_eq!(server.started, began);
}

fn canary_in_background(world: &Arc<World>) -> tokio::task::JoinHandle<()> {
    let world = world.clone();
    tokio::spawn(async move {
        canary(&world, &good()).await;
    })
}

#[tokio::test]
async fn a_torn_last_line_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("world.jsonl");
    let world = reopen(&spec(6), &journal);
    pass(&world, 10.0).await;
    let before = state(&world).await;
    drop(world);
    let mut file = std::fs::OpenOptions::new().append(true).open(&journal).unwrap();
    file.write_all(br#"{"at_ms":99000,"ended":1,"act"#).unwrap();
    drop(file);
    let world = reopen(&spec(6), &journal);
    assert_eq!(state(&world).await, before);
    pass(&world, 5.0).await;
    let after = state(&world).await;
    drop(world);
    assert_eq!(state(&reopen(&spec(6), &journal)).await, after);
}

#[tokio::test]
async fn a_journal_of_another_world_or_another_history_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("world.jsonl");
    let world = reopen(&spec(6), &journal);
    pass(&world, 10.0).await;
    drop(world);
    let other = error_of(spec(7), &journal);
    assert_eq!(other.code(), "serving.corrupt");
    assert!(other.to_string().contains("it is another world's"), "{other}");

    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let forged = format!("{}\n{}\n", lines[0], r#"{"at_ms":70000,"ended":12345,"action":"pass"}"#);
    std::fs::write(&journal, forged).unwrap();
    let forged = error_of(spec(6), &journal);
    assert!(forged.to_string().contains("line 2 was written after 12345 requests"), "{forged}");

    std::fs::write(&journal, format!("{}\nnot json\n{}\n", lines[0], lines[1])).unwrap();
    let damaged = error_of(spec(6), &journal);
    assert!(damaged.to_string().contains("line 2"), "{damaged}");
}

#[tokio::test]
async fn two_agents_cannot_live_in_one_world() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("world.jsonl");
    let _world = reopen(&spec(6), &journal);
    let second = error_of(spec(6), &journal);
    assert_eq!(second.code(), "serving.io");
    assert!(second.to_string().contains("another process lives in this world"), "{second}");
}
