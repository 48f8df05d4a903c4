//! `tidegate run`: a workflow to its end.

use super::read_file;
use crate::args::Common;
use crate::client::Client;
use crate::exit::{Exit, Failed, Outcome};
use crate::owner;
use crate::render::{self, Screen};
use crate::supervisor::{Plan, Supervisor};
use crate::{folders, render::Question};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidegate_domain::limits;
use tidegate_domain::workflow::{InputType, Mistake, Workflow, read};
use tidegate_ops::registry;

/// How long to wait before a node that did not answer is asked again.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(100);
/// How often a node may say that it does not work on a run before the command gives up: a node
/// that is just ending or starting says so too.
const IDLE_MAX: u32 = 30;

/// What was asked for.
pub struct Wanted {
    pub workflow: PathBuf,
    pub set: Vec<String>,
    pub allow_redacted: bool,
    pub record: Option<PathBuf>,
    pub library: Option<PathBuf>,
    pub verbose: bool,
    pub common: Common,
}

pub async fn run(wanted: Wanted) -> Outcome {
    let source = read_file(&wanted.workflow, limits::WORKFLOW_FILE_BYTES_MAX, "workflow")?;
    let workflow = read(&source, &registry::spec, &registry::names())
        .map_err(|mistakes| broken(&wanted.workflow, &source, &mistakes, wanted.common.json))?;
    let inputs = inputs(&wanted, &workflow, &source)?;
    let data = folders::data(wanted.common.data.as_deref())?;
    let record = wanted.record.as_deref().map(folders::absolute).transpose()?;
    if let Some(record) = &record {
        eprintln!("recording everything the hub receives to {}", record.display());
    }
    let library = match &wanted.library {
        Some(folder) => Some(folders::absolute(folder)?),
        None => beside(&wanted.workflow, "library")?,
    };
    let allow_redacted = wanted.allow_redacted || ask(&wanted, &workflow, &inputs)?;

    let plan = Plan { data, library, record, port: None, verbose: wanted.verbose };
    let owned = owner::find_or_start(plan.clone()).await?;
    if owned.supervisor.is_none() && (wanted.record.is_some() || wanted.library.is_some()) {
        eprintln!(
            "note: another command owns this folder; its hub keeps the --record and --library it was started with"
        );
    }
    if let Some(supervisor) = &owned.supervisor {
        for (run, why) in &supervisor.running.stuck {
            eprintln!("note: {run} could not be resumed: {why}");
        }
    }
    let request = json!({ "workflow": source, "inputs": inputs, "allow_redacted": allow_redacted });
    let submitted = owned.client.json("POST", "/v1/runs", Some(&request)).await;
    let started = match submitted {
        Ok(started) => started,
        Err(failed) => {
            super::leave(owned).await;
            return Err(failed);
        }
    };
    let run = started.get("run").and_then(Json::as_str).unwrap_or_default().to_owned();
    watch(plan, owned.client, owned.supervisor, &run, wanted.common.json).await
}

/// Watches a run to its end, whatever happens to the node meanwhile.
pub async fn watch(
    plan: Plan,
    mut client: Client,
    mut supervisor: Option<Supervisor>,
    run: &str,
    json: bool,
) -> Outcome {
    let mut screen = Screen::new(json);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut asked_to_stop = false;
    let mut idle = 0;
    let finished = loop {
        let followed = tokio::select! {
            followed = follow(&client, run, &mut screen) => followed,
            failed = gave_up(&mut supervisor) => {
                eprintln!("{run} is kept and goes on with: tidegate resume {run}");
                return Err(failed);
            }
            _ = &mut interrupted, if !asked_to_stop => {
                asked_to_stop = true;
                eprintln!("stopping {run}; once more to leave it to the next start");
                let _ = client.json("POST", &format!("/v1/runs/{run}/cancel"), None).await;
                continue;
            }
        };
        let failed = match followed {
            Ok(Followed::Ended(finished)) => break finished,
            Ok(Followed::Idle) => {
                idle += 1;
                let message = format!("the node does not go on with {run}: see device/stderr.log in the data folder");
                (idle >= IDLE_MAX).then(|| Failed::new("E2005", message))
            }
            // The node does not answer: it may again.
            Err(failed) if failed.is_absence() => None,
            // It answers, and will say the same the next time.
            Err(failed) => Some(failed),
        };
        if let Some(failed) = failed {
            if let Some(supervisor) = supervisor {
                supervisor.stop().await;
            }
            return Err(failed);
        }
        // If our node died, the supervisor starts it again, and it resumes the run.
        tokio::time::sleep(AGAIN_AFTER).await;
        if supervisor.is_none() && !client.answers().await {
            // The folder's owner is gone: this command takes over, and its node resumes.
            let owned = owner::find_or_start(plan.clone()).await?;
            client = owned.client;
            supervisor = owned.supervisor;
        }
    };
    screen.finish(&finished);
    if let Some(supervisor) = supervisor {
        supervisor.stop().await;
    }
    Ok(exit_of(&finished))
}

