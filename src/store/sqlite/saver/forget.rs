//! Forgetting and copying whole threads; what no checkpoint needs any more goes with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::params;

use super::save::{insert_write, write_place};
use super::{place, scope_id};
use crate::store::saver::{Blob, Link, SavedQuery, SavedWrite, Scope, kept_with_latest};
use crate::store::sqlite::codec::moved;
use crate::store::sqlite::statements::Sql;
use crate::store::sqlite::{Error, SqliteStore};

/// A thread's rows in one namespace, for a copy.
#[derive(Default)]
struct Copied {
    /// Row, checkpoint, parent, run, metadata, body.
    checkpoints: Vec<(i64, String, Option<String>, Option<String>, Vec<u8>, Vec<u8>)>,
    /// Row, channel, version, kind, base, depth, data; a base comes before what continues it.
    values: Vec<(i64, String, String, String, Option<i64>, i64, Option<Vec<u8>>)>,
    /// Rows of checkpoint and value.
    refs: Vec<(i64, i64)>,
    /// Checkpoint, write, data.
    writes: Vec<(String, SavedWrite, Vec<u8>)>,
}

impl SqliteStore {
    pub(super) async fn forget_saved_threads(&self, threads: &[String]) -> Result<(), Error> {
        let threads = threads.to_vec();
        self.writer
            .call(64, move |sql| {
                for scope in scopes(sql, &threads)?.into_keys() {
                    sql.run(
                        "DELETE FROM saved_refs WHERE checkpoint IN
                             (SELECT id FROM saved_checkpoints WHERE scope = ?1)",
                        [scope],
                    )?;
                    sql.run("DELETE FROM saved_checkpoints WHERE scope = ?1", [scope])?;
                    sql.run("DELETE FROM saved_values WHERE scope = ?1", [scope])?;
                    sql.run("DELETE FROM saved_writes WHERE scope = ?1", [scope])?;
                    sql.run("DELETE FROM saved_scopes WHERE id = ?1", [scope])?;
                }
                Ok(())
            })
            .await
    }

    pub(super) async fn forget_saved_runs(&self, runs: &[String]) -> Result<(), Error> {
        let runs = runs.to_vec();
        self.writer
            .call(64, move |sql| {
                let mut touched = BTreeSet::new();
                for run in &runs {
                    let made: Vec<(i64, i64, String)> = sql.all(
                        "SELECT id, scope, checkpoint FROM saved_checkpoints WHERE run = ?1",
                        [run],
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                    )?;
                    for (row, scope, checkpoint) in made {
                        forget(sql, row, scope, &checkpoint)?;
                        touched.insert(scope);
                    }
                }
                touched.into_iter().try_for_each(|scope| collect(sql, scope))
            })
            .await
    }

    pub(super) async fn keep_latest_saved(&self, threads: &[String]) -> Result<(), Error> {
        for thread in threads {
            let query = SavedQuery {
                thread: Some(thread.clone()),
                limit: usize::MAX,
                ..SavedQuery::default()
            };
            let mut links: BTreeMap<Scope, Vec<Link>> = BTreeMap::new();
            for found in self.find_saved(&query).await?.found {
                let valued = found.values.into_keys().collect();
                let scope = found.checkpoint.scope.clone();
                links.entry(scope).or_default().push(Link { checkpoint: found.checkpoint, valued });
            }
            for (scope, links) in links {
                let kept = kept_with_latest(&links);
                // By name: what is written from now on is newer, and stays.
                let gone: Vec<String> = links
                    .into_iter()
                    .map(|link| link.checkpoint.id)
                    .filter(|id| !kept.contains(id))
                    .collect();
                self.forget_saved(scope, gone).await?;
            }
        }
        Ok(())
    }

