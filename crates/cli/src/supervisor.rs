//! Keeps a hub and a node running for as long as the command lives: two processes, introduced to
//! each other, each restarted up to three times, both ended with the command.
//!
//! They are told things over their standard input, which only their parent holds: the hub
//! certifies the node's key, the node learns where the hub is. If the command dies in whatever
//! way, both inputs end and so do they.

use crate::exit::Failed;
use crate::folders;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tidegate_hub::service as hub;
use tidegate_node::service as node;
use tidegate_seams::lock::FolderLock;
use tidegate_seams::process::Service;
use tidegate_seams::sandbox;
use tokio::sync::{mpsc, oneshot};

/// How often a side is started again before the command gives up.
const RESTARTS_MAX: u32 = 3;
/// A side that lived this long earns its restarts back.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// How long a side may take to open.
const OPENING: Duration = Duration::from_secs(60);
/// How long a side may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// What to supervise.
#[derive(Clone, Debug)]
pub struct Plan {
    pub data: PathBuf,
    pub library: Option<PathBuf>,
    pub record: Option<PathBuf>,
    /// The node's loopback port.
    pub port: Option<u16>,
    pub verbose: bool,
}

/// What is running.
#[derive(Clone, Debug)]
pub struct Running {
    pub socket: PathBuf,
    pub device_address: Option<SocketAddr>,
    pub token_file: Option<PathBuf>,
    pub hub_address: SocketAddr,
    /// Runs that could not be resumed, with the reason.
    pub stuck: Vec<(String, String)>,
}

/// A supervised pair. Ends when stopped or dropped.
pub struct Supervisor {
    pub running: Running,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    failed: oneshot::Receiver<Failed>,
}

struct HubSide {
    service: Service,
    address: SocketAddr,
    site: String,
    authority: String,
    capabilities: Vec<String>,
}

struct NodeSide {
    service: Service,
    site: String,
    public: String,
    socket: PathBuf,
    address: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    stuck: Vec<(String, String)>,
}

impl Supervisor {
    /// Starts both sides. The caller holds the folder's lock and gives it away.
    pub async fn start(plan: Plan, lock: FolderLock) -> Result<Self, Failed> {
        let mut hub = start_hub(&plan, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut node = start_node(&plan).await?;
        introduce(&mut hub, &mut node).await?;
        let running = Running {
            socket: node.socket.clone(),
            device_address: node.address,
            token_file: node.token_file.clone(),
            hub_address: hub.address,
            stuck: node.stuck.clone(),
        };
        let (stop, stopped) = mpsc::channel(1);
        let (failing, failed) = oneshot::channel();
        tokio::spawn(watch(plan, lock, hub, node, stopped, failing));
        Ok(Self { running, stop, failed })
    }

    /// Resolves when a side could not be kept running.
    pub async fn failed(&mut self) -> Failed {
        (&mut self.failed).await.unwrap_or_else(|_| Failed::new("E2006", "the supervisor is gone"))
    }

    /// Ends both sides in order.
    pub async fn stop(self) {
        let (done, ended) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = ended.await;
        }
    }
}

async fn watch(
    plan: Plan,
    lock: FolderLock,
    mut hub: HubSide,
    mut node: NodeSide,
    mut stopped: mpsc::Receiver<oneshot::Sender<()>>,
    failing: oneshot::Sender<Failed>,
) {
    let (mut hub_starts, mut node_starts) = (0, 0);
    let failure = loop {
        let life = tokio::time::sleep(GOOD_LIFE);
        tokio::select! {
            asked = stopped.recv() => {
                node.service.stop(ENDING).await;
                hub.service.stop(ENDING).await;
                drop(lock);
                if let Some(done) = asked {
                    let _ = done.send(());
                }
                return;
            }
            how = hub.service.ended() => {
                hub_starts += 1;
                if hub_starts > RESTARTS_MAX {
                    break Failed::new("E2005", format!("the hub stopped {hub_starts} times, last with {how}"));
                }
                // The same address, so that the node finds it where it was.
                match restart_hub(&plan, hub.address, &mut node).await {
                    Ok(side) => hub = side,
                    Err(failed) => break failed,
                }
            }
            how = node.service.ended() => {
                node_starts += 1;
                if node_starts > RESTARTS_MAX {
                    break Failed::new("E2005", format!("the node stopped {node_starts} times, last with {how}"));
                }
                match restart_node(&plan, &mut hub).await {
                    Ok(side) => node = side,
                    Err(failed) => break failed,
                }
            }
            () = life => {
                hub_starts = 0;
                node_starts = 0;
            }
        }
    };
    node.service.stop(ENDING).await;
    hub.service.stop(ENDING).await;
    drop(lock);
    let _ = failing.send(failure);
}

async fn restart_hub(plan: &Plan, address: SocketAddr, node: &mut NodeSide) -> Result<HubSide, Failed> {
    let mut hub = match start_hub(plan, address).await {
        Ok(hub) => hub,
        // Somebody took the port meanwhile; any other will do, the node is told.
        Err(_) => start_hub(plan, SocketAddr::from(([127, 0, 0, 1], 0))).await?,
    };
    // If the node has died as well, its own restart introduces them.
    let _ = introduce(&mut hub, node).await;
    Ok(hub)
}

