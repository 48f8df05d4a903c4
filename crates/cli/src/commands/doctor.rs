//! `tidegate doctor`: whether everything is in place, each finding with what mends it.

use crate::args::Common;
use crate::exit::{Exit, Outcome};
use crate::{folders, owner, render};
use serde_json::{Value as Json, json};
use tidegate_engine::contract;
use tidegate_seams::lock::FolderLock;
use tidegate_seams::sandbox::{self, ChildLimits};

pub async fn doctor(common: Common) -> Outcome {
    let mut findings: Vec<Json> = Vec::new();
    let mut healthy = true;
    let mut tell = |what: &str, state: &str, detail: String, remedy: &str| {
        healthy &= state != "bad";
        findings.push(contract::line(
            "doctor.finding",
            json!({"what": what, "state": state, "detail": detail, "remedy": remedy}),
        ));
    };

    match sandbox::probe(&sandbox::own_program(), ChildLimits::default()).await {
        Ok(confinement) => {
            let missing = confinement.missing();
            if confinement.mandatory() && missing.is_empty() {
                tell("sandbox", "ok", "confined children with every wall in force".into(), "");
            } else if confinement.mandatory() {
                tell(
                    "sandbox",
                    "warn",
                    format!("works without: {}", missing.join(", ")),
                    "use a kernel with Landlock and allow user namespaces",
                );
            } else {
                tell(
                    "sandbox",
                    "bad",
                    format!("mandatory walls are missing: {}", missing.join(", ")),
                    "documents in pdf, docx, html and eml cannot be read here; use a newer kernel",
                );
            }
        }
        Err(error) => tell(
            "sandbox",
            "bad",
            error.to_string(),
            "documents in pdf, docx, html and eml cannot be read here; see the message",
        ),
    }

    match folders::data(common.data.as_deref()) {
        Err(failed) => {
            let message = failed.line.get("message").and_then(Json::as_str).unwrap_or_default().to_owned();
            tell("data folder", "bad", message, "name one with `--data DIR`");
        }
        Ok(data) => {
            let answering = owner::find(&data).await;
            match (&answering, FolderLock::take(&data)) {
                (Some(client), _) => {
                    tell("data folder", "ok", format!("{} is owned by a running command", data.display()), "");
                    match client.json("GET", "/v1/status", None).await {
                        Ok(status) => {
                            let peers = status.get("peers").and_then(Json::as_array).cloned().unwrap_or_default();
                            let up = peers.iter().any(|p| p.get("state").and_then(Json::as_str) == Some("connected"));
                            let detail =
                                format!("{} of {} sites connected", peers.len() * usize::from(up), peers.len());
                            tell(
                                "session",
                                if up { "ok" } else { "bad" },
                                detail,
                                if up { "" } else { "look at hub/stderr.log in the data folder" },
                            );
                        }
                        Err(_) => tell(
                            "session",
                            "bad",
                            "the node does not answer".into(),
                            "stop the command that owns the folder and start it again",
                        ),
                    }
                }
                (None, Ok(Some(_lock))) => {
                    tell("data folder", "ok", format!("{} can be written", data.display()), "");
                    for (side, dir) in [("device", folders::device(&data)), ("hub", folders::hub(&data))] {
                        if !dir.join("journal.db").exists() {
                            continue;
                        }
                        let opened =
                            tidegate_store::sqlite::SqliteStore::open(&dir, tidegate_domain::ids::Realm::LOCAL);
                        match opened.and_then(|store| tidegate_store::Store::verify(store.as_ref())) {
                            Ok(verified) => tell(
                                &format!("{side} store"),
                                "ok",
                                format!(
                                    "{} journal rows and {} audit entries, chains whole",
                                    verified.journal_rows, verified.audit_entries
                                ),
                                "",
                            ),
                            Err(error) => tell(
                                &format!("{side} store"),
                                "bad",
                                error.to_string(),
                                "restore a backup of the data folder",
                            ),
                        }
                    }
                }
                (None, Ok(None)) => tell(
                    "data folder",
                    "bad",
                    format!("{} is owned by a command that does not answer", data.display()),
                    "stop that command",
                ),
                (None, Err(error)) => tell(
                    "data folder",
                    "bad",
                    format!("{}: {error}", data.display()),
                    "choose another folder with `--data DIR`",
                ),
            }
        }
    }

    for finding in &findings {
        super::print_line(&if common.json { finding.to_string() } else { render::finding(finding) });
    }
    Ok(if healthy { Exit::Success } else { Exit::Failed })
}
