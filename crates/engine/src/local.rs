//! Attempts made here: a slot, a share of memory, the operation, its limit, and its output's label.

use crate::site::Site;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_domain::ids::RunId;
use tidegate_domain::label::{Categories, Label};
use tidegate_domain::run::{Failure, Outcome, Status};
use tidegate_domain::value::{BlobKind, BlobRef, Value};
use tidegate_gate::{Downgrade, DowngradeKind};
use tidegate_ops::context::{Context, Host, OpError};
use tidegate_ops::registry::Body;
use tidegate_ops::vault::Vault;
use tidegate_ops::workspace::Workspaces;
use tidegate_store::blobs::Blobs;
use tidegate_store::{Batch, Write};

/// What a run gives its attempts.
pub struct RunTools {
    /// The run.
    pub run: RunId,
    /// The folders it was given.
    pub workspaces: Arc<Workspaces>,
    /// The folder it writes to.
    pub outputs_dir: PathBuf,
    /// Its redaction vault, on a device.
    pub vault: Option<Arc<Vault>>,
}

/// Makes a sink's plan a journal row: the run's, sealed by its runner.
pub type Prepare = Arc<dyn Fn(Vec<u8>) -> Result<Write, OpError> + Send + Sync>;

/// One attempt to be made here.
pub struct Job {
    /// The operation's name.
    pub op: &'static str,
    /// Its input.
    pub input: Arc<Value>,
    /// The step, for audit entries.
    pub step: String,
    /// The item, for audit entries.
    pub item: Option<u32>,
    /// Its limit.
    pub timeout_ms: u64,
    /// Raised when somebody wants it to stop.
    pub cancel: Arc<AtomicBool>,
    /// What its sink had prepared before an earlier process died.
    pub prepared: Option<Vec<u8>>,
    /// How to journal a sink's plan; `None` where writing operations do not run.
    pub prepare: Option<Prepare>,
    /// Blobs that live as long as the attempt; `None` for the site's own.
    pub scratch: Option<Arc<Blobs>>,
}

/// What came of it, with what must become durable together with its outcome.
pub struct Done {
    /// The outcome.
    pub outcome: Outcome,
    /// Audit entries and blob uses.
    pub writes: Vec<Write>,
}

/// Whether an operation is so cheap that it runs where it stands.
pub fn is_inline(op: &str) -> bool {
    tidegate_ops::find(op).is_some_and(|found| matches!(found.body, Body::Inline(_)))
}

/// Makes an inline attempt.
pub fn run_inline(site: &Arc<Site>, tools: &RunTools, job: Job) -> Done {
    let started_us = site.seams.clock.boot_us();
    let (host, context) = prepare(site, tools, &job);
    let result = match tidegate_ops::find(job.op).map(|op| op.body) {
        Some(Body::Inline(body)) => guarded(|| body(&context, &job.input)),
        _ => Err(OpError::new("E2006", format!("`{}` is not an inline operation", job.op))),
    };
    finish(site, &host, &job.input, result, started_us, started_us)
}

/// Makes an attempt: waits for a slot and memory, runs the operation within its limit.
pub async fn run(site: &Arc<Site>, tools: &RunTools, job: Job) -> Done {
    let _load = site.count_load();
    let started_us = site.seams.clock.boot_us();
    let input = Arc::clone(&job.input);
    let (host, context) = prepare(site, tools, &job);
    let limit = Duration::from_millis(job.timeout_ms);
    let mut begun_us = started_us;
    let result = tokio::time::timeout(limit, async {
        let closed = |_| OpError::new("E2006", "the site is closing");
        let _slot = site.slots.acquire().await.map_err(closed)?;
        let _memory = site.memory.acquire_many(memory_kib(&job.input)).await.map_err(closed)?;
        begun_us = site.seams.clock.boot_us();
        match tidegate_ops::find(job.op).map(|op| op.body) {
            Some(Body::Inline(body)) => guarded(|| body(&context, &job.input)),
            Some(Body::Blocking(body)) => {
                let input = Arc::clone(&job.input);
                let work = tokio::task::spawn_blocking(move || guarded(|| body(&context, &input)));
                work.await.unwrap_or_else(|_| Err(panicked()))
            }
            Some(Body::Waiting(body)) => body(&context, &job.input).await,
            None => Err(OpError::new("E2006", format!("`{}` is not an operation of this program", job.op))),
        }
    })
    .await
    .unwrap_or_else(|_| {
        // A thread cannot be stopped from outside; the flag tells the operation that nobody waits.
        job.cancel.store(true, Ordering::Relaxed);
        Err(OpError::new("E4010", format!("took longer than {} s", limit.as_secs_f64())).retryable())
    });
    finish(site, &host, &input, result, started_us, begun_us)
}

