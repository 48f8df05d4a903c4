//! Attempts made elsewhere: judged, journaled with their audit entry, sent, and waited for.
//!
//! An attempt keeps its id whatever happens to the line. When the other side forgot the session it
//! is sent again, after the gate has judged it again, and the inbox over there answers a repetition
//! with the recorded outcome. So a lost answer costs a round trip and never a second effect.

use crate::site::Site;
use crate::wire;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tidegate_domain::ids::{AttemptId, RunId, SiteId};
use tidegate_domain::ops::{Capability, SiteKind};
use tidegate_domain::placement::SiteView;
use tidegate_domain::run::{Attempt, Failure, Outcome, Status};
use tidegate_domain::session::Load;
use tidegate_gate::{Arrival, ClearError, Cleared, Destination, Judged, Transfer};
use tidegate_ops::OpError;
use tidegate_store::{Batch, Receipt, StoreError, Write};
use tidegate_transport::message::{self, Message};
use tidegate_transport::peer::{Peer, PeerEvent, ResendError, SendError};
use tokio::sync::{Notify, oneshot};

/// Bandwidth assumed before anything was measured, in bytes per second.
const BYTES_PER_S_ASSUMED: u64 = 12_500_000;
/// Padding of the probe that measures bandwidth.
const PROBE_BYTES: u32 = 48 << 10;
/// How often bytes that went stale while waiting are judged again before the attempt is given up.
const JUDGED_TIMES_MAX: u32 = 16;

/// An attempt that was packed and judged and is to be made elsewhere once its audit entry is
/// durable.
pub struct Dispatch {
    attempt: Attempt,
    transfer: Transfer,
    judged: Judged,
    started_us: u64,
}

impl Dispatch {
    /// Packs an attempt and has the gate judge it.
    pub fn new(site: &Site, run: RunId, step: String, attempt: Attempt) -> Result<Self, Failure> {
        let started_us = site.seams.clock.boot_us();
        let payload = encode(site, run, &attempt)?;
        let onward = attempt.op.onward.iter().map(|o| (*o).to_owned()).collect();
        let transfer = Transfer {
            run: Some(run),
            attempt: Some(attempt.attempt),
            step,
            item: attempt.unit.item,
            label: attempt.label.clone(),
            destination: Destination { site: attempt.site, kind: attempt.site_kind, onward },
            purpose: attempt.op.name.to_owned(),
            speculative: false,
            origin: None,
            payload,
        };
        let judged = site.gate.judge(transfer.clone(), site.now_ms());
        Ok(Self { attempt, transfer, judged, started_us })
    }

    /// The audit entry, to be committed in one batch with the attempt's intent.
    pub fn write(&self) -> Write {
        self.judged.write()
    }
}

/// What came of it.
pub struct Ended {
    /// The outcome.
    pub outcome: Outcome,
    /// What must become durable with the outcome's row.
    pub writes: Vec<Write>,
    /// What to call once that is durable.
    pub ack: Option<Ack>,
}

/// The other side may forget what it sent.
pub struct Ack {
    peer: Peer<Cleared>,
    seq: u64,
}

impl Ack {
    /// Says so.
    pub fn durable(self) {
        self.peer.durable(self.seq);
    }
}

struct Link {
    kind: SiteKind,
    peer: Peer<Cleared>,
    capabilities: Vec<Capability>,
    up: bool,
    rtt_us: u64,
    bytes_per_s: u64,
    load: Load,
}

/// An attempt under way elsewhere.
struct Waiting {
    site: SiteId,
    transfer: Transfer,
    seq: Option<u64>,
    answer: Option<oneshot::Sender<Result<Arrived, Failure>>>,
}

struct Arrived {
    outcome: message::Outcome,
    bytes: u64,
    digest: [u8; 32],
    ack: Ack,
}

/// The ways from one site to others.
#[derive(Default)]
pub struct Remote {
    site: Mutex<Weak<Site>>,
    links: Mutex<BTreeMap<SiteId, Link>>,
    /// Sorted, so that attempts are sent again in the same order each time.
    waiting: Mutex<BTreeMap<AttemptId, Waiting>>,
    version: AtomicU64,
    changed: Notify,
}

