//! The machine: inputs, outputs and what connects them.
//!
//! Job: the handshake, the order of things on one connection, and the rules for the next one.
//! The arithmetic of numbers is in `outgoing` and `incoming`, that of time in `pulse`.
//!
//! Not here: reconnecting. The machine says that a connection is over; when to try again is the
//! driver's business.

use std::collections::VecDeque;

use super::incoming::{Incoming, Place};
use super::outgoing::{Outgoing, Ready};
use super::pulse::{Echo, Pulse};
use super::{Body, CloseCode, Control, Frame, Hello, Limits, Load, PROBE_PADDING_BYTES_MAX, Role, Welcome};
use super::{SESSION_VERSION, SESSION_VERSION_MIN};
use crate::ids::{AttemptId, SessionId};

/// What the machine wants done. Outputs come in the order in which they must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<O, I> {
    /// Put this frame on the current connection.
    Send(Frame<O>),
    /// The other side does not know this session any more, or began another one. Every payload
    /// that is not [`Output::Acked`] must be dispatched again, by attempt id; no
    /// [`Output::Resend`] comes for them.
    Reset,
    /// The handshake is done; payloads may be sent.
    Up {
        /// Whether the session goes on where it was.
        resumed: bool,
        /// The hub's incarnation, for the node to remember.
        incarnation: u64,
        /// The number of this connection, for the owner to remember.
        epoch: u64,
    },
    /// Have the gate judge the payload with this number again and answer with
    /// [`Session::resend`] or [`Session::withdraw`]. Later payloads wait for the answer.
    Resend {
        /// The owner's number of the payload.
        seq: u64,
    },
    /// The other side holds everything up to this number durably.
    Acked {
        /// The owner's number of the last payload covered.
        seq: u64,
    },
    /// A payload arrived, once and in order. Call [`Session::durable`] when it cannot be lost.
    Deliver {
        /// The number to call it durable by.
        seq: u64,
        /// The payload.
        payload: I,
    },
    /// The other side gave up this attempt.
    Cancel {
        /// Which.
        attempt: AttemptId,
    },
    /// How busy the other side is.
    Load(Load),
    /// A measured round trip.
    RoundTrip {
        /// This one, in microseconds.
        us: u64,
        /// Smoothed, in microseconds.
        smoothed_us: u64,
    },
    /// The answer to [`Session::probe`].
    Probed {
        /// The padding that travelled one way.
        padding_bytes: u32,
        /// There and back, in microseconds.
        us: u64,
    },
    /// The connection is over: write what was to be sent, then drop it. The machine is now
    /// disconnected and may be connected again.
    Close {
        /// Why.
        code: CloseCode,
        /// Whether the other side said so.
        by_peer: bool,
    },
}

/// Why a payload was not taken. It comes back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError<P> {
    /// As many payloads are on the way as the window allows; wait for [`Output::Acked`].
    #[error("the session's window is full; wait for an acknowledgement")]
    Full(P),
    /// There is no connection, and a clearance is not kept waiting for one; have the payload
    /// judged again after [`Output::Up`].
    #[error("the other side is away; send again when it is back")]
    Away(P),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    /// The node has said hello and waits for the answer.
    Greeting {
        since_us: u64,
    },
    Up,
}

