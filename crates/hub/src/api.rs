//! The hub's local API, for its own user on its own machine: its audit log.

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;
use tidegate_engine::contract;
use tidegate_engine::site::Site;

/// Entries in one page.
const PAGE_MAX: usize = 5_000;

/// Its routes.
pub fn router(site: Arc<Site>) -> Router {
    Router::new().route("/v1/audit", get(audit)).route("/v1/audit/verify", get(verify)).with_state(site)
}

#[derive(serde::Deserialize)]
struct Page {
    #[serde(default)]
    after: u64,
    run: Option<String>,
}

async fn audit(State(site): State<Arc<Site>>, Query(page): Query<Page>) -> Response {
    let run = match page.run.map(|run| run.parse()).transpose() {
        Ok(run) => run,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "E2008", &format!("{error}")),
    };
    match contract::audit(site.store.as_ref(), page.after, run, PAGE_MAX) {
        Ok((lines, next)) => lines_response(lines, next),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "E2002", &error.to_string()),
    }
}

async fn verify(State(site): State<Arc<Site>>) -> Response {
    match tokio::task::spawn_blocking(move || contract::audit_verified(site.store.verify())).await {
        Ok(Ok(line)) => Json(line).into_response(),
        Ok(Err(line)) => (StatusCode::CONFLICT, Json(line)).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "E2006", &error.to_string()),
    }
}

fn lines_response(lines: Vec<serde_json::Value>, next: Option<u64>) -> Response {
    let body: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    let next = next.map_or_else(String::new, |n| n.to_string());
    ([(header::CONTENT_TYPE, "application/x-ndjson".to_owned()), (header::LINK, next)], body).into_response()
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(contract::error(code, message))).into_response()
}