impl Remote {
    /// No way anywhere yet.
    pub fn new(site: &Arc<Site>) -> Arc<Self> {
        Arc::new(Self { site: Mutex::new(Arc::downgrade(site)), version: AtomicU64::new(1), ..Self::default() })
    }

    /// Makes a site known. It counts as away until its session is up.
    pub fn add(&self, site: SiteId, kind: SiteKind, peer: Peer<Cleared>, capabilities: Vec<Capability>) {
        let link = Link {
            kind,
            peer,
            capabilities,
            up: false,
            rtt_us: 1_000,
            bytes_per_s: BYTES_PER_S_ASSUMED,
            load: Load::default(),
        };
        lock(&self.links).insert(site, link);
        self.bump();
    }

    fn bump(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Resolves when a site comes, goes or changes.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether a site's session is up.
    pub fn is_up(&self, site: SiteId) -> bool {
        lock(&self.links).get(&site).is_some_and(|link| link.up)
    }

    /// For status: site, kind, up, smoothed round trip in microseconds.
    pub fn links(&self) -> Vec<(SiteId, SiteKind, bool, u64)> {
        lock(&self.links).iter().map(|(id, link)| (*id, link.kind, link.up, link.rtt_us)).collect()
    }

    /// Adds what is known of other sites; gives the snapshot's version.
    pub(crate) fn append_views(&self, views: &mut Vec<SiteView>) -> u64 {
        let links = lock(&self.links);
        for (site, link) in links.iter() {
            let count = |bucket: u8| if bucket == 0 { 0 } else { 1u32 << (bucket - 1).min(20) };
            views.push(SiteView {
                site: *site,
                kind: link.kind,
                here: false,
                reachable: link.up,
                capabilities: link.capabilities.clone(),
                speed_permille: 1_000,
                slots: u32::from(link.load.slots.max(1)),
                load: count(link.load.running_bucket) + count(link.load.queued_bucket),
                rtt_us: link.rtt_us,
                bytes_per_s: link.bytes_per_s,
            });
        }
        views[1..].sort_by_key(|view| view.site);
        self.version.load(Ordering::Relaxed)
    }

    fn peer(&self, site: SiteId) -> Option<Peer<Cleared>> {
        lock(&self.links).get(&site).map(|link| link.peer.clone())
    }

    fn site(&self) -> Result<Arc<Site>, Failure> {
        lock(&self.site).upgrade().ok_or_else(|| Failure::new(Status::Failed, "E2006", "the site is closing"))
    }

    /// Makes an attempt elsewhere and waits for its outcome. `receipt` is of the batch that held
    /// the dispatch's audit entry as its entry number `entry`.
    pub async fn make(&self, dispatch: Dispatch, receipt: Result<Receipt, StoreError>, entry: usize) -> Ended {
        let id = dispatch.attempt.attempt;
        let mut sent_bytes = 0;
        let result = self.send_and_wait(dispatch, receipt, entry, &mut sent_bytes).await;
        lock(&self.waiting).remove(&id);
        result.unwrap_or_else(|failure| {
            let denied = u32::from(failure.status == Status::Refused);
            let outcome = Outcome {
                result: Err(failure),
                total_us: 0,
                compute_us: 0,
                bytes_out: sent_bytes,
                bytes_in: 0,
                denied,
            };
            Ended { outcome, writes: Vec::new(), ack: None }
        })
    }

    async fn send_and_wait(
        &self,
        dispatch: Dispatch,
        receipt: Result<Receipt, StoreError>,
        entry: usize,
        sent_bytes: &mut u64,
    ) -> Result<Ended, Failure> {
        let site = self.site()?;
        let Dispatch { attempt, transfer, judged, started_us } = dispatch;
        let cleared = cleared(&site, judged, &receipt.map_err(|e| store_failed(&e))?, entry)?;
        let (answer, mut answered) = oneshot::channel();
        let waiting = Waiting { site: attempt.site, transfer: transfer.clone(), seq: None, answer: Some(answer) };
        lock(&self.waiting).insert(attempt.attempt, waiting);
        *sent_bytes = transfer.payload.len() as u64;
        let mut early = None;
        let sent = tokio::select! {
            biased;
            sent = self.send(&site, cleared, transfer.clone()) => sent,
            // Given up before it could leave; or answered, because an earlier process had asked
            // and the answer was still on its way.
            answer = &mut answered => match answer {
                Ok(Ok(arrived)) => {
                    early = Some(arrived);
                    Ok(())
                }
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(Failure::new(Status::Failed, "E4011", "nobody waits for the attempt").retryable()),
            },
        };
        if sent.is_err() || early.is_some() {
            *sent_bytes = 0;
        }
        sent?;

        let limit = Duration::from_millis(attempt.timeout_ms);
        let arrived = match early {
            Some(arrived) => arrived,
            None => self.wait(attempt.site, answered, limit).await?,
        };
        let total_us = site.seams.clock.boot_us().saturating_sub(started_us);
        let received = Arrival {
            run: transfer.run,
            attempt: transfer.attempt,
            step: transfer.step,
            item: transfer.item,
            from: attempt.site,
            label: attempt.label.clone(),
            bytes: arrived.bytes,
            digest: arrived.digest,
            purpose: transfer.purpose,
        };
        let mut writes = vec![site.gate.received(&received, site.now_ms())];
        let result = match arrived.outcome.result {
            Ok(done) => match wire::unpack(&done.value, &done.blobs, &site.blobs) {
                Ok((value, kept)) => {
                    let uses =
                        transfer.run.map(|run| kept.iter().map(move |blob| Write::UseBlob { run, blob: blob.id }));
                    writes.extend(uses.into_iter().flatten());
                    Ok(wire::restore_label(value, &attempt.label))
                }
                Err(error) => Err(error.into()),
            },
            Err(failed) => {
                let status = if failed.code == "E3001" { Status::Refused } else { Status::Failed };
                let failure = Failure::new(status, &failed.code, failed.message.expose().clone());
                Err(if failed.retryable { failure.retryable() } else { failure })
            }
        };
        let outcome = Outcome {
            result,
            total_us,
            compute_us: arrived.outcome.compute_us,
            bytes_out: *sent_bytes,
            bytes_in: arrived.bytes,
            denied: 0,
        };
        Ok(Ended { outcome, writes, ack: Some(arrived.ack) })
    }

    /// Sends cleared bytes. What had to wait is judged again when it can leave.
    async fn send(&self, site: &Arc<Site>, cleared: Cleared, transfer: Transfer) -> Result<(), Failure> {
        let (id, to) = (transfer.attempt, transfer.destination.site);
        let mut cleared = cleared;
        for _ in 0..JUDGED_TIMES_MAX {
            // After a restart, attempts are made again before the way to their site is known again.
            let Some(peer) = self.peer(to) else {
                self.wait_until_up(to).await;
                continue;
            };
            let meta = cleared.meta().clone();
            match peer.send(cleared).await {
                Ok(seq) => {
                    if let Some(id) = id
                        && let Some(waiting) = lock(&self.waiting).get_mut(&id)
                    {
                        waiting.seq = Some(seq);
                    }
                    drop(site.store.commit(Batch { writes: vec![site.gate.sent(&meta, site.now_ms())] }));
                    return Ok(());
                }
                Err(SendError::Away(_)) => self.wait_until_up(to).await,
                Err(SendError::Stale(_)) => {}
            }
            cleared = clear(site, transfer.clone(), Vec::new()).await?;
        }
        Err(Failure::new(Status::Failed, "E6001", "the connection does not hold long enough to send").retryable())
    }

    async fn wait_until_up(&self, site: SiteId) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_up(site) {
                return;
            }
            changed.await;
        }
    }

    /// Waits for the answer; time during which the other side is away does not count.
    async fn wait(
        &self,
        site: SiteId,
        mut answered: oneshot::Receiver<Result<Arrived, Failure>>,
        limit: Duration,
    ) -> Result<Arrived, Failure> {
        loop {
            match tokio::time::timeout(limit, &mut answered).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => {
                    return Err(Failure::new(Status::Failed, "E4011", "nobody waits for the attempt").retryable());
                }
                Err(_) if self.is_up(site) => {
                    let message = format!("no outcome within {} s", limit.as_secs_f64());
                    return Err(Failure::new(Status::Failed, "E4010", message).retryable());
                }
                Err(_) => self.wait_until_up(site).await,
            }
        }
    }

    /// Gives an attempt up, here and there.
    pub(crate) fn abort(&self, site: SiteId, attempt: AttemptId) {
        if let Some(peer) = self.peer(site) {
            peer.cancel(attempt);
        }
        if let Some(waiting) = lock(&self.waiting).get_mut(&attempt)
            && let Some(answer) = waiting.answer.take()
        {
            let _ = answer.send(Err(Failure::new(Status::Cancelled, "E4006", "the run was cancelled")));
        }
    }

    /// Takes an event of the session with `from`. Payloads that are not outcomes are given back.
    pub async fn take(self: &Arc<Self>, from: SiteId, event: PeerEvent) -> Option<(u64, message::Attempt)> {
        match event {
            PeerEvent::Connected { .. } => {
                self.update(from, |link| link.up = true);
                if let Some(peer) = self.peer(from) {
                    peer.probe(PROBE_BYTES);
                }
            }
            PeerEvent::Away { .. } => self.update(from, |link| link.up = false),
            PeerEvent::RoundTrip { smoothed_us, .. } => self.update(from, |link| link.rtt_us = smoothed_us),
            PeerEvent::Probed { padding_bytes, us } => self.update(from, |link| {
                // What the padding took beyond a bare round trip.
                let extra_us = us.saturating_sub(link.rtt_us).max(50);
                link.bytes_per_s = u64::from(padding_bytes).saturating_mul(1_000_000) / extra_us;
            }),
            PeerEvent::Load(load) => self.update(from, |link| link.load = load),
            PeerEvent::Reset => self.send_again(from),
            PeerEvent::Resend { seq } => self.resend(from, seq),
            PeerEvent::Acked { .. } | PeerEvent::Cancel { .. } => {}
            PeerEvent::Deliver { seq, payload } => return self.deliver(from, seq, payload),
        }
        None
    }

    fn update(&self, site: SiteId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = lock(&self.links).get_mut(&site) {
            change(link);
        }
        self.bump();
    }

    fn deliver(&self, from: SiteId, seq: u64, payload: bytes::Bytes) -> Option<(u64, message::Attempt)> {
        let peer = self.peer(from)?;
        let (bytes, digest) = (payload.len() as u64, *blake3::hash(&payload).as_bytes());
        let Ok(message) = Message::decode(payload, from.realm) else {
            // Nothing to do with it, now or later.
            peer.durable(seq);
            return None;
        };
        let outcome = match message {
            Message::Attempt(attempt) => return Some((seq, attempt)),
            Message::Outcome(outcome) => outcome,
        };
        let answer =
            lock(&self.waiting).get_mut(&outcome.attempt).filter(|w| w.site == from).and_then(|w| w.answer.take());
        let ack = Ack { peer, seq };
        let arrived = Arrived { outcome, bytes, digest, ack };
        match answer {
            Some(answer) => {
                let _ = answer.send(Ok(arrived));
            }
            // Late: the attempt was given up. The other side need not keep it.
            None => arrived.ack.durable(),
        }
        None
    }

    /// The other side forgot the session: what has no outcome yet is sent again under its id.
    fn send_again(self: &Arc<Self>, to: SiteId) {
        let transfers: Vec<Transfer> = lock(&self.waiting)
            .values()
            .filter(|w| w.site == to && w.answer.is_some() && w.seq.is_some())
            .map(|w| w.transfer.clone())
            .collect();
        for transfer in transfers {
            let remote = Arc::clone(self);
            tokio::spawn(async move {
                let id = transfer.attempt;
                let sent = async {
                    let site = remote.site()?;
                    let cleared = clear(&site, transfer.clone(), Vec::new()).await?;
                    remote.send(&site, cleared, transfer).await
                };
                let sent = sent.await;
                if let (Err(failure), Some(id)) = (sent, id) {
                    remote.fail(id, failure);
                }
            });
        }
    }

    fn fail(&self, attempt: AttemptId, failure: Failure) {
        if let Some(answer) = lock(&self.waiting).get_mut(&attempt).and_then(|w| w.answer.take()) {
            let _ = answer.send(Err(failure));
        }
    }

    /// A frame that broke off on the way is judged again before it leaves again.
    fn resend(self: &Arc<Self>, to: SiteId, seq: u64) {
        let Some(peer) = self.peer(to) else { return };
        let found =
            lock(&self.waiting).values().find(|w| w.site == to && w.seq == Some(seq)).map(|w| w.transfer.clone());
        let Some(transfer) = found else { return peer.withdraw(seq) };
        let remote = Arc::clone(self);
        tokio::spawn(async move {
            let id = transfer.attempt;
            for _ in 0..JUDGED_TIMES_MAX {
                let Ok(site) = remote.site() else { return };
                match clear(&site, transfer.clone(), Vec::new()).await {
                    Ok(cleared) => {
                        let meta = cleared.meta().clone();
                        match peer.resend(seq, cleared) {
                            Ok(()) => {
                                drop(site.store.commit(Batch { writes: vec![site.gate.sent(&meta, site.now_ms())] }));
                                return;
                            }
                            Err(ResendError::NotAsked(_)) => return,
                            Err(ResendError::Stale(_)) => {}
                        }
                    }
                    Err(failure) => {
                        peer.withdraw(seq);
                        if let Some(id) = id {
                            remote.fail(id, failure);
                        }
                        return;
                    }
                }
            }
            peer.withdraw(seq);
        });
    }
}

