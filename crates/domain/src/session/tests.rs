//! Two machines and a line that drops, delays and breaks, in virtual time.
//!
//! The line does what TCP does: a connection carries a prefix of what was written to it, in
//! order, and breaks at any point. Frames of a broken connection may still turn up later, which
//! the machines must refuse.

use super::*;
use crate::ids::{AttemptId, Realm};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const WINDOW: u64 = 8;

fn site() -> SiteId {
    SiteId { realm: Realm::LOCAL, bits: 7 }
}

fn session_id(bits: u128) -> SessionId {
    SessionId { realm: Realm::LOCAL, bits }
}

fn node(bits: u128, epoch_last: u64) -> Session<u32> {
    let role = Role::Node { site: site(), session: session_id(bits), epoch_last, incarnation_seen: 0 };
    Session::new(role, Limits { window_frames: WINDOW })
}

fn hub(incarnation: u64, epoch_seen: u64) -> Session<u32> {
    Session::new(Role::Hub { site: site(), incarnation, epoch_seen }, Limits { window_frames: WINDOW })
}

/// One machine with the owner it would have.
struct Side {
    machine: Session<u32>,
    /// Sent and not acknowledged, by the owner's number.
    pending: BTreeMap<u64, u32>,
    asked: VecDeque<u64>,
    delivered: Vec<(u64, u32)>,
    durable: usize,
    resets: usize,
    closed: Vec<CloseCode>,
    written: Vec<Frame<u32>>,
    hung_up: bool,
}

impl Side {
    fn new(machine: Session<u32>) -> Self {
        Side {
            machine,
            pending: BTreeMap::new(),
            asked: VecDeque::new(),
            delivered: Vec::new(),
            durable: 0,
            resets: 0,
            closed: Vec::new(),
            written: Vec::new(),
            hung_up: false,
        }
    }

    /// Does what the machine says. Returns the payloads that were acknowledged.
    fn drain(&mut self) -> Vec<u32> {
        let mut acked = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send(frame) => self.written.push(frame),
                Output::Reset => {
                    self.resets += 1;
                    self.pending.clear();
                }
                Output::Up { .. } => self.asked.clear(),
                Output::Resend { seq } => self.asked.push_back(seq),
                Output::Acked { seq } => {
                    let rest = self.pending.split_off(&(seq + 1));
                    acked.extend(std::mem::replace(&mut self.pending, rest).into_values());
                }
                Output::Deliver { seq, payload } => self.delivered.push((seq, payload)),
                Output::Close { code, .. } => {
                    self.closed.push(code);
                    self.hung_up = true;
                }
                Output::Cancel { .. } | Output::Load(_) | Output::RoundTrip { .. } | Output::Probed { .. } => {}
            }
        }
        acked
    }
}

#[derive(Default)]
struct Line {
    to: [VecDeque<Frame<u32>>; 2],
}

struct World {
    /// The node, then the hub.
    sides: [Side; 2],
    line: Option<Line>,
    broken: Vec<Line>,
    next: u32,
    sent: [Vec<u32>; 2],
    withdrawn: [Vec<u32>; 2],
    now_us: u64,
    held_max: usize,
}

impl World {
    fn new() -> Self {
        World {
            sides: [Side::new(node(1, 0)), Side::new(hub(1, 0))],
            line: None,
            broken: Vec::new(),
            next: 0,
            sent: Default::default(),
            withdrawn: Default::default(),
            now_us: 0,
            held_max: 0,
        }
    }

    fn settle(&mut self, who: usize) {
        self.held_max = self.held_max.max(self.sides[who].machine.held());
        for payload in self.sides[who].drain() {
            let other = &self.sides[1 - who];
            let durable = other.delivered[..other.durable].iter().any(|(_, p)| *p == payload);
            assert!(durable || self.withdrawn[who].contains(&payload), "acknowledged before durable: {payload}");
        }
        let written = std::mem::take(&mut self.sides[who].written);
        if let Some(line) = &mut self.line {
            line.to[1 - who].extend(written);
        }
        if std::mem::take(&mut self.sides[who].hung_up) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if let Some(line) = self.line.take() {
            self.broken.push(line);
        }
        for side in &mut self.sides {
            side.machine.disconnected();
        }
        self.settle(0);
        self.settle(1);
    }

