//! The local API: one file per resource. Answers are lines of the contracts' JSON; errors are
//! problem details (RFC 9457) with the same members.

mod audit;
mod explain;
mod meta;
mod runs;

use crate::Node;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value as Json;
use std::sync::Arc;
use tidegate_domain::limits;
use tidegate_engine::{EngineError, contract};

/// Its routes.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/runs", get(runs::list).post(runs::submit))
        .route("/v1/runs/{run}", get(runs::show))
        .route("/v1/runs/{run}/events", get(runs::events))
        .route("/v1/runs/{run}/wait", get(runs::wait))
        .route("/v1/runs/{run}/cancel", post(runs::cancel))
        .route("/v1/runs/{run}/explain", get(explain::explain))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit/verify", get(audit::verify))
        .route("/v1/status", get(meta::status))
        .route("/v1/operations", get(meta::operations))
        .route("/openapi.json", get(meta::openapi))
        .layer(axum::extract::DefaultBodyLimit::max(limits::WORKFLOW_FILE_BYTES_MAX * 4))
        .with_state(node)
}

/// A failed request.
pub(crate) struct Problem {
    status: StatusCode,
    body: Json,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self { status, body: contract::error(code, message) }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let (code, body) = contract::engine_error(&error);
        let status = match code {
            "E1000" => StatusCode::UNPROCESSABLE_ENTITY,
            "E2007" => StatusCode::NOT_FOUND,
            "E4011" => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, body }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        if let Json::Object(members) = &mut self.body {
            members.insert("status".into(), self.status.as_u16().into());
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], self.body.to_string()).into_response()
    }
}

/// JSON lines.
pub(crate) fn lines(lines: impl IntoIterator<Item = Json>) -> Response {
    let body: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
