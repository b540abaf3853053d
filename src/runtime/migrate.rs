//! A thread moves to another version of its graph: first looked at, then done, or refused with all that stands against it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::draft::Draft;
use super::program::Program;
use super::{Checkpoint, Error, RunInfo, Runtime, TaskResult, TaskState, ThreadState, kind};
use crate::base::{RunId, ThreadId};
use crate::graph::{Graph, Lifetime, Migration, render_args};

/// What moving a thread to another version would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MigrationReport {
    /// Thread.
    pub thread: ThreadId,
    /// Version of its graph now, and after.
    pub from_version: u32,
    /// See `from_version`.
    pub to_version: u32,
    /// It is pinned to that very graph already: nothing would be done.
    pub is_there: bool,
    /// Channels that would change.
    pub changed: Vec<String>,
    /// Channels that the new version does not have: they keep their values.
    pub left: Vec<String>,
    /// What stands against it; empty: it can be done.
    pub problems: Vec<String>,
}

impl Runtime {
    /// What moving a thread to `graph` would do. Nothing is changed.
    ///
    /// Errors: no such thread; a store that fails.
    pub async fn plan_migration(
        &self,
        thread: &ThreadId,
        graph: Arc<Graph>,
    ) -> Result<MigrationReport, Error> {
        let head = self.shared().known(thread).await?;
        let old = self.shared().program(&head.run.graph_hash).await?;
        let new = self.shared().keep(graph).await?;
        Ok(Migrated::of(&head, &old, &new).report)
    }

    /// Moves a thread that is not at work to `graph`, at the boundary where it stands. Its run goes on under a new id, with the
    /// same side effects and the same questions.
    ///
    /// Errors: [`Error::MigrationRefused`] with all that stands against it; a run at work.
    pub async fn migrate(
        &self,
        thread: &ThreadId,
        graph: Arc<Graph>,
        by: &str,
    ) -> Result<ThreadState, Error> {
        let new = self.shared().keep(graph).await?;
        let head = self.shared().known(thread).await?;
        if head.run.graph_hash == new.graph.hash {
            return Ok(ThreadState::from(&*head));
        }
        let by = by.to_owned();
        self.alter(thread, move |draft, run, altering| {
            let migrated = Migrated::of(&draft.state, altering.program, &new);
            if !migrated.report.problems.is_empty() {
                return Err(Error::MigrationRefused {
                    thread: draft.state.thread.clone(),
                    problems: migrated.report.problems.join("; "),
                });
            }
            let results = std::mem::take(&mut altering.results);
            Ok(migrated.enter(draft, run, &new, results, &by))
        })
        .await
    }
}

/// A migration worked out.
struct Migrated {
    values: BTreeMap<String, Arc<Value>>,
    nodes: BTreeMap<String, String>,
    report: MigrationReport,
}

impl Migrated {
    fn of(state: &Checkpoint, old: &Program, new: &Program) -> Self {
        let held = state.channels.iter();
        let held: BTreeMap<String, Arc<Value>> =
            held.filter_map(|(name, slot)| Some((name.to_owned(), slot.value.clone()?))).collect();
        let (from_version, to_version) = (old.graph.version, new.graph.version);
        let mut report = MigrationReport {
            thread: state.thread.clone(),
            from_version,
            to_version,
            is_there: state.run.graph_hash == new.graph.hash,
            changed: Vec::new(),
            left: Vec::new(),
            problems: Vec::new(),
        };
        let mut migrated =
            Self { values: held.clone(), nodes: BTreeMap::new(), report: report.clone() };
        if report.is_there {
            return migrated;
        }
        if old.graph.name != new.graph.name {
            let (old, new) = (&old.graph.name, &new.graph.name);
            report.problems.push(format!("it runs graph `{old}`, not `{new}`"));
        }
        if from_version > to_version {
            report.problems.push(format!("version {from_version} is newer than {to_version}"));
        }
        let applies = |step: &&Migration| step.from >= from_version && step.from < to_version;
        for step in new.graph.migrations.iter().filter(applies) {
            migrated.step(step, &mut report.problems);
        }
        migrated.check(state, new, &mut report);
        let names = held.keys().chain(migrated.values.keys());
        let differs = |name: &&String| held.get(*name) != migrated.values.get(*name);
        report.changed = names.filter(differs).cloned().collect();
        report.changed.sort_unstable();
        report.changed.dedup();
        migrated.report = report;
        migrated
    }