fn prepare(site: &Arc<Site>, tools: &RunTools, job: &Job) -> (Arc<AttemptHost>, Context) {
    let host = Arc::new(AttemptHost {
        site: Arc::clone(site),
        run: tools.run,
        op: job.op,
        step: job.step.clone(),
        item: job.item,
        input_label: job.input.joined_label(),
        cancel: Arc::clone(&job.cancel),
        prepared: job.prepared.clone(),
        prepare: job.prepare.clone(),
        scratch: job.scratch.clone(),
        writes: Mutex::new(Vec::new()),
        floor: Mutex::new(None),
        denied: AtomicU32::new(0),
    });
    let context = Context {
        run: tools.run,
        host: host.clone(),
        tools: site.tools.clone(),
        workspaces: Arc::clone(&tools.workspaces),
        outputs_dir: tools.outputs_dir.clone(),
        vault: tools.vault.clone(),
    };
    (host, context)
}

fn finish(
    site: &Site,
    host: &AttemptHost,
    input: &Value,
    result: Result<Value, OpError>,
    started_us: u64,
    begun_us: u64,
) -> Done {
    let now_us = site.seams.clock.boot_us();
    // The floor under the output's labels: the input's, unless the gate granted a lower one.
    let floor = lock(&host.floor).take().unwrap_or_else(|| input.joined_label());
    let result = match result {
        Ok(output) => Ok(Arc::new(output.raised(&floor))),
        Err(error) if error.code == "E4006" => Err(Failure::new(Status::Cancelled, error.code, error.message)),
        Err(error) => Err(Failure::from(error)),
    };
    let outcome = Outcome {
        result,
        total_us: now_us.saturating_sub(started_us),
        compute_us: now_us.saturating_sub(begun_us),
        bytes_out: 0,
        bytes_in: 0,
        denied: host.denied.load(Ordering::Relaxed),
    };
    Done { outcome, writes: std::mem::take(&mut *lock(&host.writes)) }
}

/// An operation that panics costs its own attempt and nothing else.
fn guarded(work: impl FnOnce() -> Result<Value, OpError>) -> Result<Value, OpError> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> OpError {
    OpError::new("E5010", "the operation stopped unexpectedly")
}

/// What an attempt is expected to hold in memory: its input, and the file that the input names.
fn memory_kib(input: &Value) -> u32 {
    let file = input.get("file").and_then(|f| f.get("bytes")).and_then(Value::as_int).unwrap_or(0).max(0) as u64;
    let kib = (input.size_bytes() + file) >> 10;
    (kib as u32).clamp(64, 72 << 10)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine as one attempt sees it.
struct AttemptHost {
    site: Arc<Site>,
    run: RunId,
    op: &'static str,
    step: String,
    item: Option<u32>,
    input_label: Label,
    cancel: Arc<AtomicBool>,
    prepared: Option<Vec<u8>>,
    prepare: Option<Prepare>,
    scratch: Option<Arc<Blobs>>,
    writes: Mutex<Vec<Write>>,
    floor: Mutex<Option<Label>>,
    denied: AtomicU32,
}

impl Host for AttemptHost {
    fn blob(&self, blob: &BlobRef) -> Result<Vec<u8>, OpError> {
        let blobs = self.scratch.as_deref().unwrap_or(&self.site.blobs);
        blobs.get(blob).map_err(|e| OpError::new("E2003", e.to_string()))
    }

    fn keep(&self, bytes: &[u8], kind: BlobKind) -> Result<BlobRef, OpError> {
        let blobs = self.scratch.as_deref().unwrap_or(&self.site.blobs);
        let blob = blobs.put(bytes, kind).map_err(|e| OpError::new("E2002", e.to_string()))?;
        if self.scratch.is_none() {
            lock(&self.writes).push(Write::UseBlob { run: self.run, blob: blob.id });
        }
        Ok(blob)
    }

    fn downgrade(&self, kind: DowngradeKind, from: &Label, residue: Categories) -> Label {
        let question =
            Downgrade { kind, op: self.op, from, run: Some(self.run), step: &self.step, item: self.item, residue };
        let decision = self.site.gate.downgrade(&question, self.site.now_ms());
        lock(&self.writes).push(decision.audit().clone());
        let label = decision.label();
        // Redaction answers for the whole input; an extract only for what the site added to it.
        if kind == DowngradeKind::Redact && from.covers(&self.input_label) {
            *lock(&self.floor) = Some(label.clone());
        }
        label.clone()
    }

    fn prepare(&self, state: Vec<u8>) -> Result<(), OpError> {
        let prepare =
            self.prepare.as_ref().ok_or_else(|| OpError::new("E2006", "writing operations do not run here"))?;
        let write = prepare(state)?;
        let ticket = self.site.store.commit(Batch { writes: vec![write] });
        let durable = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.block_on(ticket),
            Err(e) => return Err(OpError::new("E2006", e.to_string())),
        };
        durable.map(|_| ()).map_err(|e| OpError::new("E2002", e.to_string()))
    }

    fn prepared(&self) -> Option<&[u8]> {
        self.prepared.as_deref()
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
