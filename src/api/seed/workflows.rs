//! `/api/v1/workflows`: runs of the optimizing graph, with a person's approval between.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::fields::{BodyFields, QueryFields};
use super::instance::declared;
use super::refusal::Refusal;
use super::story::{APPROVE, Story};
use super::workflow_record::{Decision, Workflow, create, kept, list as listed, put};
use super::{engine, sliced};
use crate::agent::{Seen, StartRequest};
use crate::api::error::status_of;
use crate::api::optimize::goal_for;
use crate::api::security::Caller;
use crate::api::state::App;
use crate::base::{Clock, Coded, SystemClock, ThreadId};

/// The graph behind these routes.
const GRAPH: &str = "optimize";
/// Pause between two looks at a run that rests and does not ask yet [ms].
const LOOK_AGAIN_MS: u64 = 100;
/// Attempts to write a decision down beside others who write.
const ATTEMPTS: usize = 5;

/// Starts a workflow; 201 also when nothing can be started for it: its `status` is `failed` then.
#[utoipa::path(
    post, path = "/api/v1/workflows", tag = "seed", operation_id = "seed_workflow_start",
    request_body(content = Object, description = "`instance_id`, `instance_type`, `requires_approval`, `auto_rollout`, `monitoring_duration_seconds`, `health_threshold`"),
    responses(
        (status = 201, body = Object),
        (status = 422, description = "Invalid fields", body = Object),
    ),
)]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    BodyFields(mut fields): BodyFields,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let workflow = Workflow {
        id: app.agent().fresh_thread().to_string(),
        instance_id: fields.text("instance_id"),
        instance_type: fields.text("instance_type"),
        requires_approval: fields.switch("requires_approval", true),
        auto_rollout: fields.switch("auto_rollout", false),
        monitoring_duration_seconds: fields.int("monitoring_duration_seconds", 300),
        health_threshold: fields.float("health_threshold", Some(0.9)).unwrap_or(0.9),
        created_ms: SystemClock.now().0,
        thread: None,
        refused: None,
        decision: None,
    };
    fields.done()?;
    let (owned, by) = (app.clone(), caller.consenter());
    let workflow = app.carry(async move { begun(&owned, workflow, by).await }).await?;
    let story = Story::of(&app, workflow).await?;
    Ok((StatusCode::CREATED, Json(story.shown())))
}

/// The workflow with its run, or with why there is none; written down.
async fn begun(app: &App, workflow: Workflow, by: Option<String>) -> Result<Workflow, Refusal> {
    let workflow = match begin(app, &workflow, by).await {
        Ok(thread) => Workflow { thread: Some(thread), ..workflow },
        Err(reason) => Workflow { refused: Some(reason), ..workflow },
    };
    create(app, &workflow).await?;
    if let Some(thread) = &workflow.thread {
        app.metrics.run_started();
        app.drivers.wake(thread);
    }
    Ok(workflow)
}

/// Starts the run. Nobody is asked only when the caller says both that no approval is needed and that it may go to users.
async fn begin(app: &App, workflow: &Workflow, by: Option<String>) -> Result<ThreadId, String> {
    let said = |refusal: Refusal| match refusal {
        Refusal::Http(_, message) => message,
        Refusal::Invalid(_) => "invalid fields".to_owned(),
    };
    let engine = engine(&workflow.instance_type)
        .ok_or_else(|| format!("Unsupported instance type: {}", workflow.instance_type))?;
    let deployment = declared(app, &workflow.instance_id, engine).await.map_err(said)?;
    let deployment = deployment.ok_or_else(|| {
        format!(
            "`{}` is no declared deployment, so nothing can be tried or rolled out there: name one of `/deployments`",
            workflow.instance_id
        )
    })?;
    let approved = !workflow.requires_approval && workflow.auto_rollout;
    let agent = app.agent();
    let failed = |error: crate::agent::Error| error.problem().to_string();
    let thread = agent.create_thread().await.map_err(failed)?;
    let input = json!({"goal": goal_for(&deployment), "deployment": deployment.name});
    let start = StartRequest::new(GRAPH, input, approved);
    let start = StartRequest { config: app.config(), by, ..start };
    agent.start_run(&thread, start).await.map_err(failed)?;
    Ok(thread)
}

/// How a workflow stands.
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}", tag = "seed", operation_id = "seed_workflow",
    params(("id" = String, Path, description = "The workflow")),
    responses((status = 200, body = Object), (status = 404, description = "No such workflow", body = Object)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (workflow, _) = kept(&app, &id).await?;
    Ok(Json(Story::of(&app, workflow).await?.shown()))
}

/// Every workflow, the newest first.
#[utoipa::path(
    get, path = "/api/v1/workflows", tag = "seed", operation_id = "seed_workflows",
    params(
        ("status" = Option<String>, Query, description = "Only those of this status"),
        ("limit" = Option<i64>, Query, description = "How many; left out: 50"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 422, description = "Invalid fields", body = Object)),
)]
pub(super) async fn list(
    State(app): State<App>,
    QueryFields(mut fields): QueryFields,
) -> Result<Json<Vec<Value>>, Refusal> {
    let status = fields.text_or_none("status");
    let limit = fields.int("limit", 50);
    fields.done()?;
    let mut shown = Vec::new();
    for (workflow, _) in listed(&app).await? {
        let story = Story::of(&app, workflow).await?;
        if status.as_ref().is_none_or(|wanted| wanted == story.status()) {
            shown.push(story.shown());
        }
    }
    Ok(Json(sliced(shown, limit)))
}