async fn restart_node(plan: &Plan, hub: &mut HubSide) -> Result<NodeSide, Failed> {
    let mut node = start_node(plan).await?;
    let _ = introduce(hub, &mut node).await;
    Ok(node)
}

fn errors(plan: &Plan, folder: &std::path::Path) -> Stdio {
    if plan.verbose {
        return Stdio::inherit();
    }
    // What a side prints is for finding faults; it is kept beside its data.
    let log = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::OpenOptions::new().create(true).append(true).open(folder.join("stderr.log")));
    log.map_or_else(|_| Stdio::null(), Stdio::from)
}

async fn start_hub(plan: &Plan, address: SocketAddr) -> Result<HubSide, Failed> {
    let dir = folders::hub(&plan.data);
    let mut arguments = vec!["__hub".to_owned(), "--dir".into(), path(&dir)?, "--address".into(), address.to_string()];
    let library = remembered_library(&dir, plan.library.as_ref());
    for (flag, value) in [("--library", &library), ("--record", &plan.record)] {
        if let Some(value) = value {
            arguments.extend([flag.to_owned(), path(value)?]);
        }
    }
    let mut service = spawn("hub", &arguments, errors(plan, &dir))?;
    match hear("hub", &mut service).await? {
        hub::Said::Ready { address, site, authority, capabilities } => {
            Ok(HubSide { service, address, site, authority, capabilities })
        }
        hub::Said::Failed { code, message } => Err(Failed::new(&code, format!("the hub did not start: {message}"))),
        hub::Said::Enrolled { .. } => Err(Failed::new("E2006", "the hub spoke out of turn")),
    }
}

/// The hub's library: the one asked for, else the last one this folder's hub had. Commands that
/// only ask or resume name none, and their hub goes on with earlier runs all the same.
fn remembered_library(dir: &std::path::Path, asked: Option<&PathBuf>) -> Option<PathBuf> {
    let note = dir.join("library.path");
    let Some(asked) = asked else {
        let remembered = PathBuf::from(std::fs::read_to_string(note).ok()?);
        return remembered.is_dir().then_some(remembered);
    };
    if let Some(text) = asked.to_str() {
        // Without it a later command has no library, and says so.
        let _ = std::fs::create_dir_all(dir).and_then(|()| tidegate_seams::files::replace(&note, text.as_bytes()));
    }
    Some(asked.clone())
}

async fn start_node(plan: &Plan) -> Result<NodeSide, Failed> {
    let dir = folders::device(&plan.data);
    let outputs = path(&folders::outputs(&plan.data))?;
    let mut arguments = vec!["__node".to_owned(), "--dir".into(), path(&dir)?, "--outputs".into(), outputs];
    if let Some(port) = plan.port {
        arguments.extend(["--port".to_owned(), port.to_string()]);
    }
    let mut service = spawn("node", &arguments, errors(plan, &dir))?;
    match hear("node", &mut service).await? {
        node::Said::Ready { site, public, socket, address, token_file, stuck } => {
            Ok(NodeSide { service, site, public, socket, address, token_file, stuck })
        }
        node::Said::Failed { code, message } => Err(Failed::new(&code, format!("the node did not start: {message}"))),
    }
}

/// Has the hub certify the node and tells the node where the hub is.
async fn introduce(hub: &mut HubSide, node: &mut NodeSide) -> Result<(), Failed> {
    let broken = |e: std::io::Error| Failed::new("E2005", format!("cannot talk to a side: {e}"));
    let enroll = hub::Told::Enroll { site: node.site.clone(), public: node.public.clone() };
    hub.service.tell(&text(&enroll)?).await.map_err(broken)?;
    let certificate = match hear("hub", &mut hub.service).await? {
        hub::Said::Enrolled { certificate } => certificate,
        hub::Said::Failed { code, message } => return Err(Failed::new(&code, message)),
        hub::Said::Ready { .. } => return Err(Failed::new("E2006", "the hub spoke out of turn")),
    };
    let told = node::Told::Hub {
        site: hub.site.clone(),
        url: format!("https://{}", hub.address),
        authority: hub.authority.clone(),
        certificate,
        capabilities: hub.capabilities.clone(),
    };
    node.service.tell(&text(&told)?).await.map_err(broken)
}

fn spawn(name: &str, arguments: &[String], errors: Stdio) -> Result<Service, Failed> {
    Service::spawn(&sandbox::own_program(), arguments, errors)
        .map_err(|e| Failed::new("E2005", format!("cannot start the {name}: {e}")))
}

async fn hear<T: serde::de::DeserializeOwned>(name: &str, service: &mut Service) -> Result<T, Failed> {
    let line = tokio::time::timeout(OPENING, service.hear()).await;
    match line {
        Ok(Ok(Some(line))) => serde_json::from_str(&line)
            .map_err(|e| Failed::new("E2006", format!("the {name} said something unexpected: {e}"))),
        Ok(_) => Err(Failed::new("E2005", format!("the {name} ended at its start"))),
        Err(_) => Err(Failed::new("E2005", format!("the {name} did not open within {} s", OPENING.as_secs()))),
    }
}

fn text(told: &impl serde::Serialize) -> Result<String, Failed> {
    serde_json::to_string(told).map_err(|e| Failed::new("E2006", e.to_string()))
}

fn path(path: &std::path::Path) -> Result<String, Failed> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failed::new("E2008", format!("`{}` is not UTF-8; choose another folder", path.display())))
}