/// One side of a session: payloads of type `O` go out, payloads of type `I` come in.
///
/// Methods are of three kinds, and none does I/O or reads a clock:
///
/// - *inputs* change the state: [`connected`](Self::connected) (node) or
///   [`accept`](Self::accept) (hub), [`handle_frame`](Self::handle_frame),
///   [`send`](Self::send), [`resend`](Self::resend), [`withdraw`](Self::withdraw),
///   [`durable`](Self::durable), [`cancel`](Self::cancel), [`load`](Self::load),
///   [`probe`](Self::probe), [`close`](Self::close), [`disconnected`](Self::disconnected),
///   [`tick`](Self::tick);
/// - *outputs*: [`poll`](Self::poll) says what to do, [`poll_timeout`](Self::poll_timeout) when
///   to call `tick`;
/// - *getters*.
///
/// After each input, call `poll` until it gives `None`, doing each thing before polling the next,
/// and then `poll_timeout`. Each input adds a bounded number of outputs (at most the window, when
/// a session is resumed), so nothing here grows without bound as long as that is kept. Outputs
/// come first in, first out; `Close` is the last of its connection.
pub struct Session<O, I = O> {
    role: Role,
    limits: Limits,
    state: State,
    /// The session that `outgoing` and `incoming` belong to.
    session: Option<SessionId>,
    /// The number of the current or last connection.
    epoch: u64,
    /// The connection on which the current numbering began; zero before the first. A welcome can
    /// get lost: comparing this number is how both sides know that they mean the same numbering.
    born: u64,
    /// The highest incarnation of the hub that a node has seen; a hub's own.
    incarnation: u64,
    outgoing: Outgoing<O>,
    incoming: Incoming,
    pulse: Pulse,
    outputs: VecDeque<Output<O, I>>,
}

impl<O, I> Session<O, I> {
    /// A session that is not connected.
    pub fn new(role: Role, limits: Limits) -> Self {
        let (session, epoch, incarnation) = match role {
            Role::Node { session, epoch_last, incarnation_seen, .. } => (Some(session), epoch_last, incarnation_seen),
            Role::Hub { incarnation, epoch_seen, .. } => (None, epoch_seen, incarnation),
        };
        Self {
            role,
            limits,
            state: State::Away,
            session,
            epoch,
            born: 0,
            incarnation,
            outgoing: Outgoing::new(),
            incoming: Incoming::new(),
            pulse: Pulse::new(),
            outputs: VecDeque::new(),
        }
    }

    // ---- getters

    /// Whether payloads may be sent.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// The number of the current or last connection.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Payloads sent and not acknowledged.
    pub fn on_the_way(&self) -> u64 {
        self.outgoing.on_the_way()
    }

    /// The smoothed round trip in microseconds, if one was measured.
    pub fn smoothed_rtt_us(&self) -> Option<u64> {
        self.pulse.smoothed_us()
    }

    // ---- connections

    /// A node's connection is there: says hello. A connection before it is over.
    ///
    /// On a hub this does nothing; see [`Self::accept`].
    pub fn connected(&mut self, now_us: u64) {
        let Role::Node { site, session, .. } = self.role else { return };
        self.disconnected();
        self.epoch = self.epoch.saturating_add(1);
        self.state = State::Greeting { since_us: now_us };
        self.pulse.begin(now_us);
        let hello = Hello {
            version_min: SESSION_VERSION_MIN,
            version_max: SESSION_VERSION,
            session,
            site,
            epoch: self.epoch,
            born: self.born,
            last_received: self.incoming.received(),
        };
        // Its acknowledgement would belong to a numbering the hub may not know any more.
        self.outputs.push_back(Output::Send(self.frame(0, 0, Control::Hello(hello))));
    }

    /// A hub got a hello on a new connection, whose certificate names the same site.
    ///
    /// If it is good, that connection becomes the current one, and what still arrives from the
    /// one before is refused. If not, nothing changes here: tell the newcomer the code, drop it,
    /// and leave the connection that is there alone.
    pub fn accept(&mut self, hello: &Hello, now_us: u64) -> Result<(), CloseCode> {
        let Role::Hub { site, incarnation, .. } = self.role else { return Err(CloseCode::Protocol) };
        if hello.site != site {
            return Err(CloseCode::Site);
        }
        let version = SESSION_VERSION.min(hello.version_max);
        if version < SESSION_VERSION_MIN.max(hello.version_min) {
            return Err(CloseCode::Version);
        }
        if hello.epoch <= self.epoch {
            return Err(CloseCode::EpochBackwards);
        }
        let resumed = self.session == Some(hello.session) && self.born != 0 && self.born == hello.born;
        if resumed && !self.plausible(hello.last_received) {
            return Err(CloseCode::Protocol);
        }

        self.disconnected();
        self.epoch = hello.epoch;
        self.session = Some(hello.session);
        if !resumed {
            self.restart(hello.epoch);
        }
        self.pulse.begin(now_us);
        let welcome =
            Welcome { version, session: hello.session, incarnation, last_received: self.incoming.received(), resumed };
        self.outputs.push_back(Output::Send(self.frame(0, 0, Control::Welcome(welcome))));
        self.up(resumed, if resumed { hello.last_received } else { 0 }, now_us);
        let nonce = self.pulse.ping_now(now_us);
        self.emit(0, Body::Control(Control::Ping { nonce }));
        Ok(())
    }