    async fn forget_saved(&self, scope: Scope, checkpoints: Vec<String>) -> Result<(), Error> {
        self.writer
            .call(64, move |sql| {
                let id = scope_id(sql, &scope)?;
                for checkpoint in &checkpoints {
                    let row = sql.first(
                        "SELECT id FROM saved_checkpoints WHERE scope = ?1 AND checkpoint = ?2",
                        params![id, checkpoint],
                        |row| row.get(0),
                    )?;
                    if let Some(row) = row {
                        forget(sql, row, id, checkpoint)?;
                    }
                }
                collect(sql, id)
            })
            .await
    }

    /// `false`: `to` has checkpoints.
    pub(super) async fn copy_saved_thread(&self, from: &str, to: &str) -> Result<bool, Error> {
        let source = from.to_owned();
        let namespaces = self
            .readers
            .call(move |sql| {
                let mut copied = Vec::new();
                for (id, namespace) in scopes(sql, &[source])? {
                    copied.push((namespace, rows(sql, id)?));
                }
                Ok(copied)
            })
            .await?;
        let mut renamed = Vec::with_capacity(namespaces.len());
        for (namespace, mut rows) in namespaces {
            let scope =
                |thread: &str| Scope { thread: thread.to_owned(), namespace: namespace.clone() };
            let target = scope(to);
            rename(&mut rows, &scope(from), &target)?;
            renamed.push((target, rows));
        }
        let target = to.to_owned();
        self.writer
            .call(1 << 16, move |sql| {
                let taken = sql.first(
                    "SELECT 1 FROM saved_checkpoints WHERE scope IN
                         (SELECT id FROM saved_scopes WHERE thread = ?1) LIMIT 1",
                    [target],
                    |_| Ok(()),
                )?;
                if taken.is_some() {
                    return Ok(false);
                }
                for (scope, rows) in &renamed {
                    insert(sql, scope, rows)?;
                }
                Ok(true)
            })
            .await
    }
}

/// Scopes of threads: row → namespace.
fn scopes(sql: &mut Sql<'_>, threads: &[String]) -> rusqlite::Result<BTreeMap<i64, String>> {
    let mut found = BTreeMap::new();
    for thread in threads {
        let text = "SELECT id, namespace FROM saved_scopes WHERE thread = ?1";
        found.extend(sql.all(text, [thread], |row| Ok((row.get(0)?, row.get(1)?)))?);
    }
    Ok(found)
}

/// Forgets a checkpoint and the writes that follow it.
fn forget(sql: &mut Sql<'_>, row: i64, scope: i64, checkpoint: &str) -> rusqlite::Result<()> {
    sql.run("DELETE FROM saved_refs WHERE checkpoint = ?1", [row])?;
    sql.run("DELETE FROM saved_checkpoints WHERE id = ?1", [row])?;
    sql.run(
        "DELETE FROM saved_writes WHERE scope = ?1 AND checkpoint = ?2",
        params![scope, checkpoint],
    )?;
    Ok(())
}

/// Forgets the values of a scope that no checkpoint has and no other value continues.
fn collect(sql: &mut Sql<'_>, scope: i64) -> rusqlite::Result<()> {
    sql.run(
        "DELETE FROM saved_values WHERE scope = ?1 AND id NOT IN (
             WITH RECURSIVE needed (id) AS (
                 SELECT r.value FROM saved_refs r
                 JOIN saved_checkpoints c ON c.id = r.checkpoint WHERE c.scope = ?1
                 UNION
                 SELECT v.base FROM saved_values v JOIN needed n ON v.id = n.id
                 WHERE v.base IS NOT NULL)
             SELECT id FROM needed)",
        [scope],
    )?;
    Ok(())
}

/// Forgets what no checkpoint needs, in every scope.
pub(in crate::store::sqlite) fn collect_all(sql: &mut Sql<'_>) -> rusqlite::Result<()> {
    let scopes = sql.all("SELECT id FROM saved_scopes", [], |row| row.get(0))?;
    scopes.into_iter().try_for_each(|scope| collect(sql, scope))
}

