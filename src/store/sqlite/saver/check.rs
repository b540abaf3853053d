//! Every row of another framework's checkpoints, for the check of the whole file.

use rusqlite::params;

use super::find::{Row, Values, belongings, unpack};
use super::save::write_place;
use crate::store::saver::Scope;
use crate::store::sqlite::codec::unseal;
use crate::store::sqlite::file::CheckReport;
use crate::store::sqlite::statements::Sql;

/// Puts every checkpoint together and opens every write.
pub(in crate::store::sqlite) fn check(
    sql: &mut Sql<'_>,
    report: &mut CheckReport,
) -> rusqlite::Result<()> {
    let scopes =
        sql.all("SELECT id, thread, namespace FROM saved_scopes ORDER BY id", [], |row| {
            let scope = Scope { thread: row.get(1)?, namespace: row.get(2)? };
            Ok((row.get::<_, i64>(0)?, scope))
        })?;
    for (id, scope) in scopes {
        let rows = sql.all(
            "SELECT id, checkpoint, parent, meta, body FROM saved_checkpoints
             WHERE scope = ?1 ORDER BY id",
            params![id],
            |row| {
                Ok(Row {
                    id: row.get(0)?,
                    scope: scope.clone(),
                    checkpoint: row.get(1)?,
                    parent: row.get(2)?,
                    meta: row.get(3)?,
                    body: row.get(4)?,
                })
            },
        )?;
        let mut values = Values::new(scope.clone());
        for row in rows {
            report.note(1, unpack(&row).map(|_| ()));
            let found = belongings(sql, row.id, &row.scope, &row.checkpoint, &mut values)?;
            let Some(found) = found else { continue };
            for (_, value, _) in found.values {
                report.note(1, values.content(value).map(|_| ()));
            }
            for (write, data) in found.writes {
                let place = write_place(&row.scope, &row.checkpoint, &write);
                report.note(1, unseal(&place, &data).map(|_| ()));
            }
        }
    }
    Ok(())
}
