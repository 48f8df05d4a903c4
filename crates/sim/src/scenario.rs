//! One simulation from its first to its last moment: work is submitted, faults happen, they stop,
//! and what has come of it is checked.

use crate::checks::{self, Result};
use crate::disk::Disk;
use crate::network::Network;
use crate::random::Random;
use crate::sites::{self, Device, HubSite};
use crate::workload::{QUIET_MS, Workload};
use crate::world::{Side, World, now};
use crate::{FaultKind, Plan};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_domain::ids::RunId;
use tidegate_engine::{Engine, Submission};
use tidegate_gate::Gate;

/// How long runs may take to end once nothing goes wrong any more, in virtual time.
const SETTLE_MS: u64 = 600_000;
/// How often it is looked whether they have.
const LOOK_MS: u64 = 100;

/// What is known at the end.
pub(crate) struct Ended {
    pub(crate) results: BTreeMap<usize, Result>,
    pub(crate) acknowledged: usize,
}

struct Scenario {
    world: Arc<World>,
    network: Arc<Network>,
    gates: (Gate, Gate),
    state: Mutex<State>,
}

struct State {
    random: Random,
    device: Option<Device>,
    hub: Option<Arc<HubSite>>,
    /// Acknowledged runs by job, and whether somebody asked for their cancellation.
    acknowledged: BTreeMap<usize, (RunId, bool)>,
}

/// Plays a workload under a plan. `expected` has the results of the same workload without faults.
pub(crate) async fn play(
    world: &Arc<World>,
    gates: (Gate, Gate),
    plan: &Plan,
    workload: &Workload,
    expected: Option<&BTreeMap<usize, Result>>,
) -> Ended {
    let network = Network::new(world);
    let random = Random::new(world.seed, "tidegate sim faults");
    let state = State { random, device: None, hub: None, acknowledged: BTreeMap::new() };
    let scenario = Arc::new(Scenario { world: Arc::clone(world), network, gates, state: Mutex::new(state) });
    scenario.start_hub(Disk::blank(Side::Hub, world)).await;
    scenario.start_device(Disk::blank(Side::Device, world));
    if plan.kinds.is_empty() {
        scenario.network.calm();
    }

    let submitters: Vec<_> = (0..workload.jobs.len())
        .map(|job| tokio::spawn(Arc::clone(&scenario).submit(job, workload.jobs[job].clone())))
        .collect();
    scenario.misfortune(plan).await;
    scenario.calm().await;
    for submitter in submitters {
        let _ = submitter.await;
    }
    scenario.settle(expected).await
}