/// Approves the change, also before it is known: it then goes to users as soon as it is.
#[utoipa::path(
    post, path = "/api/v1/workflows/{id}/approve", tag = "seed", operation_id = "seed_workflow_approve",
    params(
        ("id" = String, Path, description = "The workflow"),
        ("approved_by" = Option<String>, Query, description = "Who; left out: `user`. A key names itself"),
    ),
    responses(
        (status = 200, body = Object),
        (status = 404, description = "No such workflow", body = Object),
        (status = 409, description = "It was decided before, or is over", body = Object),
    ),
)]
pub(super) async fn approve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    QueryFields(mut fields): QueryFields,
) -> Result<Json<Value>, Refusal> {
    let by = fields.text_or_none("approved_by").unwrap_or_else(|| "user".to_owned());
    fields.done()?;
    decide(&app, &caller, &id, true, Some(by)).await
}

/// Rejects the change: nothing is rolled out.
#[utoipa::path(
    post, path = "/api/v1/workflows/{id}/reject", tag = "seed", operation_id = "seed_workflow_reject",
    params(("id" = String, Path, description = "The workflow")),
    responses(
        (status = 200, body = Object),
        (status = 404, description = "No such workflow", body = Object),
        (status = 409, description = "It was decided before, or is over", body = Object),
    ),
)]
pub(super) async fn reject(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    decide(&app, &caller, &id, false, None).await
}

/// Writes a decision down, and tells the run if it asks already. Answers with the workflow as it was decided.
async fn decide(
    app: &App,
    caller: &Caller,
    id: &str,
    approved: bool,
    by: Option<String>,
) -> Result<Json<Value>, Refusal> {
    let key = caller.consenter();
    // Whoever has a key cannot decide in another name.
    let by = key.clone().or(by);
    for _ in 0..ATTEMPTS {
        let (mut workflow, version) = kept(app, id).await?;
        let story = Story::of(app, workflow.clone()).await?;
        if workflow.decision.is_some() {
            return Err(Refusal::conflict(format!("Workflow {id} was decided before")));
        }
        if story.touched_users() || story.is_over() && !matches!(story.status(), "failed") {
            return Err(Refusal::conflict(format!("Workflow {id} is {}", story.status())));
        }
        let at_ms = SystemClock.now().0;
        // A workflow that failed asks nothing any more: the decision is on record, and that is all.
        let told = story.is_over();
        workflow.decision =
            Some(Decision { approved, by: by.clone(), key: key.clone(), at_ms, told });
        if !put(app, &workflow, version).await? {
            continue;
        }
        let mut shown = Story::of(app, workflow.clone()).await?.shown();
        if !told {
            shown["status"] = json!(if approved { "approved" } else { "rejected" });
            tell(app, &workflow).await?;
            tokio::spawn(attend(app.clone(), workflow));
        }
        return Ok(Json(shown));
    }
    Err(Refusal::conflict(format!("Workflow {id} is being decided by others")))
}

/// Answers the run's question with the decision. `false`: it does not ask yet.
async fn tell(app: &App, workflow: &Workflow) -> Result<bool, Refusal> {
    let (Some(thread), Some(decision)) = (&workflow.thread, &workflow.decision) else {
        return Ok(true);
    };
    let Some(state) = app.agent().look(thread).await? else { return Ok(false) };
    let asked = state.interrupts.iter().find(|open| open.node == APPROVE);
    let Some(asked) = asked else { return Ok(state.status.is_over()) };
    let word = if decision.approved { "approve" } else { "reject" };
    let key = decision.key.as_deref();
    match app.agent().answer_to(thread, Some(&asked.id), json!(word), key).await {
        Ok(()) => app.drivers.wake(thread),
        // Answered by somebody else meanwhile.
        Err(error) if status_of(error.code()) == StatusCode::CONFLICT => {}
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

/// Waits until the run asks what was decided already, and answers it.
async fn attend(app: App, workflow: Workflow) {
    if let Err(refusal) = attended(&app, workflow.clone()).await {
        tracing::error!(workflow = workflow.id, "a decision did not reach its run: {refusal:?}");
    }
}

async fn attended(app: &App, workflow: Workflow) -> Result<(), Refusal> {
    let Some(thread) = workflow.thread.clone() else { return Ok(()) };
    loop {
        let journal = app.drivers.journal_end(&thread).await?;
        if tell(app, &workflow).await? {
            break;
        }
        // Also of a run that nobody has begun to work on.
        let run = app.agent().result(&thread).await?.run_id;
        let mut watch = app.drivers.watch(&thread, run, journal);
        loop {
            match watch.next().await? {
                Seen::Entry(_) => {}
                Seen::Rested => break,
                Seen::Failed(problem) => return Err(problem.into()),
                Seen::Stopped => return Ok(()),
            }
        }
        // It may rest for something else.
        SystemClock.sleep_ms(LOOK_AGAIN_MS).await;
    }
    let (mut workflow, version) = kept(app, &workflow.id).await?;
    if let Some(decision) = &mut workflow.decision {
        decision.told = true;
        put(app, &workflow, version).await?;
    }
    Ok(())
}

/// Takes up decisions that an earlier server of this store did not live to pass on.
pub(in crate::api) async fn take_up(app: &App) {
    let Ok(workflows) = listed(app).await else { return };
    for (workflow, _) in workflows {
        if workflow.decision.as_ref().is_some_and(|decision| !decision.told) {
            tokio::spawn(attend(app.clone(), workflow));
        }
    }
}
