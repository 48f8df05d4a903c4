//! The hidden commands that are a hub or a node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tidegate_hub::HubConfig;
use tidegate_node::NodeConfig;
use tidegate_seams::Seams;

/// Attempts that compute at once: one for each core.
fn slots() -> u32 {
    std::thread::available_parallelism().map_or(2, |n| n.get() as u32)
}

pub async fn hub(dir: PathBuf, address: SocketAddr, library: Option<PathBuf>, record: Option<PathBuf>) -> ExitCode {
    let config = HubConfig { dir, address, library, record, slots: slots() };
    tidegate_hub::service::run(config, Seams::system()).await
}

pub async fn node(dir: PathBuf, outputs: PathBuf, port: Option<u16>) -> ExitCode {
    tidegate_node::service::run(NodeConfig { dir, outputs, slots: slots() }, port, Seams::system()).await
}
