//! Attempts that another site asked for: made once, recorded, answered as often as asked.
//!
//! An outcome and the audit entry of its answer become durable in one batch, the inbox row among
//! them; only then does the answer leave. A repeated attempt gets the recorded outcome, judged
//! again; one with the same id and another request is a conflict; one with a lower fencing token
//! than this unit has seen is refused.

use crate::local::{self, Job, RunTools};
use crate::remote;
use crate::site::Site;
use crate::wire;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_domain::ids::{AttemptId, RunId, SiteId};
use tidegate_domain::label::{Label, Level};
use tidegate_domain::ops::{OpSpec, SiteKind};
use tidegate_domain::run::Failure;
use tidegate_domain::sensitive::Sensitive;
use tidegate_domain::session::Load;
use tidegate_domain::value::Value;
use tidegate_gate::{Arrival, Cleared, Destination, Transfer};
use tidegate_ops::{OpError, registry};
use tidegate_store::blobs::Blobs;
use tidegate_store::{Batch, InboxRow, StoreError, Write};
use tidegate_transport::message::{self, Done, Failed, Outcome};
use tidegate_transport::peer::{Peer, PeerEvent, ResendError, SendError};
use tokio::sync::Notify;

/// Attempts of one peer that run or wait here at once; the session's window bounds them, too.
const ANSWERS_KEPT_MAX: usize = 4_096;
/// How often an answer that went stale while waiting is judged again.
const JUDGED_TIMES_MAX: u32 = 16;

/// Serves one other site.
pub struct Server {
    site: Arc<Site>,
    client: SiteId,
    client_kind: SiteKind,
    peer: Peer<Cleared>,
    running: Mutex<HashMap<AttemptId, Arc<AtomicBool>>>,
    /// Answers on their way, by their number, for being judged and sent again.
    answers: Mutex<HashMap<u64, Transfer>>,
    up: Notify,
}

impl Server {
    /// Serves `client` over `peer`.
    pub fn new(site: Arc<Site>, client: SiteId, client_kind: SiteKind, peer: Peer<Cleared>) -> Arc<Self> {
        Arc::new(Self {
            site,
            client,
            client_kind,
            peer,
            running: Mutex::default(),
            answers: Mutex::default(),
            up: Notify::new(),
        })
    }

    /// Takes an event of the session.
    pub fn take(self: &Arc<Self>, event: PeerEvent) {
        match event {
            PeerEvent::Connected { .. } => {
                self.tell_load();
                self.up.notify_waiters();
            }
            PeerEvent::Deliver { seq, payload } => {
                let server = Arc::clone(self);
                let arrived = (payload.len() as u64, *blake3::hash(&payload).as_bytes());
                match message::Message::decode(payload, self.client.realm) {
                    Ok(message::Message::Attempt(attempt)) => {
                        tokio::spawn(async move { server.serve(seq, attempt, arrived).await });
                    }
                    // Nothing that this side asked for.
                    _ => self.peer.durable(seq),
                }
            }
            PeerEvent::Cancel { attempt } => {
                if let Some(cancel) = lock(&self.running).get(&attempt) {
                    cancel.store(true, Ordering::Relaxed);
                }
            }
            PeerEvent::Resend { seq } => self.resend(seq),
            PeerEvent::Acked { seq } => lock(&self.answers).retain(|at, _| *at > seq),
            // The other side asks again for what it still wants, by attempt id.
            PeerEvent::Reset => lock(&self.answers).clear(),
            PeerEvent::Away { .. } | PeerEvent::Load(_) | PeerEvent::RoundTrip { .. } | PeerEvent::Probed { .. } => {}
        }
    }

    fn tell_load(&self) {
        let slots = self.site.slot_count();
        let load = self.site.load();
        let load = Load::from_counts(u64::from(load.min(slots)), u64::from(load.saturating_sub(slots)), slots as u16);
        self.peer.load(load);
    }

    async fn serve(self: Arc<Self>, seq: u64, attempt: message::Attempt, arrived: (u64, [u8; 32])) {
        let id = attempt.attempt;
        let cancel = Arc::new(AtomicBool::new(false));
        {
            let mut running = lock(&self.running);
            if running.contains_key(&id) {
                // It is being made; its answer will do for this request, too.
                drop(running);
                return self.peer.durable(seq);
            }
            running.insert(id, Arc::clone(&cancel));
        }
        let served = self.answer(seq, attempt, arrived, cancel).await;
        lock(&self.running).remove(&id);
        if let Err(error) = served {
            // Nothing was recorded and nothing is acknowledged: the other side asks again.
            eprintln!("tidegate: an attempt was not answered: {error}");
        }
    }

