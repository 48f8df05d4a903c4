//! A few children, each kept for one key, reused while they behave.
//!
//! Job: give a request a child of its key — an idle one, or a fresh one — and
//! keep the number of children, their requests and their idle time in bounds.
//!
//! Not its job: what a key means. Callers build it from the label and the run's
//! owner; the pool promises only that no child ever serves two keys, so that
//! what a hostile file leaves behind in a child meets no other label's bytes.
//!
//! At most `children_max` processes exist at a time, idle ones included: the
//! longest idle one of another key makes room. A request waits for a free slot
//! within its own deadline.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::process::{Child, own_program};
use super::{ChildError, ChildLimits, Confinement, Requirement};

/// How a pool starts and keeps its children.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// The program a child is made of. Default: this one.
    pub program: PathBuf,
    /// What each child may use.
    pub limits: ChildLimits,
    /// Processes at a time, idle ones included. Default 2.
    pub children_max: usize,
    /// Requests one child serves before it is replaced. Default 64.
    pub requests_per_child_max: u32,
    /// How long a child may be idle before it is ended. Default 2 minutes.
    pub idle_max: Duration,
    /// Walls without which a child is refused, beyond the mandatory ones.
    pub required: Vec<Requirement>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            program: own_program(),
            limits: ChildLimits::default(),
            children_max: 2,
            requests_per_child_max: 64,
            idle_max: Duration::from_secs(120),
            required: Vec::new(),
        }
    }
}

/// What a pool holds at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Children serving a request or being started.
    pub busy: usize,
    /// Children waiting for a request.
    pub idle: usize,
    /// The most memory all of them may take, in bytes. Not part of the
    /// program's own memory.
    pub memory_bytes_max: u64,
    /// Children started since the pool was made.
    pub started: u64,
}

/// A pool of sandboxed children. Cheap to clone; the last clone dropped ends
/// all children.
#[derive(Debug, Clone)]
pub struct ChildPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: PoolConfig,
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Longest idle first.
    idle: Vec<Idle>,
    busy: usize,
    started: u64,
    /// Whether a task watches for children that idle too long.
    watched: bool,
}

#[derive(Debug)]
struct Idle {
    key: String,
    child: Child,
    served: u32,
    since: Instant,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and the state is sound at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a child as busy for as long as this lives; in the same step as it
/// stops counting, the child may become an idle one.
struct Busy<'a> {
    shared: &'a Shared,
    idle: Option<Idle>,
}

impl<'a> Busy<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.state().busy += 1;
        Busy { shared, idle: None }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.busy -= 1;
        state.idle.extend(self.idle.take());
    }
}

impl ChildPool {
    /// An empty pool; children start when they are needed.
    pub fn new(mut config: PoolConfig) -> Self {
        config.children_max = config.children_max.max(1);
        config.requests_per_child_max = config.requests_per_child_max.max(1);
        let slots = Semaphore::new(config.children_max);
        ChildPool { shared: Arc::new(Shared { config, slots, state: Mutex::default() }) }
    }

    /// The limits its children run under.
    pub fn limits(&self) -> ChildLimits {
        self.shared.config.limits
    }

