//! Drives one session: the domain's machine, the connection it currently has, and its owner.
//!
//! Job: carry out what [`Session`] says. Whoever sends writes into the connection's queue under
//! the session's lock, without passing through another task; what arrives is handled in one task
//! per peer, which also keeps time. Both sides of a session, and the simulator, use this.
//!
//! Not here: connecting again (`dial`), deciding what a payload means, keeping payloads until
//! they are acknowledged (the owner does, because their clearance may expire meanwhile).
//!
//! What is bounded: payloads on the way by the session's window; bytes that wait for the line by
//! [`QUEUE_BYTES_MAX`](crate::connection::QUEUE_BYTES_MAX); events that wait for the owner by
//! [`EVENTS_MAX`] and [`EVENT_BYTES_MAX`], beyond which nothing more is read from the line.

mod events;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidegate_domain::ids::AttemptId;
use tidegate_domain::session::{self, CloseCode, Limits, Load, Output, Role, Session};
use tidegate_gate::Cleared;
use tidegate_seams::{Clock, Seams};
use tokio::sync::Notify;

pub use events::{EVENT_BYTES_MAX, EVENTS_MAX, Events, PeerEvent};

use crate::connection::{Connection, Receiver, Sender};
use crate::listen::Arrival;
use crate::parcel::Parcel;
use crate::tls::PeerIdentity;
use events::EventSender;

/// The handle to one session. Cheap to clone; the session ends with the last handle.
pub struct Peer<O: Parcel = Cleared> {
    shared: Arc<Shared<O>>,
    /// Ends the task with the last handle; the task itself holds only `shared`.
    _life: Arc<Life<O>>,
}

impl<O: Parcel> Clone for Peer<O> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), _life: self._life.clone() }
    }
}

struct Life<O: Parcel>(Arc<Shared<O>>);

impl<O: Parcel> Drop for Life<O> {
    fn drop(&mut self) {
        let mut core = self.0.lock();
        core.session.close(CloseCode::Shutdown);
        self.0.carry_out(&mut core);
        core.finished = true;
        drop(core);
        self.0.wake.notify_one();
        self.0.room.notify_waiters();
    }
}

/// Why a payload was not taken. It comes back.
#[derive(Debug, thiserror::Error)]
pub enum SendError<P> {
    /// There is no connection; have it judged again after [`PeerEvent::Connected`].
    #[error("the other side is away; send again when it is back")]
    Away(P),
    /// It was cleared for another site, or its clearance has expired; have it judged again.
    #[error("the clearance is for another site or has expired; judge the payload again")]
    Stale(P),
}

/// Why an answer to [`PeerEvent::Resend`] was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ResendError<P> {
    /// Nobody asks any more: the connection broke meanwhile, and will ask again.
    #[error("nobody asks for this payload any more")]
    NotAsked(P),
    /// It was cleared for another site, or its clearance has expired; judge it once more.
    #[error("the clearance is for another site or has expired; judge the payload again")]
    Stale(P),
}

struct Shared<O: Parcel> {
    clock: Arc<dyn Clock>,
    events: EventSender,
    core: Mutex<Core<O>>,
    /// Wakes the task: a new connection, an earlier deadline, the end.
    wake: Notify,
    /// Wakes senders that wait for the window.
    room: Notify,
}

struct Core<O: Parcel> {
    session: Session<O, Bytes>,
    link: Option<Link<O>>,
    /// The receiving end of `link`, until the task takes it over.
    receiver: Option<Receiver>,
    /// Counts connections here, so that the task knows a frame of an old one.
    generation: u64,
    /// When the task will look at the time by itself.
    armed_us: u64,
    /// Whether the owner was told that the other side is there.
    told_up: bool,
    /// How many handshakes were completed.
    ups: u64,
    /// Why the last connection was ended, if by a word.
    closed: Option<CloseCode>,
    finished: bool,
}

struct Link<O: Parcel> {
    peer: PeerIdentity,
    sender: Sender<O>,
}

