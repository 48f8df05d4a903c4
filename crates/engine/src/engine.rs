//! Starts, resumes, watches and cancels runs.

use crate::local::RunTools;
use crate::remote::Remote;
use crate::rows::{self, RowError};
use crate::runner::{Message, Runner, journal_write};
use crate::site::Site;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_domain::ids::RunId;
use tidegate_domain::limits;
use tidegate_domain::run::{Action, Event, Record, Run, RunError, RunReport, Start, Status, StepReport, Unit};
use tidegate_domain::value::Value;
use tidegate_domain::workflow::{InputType, Mistake, Workflow, read};
use tidegate_ops::{OpError, registry};
use tidegate_seams::{SealingKey, entropy};
use tidegate_store::blobs::Collected;
use tidegate_store::{Batch, RunRow, StoreError, Write};
use tokio::sync::{mpsc, watch};

/// Blobs younger than this are never collected: they may belong to a row on its way.
const BLOB_GRACE_MS: u64 = 60 * 60 * 1_000;

/// Why a run cannot be started, resumed or looked at.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The workflow has mistakes.
    #[error("the workflow has {} mistakes", .0.len())]
    Workflow(Vec<Mistake>),
    /// No such run here.
    #[error("there is no run {0} here")]
    NoRun(RunId),
    /// The run was forgotten: its key is gone.
    #[error("{0} was forgotten")]
    Forgotten(RunId),
    /// Too many runs at once.
    #[error("{} runs are under way, which is the limit; try again when some have ended", limits::ACTIVE_RUNS_MAX)]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The journal does not fit its workflow.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Something an operation needs cannot be made.
    #[error(transparent)]
    Tools(#[from] OpError),
    /// A state that should not be reachable.
    #[error("{0}")]
    Internal(String),
}

/// A request to run a workflow.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The workflow's text.
    pub source: String,
    /// Its inputs, complete, with absolute paths.
    pub inputs: BTreeMap<String, Value>,
    /// The folder for its outputs; the run's id is appended.
    pub outputs: PathBuf,
    /// Whether redacted text of its folders may go to internal destinations, for this run.
    pub allow_redacted: bool,
}

/// A run as its watchers and its runner share it.
pub struct Shared {
    run: Mutex<Run>,
    ended: Mutex<Vec<Unit>>,
    changed: watch::Sender<u64>,
}

impl Shared {
    fn new(run: Run) -> Arc<Self> {
        let over = |unit: &Unit| run.status_of(*unit).is_some_and(|s| !matches!(s, Status::Running | Status::Waiting));
        let ended = run.all_units().into_iter().filter(over).collect();
        Arc::new(Self { run: Mutex::new(run), ended: Mutex::new(ended), changed: watch::channel(0).0 })
    }

    pub(crate) fn handle(&self, event: Event) -> Vec<Action> {
        lock(&self.run).handle(event)
    }

    /// Tells watchers that a unit has ended, or that it waits.
    pub(crate) fn notify(&self, unit: Unit) {
        let over = lock(&self.run).status_of(unit).is_some_and(|status| status != Status::Waiting);
        if over {
            lock(&self.ended).push(unit);
        }
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn step_name(&self, step: u32) -> String {
        lock(&self.run).workflow().steps.get(step as usize).map(|s| s.id.clone()).unwrap_or_default()
    }
}

/// A run to look at, whether it goes on or is long over.
#[derive(Clone)]
pub struct RunView {
    /// Its header.
    pub row: RunRow,
    shared: Arc<Shared>,
}

impl RunView {
    /// The same run under its header as it stands in the store now: a run's end is there alone.
    #[must_use]
    pub fn refreshed(self, engine: &Engine) -> RunView {
        match engine.site.store.run(self.row.run) {
            Ok(Some(row)) => RunView { row, shared: self.shared },
            _ => self,
        }
    }

    /// What can be told of it as a whole.
    pub fn report(&self) -> RunReport {
        lock(&self.shared.run).report()
    }

    /// The workflow's name.
    pub fn workflow(&self) -> String {
        lock(&self.shared.run).workflow().name.clone()
    }

