//! The pinned set of functions: CEL's standard ones and our own.
//!
//! Ours are registered under a name that no author can write, and [`super::plan`] rewrites calls to
//! them, so that each gets the meter as its first argument. None reads a clock or draws a number;
//! the order of a map's members never shows.
//!
//! Not its job: which of CEL's operators exist.

use super::budget::{Blob, Budget, Dry};
use super::convert::key_text;
use super::meters;
use cel::common::functions::Function;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelNull, CelString, CelUInt, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// The name that the meter is bound to.
pub(super) const BUDGET: &str = "@budget";
/// A pattern longer than this is refused.
const PATTERN_BYTES_MAX: usize = 512;
/// What a compiled pattern may occupy.
const PATTERN_COMPILED_BYTES_MAX: usize = 1 << 20;

/// A function an author may call: its name, how many arguments it takes (the one in front of the
/// dot counted), and whether it is CEL's.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) args_min: usize,
    pub(super) args_max: usize,
    pub(super) standard: bool,
}

const fn standard(name: &'static str, args: usize) -> Known {
    Known { name, args_min: args, args_max: args, standard: true }
}

const fn own(name: &'static str, args_min: usize, args_max: usize) -> Known {
    Known { name, args_min, args_max, standard: false }
}

/// Every function an author may call. Macros (`has`, `all`, `exists`, `exists_one`, `map`,
/// `filter`) are gone by the time that a tree is looked at.
pub(super) const KNOWN: &[Known] = &[
    standard("size", 1),
    standard("string", 1),
    standard("int", 1),
    standard("double", 1),
    standard("bool", 1),
    standard("contains", 2),
    standard("startsWith", 2),
    standard("endsWith", 2),
    own("matches", 2, 2),
    own("min", 1, 16),
    own("max", 1, 16),
    own("join", 1, 2),
    own("lower", 1, 1),
    own("upper", 1, 1),
    own("trim", 1, 1),
    own("split", 2, 2),
    own("replace", 3, 3),
    own("distinct", 1, 1),
    own("sort", 1, 1),
    own("first", 1, 1),
    own("last", 1, 1),
    own("get", 3, 3),
];

/// The names an author may call, macros included; for hints and docs.
pub const NAMES: &[&str] = &[
    "size",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "double",
    "bool",
    "min",
    "max",
    "join",
    "lower",
    "upper",
    "trim",
    "split",
    "replace",
    "distinct",
    "sort",
    "first",
    "last",
    "get",
];

/// CEL's standard environment plus our functions, made once.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    let mut add = |name: &str, args: usize, function: Function| {
        let types = (0..=args).map(|_| DYN_TYPE).collect();
        // Fails only if a name is registered twice, which the tests would show: it could not be called.
        let registered = env.add_overload(name, &format!("{name}/{args}"), types, function);
        debug_assert!(registered.is_ok(), "{name} is registered twice");
    };
    add(meters::METER, 1, meters::meter);
    add(meters::USE, 1, meters::read);
    add(meters::ENTER, 2, meters::enter);
    add(meters::SAME, 2, meters::same);
    add(meters::WITHIN, 2, meters::within);
    add(meters::PLUS, 2, meters::plus);
    add("@matches", 2, matches);
    for args in 1..=16 {
        add("@min", args, minimum);
        add("@max", args, maximum);
    }
    add("@join", 1, join);
    add("@join", 2, join);
    add("@lower", 1, lower);
    add("@upper", 1, upper);
    add("@trim", 1, trim);
    add("@split", 2, split);
    add("@replace", 3, replace);
    add("@distinct", 1, distinct);
    add("@sort", 1, sort);
    add("@first", 1, first);
    add("@last", 1, last);
    add("@get", 3, get);
    Arc::new(env)
});

pub(super) type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
pub(super) type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

impl From<Dry> for ExecutionError {
    fn from(_: Dry) -> Self {
        fail("", "takes too many steps")
    }
}

