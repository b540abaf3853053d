//! A thread moves to another version of its graph: first looked at, then done, or refused with all that stands against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::draft::Draft;
use super::program::Program;
use super::{Checkpoint, Error, RunInfo, Runtime, TaskResult, TaskState, ThreadState, kind};
use crate::base::{RunId, ThreadId};
use crate::graph::{Channel, Graph, Lifetime, Migration, render_args};

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
        Ok(Migrated::of(&head, &old, &new).1)
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
            let (migrated, report) = Migrated::of(&draft.state, altering.program, &new);
            if !report.problems.is_empty() {
                return Err(Error::MigrationRefused {
                    thread: draft.state.thread.clone(),
                    problems: report.problems.join("; "),
                });
            }
            // A copy: the results stay those of the checkpoint before, too.
            let results = altering.results.clone();
            Ok(migrated.enter(draft, run, &new, (results, report.changed), &by))
        })
        .await
    }
}

/// Brings what an earlier version left at `base` into the form of `new`, for a run that starts on it.
///
/// `given` are channels that are written anew.
///
/// Errors: [`Error::MigrationRefused`]; [`Error::StateIncompatible`]: see [`check_claimed`].
pub(super) fn inherit(
    draft: &mut Draft,
    base: &Checkpoint,
    old: &Program,
    new: &Program,
    given: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    check_claimed(base, old, new, given)?;
    let (held, mut problems) = (held(base), Vec::new());
    let mut migrated = Migrated { values: held.clone(), nodes: BTreeMap::new() };
    migrated.take_steps(&old.graph, &new.graph, &mut problems);
    if !problems.is_empty() {
        let (thread, problems) = (base.thread.clone(), problems.join("; "));
        return Err(Error::MigrationRefused { thread, problems });
    }
    let names: BTreeSet<&String> = held.keys().chain(migrated.values.keys()).collect();
    for name in names {
        if held.get(name) != migrated.values.get(name) {
            draft.set(name, migrated.values.get(name).cloned(), 0);
        }
    }
    Ok(())
}

/// Whether a value may have lost its name: the version before keeps it on the thread in a channel that this one does not have,
/// this one has a new channel that could take it and holds nothing, and no migration says what became of it.
///
/// Errors: [`Error::StateIncompatible`].
pub(super) fn check_claimed(
    base: &Checkpoint,
    old: &Program,
    new: &Program,
    given: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let (was, is) = (&old.graph, &new.graph);
    if was.name != is.name || was.hash == is.hash || steps(was, is).next().is_some() {
        return Ok(());
    }
    let held = held(base);
    let stays = |channel: &Channel| channel.lifetime == Lifetime::Thread;
    let fresh = |(name, channel): &(&String, &Channel)| {
        stays(channel)
            && !was.channels.contains_key(*name)
            && !held.contains_key(*name)
            && !given(name)
    };
    for (name, channel) in was.channels.iter().filter(|(_, channel)| stays(channel)) {
        let Some(value) = held.get(name) else { continue };
        let is_known = is.channels.contains_key(name) || was.input.contains_key(name);
        if is_known || Some(&**value) == channel.default.as_ref() {
            continue;
        }
        let takes = |(name, _): &(&String, &Channel)| new.check_inherited(name, value).is_ok();
        if let Some((other, _)) = is.channels.iter().filter(fresh).find(takes) {
            return Err(Error::StateIncompatible {
                channel: name.clone(),
                graph: is.name.clone(),
                reason: format!(
                    "this version does not have it, and `{other}` is new; say under `migrations` \
                     what became of it"
                ),
            });
        }
    }
    Ok(())
}

/// The migrations between two versions of a graph.
fn steps<'a>(old: &'a Graph, new: &'a Graph) -> impl Iterator<Item = &'a Migration> {
    let applies = move |step: &&Migration| step.from >= old.version && step.from < new.version;
    new.migrations.iter().filter(applies)
}