    fn connect(&mut self) {
        self.cut();
        self.line = Some(Line::default());
        self.sides[0].machine.connected(self.now_us);
        self.settle(0);
    }

    fn carry(&mut self, to: usize, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.line.as_mut().and_then(|line| line.to[to].pop_front()) else { return };
            self.receive(to, frame);
        }
    }

    fn receive(&mut self, to: usize, frame: Frame<u32>) {
        let machine = &mut self.sides[to].machine;
        match (&frame.body, to) {
            (Body::Control(Control::Hello(hello)), 1) => {
                if let Err(code) = machine.accept(hello, self.now_us) {
                    self.sides[1].closed.push(code);
                    self.cut();
                }
            }
            _ => machine.handle_frame(frame, self.now_us),
        }
        self.settle(to);
    }

    fn send(&mut self, who: usize) {
        let payload = self.next;
        match self.sides[who].machine.send(payload) {
            Ok(seq) => {
                self.next += 1;
                self.sent[who].push(payload);
                self.sides[who].pending.insert(seq, payload);
            }
            Err(SendError::Full(_)) => assert_eq!(self.sides[who].machine.on_the_way(), WINDOW),
            Err(SendError::Away(_)) => assert!(!self.sides[who].machine.is_up()),
        }
        self.settle(who);
    }

    fn answer(&mut self, who: usize, withdraw: bool) {
        let Some(seq) = self.sides[who].asked.pop_front() else { return };
        let payload = self.sides[who].pending[&seq];
        let machine = &mut self.sides[who].machine;
        if withdraw {
            if machine.withdraw(seq) {
                self.withdrawn[who].push(payload);
            }
        } else {
            let _ = machine.resend(seq, payload);
        }
        self.settle(who);
    }

    fn sync(&mut self, who: usize, count: usize) {
        let side = &mut self.sides[who];
        side.durable = (side.durable + count).min(side.delivered.len());
        if let Some((seq, _)) = side.durable.checked_sub(1).map(|last| side.delivered[last]) {
            side.machine.durable(seq, self.now_us);
        }
        self.settle(who);
    }

    fn pass(&mut self, us: u64) {
        self.now_us += us;
        for who in 0..2 {
            self.sides[who].machine.tick(self.now_us);
            self.settle(who);
        }
    }

    /// A frame of a broken connection turns up late.
    fn haunt(&mut self, to: usize, at: usize) {
        let ghosts = self.broken.len();
        if ghosts == 0 {
            return;
        }
        if let Some(frame) = self.broken[at % ghosts].to[to].pop_front()
            && !matches!(frame.body, Body::Control(Control::Hello(_)))
        {
            self.sides[to].machine.handle_frame(frame, self.now_us);
            self.settle(to);
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Send(who) => self.send(who),
            Step::Carry(to, count) => self.carry(to, count),
            Step::Cut => self.cut(),
            Step::Connect => self.connect(),
            Step::Answer(who, withdraw) => self.answer(who, withdraw),
            Step::Sync(who, count) => self.sync(who, count),
            Step::Pass(us) => self.pass(us),
            Step::Haunt(to, at) => self.haunt(to, at),
        }
    }

    /// Good weather until nothing is open any more.
    fn finish(&mut self) {
        self.connect();
        for _ in 0..64 {
            for who in 0..2 {
                self.carry(who, 1000);
                while !self.sides[who].asked.is_empty() {
                    self.answer(who, false);
                }
                self.sync(who, 1000);
            }
            self.pass(ACK_DELAY_US);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Carry(usize, usize),
    Cut,
    Connect,
    Answer(usize, bool),
    Sync(usize, usize),
    Pass(u64),
    Haunt(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2usize).prop_map(Step::Send),
        8 => (0..2usize, 1..6usize).prop_map(|(to, count)| Step::Carry(to, count)),
        1 => Just(Step::Cut),
        2 => Just(Step::Connect),
        4 => (0..2usize, prop::bool::weighted(0.2)).prop_map(|(who, withdraw)| Step::Answer(who, withdraw)),
        4 => (0..2usize, 1..4usize).prop_map(|(who, count)| Step::Sync(who, count)),
        2 => prop_oneof![0..50_000u64, 1_000_000..20_000_000u64].prop_map(Step::Pass),
        1 => (0..2usize, 0..8usize).prop_map(|(to, at)| Step::Haunt(to, at)),
    ]
}

