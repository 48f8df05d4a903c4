//! Between labelled values and the interpreter's: what an expression reads goes in, its result
//! comes out, and the labels stay here.
//!
//! The label of the result is joined up while the inputs are converted, from everything that could
//! be read. It does not depend on which branch the interpreter took: what an expression did *not*
//! look at tells as much.

use super::budget::{Blob, Budget};
use super::path::{Place, follow};
use super::{EvalError, Expr, Extent, Item, Read, Scope, functions};
use crate::label::Label;
use crate::limits;
use crate::value::{Node, Value};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use cel::{Context, ExecutionError, IdedExpr};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Boxed<'v> = Box<dyn Val + 'v>;

/// The name under which the interpreter finds the `n`th read.
pub(super) fn variable(n: usize) -> String {
    format!("@{n}")
}

/// Evaluates what is not a bare path.
pub(super) fn evaluate(
    expr: &Expr,
    program: &IdedExpr,
    scope: &dyn Scope,
    budget: &Budget,
) -> Result<Value, EvalError> {
    let mut intake = Intake { label: Label::PUBLIC, nodes: 0 };
    let mut context = Context::with_env(Arc::clone(&functions::ENV));
    context.add_variable_as_val(functions::BUDGET, Box::new(budget.clone()));
    let mut missing: Option<Label> = None;
    for (n, read) in expr.reads().iter().enumerate() {
        match intake.take(read, scope) {
            Ok(Some(value)) => context.add_variable_as_val(variable(n), value),
            // Left unbound: an error only if the expression really gets there.
            Ok(None) => {}
            Err(Refusal::Missing(control)) if expr.is_optional() => {
                missing = Some(missing.unwrap_or_default().join(control));
            }
            Err(Refusal::Missing(_)) => return Err(EvalError::Missing { root: read.root.clone() }),
            Err(Refusal::Blob) => return Err(EvalError::Blob { expression: expr.source().to_owned() }),
            Err(Refusal::Size) => return Err(EvalError::Steps { expression: expr.source().to_owned() }),
            Err(Refusal::Other(e)) => return Err(e),
        }
    }
    if let Some(control) = missing {
        return Ok(Value::new(Node::Null, control));
    }
    let result = cel::Value::resolve_val(program, &context);
    if budget.touched_blob() {
        return Err(EvalError::Blob { expression: expr.source().to_owned() });
    }
    if budget.is_dry() {
        return Err(EvalError::Steps { expression: expr.source().to_owned() });
    }
    let result = result.map_err(|e| explain(e, expr))?;
    let mut nodes = limits::VALUE_NODES_MAX;
    give(result.as_ref(), &intake.label, 0, &mut nodes).map_err(|e| match e {
        Unfit::Size => EvalError::Size { expression: expr.source().to_owned() },
        Unfit::Number => type_error(expr, "the result is not a finite number"),
        Unfit::Kind => type_error(expr, "the result is not a value"),
    })
}

/// Converts inputs and joins their labels on the way.
struct Intake {
    label: Label,
    nodes: usize,
}

enum Refusal<'s> {
    Missing(&'s Label),
    Blob,
    Size,
    Other(EvalError),
}

impl Intake {
    fn raise(&mut self, label: &Label) {
        if !self.label.covers(label) {
            self.label.raise(label);
        }
    }

