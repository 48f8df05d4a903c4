//! Device and hub in one process under one seed: virtual time, a failing network, disks that
//! forget, processes that die.
//!
//! - [`run`] plays one seed and gives a [`Report`]; equal seeds and plans give equal traces.
//! - `sites` are the two shells over the code that ships; `network` and `disk` fail; `workload`
//!   makes the work; `scenario` lets it happen; `checks` says what must hold.
//!
//! Only pieces whose order depends on nothing but the seed are used: operations that run inline
//! (`value.set`). Operations on threads of their own would need a pool that the scheduler drives.
//!
//! Not here: sockets, TLS and SQLite, which have tests of their own; nothing imports this crate.

mod checks;
mod disk;
mod frame;
mod network;
mod random;
mod scenario;
mod sites;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use world::World;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The line breaks; some of what was under way arrives.
    Cut,
    /// Nothing arrives in one direction for a while.
    Silence,
    /// The line breaks and no new one can be made for a while.
    Partition,
    /// Syncs of one disk take long from now on, until its process restarts.
    SlowDisk,
    /// The device's process dies and is started again.
    DeviceCrash,
    /// The hub's process dies and is started again.
    HubCrash,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 6] = [
        FaultKind::Cut,
        FaultKind::Silence,
        FaultKind::Partition,
        FaultKind::SlowDisk,
        FaultKind::DeviceCrash,
        FaultKind::HubCrash,
    ];

    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Cut => "cut",
            FaultKind::Silence => "silence",
            FaultKind::Partition => "partition",
            FaultKind::SlowDisk => "slow disk",
            FaultKind::DeviceCrash => "device crash",
            FaultKind::HubCrash => "hub crash",
        }
    }
}

/// A rule that is broken on purpose, to see that the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A payload leaves the device that no gate has seen.
    Unaudited,
    /// The disk says that it has synced and has not.
    LyingDisk,
    /// The hub does not find the outcomes it recorded.
    ForgetfulInbox,
    /// Secrets enter with a label that lets them leave.
    LowLabels,
}

/// What is to happen in a simulation, apart from what the seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Runs that are submitted.
    pub runs: u32,
    /// For how long runs are submitted and things go wrong, in virtual milliseconds.
    pub faults_ms: u64,
    /// The mean pause between two faults, in virtual milliseconds.
    pub pause_ms: u64,
    /// What goes wrong; each is as likely as it is often in the list. None: nothing does.
    pub kinds: Vec<FaultKind>,
    /// A rule to break.
    pub broken: Option<Broken>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { runs: 8, faults_ms: 60_000, pause_ms: 3_000, kinds: FaultKind::ALL.to_vec(), broken: None }
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Faults that were done, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Runs whose submission was acknowledged.
    pub acknowledged: u64,
    /// Units of those runs: steps, or items of fan-outs.
    pub steps: u64,
    /// Units that were refused.
    pub refused: u64,
    /// Runs that ended cancelled.
    pub cancelled: u64,
    /// Attempts that the hub executed, and how often it executed one again whose first outcome
    /// a crash had taken.
    pub executed: u64,
    /// See `executed`.
    pub executed_again: u64,
    /// Frames that left either side.
    pub frames: u64,
    /// Of those, payloads.
    pub payloads: u64,
    /// Bytes of all frames.
    pub wire_bytes: u64,
    /// Batches that were committed.
    pub commits: u64,
    /// Virtual seconds.
    pub virtual_s: f64,
    /// Hash of the trace: every frame, commit, sync and fault with its time.
    pub trace: String,
    /// Promises that were broken.
    pub violations: Vec<String>,
}

impl fmt::Display for Report {
    /// The violations, and how to see them again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} broke {} promises:", self.seed, self.violations.len())?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        write!(f, "again: cargo run -p tidegate-sim --example simulate -- --seeds 1 --from {}", self.seed)
    }
}

/// Plays a seed under a plan: once without faults, to know what each run comes to, and once with.
pub fn run(seed: u64, plan: &Plan) -> Report {
    let quiet = Plan { kinds: Vec::new(), faults_ms: 1_000, broken: None, ..plan.clone() };
    let mut expected_workload = workload::generate(seed, plan);
    for job in &mut expected_workload.jobs {
        job.cancel_after_ms = None;
        job.at_ms = job.at_ms.min(workload::QUIET_MS + 1_000);
    }
    let (calm, expected) = play(seed, &quiet, &expected_workload, None);
    let (mut report, _) = play(seed, plan, &workload::generate(seed, plan), Some(&expected));
    let before = calm.violations.into_iter().map(|violation| format!("without any fault, {violation}"));
    report.violations.splice(0..0, before);
    report
}

type Results = BTreeMap<usize, checks::Result>;

fn play(seed: u64, plan: &Plan, workload: &workload::Workload, expected: Option<&Results>) -> (Report, Results) {
    let failed = |what: String| (Report { seed, violations: vec![what], ..Report::default() }, Results::new());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format!("no runtime: {error}")),
    };
    let Some(gates) = scenario::gates(seed) else { return failed("the policies that ship cannot be read".into()) };
    let (report, results) = runtime.block_on(async {
        let canaries = checks::forms(workload::CANARY).into();
        let hub_ahead_ms = random::Random::new(seed, "tidegate sim skew").below(10_000);
        let world = World::new(seed, plan.broken, hub_ahead_ms, canaries);
        let ended = scenario::play(&world, gates, plan, workload, expected).await;
        (summarise(&world, &ended), ended.results)
    });
    // Tasks of dead processes wait for things that never come.
    runtime.shutdown_background();
    (report, results)
}

fn summarise(world: &Arc<World>, ended: &scenario::Ended) -> Report {
    use tidegate_domain::run::Status;
    let trace = world.trace_hash();
    let virtual_s = world.elapsed_us() as f64 / 1e6;
    let ledger = world.ledger();
    let units = || ended.results.values().flat_map(|result| &result.units);
    Report {
        seed: world.seed,
        faults: ledger.faults.clone(),
        acknowledged: ended.acknowledged as u64,
        steps: units().count() as u64,
        refused: units().filter(|unit| unit.2 == Status::Refused).count() as u64,
        cancelled: ended.results.values().filter(|result| result.status == Status::Cancelled).count() as u64,
        executed: ledger.executed.len() as u64,
        executed_again: ledger.executed.values().map(|times| times - 1).sum(),
        frames: ledger.frames,
        payloads: ledger.payloads,
        wire_bytes: ledger.wire_bytes,
        commits: ledger.commits,
        virtual_s,
        trace,
        violations: ledger.violations.clone(),
    }
}