fn settled_deliveries(world: &World, from: usize) -> (Vec<u32>, Vec<u32>) {
    let got = world.sides[1 - from].delivered.iter().map(|(_, payload)| *payload).collect();
    let gone = &world.withdrawn[from];
    (got, world.sent[from].iter().copied().filter(|payload| !gone.contains(payload)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_payload_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..250)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.finish();
        for from in 0..2 {
            let (got, expected) = settled_deliveries(&world, from);
            // The very first welcome may get lost with payloads behind it: those the hub is told
            // to dispatch again, and only those are missing.
            if world.sides[from].resets == 0 {
                prop_assert_eq!(got, expected);
            } else {
                prop_assert!(from == 1);
                let mut rest = expected.iter();
                prop_assert!(got.iter().all(|payload| rest.any(|e| e == payload)), "out of order or twice");
            }
            prop_assert!(world.sides[from].pending.is_empty());
        }
        prop_assert!(world.held_max <= 3 * WINDOW as usize + 8, "held {}", world.held_max);
        let only_silence = world.sides.iter().flat_map(|side| &side.closed).all(|code| *code == CloseCode::Silence);
        prop_assert!(only_silence, "{:?} {:?}", world.sides[0].closed, world.sides[1].closed);
    }

    #[test]
    fn arbitrary_frames_never_panic_and_hold_little(frames in prop::collection::vec(any_frame(), 0..200)) {
        for mut side in [Side::new(node(1, 0)), Side::new(hub(1, 0))] {
            for (frame, renew) in &frames {
                if *renew {
                    side.machine.connected(0);
                }
                if let Body::Control(Control::Hello(hello)) = &frame.body {
                    let _ = side.machine.accept(hello, 1);
                }
                side.machine.handle_frame(frame.clone(), 2);
                prop_assert!(side.machine.held() <= 3 * WINDOW as usize + 8);
                let _ = side.machine.send(9);
                side.machine.tick(frame.ack);
                side.machine.durable(frame.ack, frame.seq);
                let _ = side.machine.resend(frame.seq, 3);
                side.drain();
            }
        }
    }
}

fn small_or_any() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..6u64, 1 => any::<u64>()]
}

fn any_frame() -> impl Strategy<Value = (Frame<u32>, bool)> {
    let number = small_or_any;
    let control = prop_oneof![
        2 => (number(), number(), number(), 0..3u32, 0..3u32).prop_map(|(epoch, born, last_received, min, max)| {
            let (session, site) = (session_id(1), site());
            Control::Hello(Hello { version_min: min, version_max: max, session, site, epoch, born, last_received })
        }),
        4 => (number(), number(), 0..3u32, any::<bool>()).prop_map(|(incarnation, last_received, version, resumed)| {
            Control::Welcome(Welcome { version, session: session_id(1), incarnation, last_received, resumed })
        }),
        1 => Just(Control::Ack),
        1 => Just(Control::Void),
        1 => number().prop_map(|nonce| Control::Ping { nonce }),
        1 => number().prop_map(|nonce| Control::Pong { nonce }),
        1 => (number(), any::<u32>()).prop_map(|(nonce, padding_bytes)| Control::Probe { nonce, padding_bytes }),
        1 => any::<u128>().prop_map(|bits| Control::Cancel { attempt: AttemptId { realm: Realm::LOCAL, bits } }),
        1 => Just(Control::Load(Load::default())),
        1 => Just(Control::Close { code: CloseCode::Shutdown }),
    ];
    let body = prop_oneof![any::<u32>().prop_map(Body::Payload), control.prop_map(Body::Control)];
    (number(), number(), number(), body, prop::bool::weighted(0.1))
        .prop_map(|(epoch, seq, ack, body, renew)| (Frame { epoch, seq, ack, body }, renew))
}

