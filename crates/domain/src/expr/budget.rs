//! What one evaluation may spend, and how its parts tell that they spent it.
//!
//! The interpreter takes no visitor and stops for nobody, so the meter is a *value*: it is bound to
//! a name that no author can write, and the rewritten expression hands it to every metered call.
//! An error raised on the way may be swallowed by `||`; therefore running dry is also a flag, which
//! is looked at when the evaluation is over, and which makes every later metered call fail at once.

use crate::value::BlobRef;
use cel::common::types::{CelList, CelMap, CelString, Type};
use cel::common::value::{StaticVal, Val};
use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A step is one element visited by a loop with a body of about this many nodes. A unit takes the
/// interpreter some 130 ns, so that all steps together take about a second.
const UNITS_PER_STEP: u64 = 8;
/// Copying a node allocates; that costs as much as evaluating a few.
const UNITS_PER_NODE: u64 = 4;
/// Text is copied and searched in bulk.
const BYTES_PER_UNIT: u64 = 16;
/// What compiling a pattern costs, about.
pub(super) const UNITS_PER_PATTERN: u64 = 20_000;

/// The meter of one evaluation.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    left: AtomicU64,
    dry: AtomicBool,
    blob: AtomicBool,
    patterns: Mutex<HashMap<String, Arc<regex::Regex>>>,
}

/// The budget is used up.
pub(super) struct Dry;

/// What walking over a value showed.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) units: u64,
    pub(super) blobs: bool,
}

impl Budget {
    pub(super) fn of(steps: u64) -> Self {
        Budget(Arc::new(Account {
            left: AtomicU64::new(steps.saturating_mul(UNITS_PER_STEP)),
            dry: AtomicBool::new(false),
            blob: AtomicBool::new(false),
            patterns: Mutex::default(),
        }))
    }

    /// Takes `units` off, or says that there are not as many left.
    pub(super) fn spend(&self, units: u64) -> Result<(), Dry> {
        if self.is_dry() {
            return Err(Dry);
        }
        // One evaluation runs on one thread; the atomics are there because the interpreter asks
        // its values to be shareable.
        match self.0.left.load(Ordering::Relaxed).checked_sub(units) {
            Some(left) => {
                self.0.left.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.0.dry.store(true, Ordering::Relaxed);
                Err(Dry)
            }
        }
    }

    /// Takes off what copying or searching `bytes` of text costs.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), Dry> {
        self.spend(1 + bytes as u64 / BYTES_PER_UNIT)
    }

    /// Takes off what copying or searching a value costs.
    pub(super) fn spend_value(&self, value: &dyn Val) -> Result<Weight, Dry> {
        let mut weight = Weight::default();
        weigh(value, self.0.left.load(Ordering::Relaxed), &mut weight);
        self.spend(weight.units)?;
        Ok(weight)
    }

    pub(super) fn is_dry(&self) -> bool {
        self.0.dry.load(Ordering::Relaxed)
    }

    /// Notes that the inside of a blob was asked for.
    pub(super) fn touch_blob(&self) {
        self.0.blob.store(true, Ordering::Relaxed);
    }

    pub(super) fn touched_blob(&self) -> bool {
        self.0.blob.load(Ordering::Relaxed)
    }

    /// A compiled pattern, from this evaluation's own store of them.
    pub(super) fn pattern(
        &self,
        pattern: &str,
        compile: impl FnOnce() -> Option<regex::Regex>,
    ) -> Result<Option<Arc<regex::Regex>>, Dry> {
        let mut patterns = self.0.patterns.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = patterns.get(pattern) {
            return Ok(Some(Arc::clone(found)));
        }
        self.spend(UNITS_PER_PATTERN)?;
        let Some(compiled) = compile().map(Arc::new) else { return Ok(None) };
        patterns.insert(pattern.to_owned(), Arc::clone(&compiled));
        Ok(Some(compiled))
    }
}

/// Adds up what `value` weighs; stops where that passes `enough`.
fn weigh(value: &dyn Val, enough: u64, weight: &mut Weight) {
    weight.units += UNITS_PER_NODE;
    if let Some(text) = value.downcast_ref::<CelString>() {
        weight.units += text.inner().len() as u64 / BYTES_PER_UNIT;
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        for item in list.inner() {
            if weight.units > enough {
                return;
            }
            weigh(item.as_ref(), enough, weight);
        }
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        for member in map.inner().values() {
            if weight.units > enough {
                return;
            }
            weigh(member.as_ref(), enough, weight);
        }
    } else if value.downcast_ref::<Blob>().is_some() {
        weight.blobs = true;
    }
}

impl Val for Budget {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = Type::new_unspecified_type("budget");
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Budget {}

/// A blob on its way through an expression: it can be passed on, and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Blob(pub(super) BlobRef);

impl Val for Blob {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = Type::new_unspecified_type("blob");
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Blob {}
