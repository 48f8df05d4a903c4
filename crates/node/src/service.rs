//! The node as a process: opened, announced on standard output, told where its hub is on standard
//! input, and ended with it.

use crate::{HubAddress, Node, NodeConfig, NodeError, api};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::sync::Arc;
use tidegate_domain::ops::Capability;
use tidegate_seams::Seams;
use tidegate_seams::lock::FolderLock;
use tidegate_transport::local::{TokenDoor, UnixDoor};
use tokio::io::{AsyncBufReadExt, BufReader};

/// What a node says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Said {
    /// It is open.
    #[serde(rename = "node.ready")]
    Ready {
        /// Who it is.
        site: String,
        /// Its public key, to be certified.
        public: String,
        /// Its UNIX socket.
        socket: std::path::PathBuf,
        /// Its loopback port, if it was asked for one.
        address: Option<std::net::SocketAddr>,
        /// The file with the token for that port.
        token_file: Option<std::path::PathBuf>,
        /// Runs that could not be resumed, with the reason.
        stuck: Vec<(String, String)>,
    },
    /// It cannot go on.
    #[serde(rename = "node.failed")]
    Failed {
        /// A code of the registry.
        code: String,
        /// Why.
        message: String,
    },
}

/// What a node is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Told {
    /// Where its hub is.
    #[serde(rename = "hub")]
    Hub {
        /// Who it is.
        site: String,
        /// `https://host:port`
        url: String,
        /// The root to trust, PEM.
        authority: String,
        /// The node's certificate, PEM.
        certificate: String,
        /// What the hub has.
        capabilities: Vec<String>,
    },
}

/// Runs a node until standard input ends. `port` asks for the loopback port, 0 for any.
pub async fn run(config: NodeConfig, port: Option<u16>, seams: Seams) -> ExitCode {
    match serve(config, port, seams).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match &error {
                NodeError::Site(tidegate_engine::site::SiteError::Store(e)) => store_code(e),
                NodeError::Engine(tidegate_engine::EngineError::Store(e)) => store_code(e),
                _ => "E2005",
            };
            say(&Said::Failed { code: code.into(), message: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

fn store_code(error: &tidegate_store::StoreError) -> &'static str {
    if matches!(error, tidegate_store::StoreError::Corrupt { .. }) { "E2003" } else { "E2002" }
}

async fn serve(config: NodeConfig, port: Option<u16>, seams: Seams) -> Result<(), NodeError> {
    let folder = |e: std::io::Error| NodeError::Folder(config.dir.clone(), e.to_string());
    let _lock = FolderLock::wait(&config.dir).await.map_err(folder)?;
    let (node, stuck) = Node::open(&config, seams.clone()).await?;
    let socket = config.dir.join("node.sock");
    let door = UnixDoor::open(&socket).map_err(folder)?;
    let local = tokio::spawn(door.serve(api::router(Arc::clone(&node))));
    let (mut address, mut token_file) = (None, None);
    let mut loopback = None;
    if let Some(port) = port {
        let file = config.dir.join("token");
        let door = TokenDoor::open(port, &file, seams.entropy.as_ref()).await.map_err(folder)?;
        address = door.address().ok();
        token_file = Some(file);
        loopback = Some(tokio::spawn(door.serve(api::router(Arc::clone(&node)))));
    }
    say(&Said::Ready {
        site: node.engine().site().id.to_string(),
        public: node.public_key()?,
        socket,
        address,
        token_file,
        stuck: stuck.into_iter().map(|(run, e)| (run.to_string(), e.to_string())).collect(),
    });

    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let failed = loop {
        tokio::select! {
            line = input.next_line() => match line {
                Ok(Some(line)) => tell(&node, &line),
                _ => break None,
            },
            error = node.engine().store_failed() => break Some(error),
        }
    };
    local.abort();
    if let Some(loopback) = loopback {
        loopback.abort();
    }
    match failed {
        // What the disk holds is unknown: the journal is read anew by the next process (F3).
        Some(error) => Err(tidegate_engine::EngineError::Store(error).into()),
        None => {
            let _ = node.engine().site().store.close();
            Ok(())
        }
    }
}

fn tell(node: &Arc<Node>, line: &str) {
    let Ok(Told::Hub { site, url, authority, certificate, capabilities }) = serde_json::from_str(line) else { return };
    let known = [Capability::Files, Capability::Vault, Capability::Library, Capability::Sandbox];
    let capabilities = known.into_iter().filter(|c| capabilities.iter().any(|name| name == c.as_str())).collect();
    let connected = match site.parse() {
        Ok(site) => {
            node.connect(&HubAddress { site, url, authority, certificate, capabilities }).map_err(|e| e.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(message) = connected {
        say(&Said::Failed { code: "E6001".into(), message });
    }
}

fn say(what: &Said) {
    use std::io::Write;
    if let Ok(line) = serde_json::to_string(what) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