    /// The connection is gone, or is about to be replaced.
    pub fn disconnected(&mut self) {
        self.state = State::Away;
        self.outgoing.close();
        // Nothing of an old connection may leave on the next one, and nothing that was asked
        // about it needs an answer.
        self.outputs.retain(|output| !matches!(output, Output::Send(_) | Output::Resend { .. }));
    }

    /// Ends the connection by word of the owner.
    pub fn close(&mut self, code: CloseCode) {
        if self.state != State::Away {
            self.hang_up(code);
        }
    }

    // ---- payloads

    /// Numbers a payload and puts it on the way. The number is the owner's name for it in
    /// [`Output::Acked`] and [`Output::Resend`]; it rises by one and is never used twice.
    pub fn send(&mut self, payload: O) -> Result<u64, SendError<O>> {
        if self.state != State::Up {
            return Err(SendError::Away(payload));
        }
        if self.outgoing.on_the_way() >= self.limits.window_frames {
            return Err(SendError::Full(payload));
        }
        let (seq, now) = self.outgoing.push(payload);
        if let Some(payload) = now {
            self.emit(seq, Body::Payload(payload));
        }
        Ok(self.outgoing.owners_number(seq))
    }

    /// Answers [`Output::Resend`] with the payload, newly cleared. It comes back if nobody asked
    /// (any more): the connection broke meanwhile, or the number was answered before.
    pub fn resend(&mut self, seq: u64, payload: O) -> Result<(), O> {
        if self.state != State::Up {
            return Err(payload);
        }
        self.outgoing.answer(seq, payload)?;
        self.flush();
        Ok(())
    }

    /// Answers [`Output::Resend`]: the gate does not let it go any more. An empty frame takes its
    /// number, and the owner is not asked about it again. False if nobody asked (any more).
    pub fn withdraw(&mut self, seq: u64) -> bool {
        let asked = self.state == State::Up && self.outgoing.withdraw(seq);
        if asked {
            self.flush();
        }
        asked
    }

    /// Lets go what waited for answers.
    fn flush(&mut self) {
        while let Some((seq, ready)) = self.outgoing.pop() {
            self.emit(seq, ready.into_body());
        }
    }

    /// Everything up to this number of [`Output::Deliver`] will survive a crash here.
    pub fn durable(&mut self, seq: u64, now_us: u64) {
        self.incoming.durable(seq, now_us);
        self.ack_if_due(now_us);
    }

    // ---- the session's own talk

    /// Tells the other side to give up an attempt. Lost with the connection: repeat it after
    /// [`Output::Up`] if it still matters. False if the other side is away.
    pub fn cancel(&mut self, attempt: AttemptId) -> bool {
        self.say(Control::Cancel { attempt })
    }

    /// Tells the other side how busy this one is. False if it is away.
    pub fn load(&mut self, load: Load) -> bool {
        self.say(Control::Load(load))
    }

    /// Measures the line with a heavy ping; [`Output::Probed`] follows. False if the other side
    /// is away.
    pub fn probe(&mut self, padding_bytes: u32, now_us: u64) -> bool {
        let padding_bytes = padding_bytes.min(PROBE_PADDING_BYTES_MAX);
        let nonce = self.pulse.probe_now(padding_bytes, now_us);
        self.say(Control::Probe { nonce, padding_bytes })
    }

    fn say(&mut self, control: Control) -> bool {
        let up = self.state == State::Up;
        if up {
            self.emit(0, Body::Control(control));
        }
        up
    }