async fn gave_up(supervisor: &mut Option<Supervisor>) -> Failed {
    match supervisor {
        Some(supervisor) => supervisor.failed().await,
        None => std::future::pending().await,
    }
}

/// What following a run came to.
enum Followed {
    /// Its last line.
    Ended(Json),
    /// It has not ended, and the node does not work on it.
    Idle,
}

async fn follow(client: &Client, run: &str, screen: &mut Screen) -> Result<Followed, Failed> {
    let mut lines = client.lines(&format!("/v1/runs/{run}/events?progress=true")).await?;
    while let Some(line) = lines.next().await? {
        if line.get("type").and_then(Json::as_str) == Some("run.finished") {
            let status = line.get("status").and_then(Json::as_str).unwrap_or_default();
            return Ok(if status == "running" { Followed::Idle } else { Followed::Ended(line) });
        }
        screen.line(&line);
    }
    Err(Failed::new("E2004", "the node stopped answering"))
}

/// The exit code of a finished run.
pub fn exit_of(finished: &Json) -> Exit {
    let text = |member: Option<&Json>| member.and_then(Json::as_str).unwrap_or_default().to_owned();
    match text(finished.get("status")).as_str() {
        "succeeded" => Exit::Success,
        "waiting" => Exit::Waiting,
        _ if text(finished.get("error").and_then(|e| e.get("code"))) == "refused" => Exit::Refused,
        _ => Exit::Failed,
    }
}

/// A broken workflow, told with its places.
pub fn broken(path: &Path, source: &str, mistakes: &[Mistake], json: bool) -> Failed {
    if !json {
        eprint!("{}", render::mistakes(&path.display().to_string(), source, mistakes));
    }
    let error = tidegate_engine::EngineError::Workflow(mistakes.to_vec());
    let (_, line) = tidegate_engine::contract::engine_error(&error);
    Failed { exit: Exit::Usage, line }
}

fn inputs(wanted: &Wanted, workflow: &Workflow, source: &str) -> Result<BTreeMap<String, Json>, Failed> {
    let mut set = BTreeMap::new();
    for pair in &wanted.set {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failed::new("E2008", format!("`--set {pair}` is not NAME=VALUE")))?;
        set.insert(name.to_owned(), value.to_owned());
    }
    let bound = workflow
        .bind_inputs(&set)
        .map_err(|mistakes| broken(&wanted.workflow, source, &mistakes, wanted.common.json))?;
    let base = wanted.workflow.parent().unwrap_or(Path::new("."));
    let mut inputs = BTreeMap::new();
    for (name, value) in bound {
        let is_path = workflow.inputs.get(&name).is_some_and(|input| input.ty == InputType::Path);
        let json = match value.as_text().filter(|_| is_path) {
            // Defaults count from the workflow file, what the user types from where the user is.
            Some(path) if set.contains_key(&name) => path_input(Path::new(path))?,
            Some(path) => path_input(&base.join(path))?,
            None => value.to_tree(),
        };
        inputs.insert(name, json);
    }
    Ok(inputs)
}

fn path_input(path: &Path) -> Result<Json, Failed> {
    let real = path.canonicalize().map_err(|e| Failed::new("E2007", format!("`{}`: {e}", path.display())))?;
    let text = real.to_str().map(str::to_owned);
    text.map(Json::String).ok_or_else(|| Failed::new("E2008", format!("`{}` is not UTF-8", path.display())))
}

fn beside(workflow: &Path, name: &str) -> Result<Option<PathBuf>, Failed> {
    let folder = workflow.parent().unwrap_or(Path::new(".")).join(name);
    if folder.is_dir() { folders::absolute(&folder).map(Some) } else { Ok(None) }
}

/// Asks on a terminal, in plain words, what `--allow-redacted` says elsewhere.
fn ask(wanted: &Wanted, workflow: &Workflow, inputs: &BTreeMap<String, Json>) -> Result<bool, Failed> {
    let sends = workflow.steps.iter().any(|step| {
        registry::spec(&step.op).is_some_and(|op| !op.sites.contains(&tidegate_domain::ops::SiteKind::Device))
    });
    let redacts = workflow.steps.iter().any(|step| step.op == "privacy.redact");
    let own_folder = workflow.inputs.iter().any(|(name, input)| {
        input.ty == InputType::Path && wanted.set.iter().any(|pair| pair.split('=').next() == Some(name))
    });
    if !(sends && redacts && own_folder) || wanted.common.json {
        return Ok(false);
    }
    let folders: Vec<&str> = inputs.values().filter_map(Json::as_str).filter(|v| Path::new(v).is_dir()).collect();
    Ok(Question::about(&folders).ask())
}
