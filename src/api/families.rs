//! `/optimize/kv-cache`, `/quantize`, `/batch`, `/parallelism`: runs that may change the knobs of one family only.

use axum::extract::State;
use serde_json::json;

use super::Error;
use super::body::Body;
use super::optimize::{Accepted, Begun, OptimizeRequest, begin};
use super::state::App;
use crate::domain::Family;

/// The run of `POST /optimize`, limited: the search is told, and a trial refuses what would change another knob.
async fn limited(app: &App, request: OptimizeRequest, family: Family) -> Result<Begun, Error> {
    begin(app, request, json!({"knobs": family.knobs()})).await
}

/// Like `POST /optimize`, but only room for KV blocks and their reuse may change: memory, block size, prefix caching.
#[utoipa::path(
    post, path = "/optimize/kv-cache", tag = "optimization",
    request_body(
        content = OptimizeRequest,
        example = json!({"goal": "p95 TTFT under 300 ms, no less throughput", "approved": false}),
    ),
    responses(
        (
            status = 202, body = Accepted, description = "It runs; `Location` says where to ask",
            example = json!({"thread_id": "0195f0c2-6f1e-7cc3-98c4-dc0c0c07398f", "run_id": "0195f0c2-6f20-7d41-8c8b-3f1d7a0b2c11"}),
        ),
        (status = 403, description = "`api.forbidden`: `approved` without the scope `approve`", body = super::error::ProblemBody),
        (status = 422, description = "`api.invalid_body`, `api.invalid_request`: a body of another shape, a goal that says nothing", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn kv_cache(
    State(app): State<App>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, request, Family::KvCache).await
}

/// Like `POST /optimize`, but only the precision of weights and KV cache may change. What the model answers may change with it, and
/// nothing here measures that: the question says so.
#[utoipa::path(
    post, path = "/optimize/quantize", tag = "optimization",
    request_body(
        content = OptimizeRequest,
        example = json!({"goal": "p95 TTFT under 300 ms, no less throughput", "approved": false}),
    ),
    responses(
        (
            status = 202, body = Accepted, description = "It runs; `Location` says where to ask",
            example = json!({"thread_id": "0195f0c2-6f1e-7cc3-98c4-dc0c0c07398f", "run_id": "0195f0c2-6f20-7d41-8c8b-3f1d7a0b2c11"}),
        ),
        (status = 403, description = "`api.forbidden`: `approved` without the scope `approve`", body = super::error::ProblemBody),
        (status = 422, description = "`api.invalid_body`, `api.invalid_request`: a body of another shape, a goal that says nothing", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn quantize(
    State(app): State<App>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, request, Family::Quantize).await
}

/// Like `POST /optimize`, but only what shares a batch may change: seats, token budget, chunked prefill, scheduling.
#[utoipa::path(
    post, path = "/optimize/batch", tag = "optimization",
    request_body(
        content = OptimizeRequest,
        example = json!({"goal": "p95 TTFT under 300 ms, no less throughput", "approved": false}),
    ),
    responses(
        (
            status = 202, body = Accepted, description = "It runs; `Location` says where to ask",
            example = json!({"thread_id": "0195f0c2-6f1e-7cc3-98c4-dc0c0c07398f", "run_id": "0195f0c2-6f20-7d41-8c8b-3f1d7a0b2c11"}),
        ),
        (status = 403, description = "`api.forbidden`: `approved` without the scope `approve`", body = super::error::ProblemBody),
        (status = 422, description = "`api.invalid_body`, `api.invalid_request`: a body of another shape, a goal that says nothing", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn batch(
    State(app): State<App>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, request, Family::Batch).await
}

/// Like `POST /optimize`, but only the devices or cores of a replica may change, within those that the deployment has.
#[utoipa::path(
    post, path = "/optimize/parallelism", tag = "optimization",
    request_body(
        content = OptimizeRequest,
        example = json!({"goal": "p95 TTFT under 300 ms, no less throughput", "approved": false}),
    ),
    responses(
        (
            status = 202, body = Accepted, description = "It runs; `Location` says where to ask",
            example = json!({"thread_id": "0195f0c2-6f1e-7cc3-98c4-dc0c0c07398f", "run_id": "0195f0c2-6f20-7d41-8c8b-3f1d7a0b2c11"}),
        ),
        (status = 403, description = "`api.forbidden`: `approved` without the scope `approve`", body = super::error::ProblemBody),
        (status = 422, description = "`api.invalid_body`, `api.invalid_request`: a body of another shape, a goal that says nothing", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn parallelism(
    State(app): State<App>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    limited(&app, request, Family::Parallelism).await
}
