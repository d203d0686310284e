//! The tenants' own routes (`behaviour.md` 8). Each begins with the bearer token: it names a user and an account,
//! and every statement after that runs as `app_user` in a transaction of that user. What belongs to somebody else is
//! not found.

mod decisions;
mod extract;
mod orders;
mod page;
mod pnl;
mod positions;
mod targets;
mod wallet;

pub(super) use extract::LONGEST_BODY;

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::State;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(targets::list, targets::create))
        .routes(routes!(targets::change, targets::remove))
        .routes(routes!(wallet::grant, wallet::set_grant, wallet::revoke_grant))
        .routes(routes!(wallet::paused, wallet::pause))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::explain))
        .routes(routes!(orders::list))
        .routes(routes!(orders::sync_health))
        .routes(routes!(positions::list))
        .routes(routes!(pnl::show))
        .routes(routes!(positions::close))
        .route_layer(middleware::from_fn(private))
}

/// What one tenant is told is kept by nobody in between.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
