//! `tidegate runs`, `show` and `cancel`.

use crate::args::Common;
use crate::exit::{Failed, Outcome};
use crate::render;
use serde_json::Value as Json;

pub async fn list(common: Common) -> Outcome {
    let owned = match super::asked(&common).await {
        Ok(owned) => owned,
        // A folder in which nothing has run has no runs.
        Err(failed) if failed.line.get("code").and_then(Json::as_str) == Some("not-found") => {
            if !common.json {
                eprintln!("no runs yet");
            }
            return super::done();
        }
        Err(failed) => return Err(failed),
    };
    let listed = super::lines_of(&owned.client, "/v1/runs").await;
    super::leave(owned).await;
    let listed = listed?;
    if common.json {
        for line in listed {
            if !super::print_line(&line.to_string()) {
                break;
            }
        }
    } else {
        super::print_line(&render::runs(&listed));
    }
    super::done()
}

pub async fn show(run: &str, common: Common) -> Outcome {
    let owned = super::asked(&common).await?;
    let shown = owned.client.json("GET", &format!("/v1/runs/{}", super::explain::encode(run)), None).await;
    super::leave(owned).await;
    let shown = shown?;
    if common.json {
        super::print_line(&shown.to_string());
    } else {
        super::print_line(&render::finished(&shown));
    }
    super::done()
}

pub async fn cancel(run: &str, common: Common) -> Outcome {
    let owned = super::asked(&common).await?;
    let path = format!("/v1/runs/{}", super::explain::encode(run));
    let mut asked: Result<Json, Failed> = owned.client.json("POST", &format!("{path}/cancel"), None).await;
    if asked.is_ok() {
        asked = owned.client.json("GET", &format!("{path}/wait"), None).await;
    }
    super::leave(owned).await;
    let finished = asked?;
    if common.json {
        super::print_line(&finished.to_string());
    } else {
        let status = finished.get("status").and_then(Json::as_str).unwrap_or_default();
        super::print_line(&format!("{run} {status}"));
    }
    super::done()
}