    fn step(&mut self, step: &Migration, problems: &mut Vec<String>) {
        for (old, new) in &step.rename {
            if let Some(value) = self.values.remove(old) {
                self.values.insert(new.clone(), value);
            }
        }
        for (name, value) in &step.default {
            self.values.entry(name.clone()).or_insert_with(|| Arc::new(value.clone()));
        }
        let scope: BTreeMap<String, Value> =
            self.values.iter().map(|(name, value)| (name.clone(), (**value).clone())).collect();
        for (name, template) in &step.set {
            match render_args(template, &scope) {
                Ok(value) => drop(self.values.insert(name.clone(), Arc::new(value))),
                Err(why) => problems.push(format!("`set` of `{name}`: {why}")),
            }
        }
        for node in self.nodes.values_mut() {
            if let Some(new) = step.nodes.get(node) {
                node.clone_from(new);
            }
        }
        for (old, new) in &step.nodes {
            self.nodes.entry(old.clone()).or_insert_with(|| new.clone());
        }
    }

    /// Whether values and open tasks have a place in the new version.
    fn check(&self, state: &Checkpoint, new: &Program, report: &mut MigrationReport) {
        let over = state.status.is_over() && state.status != super::Status::Error;
        for (name, value) in &self.values {
            match new.graph.channels.get(name) {
                None => report.left.push(name.clone()),
                // What a new run sets anew need not fit while no run goes on.
                Some(channel) if over && channel.lifetime != Lifetime::Thread => {}
                Some(_) => {
                    if let Err(error) = new.check_inherited(name, value) {
                        report.problems.push(error.to_string());
                    }
                }
            }
        }
        if over {
            return;
        }
        let waiting = state.progress.deferred.iter().chain(state.progress.joins.keys());
        let open = state.tasks.iter().map(|task| &task.node).chain(waiting);
        for node in open {
            let name = self.renamed(node);
            if new.step(&name).is_none() {
                report.problems.push(format!("it has work to do in node `{name}`, which is gone"));
            }
        }
        for path in state.progress.calls.keys() {
            if !new.frames.iter().any(|frame| frame.path == *path) {
                report.problems.push(format!("it is inside subgraph `{path}`, which is gone"));
            }
        }
    }

    fn renamed(&self, node: &str) -> String {
        self.nodes.get(node).cloned().unwrap_or_else(|| node.to_owned())
    }

    /// Enters it into the draft. Returns the results of finished tasks under their new names.
    fn enter(
        self,
        draft: &mut Draft,
        run: RunId,
        new: &Program,
        mut results: Vec<TaskResult>,
        by: &str,
    ) -> Vec<TaskResult> {
        let old = draft.state.run.clone();
        for name in &self.report.changed {
            draft.set(name, self.values.get(name).cloned(), 0);
        }
        for task in &mut draft.state.tasks {
            task.node = self.renamed(&task.node);
        }
        let progress = &mut draft.state.progress;
        let visits = std::mem::take(&mut progress.visits);
        progress.visits = visits.into_iter().map(|(node, n)| (self.renamed(&node), n)).collect();
        let deferred = std::mem::take(&mut progress.deferred);
        progress.deferred = deferred.into_iter().map(|node| self.renamed(&node)).collect();
        let joins = std::mem::take(&mut progress.joins);
        progress.joins =
            joins.into_iter().map(|(node, join)| (self.renamed(&node), join)).collect();
        let hash = new.graph.hash.clone();
        draft.event(
            kind::RUN_MIGRATED,
            json!({
                "from": old.graph_hash, "to": hash, "version": new.graph.version, "run": run,
                "changed": self.report.changed, "by": by,
            }),
        );
        draft.state.run = Arc::new(RunInfo {
            continues: Some(old.effects_of().clone()),
            id: run,
            graph_hash: hash,
            parent_seq: draft.state.seq - 1,
            ..(*old).clone()
        });
        draft.closes_superstep = true;
        results.iter_mut().for_each(|result| result.node = self.renamed(&result.node));
        let finished = |node: &str| {
            draft.state.tasks.iter().any(|t| t.node == node && t.state == TaskState::Finished)
        };
        results.retain(|result| finished(&result.node));
        results
    }
}
