//! `tidegate audit` and `audit verify`: what left, under which rule, and whether the log is whole.

use crate::args::{Common, Side};
use crate::client::Client;
use crate::exit::{Exit, Failed, Outcome};
use crate::owner::{self, Owned};
use crate::supervisor::Plan;
use crate::{folders, render};
use serde_json::Value as Json;

pub async fn audit(verify: bool, run: Option<&str>, side: Side, common: Common) -> Outcome {
    let data = folders::data(common.data.as_deref())?;
    if !folders::device(&data).join("journal.db").exists() {
        return Err(Failed::new("E2007", format!("nothing has run in `{}` yet", data.display())));
    }
    if verify && owner::find(&data).await.is_none() {
        return verify_closed(&data, side, common.json);
    }
    let owned =
        owner::find_or_start(Plan { data: data.clone(), library: None, record: None, port: None, verbose: false })
            .await?;
    let client = match side {
        Side::Device => owned.client.clone(),
        Side::Hub => Client::new(&folders::hub(&data).join("hub.sock")),
    };
    let outcome = ask(&client, verify, run, common.json).await;
    super::leave(Owned { client, supervisor: owned.supervisor }).await;
    outcome
}

/// Verifies a folder that nobody owns without opening it for writing runs: damage may keep a node
/// from starting, and then this is the command that tells.
fn verify_closed(data: &std::path::Path, side: Side, json: bool) -> Outcome {
    let dir = match side {
        Side::Device => folders::device(data),
        Side::Hub => folders::hub(data),
    };
    let opened = tidegate_store::sqlite::SqliteStore::open(&dir, tidegate_domain::ids::Realm::LOCAL);
    let verified = opened.and_then(|store| {
        let verified = tidegate_store::Store::verify(store.as_ref());
        let _ = tidegate_store::Store::close(store.as_ref());
        verified
    });
    told(tidegate_engine::contract::audit_verified(verified), json)
}

fn told(verified: Result<Json, Json>, json: bool) -> Outcome {
    match verified {
        Ok(line) => {
            super::print_line(&if json { line.to_string() } else { render::verified(&line) });
            Ok(Exit::Success)
        }
        Err(line) => Err(Failed { exit: Exit::Failed, line }),
    }
}

async fn ask(client: &Client, verify: bool, run: Option<&str>, json: bool) -> Outcome {
    if verify {
        return match client.json("GET", "/v1/audit/verify", None).await {
            Ok(line) => told(Ok(line), json),
            Err(failed) => told(Err(failed.line), json),
        };
    }
    let filter = run.map_or_else(String::new, |run| format!("&run={}", super::explain::encode(run)));
    let mut after = 0;
    let mut summary = render::AuditTable::default();
    loop {
        let page = super::lines_of(client, &format!("/v1/audit?after={after}{filter}")).await?;
        let Some(last) = page.last().and_then(|line| line.get("seq")).and_then(Json::as_u64) else { break };
        after = last;
        for line in &page {
            if json {
                if !super::print_line(&line.to_string()) {
                    return Ok(Exit::Success);
                }
            } else {
                summary.add(line);
            }
        }
    }
    if !json {
        super::print_line(&summary.draw());
    }
    Ok(Exit::Success)
}