    // ---- time

    /// Lets time pass: pings, acknowledges, gives up on silence.
    pub fn tick(&mut self, now_us: u64) {
        if self.state == State::Away {
            return;
        }
        if self.pulse.silent(now_us) {
            return self.hang_up(CloseCode::Silence);
        }
        if self.state == State::Up {
            if let Some(nonce) = self.pulse.ping(now_us) {
                self.emit(0, Body::Control(Control::Ping { nonce }));
            }
            self.ack_if_due(now_us);
        }
    }

    /// When to call [`Self::tick`] next, in the clock of `now_us`; `None` while disconnected.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.state {
            State::Away => None,
            State::Greeting { since_us } => Some(since_us.saturating_add(super::SILENCE_US_MAX)),
            State::Up => {
                let pulse = self.pulse.due_us();
                Some(self.incoming.due_us().map_or(pulse, |ack| ack.min(pulse)))
            }
        }
    }

    // ---- frames

    /// Takes a frame of the current connection. Frames of an older connection are dropped.
    pub fn handle_frame(&mut self, frame: Frame<I>, now_us: u64) {
        if self.state == State::Away || frame.epoch < self.epoch {
            return;
        }
        let numbered = matches!(frame.body, Body::Payload(_) | Body::Control(Control::Void));
        if frame.epoch > self.epoch || numbered != (frame.seq != 0) {
            return self.hang_up(CloseCode::Protocol);
        }
        self.pulse.heard(now_us);
        if let State::Greeting { since_us } = self.state {
            return match frame.body {
                Body::Control(Control::Welcome(welcome)) => self.welcome(&welcome, frame.ack, since_us, now_us),
                Body::Control(Control::Close { code }) => self.gone(code, true),
                _ => self.hang_up(CloseCode::Protocol),
            };
        }
        if !self.acknowledged(frame.ack) {
            return self.hang_up(CloseCode::Protocol);
        }
        match frame.body {
            Body::Payload(payload) => self.numbered(frame.seq, Some(payload), now_us),
            Body::Control(Control::Void) => self.numbered(frame.seq, None, now_us),
            Body::Control(control) => self.told(control, now_us),
        }
    }

    fn numbered(&mut self, seq: u64, payload: Option<I>, now_us: u64) {
        match self.incoming.take(seq, payload.is_none(), self.limits.window_frames, now_us) {
            Place::Next(seq) => {
                if let Some(payload) = payload {
                    self.outputs.push_back(Output::Deliver { seq, payload });
                }
                self.ack_if_due(now_us);
            }
            Place::Repeated => {}
            Place::Gap => self.hang_up(CloseCode::Protocol),
            Place::Overflow => self.hang_up(CloseCode::Window),
        }
    }

    fn told(&mut self, control: Control, now_us: u64) {
        match control {
            Control::Ack | Control::Void => {}
            Control::Ping { nonce } | Control::Probe { nonce, .. } => {
                self.emit(0, Body::Control(Control::Pong { nonce }));
            }
            Control::Pong { nonce } => {
                if let Some(echo) = self.pulse.pong(nonce, now_us) {
                    self.outputs.push_back(echo.into());
                }
            }
            Control::Cancel { attempt } => self.outputs.push_back(Output::Cancel { attempt }),
            Control::Load(load) => self.outputs.push_back(Output::Load(load)),
            Control::Close { code } => self.gone(code, true),
            Control::Hello(_) | Control::Welcome(_) => self.hang_up(CloseCode::Protocol),
        }
    }

    fn welcome(&mut self, welcome: &Welcome, ack: u64, since_us: u64, now_us: u64) {
        let spoken = SESSION_VERSION_MIN..=SESSION_VERSION;
        if !spoken.contains(&welcome.version) {
            return self.hang_up(CloseCode::Version);
        }
        if welcome.incarnation < self.incarnation {
            return self.hang_up(CloseCode::IncarnationBackwards);
        }
        let possible = if welcome.resumed { self.born != 0 && self.plausible(welcome.last_received) } else { true };
        if self.session != Some(welcome.session) || !possible || ack != 0 {
            return self.hang_up(CloseCode::Protocol);
        }
        self.incarnation = welcome.incarnation;
        if !welcome.resumed {
            self.restart(self.epoch);
        }
        self.up(welcome.resumed, if welcome.resumed { welcome.last_received } else { 0 }, now_us);
        let echo = self.pulse.measured(now_us.saturating_sub(since_us));
        self.outputs.push_back(echo.into());
    }

    /// Whether the other side can have received that much.
    fn plausible(&self, last_received: u64) -> bool {
        (self.outgoing.acked()..=self.outgoing.last()).contains(&last_received)
    }

    fn restart(&mut self, born: u64) {
        let fresh = self.outgoing.is_unused() && self.incoming.is_unused();
        self.born = born;
        self.outgoing.restart();
        self.incoming.restart();
        if !fresh {
            self.outputs.push_back(Output::Reset);
        }
    }

    fn up(&mut self, resumed: bool, peer_received: u64, now_us: u64) {
        self.state = State::Up;
        self.incoming.reopen(now_us);
        self.outputs.push_back(Output::Up { resumed, incarnation: self.incarnation, epoch: self.epoch });
        for seq in self.outgoing.reopen(peer_received) {
            self.outputs.push_back(Output::Resend { seq });
        }
        // What was withdrawn before needs no answer and may leave now.
        self.flush();
        self.ack_if_due(now_us);
    }

    fn acknowledged(&mut self, ack: u64) -> bool {
        match self.outgoing.acknowledge(ack) {
            Some(true) => self.outputs.push_back(Output::Acked { seq: self.outgoing.owners_number(ack) }),
            Some(false) => {}
            None => return false,
        }
        true
    }

    fn ack_if_due(&mut self, now_us: u64) {
        if self.state == State::Up && self.incoming.due_us().is_some_and(|due| now_us >= due) {
            self.emit(0, Body::Control(Control::Ack));
        }
    }

    // ---- the way out

    fn frame(&self, seq: u64, ack: u64, control: Control) -> Frame<O> {
        Frame { epoch: self.epoch, seq, ack, body: Body::Control(control) }
    }

    fn emit(&mut self, seq: u64, body: Body<O>) {
        let ack = self.incoming.tell();
        self.outputs.push_back(Output::Send(Frame { epoch: self.epoch, seq, ack, body }));
    }

    /// Says why, then ends the connection.
    fn hang_up(&mut self, code: CloseCode) {
        let ack = if self.state == State::Up { self.incoming.tell() } else { 0 };
        let farewell = self.frame(0, ack, Control::Close { code });
        self.outputs.push_back(Output::Send(farewell));
        self.gone(code, false);
    }

    /// Ends the connection. Frames already put out still leave in front of `Close`.
    fn gone(&mut self, code: CloseCode, by_peer: bool) {
        self.state = State::Away;
        self.outgoing.close();
        self.outputs.retain(|output| !matches!(output, Output::Resend { .. }));
        self.outputs.push_back(Output::Close { code, by_peer });
    }

    /// The next thing to do; see the type's documentation for the order of polling.
    pub fn poll(&mut self) -> Option<Output<O, I>> {
        self.outputs.pop_front()
    }

    /// Everything that is kept, in frames; the tests hold it against the window.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.outputs.len() + self.outgoing.held() + self.incoming.held()
    }
}

impl<P> Ready<P> {
    fn into_body(self) -> Body<P> {
        match self {
            Ready::Payload(payload) => Body::Payload(payload),
            Ready::Void => Body::Control(Control::Void),
        }
    }
}

impl<O, I> From<Echo> for Output<O, I> {
    fn from(echo: Echo) -> Self {
        match echo {
            Echo::RoundTrip { us, smoothed_us } => Output::RoundTrip { us, smoothed_us },
            Echo::Probed { padding_bytes, us } => Output::Probed { padding_bytes, us },
        }
    }
}