/// The values that are set, shared.
fn held(state: &Checkpoint) -> BTreeMap<String, Arc<Value>> {
    let set = |(name, slot): (&str, &super::Slot)| Some((name.to_owned(), slot.value.clone()?));
    state.channels.iter().filter_map(set).collect()
}

/// A migration worked out.
struct Migrated {
    values: BTreeMap<String, Arc<Value>>,
    nodes: BTreeMap<String, String>,
}

impl Migrated {
    fn of(state: &Checkpoint, old: &Program, new: &Program) -> (Self, MigrationReport) {
        let held = held(state);
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
        let mut migrated = Self { values: held.clone(), nodes: BTreeMap::new() };
        if report.is_there {
            return (migrated, report);
        }
        if old.graph.name != new.graph.name {
            let (old, new) = (&old.graph.name, &new.graph.name);
            report.problems.push(format!("it runs graph `{old}`, not `{new}`"));
        }
        if from_version > to_version {
            report.problems.push(format!("version {from_version} is newer than {to_version}"));
        }
        migrated.take_steps(&old.graph, &new.graph, &mut report.problems);
        // A run that is over gets its defaults when the next one starts.
        let over = state.status.is_over() && state.status != super::Status::Error;
        if !over {
            migrated.fill(&new.graph, &mut report.problems);
        }
        migrated.check(state, new, over, &mut report);
        let names = held.keys().chain(migrated.values.keys());
        let differs = |name: &&String| held.get(*name) != migrated.values.get(*name);
        report.changed = names.filter(differs).cloned().collect();
        report.changed.sort_unstable();
        report.changed.dedup();
        (migrated, report)
    }

    /// Every step between the two versions.
    fn take_steps(&mut self, old: &Graph, new: &Graph, problems: &mut Vec<String>) {
        // What a version before the old one left behind is in nobody's way, and stays where nobody takes its name.
        let (live, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.values)
            .into_iter()
            .partition(|(name, _)| old.channels.contains_key(name));
        self.values = live;
        for step in steps(old, new) {
            self.step(step, problems);
        }
        for (name, value) in left {
            self.values.entry(name).or_insert(value);
        }
    }

    /// What a run that goes on lacks: the channels that are new start as they would in a new run.
    fn fill(&mut self, new: &Graph, problems: &mut Vec<String>) {
        for (name, channel) in &new.channels {
            if let (false, Some(default)) = (self.values.contains_key(name), &channel.default) {
                self.values.insert(name.clone(), Arc::new(default.clone()));
            }
        }
        let lacks =
            |(name, required): &(&String, &bool)| **required && !self.values.contains_key(*name);
        for (name, _) in new.input.iter().filter(lacks) {
            problems.push(format!("input `{name}` must be given, and it goes on without one"));
        }
    }

    fn step(&mut self, step: &Migration, problems: &mut Vec<String>) {
        // All leave before any arrives: two may swap their names.
        let take = |(old, new)| Some((old, new, self.values.remove(old)?));
        let moved: Vec<(&String, &String, Arc<Value>)> =
            step.rename.iter().filter_map(take).collect();
        for (old, new, value) in moved {
            if self.values.contains_key(new) {
                problems.push(format!("`rename` of `{old}`: `{new}` holds a value already"));
                self.values.insert(old.clone(), value);
            } else {
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
    fn check(&self, state: &Checkpoint, new: &Program, over: bool, report: &mut MigrationReport) {
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
        let mut tasks = BTreeSet::new();
        for name in state.tasks.iter().map(|task| self.renamed(&task.node)) {
            if tasks.contains(&name) {
                report.problems.push(format!("two of its tasks would be node `{name}`"));
            }
            tasks.insert(name);
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
        (mut results, changed): (Vec<TaskResult>, Vec<String>),
        by: &str,
    ) -> Vec<TaskResult> {
        let old = draft.state.run.clone();
        for name in &changed {
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
                "changed": changed, "by": by,
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