impl<O: Parcel> Shared<O> {
    fn lock(&self) -> MutexGuard<'_, Core<O>> {
        // The machine is consistent after each call; a panic elsewhere does not change that.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the machine says, in order.
    fn carry_out(&self, core: &mut Core<O>) {
        while let Some(output) = core.session.poll() {
            match output {
                Output::Send(frame) => {
                    let sent = core.link.as_ref().is_some_and(|link| link.sender.try_send(frame));
                    if !sent && core.link.is_some() {
                        self.drop_link(core, None);
                    }
                }
                Output::Close { code, by_peer } => self.drop_link(core, Some((code, by_peer))),
                Output::Up { resumed, incarnation, epoch } => {
                    core.told_up = true;
                    core.ups += 1;
                    self.events.push(PeerEvent::Connected { resumed, incarnation, epoch });
                }
                Output::Acked { seq } => {
                    self.room.notify_waiters();
                    self.events.push(PeerEvent::Acked { seq });
                }
                Output::Reset => self.events.push(PeerEvent::Reset),
                Output::Resend { seq } => self.events.push(PeerEvent::Resend { seq }),
                Output::Deliver { seq, payload } => self.events.push(PeerEvent::Deliver { seq, payload }),
                Output::Cancel { attempt } => self.events.push(PeerEvent::Cancel { attempt }),
                Output::Load(load) => self.events.push(PeerEvent::Load(load)),
                Output::RoundTrip { us, smoothed_us } => self.events.push(PeerEvent::RoundTrip { us, smoothed_us }),
                Output::Probed { padding_bytes, us } => self.events.push(PeerEvent::Probed { padding_bytes, us }),
            }
        }
    }

    /// The connection is over, by a word of either side or because the line broke.
    fn drop_link(&self, core: &mut Core<O>, closed: Option<(CloseCode, bool)>) {
        let had_link = core.link.take().is_some();
        core.receiver = None;
        core.generation += 1;
        core.session.disconnected();
        core.closed = closed.map(|(code, _)| code);
        if had_link && (core.told_up || closed.is_some()) {
            core.told_up = false;
            self.events.push(PeerEvent::Away { closed });
        }
        self.room.notify_waiters();
        // The task may be waiting on the receiving end of what is gone.
        self.wake.notify_one();
    }

    /// Gives the session to a new connection.
    fn take_link(&self, core: &mut Core<O>, connection: Connection<O>) {
        self.drop_link(core, None);
        core.link = Some(Link { peer: connection.peer, sender: connection.sender });
        core.receiver = Some(connection.receiver);
    }

    /// After an input from outside the task: makes sure it looks at the time early enough.
    fn rearm(&self, core: &Core<O>) {
        if core.session.poll_timeout().is_some_and(|due| due < core.armed_us) {
            self.wake.notify_one();
        }
    }

    /// One input from outside the task.
    fn input<T>(&self, input: impl FnOnce(&mut Core<O>, u64) -> T) -> T {
        let mut core = self.lock();
        let result = input(&mut core, self.clock.boot_us());
        self.carry_out(&mut core);
        self.rearm(&core);
        result
    }
}

impl<O: Parcel> Peer<O> {
    /// Starts a session that waits for its first connection. Must be called within a tokio
    /// runtime.
    pub fn start(role: Role, limits: Limits, seams: &Seams) -> (Self, Events) {
        let (sender, events) = events::channel();
        let core = Core {
            session: Session::new(role, limits),
            link: None,
            receiver: None,
            generation: 0,
            armed_us: 0,
            told_up: false,
            ups: 0,
            closed: None,
            finished: false,
        };
        let shared = Arc::new(Shared {
            clock: seams.clock.clone(),
            events: sender,
            core: Mutex::new(core),
            wake: Notify::new(),
            room: Notify::new(),
        });
        tokio::spawn(task::run(shared.clone()));
        (Self { _life: Arc::new(Life(shared.clone())), shared }, events)
    }

    /// Node: says hello on a new connection. A connection before it is over.
    pub fn attach(&self, connection: Connection<O>) {
        self.shared.input(|core, now_us| {
            self.shared.take_link(core, connection);
            core.session.connected(now_us);
        });
        self.shared.wake.notify_one();
    }

