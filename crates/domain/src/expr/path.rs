//! From a path to the place it names. No interpreter takes part, so that the inputs of a hundred
//! thousand items cost next to nothing.

use super::{EvalError, Expr, Found, Item, Items, Read, Scope, Segment};
use crate::label::Label;
use crate::value::{Node, Value};

/// What stands at the end of a path.
pub(super) enum Place<'a> {
    /// A value.
    Node(&'a Value),
    /// The whole output of a fan-out.
    List { label: &'a Label, items: &'a dyn Items },
    /// Nothing; `shape` is the label of the container that does not have it.
    Absent { shape: &'a Label },
    /// The path runs through a step or an item without an output.
    Missing { control: &'a Label },
}

/// Follows `keys` from `root`. A [`Segment::Dynamic`] ends the way: all that is there may be read.
pub(super) fn follow<'s>(root: &str, keys: &[Segment], scope: &'s dyn Scope) -> Result<Place<'s>, EvalError> {
    let found = scope.root(root).ok_or_else(|| EvalError::NoSuchRoot { root: root.to_owned() })?;
    let mut keys = keys.iter();
    let mut here = match found {
        Found::Missing { control } => return Ok(Place::Missing { control }),
        Found::Whole(value) => value,
        Found::Items { label, items } => {
            let at = match keys.next() {
                None | Some(Segment::Dynamic) => return Ok(Place::List { label, items }),
                Some(Segment::Name(_)) => return Ok(Place::Absent { shape: label }),
                Some(Segment::Index(at)) => usize::try_from(*at).unwrap_or(usize::MAX),
                Some(Segment::LoopIndex) => loop_index(scope)?,
            };
            match items.item(at) {
                None => return Ok(Place::Absent { shape: label }),
                Some(Item::Missing { control }) => return Ok(Place::Missing { control }),
                Some(Item::Done(value)) => value,
            }
        }
    };
    for key in keys {
        let next = match (&here.node, key) {
            (_, Segment::Dynamic) => break,
            (Node::Map(members), Segment::Name(name)) => members.get(name),
            (Node::List(items), Segment::Index(at)) => usize::try_from(*at).ok().and_then(|at| items.get(at)),
            (Node::List(items), Segment::LoopIndex) => items.get(loop_index(scope)?),
            _ => None,
        };
        match next {
            Some(next) => here = next,
            None => return Ok(Place::Absent { shape: &here.label }),
        }
    }
    Ok(Place::Node(here))
}

fn loop_index(scope: &dyn Scope) -> Result<usize, EvalError> {
    match scope.root("index") {
        Some(Found::Whole(value)) => value.as_int().and_then(|at| usize::try_from(at).ok()),
        _ => None,
    }
    .ok_or_else(|| EvalError::NoSuchRoot { root: "index".to_owned() })
}

/// The value of a bare path: the subtree as it is.
pub(super) fn copy(expr: &Expr, read: &Read, scope: &dyn Scope) -> Result<Value, EvalError> {
    match follow(&read.root, &read.keys, scope)? {
        Place::Node(value) => Ok(value.clone()),
        Place::List { label, items } => Ok(whole_list(label, items)),
        Place::Absent { .. } => Err(EvalError::NoSuchKey { path: read.to_string() }),
        Place::Missing { control } if expr.is_optional() => Ok(Value::new(Node::Null, control.clone())),
        Place::Missing { .. } => Err(EvalError::Missing { root: read.root.clone() }),
    }
}

fn whole_list(label: &Label, items: &dyn Items) -> Value {
    let copies = (0..items.count()).map(|at| match items.item(at) {
        Some(Item::Done(value)) => value.clone(),
        Some(Item::Missing { control }) => Value::new(Node::Null, control.clone()),
        None => Value::new(Node::Null, label.clone()),
    });
    Value::new(Node::List(copies.collect()), label.clone())
}