    /// The interpreter's value of one read; `None` where nothing is there.
    fn take<'s>(&mut self, read: &Read, scope: &'s dyn Scope) -> Result<Option<Boxed<'s>>, Refusal<'s>> {
        let (keys, tested) = match (read.extent, read.keys.split_last()) {
            (Extent::Presence, Some((last, above))) => (above, Some(last)),
            _ => (read.keys.as_slice(), None),
        };
        let place = follow(&read.root, keys, scope).map_err(Refusal::Other)?;
        match (place, read.extent) {
            (Place::Missing { control }, _) => {
                self.raise(control);
                Err(Refusal::Missing(control))
            }
            (Place::Absent { shape }, _) => {
                self.raise(shape);
                Ok(None)
            }
            (Place::Node(value), Extent::Whole) => self.tree(value).map(Some),
            (Place::List { label, items }, Extent::Whole) => {
                self.raise(label);
                let mut list: Vec<Boxed<'s>> = Vec::with_capacity(items.count().min(limits::ITEMS_MAX));
                for at in 0..items.count() {
                    list.push(match items.item(at) {
                        Some(Item::Done(value)) => self.tree(value)?,
                        Some(Item::Missing { control }) => {
                            self.raise(control);
                            Box::new(CelNull)
                        }
                        None => Box::new(CelNull),
                    });
                }
                Ok(Some(Box::new(CelList::from(list))))
            }
            (Place::Node(value), Extent::Size) => {
                self.raise(&value.label);
                let size = match &value.node {
                    Node::List(items) => items.len(),
                    Node::Map(members) => members.len(),
                    Node::Text(text) => text.chars().count(),
                    Node::Blob(_) => return Err(Refusal::Blob),
                    _ => return Ok(Some(Box::new(Unsized))),
                };
                Ok(Some(Box::new(CelInt::from(size as i64))))
            }
            (Place::List { label, items }, Extent::Size) => {
                self.raise(label);
                Ok(Some(Box::new(CelInt::from(items.count() as i64))))
            }
            (Place::Node(value), Extent::Presence) => {
                self.raise(&value.label);
                match (&value.node, tested) {
                    (Node::Map(members), Some(super::Segment::Name(name))) => {
                        Ok(Some(Box::new(CelBool::from(members.contains_key(name)))))
                    }
                    _ => Ok(None),
                }
            }
            (Place::List { label, .. }, Extent::Presence) => {
                self.raise(label);
                Ok(None)
            }
        }
    }

    fn tree<'s>(&mut self, value: &'s Value) -> Result<Boxed<'s>, Refusal<'s>> {
        self.raise(&value.label);
        self.nodes += 1;
        if self.nodes > limits::VALUE_NODES_MAX {
            return Err(Refusal::Size);
        }
        Ok(match &value.node {
            Node::Null => Box::new(CelNull),
            Node::Bool(truth) => Box::new(CelBool::from(*truth)),
            Node::Int(number) => Box::new(CelInt::from(*number)),
            Node::Float(number) => Box::new(CelDouble::from(*number)),
            Node::Text(text) => Box::new(CelString::from(&**text)),
            Node::Blob(blob) => Box::new(Blob(*blob)),
            Node::List(items) => {
                let items = items.iter().map(|item| self.tree(item)).collect::<Result<Vec<_>, _>>()?;
                Box::new(CelList::from(items))
            }
            Node::Map(members) => {
                let mut map: HashMap<CelMapKey<'s>, Boxed<'s>> = HashMap::with_capacity(members.len());
                for (name, member) in members {
                    map.insert(CelMapKey::from(name.as_str()), self.tree(member)?);
                }
                Box::new(CelMap::from(map))
            }
        })
    }
}

/// Stands for the size of what has none: no operator takes it.
#[derive(Clone, Debug)]
struct Unsized;

