//! Verdicts already given, so that a repeated question costs a hash and a look.
//!
//! A key is a BLAKE3 hash over everything a policy could see of the question: two questions share a
//! key only if no policy can tell them apart. A cache belongs to one state of policies and grants
//! and is dropped with it, so nothing has to be invalidated.
//!
//! Not here: the questions' meaning (`question`), the answers (`rules`).

use crate::downgrade::{Downgrade, DowngradeKind};
use crate::question::{Act, Action, Actor, Question};
use crate::requests::level_number;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_domain::label::{Integrity, Label};
use tidegate_domain::ops::SiteKind;

/// Answers kept; the cache starts over when it is full.
pub(crate) const CACHED_MAX: usize = 4_096;

pub(crate) type Key = [u8; 32];

/// Answers by key.
pub(crate) struct Cache<T>(Mutex<HashMap<Key, T, BuildHasherDefault<FirstBytes>>>);

impl<T: Clone> Cache<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::default()))
    }

    /// The kept answer, or the one `find` gives. The lock is not held meanwhile.
    pub(crate) fn get_or(&self, key: Key, find: impl FnOnce() -> T) -> T {
        if let Some(answer) = self.lock().get(&key) {
            return answer.clone();
        }
        let answer = find();
        let mut kept = self.lock();
        if kept.len() >= CACHED_MAX {
            kept.clear();
        }
        kept.insert(key, answer.clone());
        answer
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A panic while the lock was held leaves a whole map behind.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, T, BuildHasherDefault<FirstBytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys are hashes already: their first bytes serve.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length that arrays are prefixed with says nothing.
    fn write_usize(&mut self, _: usize) {}
}

/// A key in the making: parts of free length are preceded by it.
struct Parts {
    bytes: [u8; 256],
    used: usize,
    hasher: Option<blake3::Hasher>,
}

impl Parts {
    fn new(tag: u8) -> Self {
        let mut parts = Self { bytes: [0; 256], used: 0, hasher: None };
        parts.put(&[tag]);
        parts
    }

    /// Short keys are hashed in one go, which is most of the time saved.
    fn put(&mut self, part: &[u8]) {
        match self.bytes.get_mut(self.used..self.used + part.len()) {
            Some(slot) => {
                slot.copy_from_slice(part);
                self.used += part.len();
            }
            None => {
                let hasher = self.hasher.get_or_insert_with(blake3::Hasher::new);
                hasher.update(&self.bytes[..self.used]);
                hasher.update(part);
                self.used = 0;
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.put(&(text.len() as u64).to_le_bytes());
        self.put(text.as_bytes());
    }

    fn realm(&mut self, realm: Realm) {
        self.text(realm.as_str());
    }

    fn site(&mut self, site: SiteId) {
        self.realm(site.realm);
        self.put(&site.to_bytes());
    }

    /// What policies see of a label; `workspaces` are put by those whose policies see them.
    fn label(&mut self, label: &Label) {
        self.put(&[level_number(label.level) as u8, u8::from(label.integrity == Integrity::Untrusted)]);
        self.put(&label.categories.bits().to_le_bytes());
    }

    fn finish(mut self) -> Key {
        match self.hasher.take() {
            None => *blake3::hash(&self.bytes[..self.used]).as_bytes(),
            Some(mut hasher) => {
                hasher.update(&self.bytes[..self.used]);
                *hasher.finalize().as_bytes()
            }
        }
    }
}

fn kind_byte(kind: SiteKind) -> u8 {
    match kind {
        SiteKind::Device => 1,
        SiteKind::Hub => 2,
        SiteKind::Worker => 3,
    }
}

/// The key of "may this leave?".
pub(crate) fn transfer_key(q: &Question<'_>) -> Key {
    let to = q.destination;
    let mut parts = Parts::new(1);
    parts.label(q.label);
    parts.put(&[kind_byte(to.kind), u8::from(q.speculative), u8::from(q.origin == Some(to.site))]);
    parts.site(to.site);
    parts.put(&(to.onward.len() as u64).to_le_bytes());
    for onward in &to.onward {
        parts.text(onward);
    }
    parts.text(q.purpose);
    parts.finish()
}

/// The key of "may this label sink?".
pub(crate) fn downgrade_key(d: &Downgrade<'_>) -> Key {
    let kind = match d.kind {
        DowngradeKind::Redact => 1,
        DowngradeKind::Extract => 2,
    };
    let mut parts = Parts::new(2);
    parts.label(d.from);
    parts.put(&[kind]);
    parts.put(&d.residue.bits().to_le_bytes());
    parts.put(&(d.from.workspaces.len() as u64).to_le_bytes());
    for workspace in &d.from.workspaces {
        parts.realm(workspace.realm);
        parts.put(&workspace.to_bytes());
    }
    match d.run {
        None => parts.put(&[0]),
        Some(run) => {
            parts.put(&[1]);
            parts.realm(run.realm);
            parts.put(&run.to_bytes());
        }
    }
    parts.text(d.op);
    parts.finish()
}

/// The key of "may this be done here?".
pub(crate) fn act_key(act: &Act<'_>) -> Key {
    let action = match act.action {
        Action::Place => 1,
        Action::Read => 2,
        Action::Write => 3,
        Action::Run => 4,
        Action::Approve => 5,
    };
    let mut parts = Parts::new(3);
    parts.label(act.label);
    parts.put(&[action]);
    match act.actor {
        Actor::Owner => parts.put(&[0]),
        Actor::Site(site, kind) => {
            parts.put(&[kind_byte(kind)]);
            parts.site(site);
        }
    }
    parts.text(act.operation);
    parts.finish()
}
