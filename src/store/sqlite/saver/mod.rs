//! Another framework's checkpoints in the file: values as deltas of the version before, shared by the checkpoints that have them.

mod check;
mod find;
mod forget;
mod save;

use async_trait::async_trait;
use rusqlite::params;

pub(super) use check::check;
pub(super) use forget::collect_all;

use super::SqliteStore;
use super::statements::Sql;
use crate::base::Problem;
use crate::store::saver::{
    CheckpointSaver, NewCheckpoint, PruneStrategy, SavedPage, SavedQuery, SavedWrite, Scope,
};

#[async_trait]
impl CheckpointSaver for SqliteStore {
    async fn save(&self, new: NewCheckpoint) -> Result<(), Problem> {
        Ok(self.write_saved(new).await?)
    }

    async fn save_writes(
        &self,
        scope: &Scope,
        checkpoint: &str,
        writes: Vec<SavedWrite>,
    ) -> Result<(), Problem> {
        Ok(self.write_saved_writes(scope, checkpoint, writes).await?)
    }

    async fn find(&self, query: &SavedQuery) -> Result<SavedPage, Problem> {
        Ok(self.find_saved(query).await?)
    }

    async fn forget_threads(&self, threads: &[String]) -> Result<(), Problem> {
        Ok(self.forget_saved_threads(threads).await?)
    }

    async fn forget_runs(&self, runs: &[String]) -> Result<(), Problem> {
        Ok(self.forget_saved_runs(runs).await?)
    }

    async fn copy_saved(&self, from: &str, to: &str) -> Result<bool, Problem> {
        Ok(self.copy_saved_thread(from, to).await?)
    }

    async fn prune_saved(
        &self,
        threads: &[String],
        strategy: PruneStrategy,
    ) -> Result<(), Problem> {
        match strategy {
            PruneStrategy::Delete => Ok(self.forget_saved_threads(threads).await?),
            PruneStrategy::KeepLatest => Ok(self.keep_latest_saved(threads).await?),
        }
    }
}

/// The row of a scope, made if there is none.
fn scope_id(sql: &mut Sql<'_>, scope: &Scope) -> rusqlite::Result<i64> {
    if let Some(id) = known_scope(sql, scope)? {
        return Ok(id);
    }
    sql.run(
        "INSERT INTO saved_scopes (thread, namespace) VALUES (?1, ?2)",
        params![scope.thread, scope.namespace],
    )?;
    Ok(sql.last_id())
}

fn known_scope(sql: &mut Sql<'_>, scope: &Scope) -> rusqlite::Result<Option<i64>> {
    sql.first(
        "SELECT id FROM saved_scopes WHERE thread = ?1 AND namespace = ?2",
        params![scope.thread, scope.namespace],
        |row| row.get(0),
    )
}

/// Places of rows, for their checksums. Columns that nothing else protects are part of them.
mod place {
    use crate::store::saver::Scope;

    fn of(scope: &Scope) -> String {
        format!("namespace {:?} of saved thread {:?}", scope.namespace, scope.thread)
    }
    pub(super) fn meta(scope: &Scope, id: &str, parent: Option<&str>) -> String {
        format!("metadata of checkpoint {id:?} after {parent:?} in {}", of(scope))
    }
    pub(super) fn body(scope: &Scope, id: &str) -> String {
        format!("checkpoint {id:?} in {}", of(scope))
    }
    pub(super) fn value(scope: &Scope, channel: &str, version: &str, kind: &str) -> String {
        format!("channel {channel:?} version {version:?} as {kind:?} in {}", of(scope))
    }
    pub(super) fn write(scope: &Scope, checkpoint: &str, write: (&str, i64, &str, &str)) -> String {
        format!("write {write:?} after checkpoint {checkpoint:?} in {}", of(scope))
    }
}