/// Judges bytes, commits the audit entry with `rows`, and gives the cleared bytes.
pub(crate) async fn clear(site: &Site, transfer: Transfer, mut rows: Vec<Write>) -> Result<Cleared, Failure> {
    let judged = site.gate.judge(transfer, site.now_ms());
    let entry = audit_entries(&rows);
    rows.push(judged.write());
    let receipt = site.store.commit(Batch { writes: rows }).await.map_err(|e| store_failed(&e))?;
    cleared(site, judged, &receipt, entry)
}

/// How many of these writes are audit entries: a receipt counts them alone.
pub(crate) fn audit_entries(writes: &[Write]) -> usize {
    writes.iter().filter(|write| matches!(write, Write::Audit { .. })).count()
}

fn cleared(site: &Site, judged: Judged, receipt: &Receipt, entry: usize) -> Result<Cleared, Failure> {
    let verdict = judged.verdict();
    match judged.into_draft() {
        Some(draft) => draft.clear(receipt, entry, site.store.as_ref()).map_err(|e| match e {
            ClearError::Store(e) => store_failed(&e),
            other => Failure::new(Status::Failed, "E2006", other.to_string()),
        }),
        None => {
            let message = format!("refused by {}: {}", verdict.rule(), verdict.words());
            Err(Failure::new(Status::Refused, "E3001", message))
        }
    }
}

fn store_failed(error: &StoreError) -> Failure {
    Failure::new(Status::Failed, "E2002", error.to_string())
}

fn encode(site: &Site, run: RunId, attempt: &Attempt) -> Result<bytes::Bytes, OpError> {
    let packed = wire::pack(&attempt.input, &site.blobs)?;
    let message = message::Attempt {
        attempt: attempt.attempt,
        run: run.to_bytes().to_vec().into(),
        unit: unit_bytes(attempt),
        token: attempt.token,
        op: attempt.op.name.to_owned(),
        op_version: attempt.op.version,
        input: packed.bytes,
        blobs: packed.blobs,
        deadline_ms: site.now_ms().saturating_add(attempt.timeout_ms),
    };
    message.encode().map_err(|e| OpError::new("E5008", e.to_string()))
}

/// Step and item as the other side sees them: opaque.
fn unit_bytes(attempt: &Attempt) -> [u8; 16] {
    let mut unit = [0; 16];
    unit[..4].copy_from_slice(&attempt.unit.step.to_le_bytes());
    unit[4..8].copy_from_slice(&attempt.unit.item.map_or(u32::MAX, |item| item).to_le_bytes());
    unit
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