    async fn answer(
        &self,
        seq: u64,
        attempt: message::Attempt,
        (bytes, digest): (u64, [u8; 32]),
        cancel: Arc<AtomicBool>,
    ) -> Result<(), StoreError> {
        let site = &self.site;
        let run = run_id(&attempt);
        let request = request_digest(&attempt);
        if let Some(row) = site.store.inbox(attempt.attempt)? {
            let outcome = match row.outcome {
                Some(recorded) if row.request == request => recorded,
                _ => self.failed(&attempt, "E4011", "this attempt id was used for another request").encode_or_empty(),
            };
            let payload = bytes::Bytes::from(outcome);
            let transfer = self.transfer(&attempt, run, label_of(payload.clone(), self.client), payload);
            let cleared = remote::clear(site, transfer.clone(), Vec::new()).await;
            self.peer.durable(seq);
            if let Ok(cleared) = cleared {
                self.send(cleared, transfer).await;
            }
            return Ok(());
        }

        let spec = registry::spec(&attempt.op);
        let arrival = Arrival {
            run: Some(run),
            attempt: Some(attempt.attempt),
            step: String::new(),
            item: None,
            from: self.client,
            label: Label::of(Level::Internal),
            bytes,
            digest,
            purpose: spec.map_or_else(|| "unknown".to_owned(), |spec| spec.name.to_owned()),
        };
        let mut writes = vec![site.gate.received(&arrival, site.now_ms())];
        // What arrives is worked on in memory and forgotten with the attempt: this side keeps no
        // state of other sites' work but the recorded outcome.
        let scratch = Arc::new(Blobs::memory([0; 32]));
        let ready = self.check(&attempt, run, spec)?.and_then(|spec| {
            let (input, _) = wire::unpack(&attempt.input, &attempt.blobs, &scratch)?;
            Ok((spec, input))
        });
        let (outcome, label) = match ready {
            Err(error) => (self.failed(&attempt, error.code, &error.message), Label::of(Level::Internal)),
            Ok((spec, input)) => {
                let (outcome, label, more) = self.make(&attempt, run, spec, input, scratch, cancel).await;
                writes.extend(more);
                (outcome, label)
            }
        };

        let mut payload = outcome.encode_or_empty();
        let mut transfer = self.transfer(&attempt, run, label, payload.clone().into());
        if !site.gate.would_transfer(&transfer.question()).is_allowed() {
            // What this side may not tell becomes a refusal, which it may.
            let refused = self.failed(&attempt, "E3001", "the hub's policy keeps this result on the hub");
            payload = refused.encode_or_empty();
            transfer = self.transfer(&attempt, run, Label::of(Level::Internal), payload.clone().into());
        }
        writes.push(Write::Inbox(InboxRow {
            attempt: attempt.attempt,
            run,
            unit: attempt.unit,
            token: attempt.token,
            request,
            outcome: Some(payload),
            changed_ms: site.now_ms(),
        }));
        match remote::clear(site, transfer.clone(), writes).await {
            Ok(cleared) => {
                // The recorded outcome makes the request durable: a repetition finds it.
                self.peer.durable(seq);
                self.send(cleared, transfer).await;
                Ok(())
            }
            Err(failure) => Err(StoreError::Stopped(failure.message)),
        }
    }