    /// Hub: goes on with a node that arrived. If its hello is not good it is told why and the
    /// connection that is there, if any, stays.
    pub fn accept(&self, arrival: Arrival<O>) -> Result<(), CloseCode> {
        let mut core = self.shared.lock();
        let now_us = self.shared.clock.boot_us();
        let old_epoch = core.session.epoch();
        // The answers go to the new connection, which is put in place before they are carried out.
        if let Err(code) = core.session.accept(&arrival.hello, now_us) {
            drop(core);
            arrival.refuse(code);
            return Err(code);
        }
        self.replace_accepted(&mut core, arrival.connection, old_epoch);
        self.shared.carry_out(&mut core);
        drop(core);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Like `take_link`, for a session that has gone over to the new connection already.
    fn replace_accepted(&self, core: &mut Core<O>, connection: Connection<O>, old_epoch: u64) {
        if core.told_up {
            core.told_up = false;
            self.shared.events.push(PeerEvent::Away { closed: Some((CloseCode::Fenced, false)) });
        }
        if let Some(old) = core.link.replace(Link { peer: connection.peer, sender: connection.sender }) {
            task::farewell(&old.sender, old_epoch, CloseCode::Fenced);
        }
        core.receiver = Some(connection.receiver);
        core.generation += 1;
    }

    /// Sends a payload as soon as the window and the line have room for it. The number is its
    /// name in [`PeerEvent::Acked`] and [`PeerEvent::Resend`].
    ///
    /// Dropping the future before it is done sends nothing.
    pub async fn send(&self, payload: O) -> Result<u64, SendError<O>> {
        let mut payload = payload;
        loop {
            let (window, line) = match self.try_send(payload) {
                Ok(sent) => return sent,
                Err((back, line)) => {
                    payload = back;
                    (self.shared.room.notified(), line)
                }
            };
            // Armed first, then asked again: room that came in between is not missed.
            tokio::pin!(window);
            window.as_mut().enable();
            let crowded = line.as_ref().map(|backlog| backlog.room.notified());
            match crowded {
                Some(crowded) => {
                    tokio::pin!(crowded);
                    crowded.as_mut().enable();
                    match self.try_send(payload) {
                        Ok(sent) => return sent,
                        Err((back, _)) => payload = back,
                    }
                    tokio::select! { () = window => {}, () = crowded => {} }
                }
                None => {
                    match self.try_send(payload) {
                        Ok(sent) => return sent,
                        Err((back, _)) => payload = back,
                    }
                    window.await;
                }
            }
        }
    }

    /// Sends now, or gives the payload back with the line to wait for.
    #[expect(clippy::type_complexity, reason = "used twice, above")]
    fn try_send(&self, payload: O) -> Result<Result<u64, SendError<O>>, (O, Option<Arc<crate::connection::Backlog>>)> {
        let mut core = self.shared.lock();
        let Some(link) = &core.link else { return Ok(Err(SendError::Away(payload))) };
        if !payload.may_go(link.peer.site, self.shared.clock.wall_ms()) {
            return Ok(Err(SendError::Stale(payload)));
        }
        if link.sender.is_crowded() {
            let backlog = link.sender.backlog().clone();
            return Err((payload, Some(backlog)));
        }
        match core.session.send(payload) {
            Ok(seq) => {
                self.shared.carry_out(&mut core);
                Ok(Ok(seq))
            }
            Err(session::SendError::Full(payload)) => Err((payload, None)),
            Err(session::SendError::Away(payload)) => Ok(Err(SendError::Away(payload))),
        }
    }

    /// Answers [`PeerEvent::Resend`] with the payload, newly cleared.
    pub fn resend(&self, seq: u64, payload: O) -> Result<(), ResendError<O>> {
        let now_ms = self.shared.clock.wall_ms();
        self.shared.input(|core, _| {
            let Some(link) = &core.link else { return Err(ResendError::NotAsked(payload)) };
            if !payload.may_go(link.peer.site, now_ms) {
                return Err(ResendError::Stale(payload));
            }
            core.session.resend(seq, payload).map_err(ResendError::NotAsked)
        })
    }

    /// Answers [`PeerEvent::Resend`]: the gate does not let it go any more.
    pub fn withdraw(&self, seq: u64) {
        self.shared.input(|core, _| core.session.withdraw(seq));
    }

    /// Everything up to this number of [`PeerEvent::Deliver`] will survive a crash here.
    pub fn durable(&self, seq: u64) {
        self.shared.input(|core, now_us| core.session.durable(seq, now_us));
    }

    /// Tells the other side to give up an attempt. False if it is away; then repeat it after
    /// [`PeerEvent::Connected`] if it still matters.
    pub fn cancel(&self, attempt: AttemptId) -> bool {
        self.shared.input(|core, _| core.session.cancel(attempt))
    }

    /// Tells the other side how busy this one is. False if it is away.
    pub fn load(&self, load: Load) -> bool {
        self.shared.input(|core, _| core.session.load(load))
    }

    /// Measures the line; [`PeerEvent::Probed`] follows. False if the other side is away.
    pub fn probe(&self, padding_bytes: u32) -> bool {
        self.shared.input(|core, now_us| core.session.probe(padding_bytes, now_us))
    }

    /// Ends the connection, with a reason. The session stays and may be connected again.
    pub fn close(&self, code: CloseCode) {
        self.shared.input(|core, _| core.session.close(code));
    }

    /// Whether payloads can be sent.
    pub fn is_up(&self) -> bool {
        self.shared.lock().session.is_up()
    }

    /// The smoothed round trip in microseconds, if one was measured.
    pub fn smoothed_rtt_us(&self) -> Option<u64> {
        self.shared.lock().session.smoothed_rtt_us()
    }

    /// How often the handshake was completed.
    pub(crate) fn ups(&self) -> u64 {
        self.shared.lock().ups
    }

    /// Waits until there is no connection. The reason, if one side gave one.
    pub async fn gone(&self) -> Option<CloseCode> {
        loop {
            let changed = self.shared.room.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let core = self.shared.lock();
                if core.link.is_none() {
                    return core.closed;
                }
            }
            changed.await;
        }
    }
}
