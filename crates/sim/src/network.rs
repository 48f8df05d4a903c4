//! The line between device and hub: late, cut at any moment, silent in one direction.
//!
//! Each direction delivers in order or not at all, as TCP does. What a line has taken from a
//! sender has left, whether or not it arrives, and is shown to the checks at that moment.

use crate::random::Random;
use crate::sites::{self, HubSite};
use crate::world::{Side, World, now};
use crate::{Broken, FaultKind};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_transport::connection::{Connection, Wire};
use tidegate_transport::listen::Arrival;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What can be done to a line.
enum Order {
    /// It breaks: of what is under way in each direction, so many frames still arrive. A side that
    /// is `unaware` learns of it only by the silence.
    Cut { arrive: [usize; 2], unaware: Option<usize> },
    /// Nothing arrives in this direction before that time.
    Stall { way: usize, until: Instant },
}

/// All lines, of which at most one is in use.
pub(crate) struct Network {
    world: Arc<World>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    hub: Option<Arc<HubSite>>,
    line: Option<mpsc::UnboundedSender<Order>>,
    blocked_until: Instant,
    /// Whether lines may be slow at all.
    calm: bool,
}

impl Network {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let random = Random::new(world.seed, "tidegate sim network");
        let state = State { random, hub: None, line: None, blocked_until: now(), calm: false };
        Arc::new(Self { world: Arc::clone(world), state: Mutex::new(state) })
    }

    /// This hub answers from now on, or none does.
    pub(crate) fn listen(&self, hub: Option<Arc<HubSite>>) {
        self.lock().hub = hub;
    }

    /// Whether this hub is the one that answers.
    fn answers(&self, hub: &Arc<HubSite>) -> bool {
        self.lock().hub.as_ref().is_some_and(|current| Arc::ptr_eq(current, hub))
    }

    /// A pause between two tries.
    pub(crate) fn pause(&self) -> Duration {
        let mut state = self.lock();
        let longest = if state.calm { 200 } else { 3_000 };
        Duration::from_millis(state.random.between(50, longest))
    }

    /// The device's end of a new line to the hub, if the hub can be reached.
    pub(crate) fn connect(self: &Arc<Self>) -> Option<Connection> {
        let mut state = self.lock();
        let hub = state.hub.clone().filter(|_| now() >= state.blocked_until)?;
        let (device, device_wire) = Connection::in_memory(sites::hub_id());
        let (arriving, hub_wire) = Connection::in_memory(sites::device_id());
        let (orders, received) = mpsc::unbounded_channel();
        let latency_ms = if state.calm { 5 } else { state.random.between(1, 60) };
        let jitter_ms = if state.calm { 1 } else { state.random.between(0, 40) };
        let line = Line {
            world: Arc::clone(&self.world),
            random: Random::new(state.random.next(), "tidegate sim line"),
            latency_ms,
            jitter_ms,
            ways: [Way::new(Side::Device), Way::new(Side::Hub)],
        };
        state.line = Some(orders);
        drop(state);
        self.world.trace("connect", &latency_ms.to_le_bytes());
        tokio::spawn(line.carry(device_wire, hub_wire, received));
        let network = Arc::clone(self);
        tokio::spawn(async move {
            // A hub that died meanwhile welcomes nobody.
            if let Ok(arrival) = Arrival::greet(arriving).await
                && network.answers(&hub)
            {
                hub.welcome(arrival);
            }
        });
        Some(device)
    }

    /// Breaks the line in use, if there is one.
    pub(crate) fn cut(&self, kind: FaultKind) {
        let mut state = self.lock();
        let Some(line) = state.line.take() else { return };
        let arrive = [state.random.below(6) as usize, state.random.below(6) as usize];
        // Both ends learn of it, or one does not: its machine is up and its peer is gone.
        let unaware = match kind {
            FaultKind::DeviceCrash => state.random.percent(50).then_some(1),
            FaultKind::HubCrash => state.random.percent(50).then_some(0),
            _ => state.random.pick(&[None, None, Some(0), Some(1)]).flatten(),
        };
        let _ = line.send(Order::Cut { arrive, unaware });
    }

    /// Lets nothing arrive in one direction for a while.
    pub(crate) fn stall(&self, way: usize, duration_ms: u64) {
        let state = self.lock();
        if let Some(line) = &state.line {
            let _ = line.send(Order::Stall { way, until: now() + Duration::from_millis(duration_ms) });
        }
    }

    /// No new line for a while.
    pub(crate) fn block(&self, duration_ms: u64) {
        self.lock().blocked_until = now() + Duration::from_millis(duration_ms);
    }

    /// From now on nothing is wrong with the network.
    pub(crate) fn calm(&self) {
        let mut state = self.lock();
        state.calm = true;
        state.blocked_until = now();
        if let Some(line) = &state.line {
            for way in 0..2 {
                let _ = line.send(Order::Stall { way, until: now() });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction of a line.
struct Way {
    from: Side,
    /// What is under way; `None` is the end of the stream.
    flying: VecDeque<(Instant, Option<Bytes>)>,
    stalled_until: Option<Instant>,
    ended: bool,
}

impl Way {
    fn new(from: Side) -> Self {
        Self { from, flying: VecDeque::new(), stalled_until: None, ended: false }
    }

    fn due(&self) -> Option<Instant> {
        let (due, _) = self.flying.front()?;
        Some(self.stalled_until.map_or(*due, |until| until.max(*due)))
    }
}

struct Line {
    world: Arc<World>,
    random: Random,
    latency_ms: u64,
    jitter_ms: u64,
    ways: [Way; 2],
}

impl Line {
    /// Carries frames between the device's wire (0) and the hub's (1) until the line ends.
    async fn carry(mut self, mut device: Wire, mut hub: Wire, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut ordered = true;
        loop {
            let due = self.ways.iter().filter_map(Way::due).min();
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                order = orders.recv(), if ordered => match order {
                    Some(Order::Cut { arrive, unaware }) => return self.cut(arrive, unaware, device, hub).await,
                    Some(Order::Stall { way, until }) => self.ways[way].stalled_until = Some(until),
                    // A newer line is in use; this one ends by itself.
                    None => ordered = false,
                },
                () = timer => {
                    if self.deliver(0, &hub).await || self.deliver(1, &device).await {
                        return;
                    }
                }
                frame = device.sent(), if !self.ways[0].ended => self.take(0, frame),
                frame = hub.sent(), if !self.ways[1].ended => self.take(1, frame),
            }
        }
    }

    /// A sender gave a frame, or the end.
    fn take(&mut self, way: usize, frame: Option<Bytes>) {
        let delay_ms = self.latency_ms + self.random.between(0, self.jitter_ms);
        let way = &mut self.ways[way];
        match &frame {
            Some(frame) => show(&self.world, way.from, frame),
            None => way.ended = true,
        }
        let earliest = way.flying.back().map_or_else(now, |(due, _)| *due);
        let due = earliest.max(now() + Duration::from_millis(delay_ms));
        way.flying.push_back((due, frame));
    }

    /// Gives what is due to the receiver; true if the stream has ended.
    async fn deliver(&mut self, way: usize, to: &Wire) -> bool {
        while self.ways[way].due().is_some_and(|due| due <= now()) {
            match self.ways[way].flying.pop_front() {
                Some((_, Some(frame))) => {
                    to.deliver(frame).await;
                }
                Some((_, None)) => return true,
                None => break,
            }
        }
        false
    }

    async fn cut(mut self, arrive: [usize; 2], unaware: Option<usize>, device: Wire, hub: Wire) {
        for (way, to) in [(0, &hub), (1, &device)] {
            // A side that is dead does not mind what arrives; one that stalls gets nothing.
            let stalled = self.ways[way].stalled_until.is_some_and(|until| until > now());
            let flying = std::mem::take(&mut self.ways[way].flying);
            for (_, frame) in flying.into_iter().take(if stalled { 0 } else { arrive[way] }) {
                if let Some(frame) = frame {
                    to.deliver(frame).await;
                }
            }
        }
        let (mut left, from) = match unaware {
            Some(0) => {
                drop(hub);
                (device, Side::Device)
            }
            Some(_) => {
                drop(device);
                (hub, Side::Hub)
            }
            None => return,
        };
        // What it still sends leaves and gets nowhere.
        while let Some(frame) = left.sent().await {
            show(&self.world, from, &frame);
        }
    }
}

fn show(world: &World, from: Side, frame: &Bytes) {
    world.on_the_wire(from, frame);
    if world.broken == Some(Broken::Unaudited) && from == Side::Device && crate::frame::payload(frame) != Ok(None) {
        // The deliberate leak: the same frame with a payload that no gate has seen.
        let mut leaked = frame.to_vec();
        if let Some(last) = leaked.last_mut() {
            *last ^= 1;
        }
        world.on_the_wire(from, &leaked.into());
    }
}
