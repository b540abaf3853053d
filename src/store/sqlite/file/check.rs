//! Reading everything, and believing nothing: pages by SQLite's own check, rows by their checksums, histories by their numbers.

use std::path::Path;

use rusqlite::{Connection, Row};
use serde::Serialize;
use serde_json::Value;

use crate::base::Millis;
use crate::store::Error;
use crate::store::sqlite::codec::decode;
use crate::store::sqlite::read::{Which, read_all};
use crate::store::sqlite::statements::Sql;
use crate::store::sqlite::write::place;
use crate::store::sqlite::{checkpoints, documents, inbox, saver, schema, unsigned};

/// Checkpoints of a thread read at once.
const PAGE: usize = 200;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Rows that were read.
    pub rows: u64,
    /// What is not as it was written; empty: all is well.
    pub damages: Vec<Damage>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What.
    pub what: String,
    /// How it shows.
    pub reason: String,
}

/// A thread's name, newest checkpoint and last event.
type Thread = (String, u64, u64);

impl CheckReport {
    /// Notes what came of reading one row, or several.
    pub(in crate::store::sqlite) fn note(&mut self, rows: u64, outcome: Result<(), Error>) {
        self.rows += rows;
        match outcome {
            Ok(()) => {}
            Err(Error::Corrupt { what, reason }) => self.damages.push(Damage { what, reason }),
            Err(error) => {
                let damage = Damage { what: "a row".to_owned(), reason: error.to_string() };
                self.damages.push(damage);
            }
        }
    }

    fn damage(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.damages.push(Damage { what: what.into(), reason: reason.into() });
    }
}

/// Checks a whole file.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<CheckReport, Error> {
    let mut report = CheckReport::default();
    let mut sql = Sql::new(connection);
    pages(&mut sql, path, &mut report);
    type Part = fn(&mut Sql<'_>, &mut CheckReport) -> rusqlite::Result<()>;
    let mut parts: Vec<(&str, Part)> =
        vec![("threads", threads), ("journals", journals), ("rows", rows)];
    if schema::version(connection, path)? >= 2 {
        parts.push(("saved checkpoints", saver::check));
    }
    for (what, part) in parts {
        if let Err(error) = part(&mut sql, &mut report) {
            report.damage(what, format!("cannot be read to the end: {error}"));
        }
    }
    Ok(report)
}

fn pages(sql: &mut Sql<'_>, path: &Path, report: &mut CheckReport) {
    let what = path.display().to_string();
    match sql.all("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)) {
        Ok(found) => {
            for reason in found.into_iter().filter(|found| found != "ok") {
                report.damage(what.clone(), reason);
            }
        }
        Err(error) => report.damage(what, error.to_string()),
    }
}

fn all_threads(sql: &mut Sql<'_>) -> rusqlite::Result<Vec<Thread>> {
    sql.all("SELECT thread, head_seq, last_event FROM threads ORDER BY id", [], |row| {
        Ok((row.get(0)?, unsigned(row.get(1)?), unsigned(row.get(2)?)))
    })
}

/// Every checkpoint with all its values, and that their numbers have no gap.
fn threads(sql: &mut Sql<'_>, report: &mut CheckReport) -> rusqlite::Result<()> {
    for (thread, head, _) in all_threads(sql)? {
        let mut expected = head;
        while expected > 0 {
            let which = Which::Before(Some(expected.saturating_add(1)), PAGE);
            let page = match read_all(sql, &thread, which)? {
                Ok(page) => page,
                Err(error) => {
                    report.note(1, Err(error));
                    break;
                }
            };
            if page.is_empty() && expected == head {
                report.damage(format!("thread {thread}"), format!("checkpoint {head} is missing"));
            }
            let Some(last) = page.last().map(|state| state.seq) else { break };
            for state in &page {
                if state.seq != expected {
                    let reason = format!("checkpoint {expected} is missing");
                    report.damage(format!("thread {thread}"), reason);
                }
                expected = state.seq.saturating_sub(1);
            }
            report.note(page.len() as u64, Ok(()));
            if last <= 1 {
                break;
            }
        }
    }
    Ok(())
}

/// Every journal entry, and that their numbers have no gap.
fn journals(sql: &mut Sql<'_>, report: &mut CheckReport) -> rusqlite::Result<()> {
    for (thread, _, last_event) in all_threads(sql)? {
        let groups = sql.all(
            "SELECT first, last, mark, data FROM events
             WHERE thread = (SELECT id FROM threads WHERE thread = ?1) ORDER BY last",
            [&thread],
            |row| {
                let (first, last) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
                Ok((first, last, unsigned(row.get(2)?), row.get::<_, Vec<u8>>(3)?))
            },
        )?;
        let mut next = groups.first().map_or(last_event + 1, |(first, ..)| *first);
        for (first, last, mark, data) in groups {
            let what = place::events(&thread, mark);
            let group = decode::<Vec<Value>>(&what, &data);
            if first != next || group.as_ref().is_ok_and(|g| g.len() as u64 != last + 1 - first) {
                report.damage(format!("journal of thread {thread}"), format!("gap before {last}"));
            }
            report.note(1, group.map(|_| ()));
            next = last + 1;
        }
        if next != last_event + 1 {
            report.damage(format!("journal of thread {thread}"), format!("it ends before {next}"));
        }
    }
    Ok(())
}

/// Rows that stand for themselves: pending results, letters, effects, graphs, documents.
fn rows(sql: &mut Sql<'_>, report: &mut CheckReport) -> rusqlite::Result<()> {
    each(
        sql,
        report,
        "SELECT t.thread, r.node, r.data FROM task_results r JOIN threads t ON t.id = r.thread",
        |row| Ok((place::result(&text(row, 0)?, &text(row, 1)?), row.get(2)?)),
    )?;
    each(
        sql,
        report,
        "SELECT t.thread, i.at, i.data FROM inbox i JOIN threads t ON t.id = i.thread
         WHERE i.data IS NOT NULL",
        |row| Ok((inbox::place(&text(row, 0)?, Millis(unsigned(row.get(1)?))), row.get(2)?)),
    )?;
    each(sql, report, "SELECT key, data FROM effects WHERE data IS NOT NULL", |row| {
        Ok((place::effect(&text(row, 0)?), row.get(1)?))
    })?;
    each(sql, report, "SELECT hash, data FROM graphs", |row| {
        Ok((checkpoints::graph_place(&text(row, 0)?), row.get(1)?))
    })?;
    each(sql, report, "SELECT collection, key, data FROM documents", |row| {
        Ok((documents::place(&text(row, 0)?, &text(row, 1)?), row.get(2)?))
    })
}

fn each(
    sql: &mut Sql<'_>,
    report: &mut CheckReport,
    query: &'static str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<(String, Vec<u8>)>,
) -> rusqlite::Result<()> {
    for (what, data) in sql.all(query, [], read)? {
        report.note(1, decode::<Value>(&what, &data).map(|_| ()));
    }
    Ok(())
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    row.get(column)
}
