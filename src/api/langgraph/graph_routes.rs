//! The routes of LangGraph's protocol.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{assistants, crons, info, items, picture, run_list, runs, states, streams, threads};
use crate::api::state::App;

/// Routes that answer at once.
pub(in crate::api) fn quick() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(info::ok))
        .routes(routes!(info::info))
        .routes(routes!(assistants::create))
        .routes(routes!(assistants::search))
        .routes(routes!(assistants::count))
        .routes(routes!(assistants::show, assistants::update, assistants::delete))
        .routes(routes!(assistants::versions))
        .routes(routes!(assistants::set_latest))
        .routes(routes!(picture::graph))
        .routes(routes!(picture::schemas))
        .routes(routes!(picture::subgraphs))
        .routes(routes!(picture::subgraph))
        .routes(routes!(threads::create))
        .routes(routes!(threads::search))
        .routes(routes!(threads::count))
        .routes(routes!(threads::show, threads::update))
        .routes(routes!(threads::copy))
        .routes(routes!(states::newest, states::update))
        .routes(routes!(states::at))
        .routes(routes!(states::at_checkpoint))
        .routes(routes!(states::history, states::history_of))
        .routes(routes!(run_list::list))
        .routes(routes!(run_list::show))
        .routes(routes!(runs::create_stateless))
        .routes(routes!(runs::create_batch))
        .routes(routes!(crons::create))
        .routes(routes!(crons::create_for_thread))
        .routes(routes!(crons::search))
        .routes(routes!(crons::count))
        .routes(routes!(crons::show, crons::update, crons::delete))
        .routes(routes!(items::put, items::get, items::delete))
        .routes(routes!(items::search))
        .routes(routes!(items::namespaces))
}

/// Routes that take as long as a run does, or as the superstep of one that is cancelled.
pub(in crate::api) fn patient() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(threads::prune))
        .routes(routes!(threads::delete))
        .routes(routes!(runs::create))
        .routes(routes!(run_list::delete))
        .routes(routes!(runs::cancel_many))
        .routes(routes!(runs::wait))
        .routes(routes!(runs::wait_stateless))
        .routes(routes!(runs::join))
        .routes(routes!(runs::cancel))
        .routes(routes!(streams::stream_run))
        .routes(routes!(streams::stream_stateless))
        .routes(routes!(streams::join_stream))
        .routes(routes!(streams::join_thread))
}
