//! What a person may do to the state of a thread that is not at work: change it, as though a node had.

use std::collections::BTreeMap;
use std::future::Future;

use serde_json::{Value, json};

use super::activation::Activation;
use super::draft::Draft;
use super::plan::{self, Planned};
use super::program::Program;
use super::runtime::Turn;
use super::{Error, Origin, Runtime, Status, TaskResult, TaskState, ThreadState, fold, kind};
use crate::base::{Problem, RunId, ThreadId};

/// A change to a thread's state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Channel → what is written to it: the channel's reducer folds it, as it would a node's write.
    pub values: BTreeMap<String, Value>,
    /// The node that is taken to have written this: the run goes on where that node leads. `None`: nothing but values
    /// changes.
    pub as_node: Option<String>,
    /// Where the run goes on instead: declared targets of `as_node`, or any nodes without one.
    pub goto: Vec<String>,
    /// Who wants it.
    pub by: String,
}

impl Runtime {
    /// Changes a thread that is not at work. What the change plans is held until the run is told to go on.
    ///
    /// If `as_node` has a task open, that task is finished by the change and the others stay. Otherwise the open superstep
    /// ends here: what had finished counts, what had not is abandoned, and the journal says so.
    ///
    /// Errors: no such thread, a run at work, unknown channels or nodes, values that do not fit.
    pub async fn update_state(
        &self,
        thread: &ThreadId,
        update: Update,
    ) -> Result<ThreadState, Error> {
        self.alter(thread, move |draft, _, altering| {
            let writes: Vec<(String, Value)> = update.values.clone().into_iter().collect();
            let who = update.as_node.as_deref().unwrap_or("update");
            altering.program.check_values(who, &writes)?;
            let mut data = json!({ "values": update.values, "by": update.by });
            data["as_node"] = json!(update.as_node);
            data["goto"] = json!(update.goto);
            let before = draft.events.len();
            let abandoned = enter(draft, altering, &update, writes)?;
            draft.origin = Origin::Update;
            data["abandoned"] = json!(abandoned.0);
            draft.event(kind::STATE_UPDATED, data);
            // First what was done, then what came of it.
            draft.events[before..].rotate_right(1);
            Ok(abandoned.1)
        })
        .await
    }

    /// Runs `change` on a thread that is not at work and commits what it makes of it.
    pub(super) async fn alter<F>(&self, thread: &ThreadId, change: F) -> Result<ThreadState, Error>
    where
        F: FnOnce(&mut Draft, RunId, &mut Altering<'_>) -> Result<Vec<TaskResult>, Error>,
    {
        let head = self.shared().known(thread).await?;
        let turn = self.shared().turns().of(thread);
        let altered = {
            // A free seat: a process that died left the run there. A taken one: it is at work.
            let seat = match turn.seat.try_lock() {
                Ok(seat) => Some(seat),
                Err(_) if head.status == Status::Running => None,
                Err(_) => Some(turn.seat.lock().await),
            };
            match seat {
                Some(_seat) => self.altered(thread, &turn, change).await,
                None => Err(Error::Busy(thread.clone())),
            }
        };
        self.shared().turns().leave(thread, turn);
        altered
    }

    /// Makes a thread by `make`, then alters it before anyone can work on it.
    pub(super) async fn alter_new<M, F>(
        &self,
        thread: &ThreadId,
        make: impl FnOnce() -> M,
        change: F,
    ) -> Result<ThreadState, Error>
    where
        M: Future<Output = Result<bool, Problem>>,
        F: FnOnce(&mut Draft, RunId) -> Vec<TaskResult>,
    {
        let turn = self.shared().turns().of(thread);
        let altered = {
            let _seat = turn.seat.lock().await;
            match make().await {
                Err(problem) => Err(Error::Store(problem)),
                Ok(false) => Err(Error::ThreadExists(thread.clone())),
                Ok(true) => {
                    let change = |draft: &mut Draft, run, altering: &mut Altering<'_>| {
                        // They are copies of those that `change` knows.
                        altering.results.clear();
                        Ok(change(draft, run))
                    };
                    self.altered(thread, &turn, change).await
                }
            }
        };
        self.shared().turns().leave(thread, turn);
        altered
    }

