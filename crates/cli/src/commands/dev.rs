//! `tidegate dev`: a hub and a node, kept up, with a local API.

use crate::args::Common;
use crate::exit::{Failed, Outcome};
use crate::supervisor::{Plan, Supervisor};
use crate::{folders, owner};
use serde_json::json;
use std::path::PathBuf;
use tidegate_engine::contract;
use tidegate_seams::lock::FolderLock;
use tokio::signal::unix::{SignalKind, signal};

pub async fn dev(
    port: u16,
    record: Option<PathBuf>,
    library: Option<PathBuf>,
    verbose: bool,
    common: Common,
) -> Outcome {
    let data = folders::data(common.data.as_deref())?;
    let record = record.as_deref().map(folders::absolute).transpose()?;
    let library = library.as_deref().map(folders::absolute).transpose()?;
    if let Some(record) = &record {
        eprintln!("recording everything the hub receives to {}", record.display());
    }
    let cannot = |e: std::io::Error| Failed::new("E2008", format!("cannot use `{}`: {e}", data.display()));
    let Some(lock) = FolderLock::take(&data).map_err(cannot)? else {
        let answers = owner::find(&data).await.is_some();
        let how = if answers { "and answers commands" } else { "and does not answer" };
        return Err(Failed::new("E2001", format!("another process owns `{}` {how}", data.display())));
    };
    let plan = Plan { data: data.clone(), library, record, port: Some(port), verbose };
    let mut supervisor = Supervisor::start(plan, lock).await?;
    let running = supervisor.running.clone();
    for (run, why) in &running.stuck {
        eprintln!("note: {run} could not be resumed: {why}");
    }
    let device_url = running.device_address.map(|a| format!("http://{a}"));
    if common.json {
        super::print_line(
            &contract::line(
                "dev.ready",
                json!({
                    "device_url": device_url,
                    "hub_url": format!("https://{}", running.hub_address),
                    "token_file": running.token_file,
                    "socket": running.socket,
                    "data": data,
                }),
            )
            .to_string(),
        );
    } else {
        super::print_line(&format!("device  {}", device_url.unwrap_or_default()));
        super::print_line(&format!("hub     https://{}", running.hub_address));
        if let Some(token) = &running.token_file {
            super::print_line(&format!("token   {}", token.display()));
        }
        super::print_line(&format!("next    tidegate run WORKFLOW --data {}", data.display()));
    }
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| Failed::new("E2006", e.to_string()))?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
        failed = supervisor.failed() => return Err(failed),
    }
    supervisor.stop().await;
    super::done()
}
