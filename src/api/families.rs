//! `/optimize/kv-cache`, `/quantize`, `/batch`, `/parallelism`: runs that may change the knobs of one family only.

use axum::Extension;
use axum::extract::State;
use serde_json::json;

use super::Error;
use super::body::Body;
use super::optimize::{Accepted, Begun, OptimizeRequest, begin};
use super::security::Caller;
use super::state::App;
use crate::domain::Family;

/// The run of `POST /optimize`, limited: the search is told, and a trial refuses what would change another knob.
async fn limited(
    app: &App,
    caller: &Caller,
    request: OptimizeRequest,
    family: Family,
) -> Result<Begun, Error> {
    begin(app, caller, request, json!({"knobs": family.knobs()})).await
}

/// Like `POST /optimize`, but only room for KV blocks and their reuse may change: memory, block size, prefix caching.
#[utoipa::path(
    post, path = "/optimize/kv-cache", tag = "optimization",
    request_body = OptimizeRequest,
    responses((status = 202, body = Accepted), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn kv_cache(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, &caller, request, Family::KvCache).await
}

/// Like `POST /optimize`, but only the precision of weights and KV cache may change. What the model answers may change with it, and
/// nothing here measures that: the question says so.
#[utoipa::path(
    post, path = "/optimize/quantize", tag = "optimization",
    request_body = OptimizeRequest,
    responses((status = 202, body = Accepted), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn quantize(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, &caller, request, Family::Quantize).await
}

/// Like `POST /optimize`, but only what shares a batch may change: seats, token budget, chunked prefill, scheduling.
#[utoipa::path(
    post, path = "/optimize/batch", tag = "optimization",
    request_body = OptimizeRequest,
    responses((status = 202, body = Accepted), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn batch(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, &caller, request, Family::Batch).await
}

/// Like `POST /optimize`, but only the devices or cores of a replica may change, within those that the deployment has.
#[utoipa::path(
    post, path = "/optimize/parallelism", tag = "optimization",
    request_body = OptimizeRequest,
    responses((status = 202, body = Accepted), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn parallelism(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, &caller, request, Family::Parallelism).await
}
