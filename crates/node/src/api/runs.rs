//! Runs: submit, list, show, watch, wait, cancel.

use super::{Problem, lines};
use crate::Node;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value as Tree;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegate_domain::ids::RunId;
use tidegate_domain::label::Label;
use tidegate_domain::value::Value;
use tidegate_engine::{RunView, Submission, contract};
use tokio::sync::mpsc;

/// Progress lines come at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Runs in one list.
const LISTED_MAX: usize = 1_000;

/// A request to run a workflow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    workflow: String,
    #[serde(default)]
    inputs: BTreeMap<String, Tree>,
    outputs: Option<PathBuf>,
    #[serde(default)]
    allow_redacted: bool,
}

pub(super) async fn submit(State(node): State<Arc<Node>>, body: Bytes) -> Result<Response, Problem> {
    let request: Request = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "E2008", &format!("the request is not as declared: {e}")))?;
    let bad = |name: &str, why: &str| Problem::new(StatusCode::BAD_REQUEST, "E2008", &format!("input `{name}`: {why}"));
    let mut inputs = BTreeMap::new();
    for (name, tree) in request.inputs {
        let value = Value::from_tree(tree, &Label::PUBLIC).map_err(|e| bad(&name, &e.to_string()))?;
        inputs.insert(name, value);
    }
    let submission = Submission {
        source: request.workflow,
        inputs,
        outputs: request.outputs.unwrap_or_else(|| node.outputs().to_owned()),
        allow_redacted: request.allow_redacted,
    };
    let view = node.engine().submit(submission).await?;
    Ok((StatusCode::CREATED, Json(contract::run_started(&view))).into_response())
}

pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Response, Problem> {
    let now_ms = node.engine().site().now_ms();
    let rows = node.engine().runs(LISTED_MAX)?;
    Ok(lines(rows.iter().map(|row| contract::run_row(node.engine(), row, now_ms))))
}

pub(super) async fn show(State(node): State<Arc<Node>>, Path(run): Path<String>) -> Result<Json<Tree>, Problem> {
    let view = find(&node, &run)?;
    Ok(Json(contract::run_finished(&view, node.engine().site().now_ms())))
}

pub(super) async fn wait(State(node): State<Arc<Node>>, Path(run): Path<String>) -> Result<Json<Tree>, Problem> {
    let view = find(&node, &run)?;
    let id = view.row.run;
    while node.engine().is_active(id) {
        let seen = view.version();
        if !node.engine().is_active(id) {
            break;
        }
        // Versions change with every step; the timeout covers the end itself.
        let _ = tokio::time::timeout(Duration::from_millis(200), view.changed(seen)).await;
    }
    let view = view.refreshed(node.engine());
    Ok(Json(contract::run_finished(&view, node.engine().site().now_ms())))
}

pub(super) async fn cancel(State(node): State<Arc<Node>>, Path(run): Path<String>) -> Result<StatusCode, Problem> {
    let id = parse(&run)?;
    node.engine().cancel(id)?;
    Ok(StatusCode::ACCEPTED)
}

/// What is to be told of a run.
#[derive(Deserialize)]
pub(crate) struct Watch {
    /// Whether lines of progress are wanted.
    #[serde(default)]
    progress: bool,
}

/// The run as lines: `run.started`, `step.finished` for each unit, `run.finished`.
pub(super) async fn events(
    State(node): State<Arc<Node>>,
    Path(run): Path<String>,
    Query(watch): Query<Watch>,
) -> Result<Response, Problem> {
    let view = find(&node, &run)?;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(64);
    tokio::spawn(tell(node, view, watch.progress, sender));
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

type Lines = mpsc::Sender<Result<Bytes, std::convert::Infallible>>;

async fn send(to: &Lines, line: &Tree) -> bool {
    to.send(Ok(Bytes::from(format!("{line}\n")))).await.is_ok()
}

async fn tell(node: Arc<Node>, view: RunView, progress: bool, to: Lines) {
    let id = view.row.run;
    if !send(&to, &contract::run_started(&view)).await {
        return;
    }
    let mut told = 0;
    let mut last_progress = None;
    loop {
        let seen = view.version();
        let over = !node.engine().is_active(id);
        for unit in view.ended_since(told) {
            told += 1;
            if let Some(report) = view.unit(unit)
                && !send(&to, &contract::step_finished(&report)).await
            {
                return;
            }
        }
        if over {
            break;
        }
        if progress {
            let report = view.report();
            let now = (report.ended, report.units, report.status);
            if last_progress != Some(now) {
                last_progress = Some(now);
                if !send(&to, &contract::run_progress(&view, &report)).await {
                    return;
                }
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), view.changed(seen)).await;
    }
    // The header of a finished run has its end; the live view was made at its start.
    let view = view.refreshed(node.engine());
    let _ = send(&to, &contract::run_finished(&view, node.engine().site().now_ms())).await;
}

fn parse(run: &str) -> Result<RunId, Problem> {
    run.parse().map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "E2008", &format!("`{run}`: {e}")))
}

pub(super) fn find(node: &Node, run: &str) -> Result<RunView, Problem> {
    Ok(node.engine().view(parse(run)?)?)
}
