//! What the rewriting of an expression puts around its loops, calls and operators: it counts what
//! passes through, and stops what would look into a blob.
//!
//! Not its job: where it is put. That is [`super::plan`].

use super::budget::Weight;
use super::functions::{Args, Outcome, fail, is_blob, meter_of};
use cel::ExecutionError;
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};

/// Counts what passes through; what it is applied to may be passed on but is not looked at.
pub(super) const METER: &str = "@meter";
/// The same for something that is looked at: a blob is not let through.
pub(super) const USE: &str = "@use";
/// What a loop runs over, counted together with its body; a map becomes its keys in order.
pub(super) const ENTER: &str = "@enter";
/// `==` that knows blobs.
pub(super) const SAME: &str = "@same";
/// `in` that knows blobs.
pub(super) const WITHIN: &str = "@within";

/// `+` that knows blobs and does not take a map for the list of its keys.
pub(super) const PLUS: &str = "@plus";

pub(super) fn meter<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    budget.spend_value(args[0].as_ref())?;
    Ok(args.remove(0))
}

pub(super) fn read<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    budget.spend_value(args[0].as_ref())?;
    if is_blob(args[0].as_ref()) {
        budget.touch_blob();
    }
    Ok(args.remove(0))
}

pub(super) fn enter<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let body = args[1].downcast_ref::<CelInt>().map_or(1, |units| units.inner().unsigned_abs());
    let range = args.remove(0);
    if is_blob(range.as_ref()) {
        budget.touch_blob();
    }
    // The loop copies every element before it looks at it.
    budget.spend_value(range.as_ref())?;
    let rounds = match (range.downcast_ref::<CelList>(), range.downcast_ref::<CelMap>()) {
        (Some(list), _) => list.inner().len(),
        (_, Some(map)) => map.inner().len(),
        _ => return Err(fail("a loop", "takes a list or a map")),
    };
    budget.spend((rounds as u64).saturating_mul(body))?;
    let Some(map) = range.downcast_ref::<CelMap>() else { return Ok(range) };
    let mut keys: Vec<_> = map.inner().keys().cloned().collect();
    keys.sort();
    let keys: Vec<Box<dyn Val + 'v>> = keys.iter().map(|key| key.inner().clone_as_boxed()).collect();
    Ok(CowVal::owned(CelList::from(keys)))
}

/// Whether comparing the two would ask what is in a blob.
fn compares_blobs(a: (&dyn Val, Weight), b: (&dyn Val, Weight)) -> bool {
    let holds = |(value, weight): (&dyn Val, Weight)| weight.blobs || value.downcast_ref::<CelString>().is_some();
    (a.1.blobs && holds(b)) || (b.1.blobs && holds(a))
}

pub(super) fn same<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let (left, right) = (args[0].as_ref(), args[1].as_ref());
    let weights = (budget.spend_value(left)?, budget.spend_value(right)?);
    // Lists and maps that hold blobs are not compared at all: a text among them may be kept as one.
    let opaque = |value: &dyn Val, weight: Weight| weight.blobs && !is_blob(value);
    if compares_blobs((left, weights.0), (right, weights.1))
        || (opaque(left, weights.0) && right.get_type().kind() == left.get_type().kind())
        || (opaque(right, weights.1) && right.get_type().kind() == left.get_type().kind())
    {
        budget.touch_blob();
    }
    Ok(CowVal::owned(CelBool::from(left.equals(right))))
}

pub(super) fn within<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let (needle, hay) = (args[0].as_ref(), args[1].as_ref());
    let weights = (budget.spend_value(needle)?, budget.spend_value(hay)?);
    if weights.0.blobs
        || is_blob(hay)
        || (hay.downcast_ref::<CelList>().is_some() && compares_blobs((needle, weights.0), (hay, weights.1)))
    {
        budget.touch_blob();
    }
    let container = hay.as_container().ok_or_else(|| fail("in", "takes a list or a map on its right"))?;
    Ok(CowVal::owned(CelBool::from(container.contains(needle).map_err(|_| fail("in", "cannot look for this"))?)))
}

pub(super) fn plus<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let (left, right) = (args[0].as_ref(), args[1].as_ref());
    budget.spend_value(left)?;
    budget.spend_value(right)?;
    if is_blob(left) || is_blob(right) {
        budget.touch_blob();
    }
    // CEL's list would also take what it can iterate over: a map's keys, in the order of a hash.
    let same_kind = left.get_type().kind() == right.get_type().kind();
    match left.as_adder().filter(|_| same_kind) {
        Some(adder) => Ok(CowVal::Owned(adder.add(right)?.into_owned())),
        None => Err(ExecutionError::no_such_overload(
            "+",
            vec![left.get_type().name().to_owned(), right.get_type().name().to_owned()],
        )),
    }
}