pub(super) fn fail(function: &str, message: &str) -> ExecutionError {
    ExecutionError::function_error(&format!("@{function}"), message)
}

/// Takes the meter off the front of the arguments.
pub(super) fn meter_of(args: &mut Args<'_, '_>) -> Result<Budget, ExecutionError> {
    let budget = if args.is_empty() { None } else { args.remove(0).downcast_ref::<Budget>().cloned() };
    budget.ok_or_else(|| fail("", "is not metered"))
}

fn text<'a>(function: &str, value: &'a CowVal<'_, '_>) -> Result<&'a str, ExecutionError> {
    match value.downcast_ref::<CelString>() {
        Some(text) => Ok(text.inner()),
        None => Err(fail(function, "takes text")),
    }
}

fn list<'a, 'v>(function: &str, value: &'a CowVal<'_, 'v>) -> Result<&'a [Box<dyn Val + 'v>], ExecutionError> {
    match value.downcast_ref::<CelList>() {
        Some(list) => Ok(list.inner()),
        None => Err(fail(function, "takes a list")),
    }
}

pub(super) fn is_blob(value: &dyn Val) -> bool {
    value.downcast_ref::<Blob>().is_some()
}

fn owned_text<'b, 'v>(text: String) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(text))
}

fn matches<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let (subject, pattern) = (text("matches", &args[0])?, text("matches", &args[1])?);
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(fail("matches", "takes a pattern of at most 512 bytes"));
    }
    let compile = || {
        regex::RegexBuilder::new(pattern)
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .nest_limit(32)
            .build()
            .ok()
    };
    let compiled = budget.pattern(pattern, compile)?;
    let compiled = compiled.ok_or_else(|| fail("matches", "was given a malformed or too large pattern"))?;
    // Linear in the text, but each byte may cost as much as the pattern is long.
    budget.spend_bytes(subject.len().saturating_mul(1 + pattern.len() / 8))?;
    Ok(CowVal::owned(CelBool::from(compiled.is_match(subject))))
}

/// Elements that have an order among themselves.
enum Ordered<'a> {
    Texts(Vec<&'a str>),
    Ints(Vec<i128>),
    Numbers(Vec<f64>),
    Bools(Vec<bool>),
}

impl<'a> Ordered<'a> {
    fn of(function: &str, values: &[&'a dyn Val]) -> Result<Self, ExecutionError> {
        let integer = |value: &dyn Val| {
            value
                .downcast_ref::<CelInt>()
                .map(|n| i128::from(*n.inner()))
                .or_else(|| value.downcast_ref::<CelUInt>().map(|n| i128::from(*n.inner())))
        };
        let number = |value: &dyn Val| {
            integer(value).map(|n| n as f64).or_else(|| value.downcast_ref::<CelDouble>().map(|n| *n.inner()))
        };
        if let Some(texts) = values.iter().map(|v| v.downcast_ref::<CelString>().map(CelString::inner)).collect() {
            return Ok(Ordered::Texts(texts));
        }
        if let Some(ints) = values.iter().map(|v| integer(*v)).collect() {
            return Ok(Ordered::Ints(ints));
        }
        if let Some(numbers) = values.iter().map(|v| number(*v)).collect() {
            return Ok(Ordered::Numbers(numbers));
        }
        if let Some(bools) = values.iter().map(|v| v.downcast_ref::<CelBool>().map(|b| *b.inner())).collect() {
            return Ok(Ordered::Bools(bools));
        }
        Err(fail(function, "takes texts, numbers or truth values, not a mixture"))
    }

    /// A total order, so that sorting cannot trip over it.
    fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Ordered::Texts(v) => v[a].cmp(v[b]),
            Ordered::Ints(v) => v[a].cmp(&v[b]),
            Ordered::Numbers(v) => v[a].total_cmp(&v[b]),
            Ordered::Bools(v) => v[a].cmp(&v[b]),
        }
    }
}

