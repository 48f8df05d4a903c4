//! Who owns a data folder now: another command, whose node answers, or nobody, and then this
//! command may.

use crate::client::Client;
use crate::exit::Failed;
use crate::folders;
use crate::supervisor::{Plan, Supervisor};
use std::path::Path;
use std::time::Duration;
use tidegate_seams::lock::FolderLock;

/// A node to talk to, and the pair behind it if this command started it.
pub struct Owned {
    pub client: Client,
    pub supervisor: Option<Supervisor>,
}

/// The node that answers for a folder, if there is one.
pub async fn find(data: &Path) -> Option<Client> {
    let client = Client::new(&folders::device(data).join("node.sock"));
    client.answers().await.then_some(client)
}

/// The node that answers for a folder, or one that this command starts.
pub async fn find_or_start(plan: Plan) -> Result<Owned, Failed> {
    let data = plan.data.clone();
    let cannot = |e: std::io::Error| Failed::new("E2008", format!("cannot use `{}`: {e}", data.display()));
    // Another command may be starting or ending just now.
    for _ in 0..150 {
        if let Some(lock) = FolderLock::take(&data).map_err(cannot)? {
            let supervisor = Supervisor::start(plan, lock).await?;
            return Ok(Owned { client: Client::new(&supervisor.running.socket), supervisor: Some(supervisor) });
        }
        if let Some(client) = find(&data).await {
            return Ok(Owned { client, supervisor: None });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failed::new("E2001", format!("another process owns `{}` and does not answer", data.display())))
}