fn connected_world() -> World {
    let mut world = World::new();
    world.connect();
    world.carry(1, 10);
    world.carry(0, 10);
    world.carry(1, 10);
    assert!(world.sides.iter().all(|side| side.machine.is_up()));
    world
}

#[test]
fn an_outgoing_payload_may_be_withdrawn_after_a_reconnect() {
    let mut world = connected_world();
    for _ in 0..3 {
        world.send(0);
    }
    world.cut();
    world.connect();
    world.carry(1, 10);
    world.carry(0, 10);
    assert_eq!(world.sides[0].asked, [1, 2, 3]);
    // Answered out of order, and with a new payload behind: they leave in order.
    world.send(0);
    assert_eq!(world.sides[0].machine.resend(3, 2), Ok(()));
    assert!(world.sides[0].machine.withdraw(2));
    world.withdrawn[0].push(1);
    assert_eq!(world.sides[0].machine.resend(1, 0), Ok(()));
    assert_eq!(world.sides[0].machine.resend(1, 0), Err(0), "answered already");
    world.sides[0].asked.clear();
    world.settle(0);
    world.carry(1, 20);
    assert_eq!(world.sides[1].delivered, [(1, 0), (3, 2), (4, 3)]);
    world.finish();
    assert!(world.sides[0].pending.is_empty());
}

#[test]
fn a_full_window_pushes_back_until_the_receiver_is_durable() {
    let mut world = connected_world();
    for _ in 0..WINDOW {
        assert!(world.sides[0].machine.send(1).is_ok());
    }
    assert_eq!(world.sides[0].machine.send(1), Err(SendError::Full(1)));
    world.settle(0);
    world.carry(1, 100);
    world.pass(ACK_DELAY_US);
    world.carry(0, 100);
    assert_eq!(world.sides[0].machine.send(1), Err(SendError::Full(1)));
    world.sides[1].machine.durable(2, world.now_us);
    world.pass(ACK_DELAY_US);
    world.sent[0].clear();
    // The owner's bookkeeping is bypassed here, so only the window is looked at.
    while let Some(frame) = world.line.as_mut().and_then(|line| line.to[0].pop_front()) {
        world.sides[0].machine.handle_frame(frame, world.now_us);
    }
    assert_eq!(world.sides[0].machine.on_the_way(), WINDOW - 2);
}

#[test]
fn a_restarted_hub_makes_the_node_dispatch_again() {
    let mut world = connected_world();
    world.send(0);
    world.carry(1, 10);
    world.cut();
    world.sides[1] = Side::new(hub(2, 1));
    world.connect();
    world.carry(1, 10);
    world.carry(0, 10);
    assert_eq!((world.sides[0].resets, world.sides[1].resets), (1, 0));
    // Numbers of the new numbering are new to the owner.
    assert_eq!(world.sides[0].machine.send(5), Ok(2));
}

#[test]
fn a_restarted_node_makes_the_hub_dispatch_again() {
    let mut world = connected_world();
    world.send(1);
    world.carry(0, 10);
    let epoch = world.sides[0].machine.epoch();
    world.cut();
    world.sides[0] = Side::new(node(2, epoch));
    world.connect();
    world.carry(1, 10);
    world.carry(0, 10);
    assert_eq!((world.sides[0].resets, world.sides[1].resets), (0, 1));
}