fn rows(sql: &mut Sql<'_>, scope: i64) -> rusqlite::Result<Copied> {
    let checkpoints = sql.all(
        "SELECT id, checkpoint, parent, run, meta, body FROM saved_checkpoints WHERE scope = ?1",
        [scope],
        |row| {
            let names = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((row.get(0)?, names.0, names.1, names.2, row.get(4)?, row.get(5)?))
        },
    )?;
    let values = sql.all(
        "SELECT id, channel, version, kind, base, depth, data FROM saved_values
         WHERE scope = ?1 ORDER BY id",
        [scope],
        |row| {
            let names = (row.get(1)?, row.get(2)?, row.get(3)?);
            let chain = (row.get(4)?, row.get(5)?);
            Ok((row.get(0)?, names.0, names.1, names.2, chain.0, chain.1, row.get(6)?))
        },
    )?;
    let refs = sql.all(
        "SELECT r.checkpoint, r.value FROM saved_refs r
         JOIN saved_checkpoints c ON c.id = r.checkpoint WHERE c.scope = ?1",
        [scope],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let writes = sql.all(
        "SELECT checkpoint, task, path, idx, channel, kind, data FROM saved_writes
         WHERE scope = ?1",
        [scope],
        |row| {
            let write = SavedWrite {
                task: row.get(1)?,
                path: row.get(2)?,
                index: row.get(3)?,
                channel: row.get(4)?,
                value: Blob { kind: row.get(5)?, bytes: Vec::new() },
            };
            Ok((row.get(0)?, write, row.get(6)?))
        },
    )?;
    Ok(Copied { checkpoints, values, refs, writes })
}

fn rename(rows: &mut Copied, from: &Scope, to: &Scope) -> Result<(), Error> {
    for (_, id, parent, _, meta, body) in &mut rows.checkpoints {
        let parent = parent.as_deref();
        *meta = moved(&place::meta(from, id, parent), &place::meta(to, id, parent), meta)?;
        *body = moved(&place::body(from, id), &place::body(to, id), body)?;
    }
    for (_, channel, version, kind, .., data) in &mut rows.values {
        let place = |scope: &Scope| place::value(scope, channel, version, kind);
        if let Some(data) = data {
            *data = moved(&place(from), &place(to), data)?;
        }
    }
    for (checkpoint, write, data) in &mut rows.writes {
        let place = |scope: &Scope| write_place(scope, checkpoint, write);
        *data = moved(&place(from), &place(to), data)?;
    }
    Ok(())
}

fn insert(sql: &mut Sql<'_>, scope: &Scope, rows: &Copied) -> rusqlite::Result<()> {
    let scope = scope_id(sql, scope)?;
    let (mut checkpoints, mut values) = (HashMap::new(), HashMap::new());
    for (row, id, parent, run, meta, body) in &rows.checkpoints {
        sql.run(
            "INSERT INTO saved_checkpoints (scope, checkpoint, parent, run, meta, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![scope, id, parent, run, meta, body],
        )?;
        checkpoints.insert(*row, sql.last_id());
    }
    for (row, channel, version, kind, base, depth, data) in &rows.values {
        let base = base.and_then(|base| values.get(&base).copied());
        sql.run(
            "INSERT INTO saved_values (scope, channel, version, kind, base, depth, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![scope, channel, version, kind, base, depth, data],
        )?;
        values.insert(*row, sql.last_id());
    }
    for (checkpoint, value) in &rows.refs {
        let places: Option<(&i64, &i64)> = checkpoints.get(checkpoint).zip(values.get(value));
        if let Some((checkpoint, value)) = places {
            sql.run(
                "INSERT INTO saved_refs (checkpoint, value) VALUES (?1, ?2)",
                params![checkpoint, value],
            )?;
        }
    }
    for (checkpoint, write, data) in &rows.writes {
        insert_write(sql, scope, checkpoint, write, data)?;
    }
    Ok(())
}