    /// The workflow's steps: id and operation.
    pub fn steps(&self) -> Vec<(String, String)> {
        lock(&self.shared.run).workflow().steps.iter().map(|s| (s.id.clone(), s.op.clone())).collect()
    }

    /// Its outputs, as far as they exist.
    pub fn outputs(&self) -> Vec<(String, Value)> {
        lock(&self.shared.run).outputs().unwrap_or_default()
    }

    /// All units, in order.
    pub fn units(&self) -> Vec<Unit> {
        lock(&self.shared.run).all_units()
    }

    /// One unit.
    pub fn unit(&self, unit: Unit) -> Option<StepReport> {
        lock(&self.shared.run).report_unit(unit)
    }

    /// How it ended, if it has.
    pub fn finished(&self) -> Option<Status> {
        lock(&self.shared.run).finished()
    }

    /// Units that ended since the `from`th, in the order in which they ended.
    pub fn ended_since(&self, from: usize) -> Vec<Unit> {
        lock(&self.shared.ended).get(from..).unwrap_or_default().to_vec()
    }

    /// Waits until something changes after `seen`; gives the new version. `None` once the run's
    /// driver is gone.
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut watcher = self.shared.changed.subscribe();
        let _ = watcher.wait_for(|version| *version != seen).await;
        *watcher.borrow()
    }

    /// The version of what can be told.
    pub fn version(&self) -> u64 {
        *self.shared.changed.borrow()
    }
}

struct Active {
    view: RunView,
    inbox: mpsc::UnboundedSender<Message>,
}

/// The runs of one site.
pub struct Engine {
    site: Arc<Site>,
    remote: Arc<Remote>,
    /// Sorted, so that runs are told of changes in the same order each time.
    active: Mutex<BTreeMap<RunId, Active>>,
    failed: watch::Sender<Option<StoreError>>,
}

impl Engine {
    /// An engine over a site. `remote` is its way to others.
    pub fn new(site: Arc<Site>, remote: Arc<Remote>) -> Arc<Self> {
        Arc::new(Self { site, remote, active: Mutex::default(), failed: watch::channel(None).0 })
    }

    /// The site.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Ways to other sites.
    pub fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Resolves when the store has failed: the process must stop (fault F3).
    pub async fn store_failed(&self) -> StoreError {
        let mut watcher = self.failed.subscribe();
        let failed = watcher.wait_for(Option::is_some).await.ok().and_then(|f| f.clone());
        failed.unwrap_or_else(|| StoreError::Stopped("the engine is gone".into()))
    }

    /// Reads a workflow with this program's operations.
    pub fn read_workflow(source: &str) -> Result<Workflow, EngineError> {
        read(source, &registry::spec, &registry::names()).map_err(EngineError::Workflow)
    }

    /// Starts a run. When this returns, the run is durable and will be driven to its end.
    pub async fn submit(self: &Arc<Self>, submission: Submission) -> Result<RunView, EngineError> {
        if lock(&self.active).len() >= limits::ACTIVE_RUNS_MAX {
            return Err(EngineError::Busy);
        }
        let workflow = Arc::new(Self::read_workflow(&submission.source)?);
        let (source, clock) = (self.site.seams.entropy.as_ref(), &self.site.seams.clock);
        let started_ms = clock.wall_ms();
        let id = RunId::mint(self.site.realm, started_ms, entropy::bytes(source));
        let key_bytes: [u8; 32] = entropy::bytes(source);
        let key = Arc::new(SealingKey::new(&key_bytes).map_err(|e| EngineError::Internal(e.to_string()))?);
        let start = Arc::new(Start {
            source: submission.source,
            inputs: submission.inputs,
            outputs_dir: submission.outputs.join(id.to_string().replace('/', "_")).display().to_string(),
            started_ms,
        });
        let seal = |plain: Vec<u8>, with: &SealingKey| {
            with.seal(plain, RUN_HEADER, source).map_err(|e| EngineError::Internal(e.to_string()))
        };
        let site_key = self.site.sealing_key().ok_or_else(|| EngineError::Internal("no site key".into()))?;
        let row = RunRow {
            run: id,
            status: Status::Running.code(),
            started_ms,
            ended_ms: 0,
            sealed_key: Some(seal(key_bytes.to_vec(), &site_key)?),
            sealed_name: seal(workflow.name.as_bytes().to_vec(), &key)?,
        };
        let run = Run::new(id, Arc::clone(&workflow), Arc::clone(&start), &registry::spec)?;
        let mut writes = vec![
            Write::Run(row.clone()),
            journal_write(id, &Record::Started(Box::new((*start).clone())), &key, &self.site)?,
        ];
        if submission.allow_redacted {
            writes.extend(self.grant_redaction(&run)?);
        }
        self.site.store.commit(Batch { writes }).await?;
        self.spawn(run, row, key, &key_bytes)
    }