fn extreme<'b, 'v>(function: &str, mut args: Args<'b, 'v>, wanted: Ordering) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    for arg in &args {
        budget.spend_value(arg.as_ref())?;
    }
    let best = {
        let values: Vec<&dyn Val> = match args.as_slice() {
            [only] if only.downcast_ref::<CelList>().is_some() => {
                list(function, only)?.iter().map(|v| v.as_ref() as &dyn Val).collect()
            }
            several => several.iter().map(|v| v.as_ref() as &dyn Val).collect(),
        };
        if values.is_empty() {
            return Err(fail(function, "takes at least one element"));
        }
        let ordered = Ordered::of(function, &values)?;
        let best = (1..values.len()).fold(0, |best, at| if ordered.compare(at, best) == wanted { at } else { best });
        match args.as_slice() {
            [only] if only.downcast_ref::<CelList>().is_some() => {
                return Ok(CowVal::Owned(list(function, only)?[best].clone_as_boxed()));
            }
            _ => best,
        }
    };
    Ok(args.swap_remove(best))
}

fn minimum<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    extreme("min", args, Ordering::Less)
}

fn maximum<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    extreme("max", args, Ordering::Greater)
}

/// How a scalar reads inside of a text.
fn print(value: &dyn Val) -> Option<Cow<'_, str>> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        Some(Cow::Borrowed(text.inner()))
    } else if let Some(number) = value.downcast_ref::<CelInt>() {
        Some(Cow::Owned(number.inner().to_string()))
    } else if let Some(number) = value.downcast_ref::<CelUInt>() {
        Some(Cow::Owned(number.inner().to_string()))
    } else if let Some(number) = value.downcast_ref::<CelDouble>() {
        Some(Cow::Owned(number.inner().to_string()))
    } else {
        value.downcast_ref::<CelBool>().map(|truth| Cow::Owned(truth.inner().to_string()))
    }
}

fn join<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let weight = budget.spend_value(args[0].as_ref())?;
    if weight.blobs {
        budget.touch_blob();
    }
    let separator = if args.len() > 1 { text("join", &args[1])? } else { "" };
    let items = list("join", &args[0])?;
    budget.spend_bytes(items.len().saturating_mul(separator.len()))?;
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(&print(item.as_ref()).ok_or_else(|| fail("join", "takes a list of texts and numbers"))?);
    }
    budget.spend_bytes(out.len())?;
    Ok(owned_text(out))
}

fn mapped<'b, 'v>(function: &str, mut args: Args<'b, 'v>, apply: fn(&str) -> String) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let subject = text(function, &args[0])?;
    budget.spend_bytes(subject.len())?;
    Ok(owned_text(apply(subject)))
}

fn lower<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    mapped("lower", args, str::to_lowercase)
}

fn upper<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    mapped("upper", args, str::to_uppercase)
}

fn trim<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    mapped("trim", args, |text| text.trim().to_owned())
}

fn split<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let (subject, separator) = (text("split", &args[0])?, text("split", &args[1])?);
    if separator.is_empty() {
        return Err(fail("split", "takes a separator that is not empty"));
    }
    budget.spend_bytes(subject.len())?;
    let mut parts: Vec<Box<dyn Val + 'v>> = Vec::new();
    for part in subject.split(separator) {
        budget.spend(4)?;
        parts.push(Box::new(CelString::from(part.to_owned())));
    }
    Ok(CowVal::owned(CelList::from(parts)))
}

fn replace<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let subject = text("replace", &args[0])?;
    let (from, to) = (text("replace", &args[1])?, text("replace", &args[2])?);
    if from.is_empty() {
        return Err(fail("replace", "takes a text to look for that is not empty"));
    }
    budget.spend_bytes(subject.len())?;
    let times = subject.matches(from).count();
    budget.spend_bytes(times.saturating_mul(to.len()).saturating_add(subject.len()))?;
    Ok(owned_text(subject.replace(from, to)))
}