impl Scenario {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.lock().device.as_ref().map(|device| Arc::clone(&device.engine))
    }

    fn start_device(&self, disk: Arc<Disk>) {
        self.world.trace("boot device", &[]);
        let mut state = self.lock();
        let device = Device::boot(&self.world, disk, self.gates.0.clone(), &self.network, &mut state.random);
        state.device = Some(device);
    }

    async fn start_hub(&self, disk: Arc<Disk>) {
        self.world.trace("boot hub", &[]);
        let random = Random::new(self.lock().random.next(), "tidegate sim disk");
        let hub = HubSite::boot(&self.world, disk, self.gates.1.clone(), random).await;
        self.network.listen(hub.clone());
        self.lock().hub = hub;
    }

    /// Submits a job in its time, if there is a process to submit to, and cancels it if it is
    /// one of those.
    async fn submit(self: Arc<Self>, number: usize, job: crate::workload::Job) {
        tokio::time::sleep(Duration::from_millis(job.at_ms)).await;
        let Some(engine) = self.engine() else { return };
        let submission =
            Submission { source: job.source, inputs: job.inputs, outputs: "/nowhere".into(), allow_redacted: false };
        let run = match engine.submit(submission).await {
            Ok(view) => view.row.run,
            Err(tidegate_engine::EngineError::Store(_)) => return,
            Err(error) => return self.world.violation(format!("job {number} was not taken: {error:?}")),
        };
        self.world.trace("acknowledged", &run.to_bytes());
        self.lock().acknowledged.insert(number, (run, false));
        let Some(after_ms) = job.cancel_after_ms else { return };
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        if let Some(engine) = self.engine()
            && let Some(entry) = self.lock().acknowledged.get_mut(&number)
        {
            entry.1 = true;
            self.world.trace("cancel", &run.to_bytes());
            let _ = engine.cancel(run);
        }
    }

    /// Lets things go wrong for as long as the plan says: at any moment, or right after something
    /// was written or sent, when there is most to lose.
    async fn misfortune(&self, plan: &Plan) {
        tokio::time::sleep(Duration::from_millis(QUIET_MS)).await;
        let end = now() + Duration::from_millis(plan.faults_ms);
        let faults = async {
            loop {
                let (pause_ms, then_ms, busy) = {
                    let random = &mut self.lock().random;
                    let pause_ms = random.between(1, plan.pause_ms.max(1).saturating_mul(2));
                    let then_ms = random.pick(&[0, 1, 2, 4, 8, 16, 40]).unwrap_or(0);
                    (pause_ms, then_ms, random.percent(60))
                };
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                if busy {
                    let _ = tokio::time::timeout_at(end, self.world.activity.notified()).await;
                    tokio::time::sleep(Duration::from_millis(then_ms)).await;
                }
                let kind = self.lock().random.pick(&plan.kinds);
                match kind {
                    // One that has begun is carried through: what died is started again.
                    Some(kind) if now() < end => self.inflict(kind).await,
                    _ => return,
                }
            }
        };
        if plan.kinds.is_empty() {
            return tokio::time::sleep_until(end).await;
        }
        faults.await;
        tokio::time::sleep_until(end).await;
    }

    async fn inflict(&self, kind: FaultKind) {
        self.world.fault(kind);
        match kind {
            FaultKind::Cut => self.network.cut(kind),
            FaultKind::Silence => {
                let (way, long_ms) = {
                    let mut state = self.lock();
                    (state.random.below(2) as usize, state.random.between(100, 25_000))
                };
                self.network.stall(way, long_ms);
            }
            FaultKind::Partition => {
                let long_ms = self.lock().random.between(500, 20_000);
                self.network.block(long_ms);
                self.network.cut(kind);
            }
            FaultKind::SlowDisk => {
                let mut state = self.lock();
                let by_ms = state.random.between(50, 2_000);
                if state.random.percent(50) {
                    state.device.iter().for_each(|device| device.disk.slow_down(by_ms));
                } else {
                    state.hub.iter().for_each(|hub| hub.disk.slow_down(by_ms));
                }
            }
            FaultKind::DeviceCrash => self.crash_device().await,
            FaultKind::HubCrash => self.crash_hub().await,
        }
    }

    /// How long a dead process stays dead, and whether its last sync got through unseen.
    fn death(&self) -> (Duration, bool) {
        let mut state = self.lock();
        let long_ms =
            if state.random.percent(70) { state.random.between(5, 500) } else { state.random.between(500, 15_000) };
        (Duration::from_millis(long_ms), state.random.percent(40))
    }

    async fn crash_device(&self) {
        let (pause, synced) = self.death();
        let Some(device) = self.lock().device.take() else { return };
        self.network.cut(FaultKind::DeviceCrash);
        if synced {
            device.disk.sync();
        }
        let platter = device.kill();
        tokio::time::sleep(pause).await;
        self.start_device(Disk::open(Side::Device, &self.world, platter));
    }

    async fn crash_hub(&self) {
        let (pause, synced) = self.death();
        let Some(hub) = self.lock().hub.take() else { return };
        self.network.listen(None);
        self.network.cut(FaultKind::HubCrash);
        if synced {
            hub.disk.sync();
        }
        let platter = hub.kill();
        tokio::time::sleep(pause).await;
        self.start_hub(Disk::open(Side::Hub, &self.world, platter)).await;
    }

    /// Nothing goes wrong from here on.
    async fn calm(&self) {
        self.world.trace("calm", &[]);
        self.network.calm();
        let state = self.lock();
        state.device.iter().for_each(|device| device.disk.slow_down(0));
        state.hub.iter().for_each(|hub| hub.disk.slow_down(0));
    }

    /// Waits until every acknowledged run has ended, for a bounded time, and checks everything.
    async fn settle(&self, expected: Option<&BTreeMap<usize, Result>>) -> Ended {
        let acknowledged = self.lock().acknowledged.clone();
        let Some(engine) = self.engine() else {
            self.world.violation("the device is not there at the end".into());
            return Ended { results: BTreeMap::new(), acknowledged: 0 };
        };
        let mut waited_ms = 0;
        while acknowledged.values().any(|(run, _)| engine.is_active(*run)) && waited_ms < SETTLE_MS {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            waited_ms += LOOK_MS;
        }
        // What was sent last is recorded, too.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let world = &self.world;
        let results = checks::acknowledged_runs_end_as_without_faults(world, &engine, &acknowledged, expected);
        checks::each_attempt_is_recorded_once(world);
        let hub = self.lock().hub.clone();
        let device: &dyn tidegate_store::Store = engine.site().store.as_ref();
        checks::chains_verify(world, Side::Device, device);
        checks::audit_log_covers_the_wire(world, Side::Device, device);
        match hub {
            Some(hub) => {
                checks::chains_verify(world, Side::Hub, hub.disk.as_ref());
                checks::audit_log_covers_the_wire(world, Side::Hub, hub.disk.as_ref());
            }
            None => world.violation("the hub is not there at the end".into()),
        }
        Ended { results, acknowledged: acknowledged.len() }
    }
}

/// Both gates for a seed.
pub(crate) fn gates(seed: u64) -> Option<(Gate, Gate)> {
    sites::gates(seed)
}
