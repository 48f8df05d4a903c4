//! The device's audit log.

use super::{Problem, lines};
use crate::Node;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use tidegate_domain::ids::RunId;
use tidegate_engine::{EngineError, contract};

/// Entries in one page; ask again `after` the last one's `seq`.
const PAGE_MAX: usize = 5_000;

#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    after: u64,
    run: Option<String>,
}

pub(super) async fn list(State(node): State<Arc<Node>>, Query(page): Query<Page>) -> Result<Response, Problem> {
    let bad = |e: tidegate_domain::ids::IdError| Problem::new(StatusCode::BAD_REQUEST, "E2008", &e.to_string());
    let run: Option<RunId> = page.run.map(|run| run.parse()).transpose().map_err(bad)?;
    let store = &node.engine().site().store;
    let (found, _) = contract::audit(store.as_ref(), page.after, run, PAGE_MAX).map_err(EngineError::from)?;
    Ok(lines(found))
}

pub(super) async fn verify(State(node): State<Arc<Node>>) -> Response {
    let store = Arc::clone(&node.engine().site().store);
    match tokio::task::spawn_blocking(move || contract::audit_verified(store.verify())).await {
        Ok(Ok(line)) => Json(line).into_response(),
        Ok(Err(line)) => (StatusCode::CONFLICT, Json(line)).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "E2006", &error.to_string()).into_response(),
    }
}