/// Equal values have equal keys: numbers by what they are, maps by their members in order.
fn identity(value: &dyn Val, out: &mut String) {
    use std::fmt::Write as _;
    if let Some(text) = value.downcast_ref::<CelString>() {
        let _ = write!(out, "\"{}:{}", text.inner().len(), text.inner());
    } else if let Some(number) = value.downcast_ref::<CelDouble>() {
        let number = *number.inner();
        if number.fract() == 0.0 && number.abs() < 9.0e18 {
            let _ = write!(out, "#{};", number as i64);
        } else {
            let _ = write!(out, "#{number};");
        }
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        let _ = write!(out, "[{};", list.inner().len());
        list.inner().iter().for_each(|item| identity(item.as_ref(), out));
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        let _ = write!(out, "{{{};", map.inner().len());
        let mut members: Vec<_> = map.inner().iter().map(|(key, member)| (key_text(key), member)).collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, member) in members {
            let _ = write!(out, "\"{}:{key}", key.len());
            identity(member.as_ref(), out);
        }
    } else if let Some(blob) = value.downcast_ref::<Blob>() {
        let _ = write!(out, "@{};", blob.0.id);
    } else if let Some(truth) = value.downcast_ref::<CelBool>() {
        out.push_str(if *truth.inner() { "t;" } else { "f;" });
    } else if value.downcast_ref::<CelNull>().is_some() {
        out.push_str("n;");
    } else {
        let _ = write!(out, "#{};", print(value).unwrap_or_default());
    }
}

fn distinct<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let weight = budget.spend_value(args[0].as_ref())?;
    if weight.blobs {
        budget.touch_blob();
    }
    budget.spend(weight.units)?;
    let mut seen = HashSet::new();
    let mut kept: Vec<Box<dyn Val + 'v>> = Vec::new();
    for item in list("distinct", &args[0])? {
        let mut key = String::new();
        identity(item.as_ref(), &mut key);
        if seen.insert(key) {
            kept.push(item.clone_as_boxed());
        }
    }
    Ok(CowVal::owned(CelList::from(kept)))
}

fn sort<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let weight = budget.spend_value(args[0].as_ref())?;
    let items = list("sort", &args[0])?;
    // n log n comparisons of at most everything.
    budget.spend(weight.units.saturating_mul(u64::from(items.len().max(1).ilog2())))?;
    let values: Vec<&dyn Val> = items.iter().map(|v| v.as_ref() as &dyn Val).collect();
    let ordered = Ordered::of("sort", &values)?;
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|a, b| ordered.compare(*a, *b));
    let sorted: Vec<Box<dyn Val + 'v>> = places.into_iter().map(|at| items[at].clone_as_boxed()).collect();
    Ok(CowVal::owned(CelList::from(sorted)))
}

fn end<'b, 'v>(function: &str, mut args: Args<'b, 'v>, front: bool) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let items = list(function, &args[0])?;
    let Some(found) = (if front { items.first() } else { items.last() }) else { return Ok(CowVal::owned(CelNull)) };
    budget.spend_value(found.as_ref())?;
    Ok(CowVal::Owned(found.clone_as_boxed()))
}

fn first<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    end("first", args, true)
}

fn last<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    end("last", args, false)
}

fn get<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let budget = meter_of(&mut args)?;
    let found = match args[0].as_indexer() {
        Some(indexer) => match indexer.get(args[1].as_ref()) {
            Ok(found) => Some(found.into_owned()),
            Err(ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_)) => None,
            Err(_) => return Err(fail("get", "takes a map and a name, or a list and a number")),
        },
        None if args[0].downcast_ref::<CelNull>().is_some() => None,
        None => return Err(fail("get", "takes a map and a name, or a list and a number")),
    };
    match found {
        Some(found) => {
            budget.spend_value(found.as_ref())?;
            Ok(CowVal::Owned(found))
        }
        None => Ok(args.swap_remove(2)),
    }
}
