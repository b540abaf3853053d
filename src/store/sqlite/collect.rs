//! What nobody can ask for any more. Found while no process has the store open: nothing can begin to need it meanwhile.

use std::collections::HashSet;

use super::codec::decode;
use super::statements::Sql;
use super::write::place;
use super::{effects, inbox, unsigned};
use crate::base::Millis;
use crate::runtime::{Letter, RunInfo};

/// Forgets answers whose time is over, effects that no run can make again, graphs that no run is pinned to, and the last trace
/// of threads that were forgotten.
pub(super) fn collect_all(sql: &mut Sql<'_>) -> rusqlite::Result<()> {
    sql.run("BEGIN IMMEDIATE", [])?;
    let collected = effects::drop_answers(sql, None)
        .and_then(|_| ownerless_effects(sql))
        .and_then(|()| graphs(sql))
        .and_then(|()| traces(sql));
    let end = if collected.is_ok() { "COMMIT" } else { "ROLLBACK" };
    collected.and(sql.run(end, []).map(|_| ()))
}

/// Effects of before schema 3 name no thread: they go once no run is open that could make them again.
fn ownerless_effects(sql: &mut Sql<'_>) -> rusqlite::Result<()> {
    sql.run(
        "DELETE FROM effects WHERE thread IS NULL AND NOT EXISTS
             (SELECT 1 FROM threads WHERE head_seq > 0 AND status NOT IN ('done', 'cancelled'))",
        [],
    )?;
    Ok(())
}

/// Graphs to which no run that is kept is pinned, and none that waits.
fn graphs(sql: &mut Sql<'_>) -> rusqlite::Result<()> {
    // Where a run cannot be read, any graph may be its.
    let Some(pinned) = pinned(sql)? else { return Ok(()) };
    let kept = sql.all("SELECT hash FROM graphs", [], |row| row.get::<_, String>(0))?;
    for hash in kept.iter().filter(|hash| !pinned.contains(*hash)) {
        sql.run("DELETE FROM graphs WHERE hash = ?1", [hash])?;
    }
    Ok(())
}

fn pinned(sql: &mut Sql<'_>) -> rusqlite::Result<Option<HashSet<String>>> {
    let mut pinned = HashSet::new();
    let runs = sql.all("SELECT run, data FROM runs", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    for (run, data) in runs {
        let Ok(info) = decode::<RunInfo>(&place::run(&run), &data) else { return Ok(None) };
        pinned.insert(info.graph_hash);
    }
    let letters = sql.all(
        "SELECT t.thread, i.at, i.data FROM inbox i JOIN threads t ON t.id = i.thread
         WHERE i.data IS NOT NULL",
        [],
        |row| {
            let (thread, at): (String, i64) = (row.get(0)?, row.get(1)?);
            Ok((inbox::place(&thread, Millis(unsigned(at))), row.get::<_, Vec<u8>>(2)?))
        },
    )?;
    for (place, data) in letters {
        let Ok(letter) = decode::<Letter>(&place, &data) else { return Ok(None) };
        if let Letter::Start { graph_hash, .. } = letter {
            pinned.insert(graph_hash);
        }
    }
    Ok(Some(pinned))
}

/// A thread that was forgotten leaves its epoch to fence who works on it: nobody does.
fn traces(sql: &mut Sql<'_>) -> rusqlite::Result<()> {
    sql.run(
        "DELETE FROM threads WHERE head_seq = 0 AND letters = 0 AND last_event = 0
           AND wake_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.thread = threads.id)
           AND NOT EXISTS (SELECT 1 FROM effects WHERE effects.thread = threads.id)
           AND NOT EXISTS (SELECT 1 FROM task_results WHERE task_results.thread = threads.id)",
        [],
    )?;
    Ok(())
}
