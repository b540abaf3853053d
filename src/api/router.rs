//! Every route, and what stands before them.

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use tower_http::cors::{AllowHeaders, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::App;
use super::{
    analysis, checkpoints, deployments, explorer, families, graphs, health, keys, langgraph, mcp,
    measurements, metrics, middleware, migrations, openapi, optimize, prompts, recommendations,
    rollout_start, rollouts, security, seed, tasks, threads, tools, trials,
};

/// Largest body that is read [bytes].
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest body that brings a checkpoint [bytes]: it holds a program's whole values.
pub(super) const CHECKPOINT_BYTES_MAX: usize = 64 << 20;

/// The list of routes: what is not here is neither served nor documented.
pub(super) fn routes() -> OpenApiRouter<App> {
    let checkpoints = OpenApiRouter::new()
        .routes(routes!(checkpoints::put))
        .routes(routes!(checkpoints::put_writes))
        .routes(routes!(checkpoints::search))
        .routes(routes!(checkpoints::delete_thread))
        .routes(routes!(checkpoints::delete_runs))
        .routes(routes!(checkpoints::copy_thread))
        .routes(routes!(checkpoints::prune))
        .layer(DefaultBodyLimit::max(CHECKPOINT_BYTES_MAX))
        .layer(from_fn(middleware::limit_time));
    // These take as long as the run does.
    let patient = OpenApiRouter::new()
        .routes(routes!(rollouts::abort))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::promote))
        .routes(routes!(rollouts::rollback))
        .routes(routes!(recommendations::list))
        .routes(routes!(trials::validate))
        .routes(routes!(tasks::run))
        .routes(routes!(mcp::http::handle))
        .merge(langgraph::patient());
    OpenApiRouter::with_openapi(openapi::Base::openapi())
        .merge(quick())
        .merge(checkpoints)
        .merge(patient)
        .merge(seed::routes())
}

/// Those that answer at once.
fn quick() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::detailed))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::version))
        .routes(routes!(measurements::latency))
        .routes(routes!(measurements::throughput))
        .routes(routes!(measurements::tokens))
        .routes(routes!(measurements::gpu))
        .routes(routes!(measurements::history))
        .routes(routes!(measurements::deployments))
        .routes(routes!(measurements::collect))
        .routes(routes!(deployments::list, deployments::create))
        .routes(routes!(deployments::show, deployments::replace, deployments::delete))
        .routes(routes!(deployments::config))
        .routes(routes!(deployments::observation))
        .routes(routes!(analysis::analyze))
        .routes(routes!(analysis::show))
        .routes(routes!(rollouts::status))
        .routes(routes!(rollouts::history))
        .routes(routes!(rollouts::show))
        .routes(routes!(rollouts::events))
        .routes(routes!(trials::run))
        .routes(routes!(trials::results))
        .routes(routes!(trials::result))
        .routes(routes!(trials::delete))
        .routes(routes!(optimize::history))
        .routes(routes!(optimize::start))
        .routes(routes!(families::kv_cache))
        .routes(routes!(families::quantize))
        .routes(routes!(families::batch))
        .routes(routes!(families::parallelism))
        .routes(routes!(rollout_start::start))
        .routes(routes!(optimize::show))
        .routes(routes!(optimize::approve))
        .routes(routes!(optimize::reject))
        .routes(routes!(tools::list))
        .routes(routes!(graphs::list))
        .routes(routes!(graphs::show, graphs::put))
        .routes(routes!(graphs::diagram))
        .routes(routes!(graphs::check))
        .routes(routes!(migrations::plan, migrations::migrate))
        .routes(routes!(threads::signal))
        .routes(routes!(threads::fork))
        .routes(routes!(threads::diff))
        .routes(routes!(threads::prune))
        .routes(routes!(threads::journal))
        .routes(routes!(prompts::list))
        .routes(routes!(prompts::show, prompts::put))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::audit))
        .routes(routes!(metrics::page))
        .routes(routes!(openapi::show))
        .routes(routes!(explorer::show))
        .merge(langgraph::quick())
        .layer(from_fn(middleware::limit_time))
}

/// The service.
pub(super) fn service(app: App) -> Router {
    let (router, _) = routes().split_for_parts();
    let router = router
        .fallback(middleware::no_route)
        .method_not_allowed_fallback(middleware::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(app.clone(), security::admit));
    // A browser asks without a key whether it may ask: that comes first.
    let router = match app.security.origins.as_slice() {
        [] => router,
        origins => router.layer(cors(origins.to_vec())),
    };
    router
        .layer(from_fn(middleware::catch))
        .layer(Extension(app.security.limits))
        .layer(from_fn_with_state(app.clone(), middleware::count))
        .layer(TraceLayer::new_for_http().make_span_with(middleware::span))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(app)
}

/// Lets pages of these origins call, and read what the answers say beside their bodies.
fn cors(origins: Vec<axum::http::HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::LOCATION,
            header::CONTENT_LOCATION,
            header::ETAG,
            header::RETRY_AFTER,
            HeaderName::from_static("x-error-code"),
            HeaderName::from_static("x-pagination-total"),
            HeaderName::from_static("x-request-id"),
        ])
}
