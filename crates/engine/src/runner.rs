//! One run's driver: feeds the machine, appends what it says, performs, and keeps the durability
//! barrier.
//!
//! Rows are committed without waiting while only pure or reading local work goes on. Before
//! anything leaves, is acknowledged or has an effect, every row so far is durable: a remote
//! attempt's intent and its audit entry are one batch, a writing attempt waits for its intent, and
//! the end of a run is told only after its last row.

use crate::engine::Shared;
use crate::local::{self, Done, Job, Prepare, RunTools};
use crate::remote::{self, Ack, Dispatch, Ended, Remote};
use crate::rows;
use crate::site::Site;
use crate::views;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidegate_domain::detect::Detectors;
use tidegate_domain::ids::{AttemptId, RunId};
use tidegate_domain::label::Level;
use tidegate_domain::ops::Effects;
use tidegate_domain::placement::{self, Clearance, Nowhere, Request};
use tidegate_domain::run::{Action, Attempt, Event, Failure, Outcome, PlaceRequest, Record, Status, Unit};
use tidegate_domain::value::Node;
use tidegate_domain::workflow::Offline;
use tidegate_gate::{Destination, Question};
use tidegate_ops::OpError;
use tidegate_seams::{SealingKey, entropy};
use tidegate_store::{Batch, RunRow, StoreError, Ticket, Write};
use tokio::sync::{mpsc, oneshot};

/// Actions between two chances for other runs.
const ACTIONS_AT_A_TIME: usize = 128;
/// Rows gathered before they are handed to the store, unless something waits for them.
const ROWS_AT_A_TIME: usize = 64;
/// Commits on their way before their results are looked at.
const COMMITS_MAX: usize = 256;

/// A commit whose result the runner has yet to see.
enum Commit {
    Here(Ticket),
    /// Awaited by the task that sends what it clears, which passes the result on.
    Told(oneshot::Receiver<Result<(), StoreError>>),
}

impl Commit {
    async fn done(self) -> Result<(), StoreError> {
        match self {
            Commit::Here(ticket) => ticket.await.map(|_| ()),
            Commit::Told(told) => {
                told.await.unwrap_or_else(|_| Err(StoreError::Stopped("nobody saw the commit".into())))
            }
        }
    }
}

/// What reaches a runner.
pub(crate) enum Message {
    /// Something for the machine.
    Event(Event),
    /// An attempt made here has ended.
    Local { unit: Unit, attempt: AttemptId, done: Done },
    /// An attempt made elsewhere has ended. The other side keeps its outcome until the row here
    /// is durable.
    Remote { unit: Unit, attempt: AttemptId, outcome: Outcome, writes: Vec<Write>, ack: Option<Ack> },
}

pub(crate) struct Runner {
    pub(crate) site: Arc<Site>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tools: Arc<RunTools>,
    pub(crate) key: Arc<SealingKey>,
    pub(crate) row: RunRow,
    pub(crate) inbox: mpsc::UnboundedReceiver<Message>,
    pub(crate) outbox: mpsc::UnboundedSender<Message>,
    pending: Vec<Write>,
    commits: Vec<Commit>,
    acks: Vec<Ack>,
    cancels: HashMap<AttemptId, Arc<AtomicBool>>,
}

impl Runner {
    #[expect(clippy::too_many_arguments, reason = "called once; each is a part of the runner")]
    pub(crate) fn new(
        site: Arc<Site>,
        remote: Arc<Remote>,
        shared: Arc<Shared>,
        tools: Arc<RunTools>,
        key: Arc<SealingKey>,
        row: RunRow,
        inbox: mpsc::UnboundedReceiver<Message>,
        outbox: mpsc::UnboundedSender<Message>,
    ) -> Self {
        Self {
            site,
            remote,
            shared,
            tools,
            key,
            row,
            inbox,
            outbox,
            pending: Vec::new(),
            commits: Vec::new(),
            acks: Vec::new(),
            cancels: HashMap::new(),
        }
    }

    /// Drives the run to its end. An error means that the store failed: the journal is the truth,
    /// and the run goes on from it at the next start.
    pub(crate) async fn drive(mut self) -> Result<Status, StoreError> {
        let mut actions = VecDeque::from(self.shared.handle(Event::Begin));
        loop {
            let mut done = 0;
            while let Some(action) = actions.pop_front() {
                if let Action::Finish(status) = action {
                    return self.end(status).await;
                }
                self.carry_out(action, &mut actions).await?;
                done += 1;
                if done % ACTIONS_AT_A_TIME == 0 {
                    tokio::task::yield_now().await;
                }
            }
            self.flush();
            if self.commits.len() > COMMITS_MAX || !self.acks.is_empty() {
                self.barrier().await?;
            }
            let Some(message) = self.inbox.recv().await else { return Ok(Status::Running) };
            actions.extend(self.take(message));
            // What else has arrived shares the next commit.
            while let Ok(message) = self.inbox.try_recv() {
                actions.extend(self.take(message));
            }
        }
    }