    /// Whether the attempt can be made here at all.
    fn check(
        &self,
        attempt: &message::Attempt,
        run: RunId,
        spec: Option<&'static OpSpec>,
    ) -> Result<Result<&'static OpSpec, OpError>, StoreError> {
        let Some(spec) = spec.filter(|spec| spec.sites.contains(&self.site.kind)) else {
            return Ok(Err(OpError::new("E4009", "this site does not run that operation")));
        };
        if spec.version != attempt.op_version {
            let message = format!("`{}` has version {} here and {} there", spec.name, spec.version, attempt.op_version);
            return Ok(Err(OpError::new("E6002", message)));
        }
        if self.site.store.highest_token(run, attempt.unit)?.is_some_and(|seen| seen > attempt.token) {
            return Ok(Err(OpError::new("E4011", "a later attempt of this step was already made")));
        }
        Ok(Ok(spec))
    }

    async fn make(
        &self,
        attempt: &message::Attempt,
        run: RunId,
        spec: &'static OpSpec,
        input: Value,
        scratch: Arc<Blobs>,
        cancel: Arc<AtomicBool>,
    ) -> (Outcome, Label, Vec<Write>) {
        let site = &self.site;
        let tools = RunTools { run, workspaces: Arc::default(), outputs_dir: std::path::PathBuf::new(), vault: None };
        let input_label = input.joined_label();
        let job = Job {
            op: spec.name,
            input: Arc::new(input),
            step: String::new(),
            item: None,
            timeout_ms: attempt.deadline_ms.saturating_sub(site.now_ms()).max(1),
            cancel,
            prepared: None,
            prepare: None,
            scratch: Some(Arc::clone(&scratch)),
        };
        let done = if local::is_inline(spec.name) {
            local::run_inline(site, &tools, job)
        } else {
            local::run(site, &tools, job).await
        };
        let compute_us = done.outcome.compute_us;
        let (result, label) = match done.outcome.result {
            Ok(value) => match wire::pack(&value, &scratch) {
                Ok(packed) => (Ok(Done { value: packed.bytes, blobs: packed.blobs }), value.joined_label()),
                Err(error) => (Err(failed_of(&error.into())), input_label),
            },
            Err(failure) => (Err(failed_of(&failure)), input_label),
        };
        (Outcome { attempt: attempt.attempt, token: attempt.token, result, compute_us }, label, done.writes)
    }

    fn failed(&self, attempt: &message::Attempt, code: &str, text: &str) -> Outcome {
        let failed = Failed { code: code.to_owned(), message: Sensitive::new(text.to_owned()), retryable: false };
        Outcome { attempt: attempt.attempt, token: attempt.token, result: Err(failed), compute_us: 0 }
    }

    fn transfer(&self, attempt: &message::Attempt, run: RunId, label: Label, payload: bytes::Bytes) -> Transfer {
        Transfer {
            run: Some(run),
            attempt: Some(attempt.attempt),
            step: String::new(),
            item: None,
            label,
            destination: Destination { site: self.client, kind: self.client_kind, onward: Vec::new() },
            purpose: registry::spec(&attempt.op).map_or("unknown", |spec| spec.name).to_owned(),
            speculative: false,
            origin: None,
            payload,
        }
    }

    /// Sends an answer; if the line is away it waits and is judged again.
    async fn send(&self, cleared: Cleared, transfer: Transfer) {
        let site = &self.site;
        let mut cleared = cleared;
        for _ in 0..JUDGED_TIMES_MAX {
            let meta = cleared.meta().clone();
            match self.peer.send(cleared).await {
                Ok(seq) => {
                    let mut answers = lock(&self.answers);
                    if answers.len() < ANSWERS_KEPT_MAX {
                        answers.insert(seq, transfer);
                    }
                    drop(answers);
                    drop(site.store.commit(Batch { writes: vec![site.gate.sent(&meta, site.now_ms())] }));
                    return;
                }
                // After a reconnect the other side asks again, by attempt id, unless the session
                // resumes; then this is what it waits for.
                Err(SendError::Away(_)) => {
                    let up = self.up.notified();
                    if !self.peer.is_up() {
                        up.await;
                    }
                }
                Err(SendError::Stale(_)) => {}
            }
            match remote::clear(site, transfer.clone(), Vec::new()).await {
                Ok(again) => cleared = again,
                Err(_) => return,
            }
        }
    }

    fn resend(self: &Arc<Self>, seq: u64) {
        let Some(transfer) = lock(&self.answers).get(&seq).cloned() else { return self.peer.withdraw(seq) };
        let server = Arc::clone(self);
        tokio::spawn(async move {
            for _ in 0..JUDGED_TIMES_MAX {
                let Ok(cleared) = remote::clear(&server.site, transfer.clone(), Vec::new()).await else { break };
                let meta = cleared.meta().clone();
                match server.peer.resend(seq, cleared) {
                    Ok(()) => {
                        let sent = server.site.gate.sent(&meta, server.site.now_ms());
                        drop(server.site.store.commit(Batch { writes: vec![sent] }));
                        return;
                    }
                    Err(ResendError::NotAsked(_)) => return,
                    Err(ResendError::Stale(_)) => {}
                }
            }
            server.peer.withdraw(seq);
        });
    }
}

/// An outcome that does not fit into a payload says so instead.
trait EncodeOrEmpty {
    fn encode_or_empty(self) -> Vec<u8>;
}

impl EncodeOrEmpty for Outcome {
    fn encode_or_empty(mut self) -> Vec<u8> {
        if let Ok(bytes) = self.encode() {
            return bytes.to_vec();
        }
        let message = Sensitive::new("the result is larger than one transfer may be".to_owned());
        self.result = Err(Failed { code: "E5008".into(), message, retryable: false });
        self.encode().map(|bytes| bytes.to_vec()).unwrap_or_default()
    }
}

fn failed_of(failure: &Failure) -> Failed {
    let message = failure.message.chars().take(1_000).collect();
    Failed { code: failure.code.clone(), message: Sensitive::new(message), retryable: failure.retryable }
}

/// The label of a recorded outcome's bytes, read from the value inside.
fn label_of(payload: bytes::Bytes, client: SiteId) -> Label {
    match message::Message::decode(payload, client.realm) {
        Ok(message::Message::Outcome(Outcome { result: Ok(done), .. })) => {
            tidegate_domain::value::codec::decode(done.value.expose())
                .map_or_else(|_| Label::highest(), |v| v.joined_label())
        }
        Ok(message::Message::Outcome(_)) => Label::of(Level::Internal),
        _ => Label::highest(),
    }
}

fn run_id(attempt: &message::Attempt) -> RunId {
    let mut bits = [0; 16];
    let length = attempt.run.len().min(16);
    bits[..length].copy_from_slice(&attempt.run[..length]);
    RunId::from_bytes(attempt.attempt.realm, bits)
}

/// What makes two requests the same: everything but the deadline.
fn request_digest(attempt: &message::Attempt) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(&attempt.run);
    field(&attempt.unit);
    field(&attempt.token.0.to_le_bytes());
    field(attempt.op.as_bytes());
    field(&attempt.op_version.to_le_bytes());
    field(attempt.input.expose());
    for blob in &attempt.blobs {
        field(&blob.digest);
    }
    *hasher.finalize().as_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
