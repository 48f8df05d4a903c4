//! What this node is: its status, its operations, its API's description.

use super::lines;
use crate::Node;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value as Tree, json};
use std::sync::Arc;
use tidegate_engine::contract;
use tidegate_ops::registry;

pub(super) async fn status(State(node): State<Arc<Node>>) -> Json<Tree> {
    let site = node.engine().site();
    let links: Vec<Tree> = node
        .engine()
        .remote()
        .links()
        .into_iter()
        .map(|(id, kind, up, rtt_us)| {
            json!({
                "site": id.to_string(),
                "site_kind": kind.as_str(),
                "state": if up { "connected" } else { "away" },
                "rtt_s": rtt_us as f64 / 1e6,
            })
        })
        .collect();
    Json(contract::line(
        "status",
        json!({
            "site": site.id.to_string(),
            "site_kind": site.kind.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "active_runs": node.engine().active_count(),
            "load": site.load(),
            "slots": site.slot_count(),
            "peers": links,
        }),
    ))
}

pub(super) async fn operations() -> Response {
    lines(registry::specs().map(contract::operation))
}

/// The API's description, kept beside the routes.
pub(super) async fn openapi() -> Json<Tree> {
    Json(serde_json::from_str(include_str!("openapi.json")).unwrap_or_default())
}