    fn take(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Event(event) => self.shared.handle(event),
            Message::Local { unit, attempt, done } => {
                self.cancels.remove(&attempt);
                self.pending.extend(done.writes);
                self.shared.handle(Event::Ended { unit, attempt, outcome: done.outcome })
            }
            Message::Remote { unit, attempt, outcome, writes, ack } => {
                self.cancels.remove(&attempt);
                self.pending.extend(writes);
                self.acks.extend(ack);
                self.shared.handle(Event::Ended { unit, attempt, outcome })
            }
        }
    }

    async fn carry_out(&mut self, action: Action, actions: &mut VecDeque<Action>) -> Result<(), StoreError> {
        match action {
            Action::Append(record) => {
                self.append(&record)?;
                if self.pending.len() >= ROWS_AT_A_TIME {
                    self.flush();
                }
            }
            Action::Place(request) => {
                let event = self.place(*request);
                actions.extend(self.shared.handle(event));
            }
            Action::Perform(attempt) => self.perform(*attempt, actions).await?,
            Action::Later { unit, after_ms } => {
                let outbox = self.outbox.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    let _ = outbox.send(Message::Event(Event::Due { unit }));
                });
            }
            Action::Abort { attempt, site } => {
                if let Some(cancel) = self.cancels.get(&attempt) {
                    cancel.store(true, Ordering::Relaxed);
                }
                if site != self.site.id {
                    self.remote.abort(site, attempt);
                }
            }
            Action::Notify(unit) => self.shared.notify(unit),
            // Handled by the caller, which owns the runner.
            Action::Finish(_) => {}
        }
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<(), StoreError> {
        let write = journal_write(self.row.run, record, &self.key, &self.site)
            .map_err(|e| StoreError::Io { doing: "seal a journal row".into(), cause: e.to_string() })?;
        self.pending.push(write);
        Ok(())
    }

    /// Hands gathered rows to the store without waiting.
    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let batch = Batch { writes: std::mem::take(&mut self.pending) };
            self.commits.push(Commit::Here(self.site.store.commit(batch)));
        }
    }

    /// Waits until every row so far is durable; then what came from elsewhere may be acknowledged.
    async fn barrier(&mut self) -> Result<(), StoreError> {
        self.flush();
        for commit in std::mem::take(&mut self.commits) {
            commit.done().await?;
        }
        for ack in std::mem::take(&mut self.acks) {
            ack.durable();
        }
        Ok(())
    }

    async fn end(&mut self, status: Status) -> Result<Status, StoreError> {
        self.row.status = status.code();
        self.row.ended_ms = self.site.now_ms();
        self.pending.push(Write::Run(self.row.clone()));
        self.barrier().await?;
        Ok(status)
    }

    /// Finds a site. `domain::placement` decides; here are the facts and the gate's answers.
    fn place(&self, request: PlaceRequest) -> Event {
        let sites = views::sites(&self.site, &self.remote);
        let wanted = Request {
            op: request.op,
            input_bytes: if sites.views.len() > 1 { request.input.size_bytes() } else { 0 },
            place: &request.place,
            elapsed_ms: self.site.now_ms().saturating_sub(self.row.started_ms),
            snapshot_version: sites.version,
        };
        let onward: Vec<String> = request.op.onward.iter().map(|o| (*o).to_owned()).collect();
        let decision = Arc::new(placement::decide(&wanted, &sites.views, &|view| {
            let destination = Destination { site: view.site, kind: view.kind, onward: onward.clone() };
            let verdict = self.site.gate.would_transfer(&Question {
                label: &request.label,
                destination: &destination,
                purpose: request.op.name,
                speculative: false,
                origin: None,
            });
            if !verdict.is_allowed() {
                return Clearance::Denied { rule: verdict.rule().to_string(), why: verdict.words().to_owned() };
            }
            match self.last_look(&request) {
                None => Clearance::Cleared,
                Some(found) => Clearance::Denied {
                    rule: "gate/last-look".into(),
                    why: format!("a last look at what would leave found {found}"),
                },
            }
        }));
        let unit = request.unit;
        if decision.winner().is_some() {
            let entropy = entropy::bytes(self.site.seams.entropy.as_ref());
            let attempt = AttemptId::mint(self.site.realm, self.site.now_ms(), entropy);
            return Event::Placed { unit, attempt, decision, input: request.input, label: request.label };
        }
        let failure = match decision.nowhere(&request.place) {
            Nowhere::Refused { rule, why } => {
                Failure::new(Status::Refused, "E3001", format!("refused by {rule}: {why}"))
            }
            Nowhere::Away { site, offline: Offline::Fail } => {
                Failure::new(Status::Failed, "E4008", format!("{site} is away and the step does not wait"))
            }
            Nowhere::Away { site, .. } => Failure::new(Status::Waiting, "E4008", format!("waiting for {site}")),
            Nowhere::Impossible { why } => {
                Failure::new(Status::Failed, "E4009", format!("no site can run `{}`: {why}", request.op.name))
            }
        };
        Event::NotPlaced { unit, failure, decision }
    }

    /// Looks once more at what would leave. An operation behind the redaction may have brought
    /// together what stood apart, a value and the word that gives it away for one. Public data
    /// was never private and is not looked at.
    fn last_look(&self, request: &PlaceRequest) -> Option<String> {
        if request.label.level == Level::Public {
            return None;
        }
        let mut found = std::collections::BTreeSet::new();
        let mut unread = false;
        request.input.visit(&mut |value| {
            let mut look = |text: &str| {
                found.extend(Detectors::builtin().scan(text).into_iter().map(|f| f.category.as_str()));
            };
            match &value.node {
                Node::Text(text) => look(text),
                Node::Blob(blob) => match self.site.blobs.get(blob).map(String::from_utf8) {
                    Ok(Ok(text)) => look(&text),
                    _ => unread = true,
                },
                _ => {}
            }
        });
        if unread {
            found.insert("bytes that cannot be read");
        }
        (!found.is_empty()).then(|| found.into_iter().collect::<Vec<_>>().join(", "))
    }

    async fn perform(&mut self, attempt: Attempt, actions: &mut VecDeque<Action>) -> Result<(), StoreError> {
        let cancel = Arc::new(AtomicBool::new(false));
        let unit = attempt.unit;
        let id = attempt.attempt;
        let step = self.shared.step_name(unit.step);
        if attempt.site != self.site.id {
            self.cancels.insert(id, cancel);
            self.send_away(unit, step, attempt);
            return Ok(());
        }
        if matches!(attempt.op.effects, Effects::Write | Effects::External) {
            self.barrier().await?;
        }
        let job = Job {
            op: attempt.op.name,
            input: attempt.input,
            step,
            item: unit.item,
            timeout_ms: attempt.timeout_ms,
            cancel: Arc::clone(&cancel),
            prepared: attempt.prepared,
            prepare: Some(self.prepare(unit, id)),
            scratch: None,
        };
        if local::is_inline(job.op) {
            let done = local::run_inline(&self.site, &self.tools, job);
            self.pending.extend(done.writes);
            actions.extend(self.shared.handle(Event::Ended { unit, attempt: id, outcome: done.outcome }));
            return Ok(());
        }
        self.cancels.insert(id, cancel);
        let (site, tools, outbox) = (Arc::clone(&self.site), Arc::clone(&self.tools), self.outbox.clone());
        tokio::spawn(async move {
            let done = local::run(&site, &tools, job).await;
            let _ = outbox.send(Message::Local { unit, attempt: id, done });
        });
        Ok(())
    }

    /// Has an attempt made elsewhere. Its intent and the audit entry are committed here, in the
    /// journal's order and in one batch; the bytes leave once that is durable.
    fn send_away(&mut self, unit: Unit, step: String, attempt: Attempt) {
        let id = attempt.attempt;
        let outbox = self.outbox.clone();
        let dispatch = match Dispatch::new(&self.site, self.row.run, step, attempt) {
            Ok(dispatch) => dispatch,
            Err(failure) => {
                let outcome =
                    Outcome { result: Err(failure), total_us: 0, compute_us: 0, bytes_out: 0, bytes_in: 0, denied: 0 };
                let _ = outbox.send(Message::Event(Event::Ended { unit, attempt: id, outcome }));
                return;
            }
        };
        let entry = remote::audit_entries(&self.pending);
        self.pending.push(dispatch.write());
        let ticket = self.site.store.commit(Batch { writes: std::mem::take(&mut self.pending) });
        let (tell, told) = oneshot::channel();
        self.commits.push(Commit::Told(told));
        let remote = Arc::clone(&self.remote);
        tokio::spawn(async move {
            let receipt = ticket.await;
            let _ = tell.send(receipt.as_ref().map(|_| ()).map_err(Clone::clone));
            let Ended { outcome, writes, ack } = remote.make(dispatch, receipt, entry).await;
            let _ = outbox.send(Message::Remote { unit, attempt: id, outcome, writes, ack });
        });
    }

    fn prepare(&self, unit: Unit, attempt: AttemptId) -> Prepare {
        let (run, key, site) = (self.row.run, Arc::clone(&self.key), Arc::clone(&self.site));
        Arc::new(move |state| {
            journal_write(run, &Record::Prepared { unit, attempt, state }, &key, &site)
                .map_err(|e| OpError::new("E2006", e.to_string()))
        })
    }
}

/// A record as a change of the store.
pub(crate) fn journal_write(
    run: RunId,
    record: &Record,
    key: &SealingKey,
    site: &Site,
) -> Result<Write, rows::RowError> {
    let (kind, body) = rows::seal(record, key, site.seams.entropy.as_ref())?;
    Ok(Write::Journal { run, kind, body })
}