#[test]
fn a_node_or_a_hub_restored_from_a_backup_is_named() {
    let mut world = connected_world();
    world.cut();
    world.sides[0] = Side::new(node(1, 0));
    world.connect();
    world.carry(1, 10);
    assert_eq!(world.sides[1].closed, [CloseCode::EpochBackwards]);

    let mut world = connected_world();
    world.cut();
    world.sides[1] = Side::new(hub(0, 0));
    world.connect();
    world.carry(1, 10);
    world.carry(0, 10);
    assert_eq!(world.sides[0].closed, [CloseCode::IncarnationBackwards]);
}

#[test]
fn a_newer_connection_fences_the_older_one() {
    let mut world = connected_world();
    world.send(0);
    let late = world.line.as_mut().unwrap().to[1].pop_front().unwrap();
    // The node reconnects before the hub notices that the old line is dead.
    world.line = Some(Line::default());
    world.sides[0].machine.connected(world.now_us);
    world.settle(0);
    world.carry(1, 1);
    world.receive(1, late);
    assert!(world.sides[1].delivered.is_empty(), "a frame of the fenced connection was taken");
    // And a hello that was delayed on the way cannot take the session back.
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        session: session_id(1),
        site: site(),
        epoch: 1,
        born: 1,
        last_received: 0,
    };
    assert_eq!(world.sides[1].machine.accept(&hello, world.now_us), Err(CloseCode::EpochBackwards));
    assert!(world.sides[1].machine.is_up());
    world.finish();
    assert_eq!(world.sides[1].delivered, [(1, 0)]);
}

#[test]
fn strangers_and_other_versions_are_refused() {
    let other = SiteId { realm: Realm::LOCAL, bits: 8 };
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        session: session_id(1),
        site: site(),
        epoch: 1,
        born: 0,
        last_received: 0,
    };
    let mut hub = hub(1, 0);
    assert_eq!(hub.accept(&Hello { site: other, ..hello }, 0), Err(CloseCode::Site));
    assert_eq!(hub.accept(&Hello { version_min: 2, version_max: 9, ..hello }, 0), Err(CloseCode::Version));
    assert_eq!(hub.accept(&Hello { version_max: 0, ..hello }, 0), Err(CloseCode::Version));
    assert_eq!(hub.accept(&Hello { version_max: 9, ..hello }, 0), Ok(()));
}

#[test]
fn silence_is_pinged_and_then_ends_the_connection() {
    let mut world = connected_world();
    assert_eq!(world.sides[0].machine.poll_timeout(), Some(PING_AFTER_US));
    world.pass(PING_AFTER_US);
    assert_eq!(world.line.as_ref().unwrap().to.each_ref().map(VecDeque::len), [1, 1]);
    world.carry(1, 1);
    world.carry(0, 2);
    assert_eq!(world.sides[0].machine.smoothed_rtt_us(), Some(0));
    world.line.as_mut().unwrap().to[1].clear();
    world.pass(SILENCE_US_MAX);
    assert_eq!(world.sides[0].closed, [CloseCode::Silence]);
    assert_eq!(world.sides[0].machine.poll_timeout(), None);
}

fn payload(seq: u64) -> Frame<u32> {
    Frame { epoch: 1, seq, ack: 0, body: Body::Payload(1) }
}

#[test]
fn a_repeated_payload_is_dropped() {
    let mut world = connected_world();
    for seq in [1, 2, 1, 2, 2] {
        world.receive(1, payload(seq));
    }
    assert_eq!(world.sides[1].delivered, [(1, 1), (2, 1)]);
    assert!(world.sides[1].closed.is_empty());
}

#[test]
fn a_gap_and_a_passed_window_break_the_connection() {
    let mut world = connected_world();
    world.receive(1, payload(2));
    assert_eq!(world.sides[1].closed, [CloseCode::Protocol]);

    let mut world = connected_world();
    for seq in 1..=WINDOW + 1 {
        world.receive(1, payload(seq));
    }
    assert_eq!(world.sides[1].closed, [CloseCode::Window]);
}