    /// The owner's leave for one run: redacted text of its folders may be lowered.
    fn grant_redaction(&self, run: &Run) -> Result<Vec<Write>, EngineError> {
        let mut writes = Vec::new();
        for folder in folders(run) {
            let Ok(workspace) = self.site.workspace_id(&folder) else { continue };
            let scope = tidegate_gate::GrantScope::Run(run.id());
            let granted = self.site.gate.grant_redaction(workspace, scope, self.site.now_ms());
            let (_, write) = granted.map_err(|e| EngineError::Internal(e.to_string()))?;
            writes.push(write);
        }
        writes.push(self.site.gate.grants_setting());
        Ok(writes)
    }

    fn spawn(
        self: &Arc<Self>,
        run: Run,
        row: RunRow,
        key: Arc<SealingKey>,
        key_bytes: &[u8; 32],
    ) -> Result<RunView, EngineError> {
        let id = run.id();
        let tools = Arc::new(RunTools {
            run: id,
            workspaces: Arc::new(self.site.workspaces(&folders(&run))),
            outputs_dir: PathBuf::from(&run.start().outputs_dir),
            vault: if needs_vault(&run) { self.site.vault(id, key_bytes)?.map(Arc::new) } else { None },
        });
        let shared = Shared::new(run);
        let view = RunView { row: row.clone(), shared: Arc::clone(&shared) };
        let (sender, inbox) = mpsc::unbounded_channel();
        lock(&self.active).insert(id, Active { view: view.clone(), inbox: sender.clone() });
        let (site, remote) = (Arc::clone(&self.site), Arc::clone(&self.remote));
        let runner = Runner::new(site, remote, Arc::clone(&shared), tools, key, row, inbox, sender);
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            match runner.drive().await {
                Ok(Status::Running) => {}
                Ok(_) => {
                    let _ = engine.site.gate.end_run(id);
                }
                Err(error) => {
                    engine.failed.send_replace(Some(error));
                }
            }
            lock(&engine.active).remove(&id);
            shared.changed.send_modify(|version| *version += 1);
        });
        Ok(view)
    }

    /// Goes on with every run that had not ended, and collects blobs that no run uses. Called once,
    /// at start. Gives the runs whose journal cannot be read; they are left alone.
    pub fn resume_all(self: &Arc<Self>) -> Result<Vec<(RunId, EngineError)>, EngineError> {
        let mut stuck = Vec::new();
        for row in self.site.store.runs(limits::ACTIVE_RUNS_MAX)? {
            if Status::from_code(row.status) == Status::Running {
                let id = row.run;
                if let Err(error) = self.resume(row) {
                    stuck.push((id, error));
                }
            }
        }
        self.collect_blobs()?;
        Ok(stuck)
    }

    fn resume(self: &Arc<Self>, row: RunRow) -> Result<(), EngineError> {
        let (run, key, key_bytes) = self.load(&row)?;
        self.spawn(run, row, key, &key_bytes).map(|_| ())
    }

    /// Removes blobs that no run uses.
    pub fn collect_blobs(&self) -> Result<Collected, EngineError> {
        let in_use: HashSet<_> = self.site.store.blobs_in_use()?.into_iter().collect();
        let before = self.site.now_ms().saturating_sub(BLOB_GRACE_MS);
        self.site.blobs.collect(&in_use, before).map_err(|e| EngineError::Internal(e.to_string()))
    }

    fn load(&self, row: &RunRow) -> Result<(Run, Arc<SealingKey>, [u8; 32]), EngineError> {
        let (key, key_bytes) = self.run_key(row)?;
        // Row by row: a large run's records need not all be in memory beside the run.
        let mut damaged = None;
        let mut records = self
            .site
            .store
            .journal(row.run)?
            .into_iter()
            .map_while(|stored| rows::open(&stored.body, &key).map_err(|error| damaged = Some(error)).ok());
        let Some(Record::Started(start)) = records.next() else {
            drop(records);
            return Err(damaged.map_or_else(|| RunError::NoStart.into(), EngineError::from));
        };
        let workflow = Arc::new(Self::read_workflow(&start.source)?);
        let mut run = Run::new(row.run, workflow, Arc::new(*start), &registry::spec)?;
        run.replay(records)?;
        if let Some(error) = damaged {
            return Err(error.into());
        }
        Ok((run, Arc::new(key), key_bytes))
    }

    fn run_key(&self, row: &RunRow) -> Result<(SealingKey, [u8; 32]), EngineError> {
        let sealed = row.sealed_key.as_ref().ok_or(EngineError::Forgotten(row.run))?;
        let site_key = self.site.sealing_key().ok_or_else(|| EngineError::Internal("no site key".into()))?;
        let bytes = site_key.open(sealed, RUN_HEADER).map_err(|e| EngineError::Row(e.into()))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| EngineError::Internal("a run key has 32 bytes".into()))?;
        Ok((SealingKey::new(&bytes).map_err(|e| EngineError::Row(e.into()))?, bytes))
    }

    /// A run's name, for lists.
    pub fn name(&self, row: &RunRow) -> Option<String> {
        let (key, _) = self.run_key(row).ok()?;
        String::from_utf8(key.open(&row.sealed_name, RUN_HEADER).ok()?).ok()
    }

    /// A run to look at: the live one, or rebuilt from its journal.
    pub fn view(&self, id: RunId) -> Result<RunView, EngineError> {
        if let Some(active) = lock(&self.active).get(&id) {
            return Ok(active.view.clone());
        }
        let row = self.site.store.run(id)?.ok_or(EngineError::NoRun(id))?;
        let (run, _, _) = self.load(&row)?;
        Ok(RunView { row, shared: Shared::new(run) })
    }

    /// Whether the run is being driven here now.
    pub fn is_active(&self, id: RunId) -> bool {
        lock(&self.active).contains_key(&id)
    }

    /// How many runs are being driven here now.
    pub fn active_count(&self) -> usize {
        lock(&self.active).len()
    }

    /// Headers of runs, newest first.
    pub fn runs(&self, limit: usize) -> Result<Vec<RunRow>, EngineError> {
        Ok(self.site.store.runs(limit)?)
    }

    /// Asks a run to stop. Whatever it has done stays done.
    pub fn cancel(&self, id: RunId) -> Result<(), EngineError> {
        match lock(&self.active).get(&id) {
            Some(active) => {
                let _ = active.inbox.send(Message::Event(Event::Cancel));
                Ok(())
            }
            None => match self.site.store.run(id)? {
                Some(_) => Ok(()),
                None => Err(EngineError::NoRun(id)),
            },
        }
    }

    /// Tells all runs that sites came or went.
    pub fn sites_changed(&self) {
        for active in lock(&self.active).values() {
            let _ = active.inbox.send(Message::Event(Event::SitesChanged));
        }
    }
}

/// What run keys and names are sealed for.
const RUN_HEADER: &[u8] = b"tidegate run header 1";

/// The folders a run was given: its inputs of type path that are folders.
fn folders(run: &Run) -> Vec<PathBuf> {
    let inputs = &run.workflow().inputs;
    run.start()
        .inputs
        .iter()
        .filter(|(name, _)| inputs.get(*name).is_some_and(|input| input.ty == InputType::Path))
        .filter_map(|(_, value)| value.as_text().map(PathBuf::from))
        .filter(|path| path.is_dir())
        .collect()
}

/// Opening a vault costs a file; only runs that redact have one.
fn needs_vault(run: &Run) -> bool {
    run.workflow().steps.iter().any(|step| step.op.starts_with("privacy."))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