impl Val for Unsized {
    fn get_type(&self) -> &cel::common::types::Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static cel::common::types::Type {
        static TYPE: cel::common::types::Type = cel::common::types::Type::new_unspecified_type("no size");
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Boxed<'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

enum Unfit {
    Size,
    Number,
    Kind,
}

/// The labelled value of a result.
fn give(value: &dyn Val, label: &Label, depth: usize, nodes: &mut usize) -> Result<Value, Unfit> {
    if depth > limits::VALUE_DEPTH_MAX {
        return Err(Unfit::Size);
    }
    *nodes = nodes.checked_sub(1).ok_or(Unfit::Size)?;
    let node = if value.downcast_ref::<CelNull>().is_some() {
        Node::Null
    } else if let Some(truth) = value.downcast_ref::<CelBool>() {
        Node::Bool(*truth.inner())
    } else if let Some(number) = value.downcast_ref::<CelInt>() {
        integer(i128::from(*number.inner()))
    } else if let Some(number) = value.downcast_ref::<CelUInt>() {
        integer(i128::from(*number.inner()))
    } else if let Some(number) = value.downcast_ref::<CelDouble>() {
        let number = *number.inner();
        if !number.is_finite() {
            return Err(Unfit::Number);
        }
        // The same rule as for JSON that comes in: equal numbers hash alike.
        if number.fract() == 0.0 && number.abs() <= limits::SAFE_INTEGER_MAX as f64 {
            Node::Int(number as i64)
        } else {
            Node::Float(number)
        }
    } else if let Some(text) = value.downcast_ref::<CelString>() {
        Node::Text(text.inner().into())
    } else if let Some(blob) = value.downcast_ref::<Blob>() {
        Node::Blob(blob.0)
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        Node::List(
            list.inner().iter().map(|item| give(item.as_ref(), label, depth + 1, nodes)).collect::<Result<_, _>>()?,
        )
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        let mut members = BTreeMap::new();
        for (key, member) in map.inner() {
            let member = give(member.as_ref(), label, depth + 1, nodes)?;
            // `1` and `"1"` are two keys in CEL and one name here; which of them came last would
            // depend on the order of a hash map.
            if members.insert(key_text(key), member).is_some() {
                return Err(Unfit::Kind);
            }
        }
        Node::Map(members)
    } else {
        return Err(Unfit::Kind);
    };
    Ok(Value::new(node, label.clone()))
}

fn integer(number: i128) -> Node {
    if number.unsigned_abs() <= limits::SAFE_INTEGER_MAX as u128 {
        Node::Int(number as i64)
    } else {
        Node::Text(number.to_string().into())
    }
}

/// Names of a value's members are text; CEL also has numbers and truth values there.
pub(super) fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::String(text) => text.inner().to_owned(),
        CelMapKey::Int(number) => number.inner().to_string(),
        CelMapKey::UInt(number) => number.inner().to_string(),
        CelMapKey::Bool(truth) => truth.inner().to_string(),
    }
}

fn type_error(expr: &Expr, what: impl Into<String>) -> EvalError {
    EvalError::Type { expression: expr.source().to_owned(), what: what.into() }
}

/// The interpreter's error without the values that it prints. Type names and operators are kept;
/// messages only where they are our own.
fn explain(error: ExecutionError, expr: &Expr) -> EvalError {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => {
            EvalError::NoSuchKey { path: expr.source().to_owned() }
        }
        ExecutionError::UndeclaredReference(name) => {
            let read = name.strip_prefix('@').and_then(|n| n.parse().ok()).and_then(|n: usize| expr.reads().get(n));
            EvalError::NoSuchKey { path: read.map_or_else(|| expr.source().to_owned(), Read::to_string) }
        }
        ExecutionError::NoSuchOverload(overload) => {
            let function = overload.function().trim_matches(|c| matches!(c, '_' | '@'));
            type_error(expr, format!("`{function}` does not take ({})", overload.argument_types().join(", ")))
        }
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            type_error(expr, format!("`{name}` does not take ({}, {})", left.type_of(), right.type_of()))
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => type_error(expr, "division by zero"),
        ExecutionError::Overflow(..) => type_error(expr, "integer overflow"),
        ExecutionError::DuplicateKey(_) => type_error(expr, "a map names the same key twice"),
        ExecutionError::FunctionError { function, message } => match function.strip_prefix('@') {
            Some(name) => type_error(expr, format!("`{name}` {message}")),
            None => type_error(expr, format!("`{function}` cannot convert this value")),
        },
        _ => type_error(expr, "types that do not fit"),
    }
}