    /// Has a child of `key` do `kind` with `payload`, all within `deadline`:
    /// waiting for a slot, starting a child if none is idle, and the work.
    #[expect(clippy::disallowed_methods, reason = "deadlines of real processes, in the seam")]
    pub async fn request(
        &self,
        key: &str,
        kind: &str,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, ChildError> {
        let shared = &*self.shared;
        let begun = Instant::now();
        let busy = |_| ChildError::Busy { waited: deadline, children_max: shared.config.children_max };
        let Ok(_slot) = tokio::time::timeout(deadline, shared.slots.acquire()).await.map_err(busy)? else {
            return Err(ChildError::Busy { waited: begun.elapsed(), children_max: shared.config.children_max });
        };
        let mut counted = Busy::count(shared);
        let (mut child, served) = match self.take(key).await {
            Some(Idle { child, served, .. }) => (child, served),
            None => (self.start(deadline.saturating_sub(begun.elapsed()), deadline).await?, 0),
        };
        let left = deadline.saturating_sub(begun.elapsed());
        let outcome = match child.request(kind, payload, left).await {
            // Say the limit the caller set, not what was left of it.
            Err(ChildError::TimedOut { .. }) => Err(ChildError::TimedOut { limit: deadline }),
            other => other,
        };
        let usable = outcome.as_ref().err().is_none_or(ChildError::leaves_child_usable);
        let served = served + 1;
        if !usable {
            // Killed and reaped where the error was made.
        } else if served >= shared.config.requests_per_child_max {
            child.end().await;
        } else {
            counted.idle = Some(Idle { key: key.to_owned(), child, served, since: Instant::now() });
            self.watch_idle();
        }
        outcome
    }

    /// The confinement children get on this system: starts one to ask it.
    pub async fn probe(&self) -> Result<Confinement, ChildError> {
        super::probe(&self.shared.config.program, self.shared.config.limits).await
    }

    /// How many children there are and what they may take.
    pub fn status(&self) -> PoolStatus {
        let state = self.shared.state();
        let children = (state.busy + state.idle.len()) as u64;
        PoolStatus {
            busy: state.busy,
            idle: state.idle.len(),
            memory_bytes_max: children.saturating_mul(self.shared.config.limits.memory_bytes_max),
            started: state.started,
        }
    }

    /// Ends every idle child now and waits until they are gone: for a change of
    /// policy, or before the program stops.
    pub async fn end_idle(&self) {
        let idle = std::mem::take(&mut self.shared.state().idle);
        for Idle { child, .. } in idle {
            child.end().await;
        }
    }

    /// An idle child of `key`; without one, makes room for a fresh child.
    async fn take(&self, key: &str) -> Option<Idle> {
        let shared = &*self.shared;
        let evicted = {
            let mut state = shared.state();
            // The most recent one has the warmest memory.
            if let Some(at) = state.idle.iter().rposition(|idle| idle.key == key) {
                return Some(state.idle.remove(at));
            }
            let room = shared.config.children_max.saturating_sub(state.busy);
            let surplus = state.idle.len().saturating_sub(room);
            state.idle.drain(..surplus).collect::<Vec<_>>()
        };
        for Idle { child, .. } in evicted {
            child.end().await;
        }
        None
    }

    async fn start(&self, left: Duration, deadline: Duration) -> Result<Child, ChildError> {
        let config = &self.shared.config;
        self.shared.state().started += 1;
        let spawned = Child::spawn(&config.program, config.limits, &config.required);
        tokio::time::timeout(left, spawned).await.map_err(|_| ChildError::TimedOut { limit: deadline })?
    }

    fn watch_idle(&self) {
        if !std::mem::replace(&mut self.shared.state().watched, true) {
            tokio::spawn(end_when_idle(Arc::downgrade(&self.shared), self.shared.config.idle_max));
        }
    }
}

/// Ends children that idle too long; goes away with the last of them.
async fn end_when_idle(pool: Weak<Shared>, idle_max: Duration) {
    let step = (idle_max / 4).max(Duration::from_millis(50));
    loop {
        tokio::time::sleep(step).await;
        let Some(shared) = pool.upgrade() else { return };
        let (expired, last) = {
            let mut state = shared.state();
            let expired: Vec<_> = state.idle.extract_if(.., |idle| idle.since.elapsed() >= idle_max).collect();
            // A busy child may become an idle one and counts on this task.
            if state.idle.is_empty() && state.busy == 0 {
                state.watched = false;
            }
            (expired, !state.watched)
        };
        for Idle { child, .. } in expired {
            child.end().await;
        }
        if last {
            return;
        }
    }
}
