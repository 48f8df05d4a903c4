//! Why each step ran where it ran.

use super::{Problem, lines, runs};
use crate::Node;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use tidegate_engine::contract;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    step: Option<String>,
}

pub(super) async fn explain(
    State(node): State<Arc<Node>>,
    Path(run): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let view = runs::find(&node, &run)?;
    let found = contract::explain(&view, wanted.step.as_deref());
    if let (true, Some(step)) = (found.is_empty(), wanted.step) {
        let known: Vec<String> = view.steps().into_iter().map(|(id, _)| id).collect();
        let message = format!("the run has no step `{step}` that began; it has {}", known.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "E2007", &message));
    }
    Ok(lines(found))
}