    async fn altered<F>(
        &self,
        thread: &ThreadId,
        turn: &Turn,
        change: F,
    ) -> Result<ThreadState, Error>
    where
        F: FnOnce(&mut Draft, RunId, &mut Altering<'_>) -> Result<Vec<TaskResult>, Error>,
    {
        let shared = self.shared();
        let mut activation = Activation::open(shared, turn, thread).await?;
        let head = activation.head().ok_or_else(|| Error::UnknownThread(thread.clone()))?;
        let program = shared.program(&head.run.graph_hash).await?;
        let mut draft = Draft::after(&head, shared.clock.now());
        let mut altering =
            Altering { program: &program, results: std::mem::take(&mut activation.results) };
        let results = change(&mut draft, shared.fresh_run_id(), &mut altering)?;
        if draft.closes_superstep {
            draft.keep(&head, altering.results);
        }
        activation.alter(draft, results).await?;
        let head = activation.head().ok_or_else(|| Error::UnknownThread(thread.clone()))?;
        if let (Some(engine), Some(at)) = (shared.engine(), head.wake_at()) {
            engine.wake(thread, Some(at)).await?;
        }
        Ok(ThreadState::from(&*head))
    }
}

/// What a change may look at.
pub(super) struct Altering<'a> {
    pub(super) program: &'a Program,
    /// Results of the tasks that are finished already. What is left here when the superstep is abandoned is kept in the journal.
    pub(super) results: Vec<TaskResult>,
}

/// Enters an update. Returns the nodes it abandons, and results that must be kept beside the open superstep.
fn enter(
    draft: &mut Draft,
    altering: &mut Altering<'_>,
    update: &Update,
    writes: Vec<(String, Value)>,
) -> Result<(Vec<String>, Vec<TaskResult>), Error> {
    let program = altering.program;
    let Some(name) = &update.as_node else {
        let mut results = [TaskResult::of("update", writes)];
        fold::fold(draft, program, &mut results)?;
        if update.goto.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let planned = update.goto.iter().map(|node| known(program, node).map(Planned::start));
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        let abandoned = unfinished(draft, "");
        draft.closes_superstep = true;
        // Copies: nothing else says what they were at the checkpoint before.
        let mut finished = altering.results.clone();
        fold::fold(draft, program, &mut finished)?;
        draft.state.error = None;
        draft.state.tasks.clear();
        plan::open(draft, program, planned);
        hold(draft);
        return Ok((abandoned, Vec::new()));
    };
    known(program, name)?;
    let mut result = TaskResult::of(name, writes);
    if !update.goto.is_empty() {
        program.check_goto(name, &update.goto)?;
        result.goto = Some(update.goto.clone());
    }
    let over = draft.state.status.is_over() && draft.state.status != Status::Error;
    let open = draft
        .state
        .tasks
        .iter()
        .position(|task| !over && task.node == *name && task.state != TaskState::Finished);
    let others = unfinished(draft, name);
    if let (Some(index), false) = (open, others.is_empty()) {
        draft.state.tasks[index].state = TaskState::Finished;
        draft.state.tasks[index].held = false;
        if draft.state.status != Status::Error {
            draft.state.status = draft.state.status_of_tasks(draft.state.at);
        }
        return Ok((Vec::new(), vec![result]));
    }
    let mut results = match over {
        true => Vec::new(),
        false => std::mem::take(&mut altering.results),
    };
    results.retain(|kept| kept.node != *name);
    results.push(result);
    draft.state.error = None;
    // Nothing goes on: what is not finished is abandoned.
    draft.state.tasks.iter_mut().for_each(|task| task.state = TaskState::Finished);
    let before = draft.state.clone();
    fold::close(draft, program, &before, results);
    hold(draft);
    Ok((if over { Vec::new() } else { others }, Vec::new()))
}

/// Open tasks that are not finished, `but` aside.
fn unfinished(draft: &Draft, but: &str) -> Vec<String> {
    let open = draft.state.tasks.iter().filter(|task| task.state != TaskState::Finished);
    open.map(|task| task.node.clone()).filter(|node| node != but).collect()
}

/// Holds every open task: a change by hand starts nothing by itself.
fn hold(draft: &mut Draft) {
    if draft.state.status.is_over() {
        return;
    }
    draft.state.tasks.iter_mut().for_each(|task| task.held = true);
    draft.state.status = draft.state.status_of_tasks(draft.state.at);
}

fn known(program: &Program, node: &str) -> Result<crate::graph::NodeIx, Error> {
    let found = program.step(node).map(|(ix, ..)| ix);
    found.ok_or_else(|| program.unknown_node(node))
}
