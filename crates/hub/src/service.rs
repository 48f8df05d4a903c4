//! The hub as a process: opened, announced on standard output, told things on standard input, and
//! ended with it.

use crate::{Hub, HubConfig, HubError, api};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use tidegate_domain::ids::SiteId;
use tidegate_seams::Seams;
use tidegate_seams::lock::FolderLock;
use tidegate_transport::certs::PublicKey;
use tidegate_transport::local::UnixDoor;
use tokio::io::{AsyncBufReadExt, BufReader};

/// What a hub says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Said {
    /// It is open.
    #[serde(rename = "hub.ready")]
    Ready {
        /// Where it listens.
        address: std::net::SocketAddr,
        /// Who it is.
        site: String,
        /// The root that its nodes trust, PEM.
        authority: String,
        /// What it has.
        capabilities: Vec<String>,
    },
    /// A node's certificate, PEM.
    #[serde(rename = "hub.enrolled")]
    Enrolled {
        /// The certificate.
        certificate: String,
    },
    /// It cannot go on.
    #[serde(rename = "hub.failed")]
    Failed {
        /// A code of the registry.
        code: String,
        /// Why.
        message: String,
    },
}

/// What a hub is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Told {
    /// Give this node a certificate.
    #[serde(rename = "enroll")]
    Enroll {
        /// Who it is.
        site: String,
        /// Its public key, hex.
        public: String,
    },
}

/// Runs a hub until standard input ends.
pub async fn run(config: HubConfig, seams: Seams) -> ExitCode {
    match serve(config, seams).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Said::Failed { code: "E2005".into(), message: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: HubConfig, seams: Seams) -> Result<(), HubError> {
    let folder = |e: std::io::Error| HubError::Folder(config.dir.clone(), e.to_string());
    let _lock = FolderLock::wait(&config.dir).await.map_err(folder)?;
    let mut hub = Hub::open(&config, seams).await?;
    let door = UnixDoor::open(&config.dir.join("hub.sock")).map_err(folder)?;
    let api = tokio::spawn(door.serve(api::router(hub.site().clone())));
    say(&Said::Ready {
        address: hub.address(),
        site: hub.site().id.to_string(),
        authority: hub.authority().pem().to_owned(),
        capabilities: hub.capabilities().iter().map(|c| c.as_str().to_owned()).collect(),
    });
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = input.next_line() => match line {
                Ok(Some(line)) => tell(&hub, &line),
                _ => break,
            },
            accepted = hub.accept_next() => if !accepted { break },
        }
    }
    api.abort();
    let _ = hub.site().store.close();
    Ok(())
}

fn tell(hub: &Hub, line: &str) {
    let Ok(Told::Enroll { site, public }) = serde_json::from_str::<Told>(line) else { return };
    let enrolled = site.parse::<SiteId>().map_err(|e| e.to_string()).and_then(|site| {
        let key = blake3::Hash::from_hex(&public).map_err(|e| e.to_string())?;
        hub.enroll(site, PublicKey(*key.as_bytes())).map_err(|e| e.to_string())
    });
    say(&match enrolled {
        Ok(certificate) => Said::Enrolled { certificate: certificate.pem().to_owned() },
        Err(message) => Said::Failed { code: "E6002".into(), message },
    });
}

fn say(what: &Said) {
    use std::io::Write;
    if let Ok(line) = serde_json::to_string(what) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
