//! What the server offers, as an OpenAPI document: made from the handlers themselves.

use std::sync::OnceLock;

use axum::{http::header, response::IntoResponse};
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{State, problem::Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "polymirror",
        description = "Copy trading for Polymarket: whom a tenant follows, what it allows, what was decided and what came \
                       of it. Money is decimal strings. Every error is `application/problem+json` with a `code`."
    ),
    tags(
        (name = "targets", description = "Whom the tenant follows, and how."),
        (name = "wallet", description = "What the tenant allows."),
        (name = "copies", description = "What was decided, ordered and held."),
        (name = "installation", description = "The process itself; needs no token."),
    )
)]
struct Document;

/// Where the tenants' routes are: each needs a token.
const TENANTS: &str = "/api/v1/poly/";

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(document))
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "installation",
    responses((status = 200, description = "An OpenAPI document.", body = Object))
)]
async fn document() -> impl IntoResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| serde_json::to_string(&openapi()).unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], text.as_str())
}

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(super::all().into_openapi());
    let components = document.components.get_or_insert_default();
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("polymirror_ and 64 hex digits")
        .description(Some("`polymirror token create --tenant <name>` makes one."))
        .build();
    components.security_schemes.insert("token".to_owned(), RefOr::T(SecurityScheme::Http(bearer)));
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            add_problems(operation, path.starts_with(TENANTS));
        }
    }
    document
}

/// What any route may answer beside what it says itself.
fn add_problems(operation: &mut Operation, needs_token: bool) {
    let mut always = vec![("503", "Not now: try again.")];
    if needs_token {
        operation.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
        always.extend([
            ("400", "The query, a header or the body does not read."),
            ("401", "No token, or one that is not valid."),
            ("429", "Too many requests of this account at once."),
            ("500", "A fault of ours."),
        ]);
    }
    if operation.request_body.is_some() {
        always.extend([
            ("413", "The body is too long."),
            ("415", "The body is not JSON."),
            ("422", "The body is JSON, and not what this takes."),
        ]);
    }
    for (status, description) in always {
        let problem = ContentBuilder::new()
            .schema(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name("Problem"))))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem)
            .build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}
