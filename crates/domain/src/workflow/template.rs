//! Values with expressions in them: reading the text, and filling it in.
//!
//! `${…}` alone keeps the expression's value as it is; inside of a longer text it is printed; `$${`
//! stands for `${`.

use super::{Part, Template};
use crate::expr::{EvalError, Expr, ExprError, Read, Scope};
use crate::label::Label;
use crate::limits;
use crate::value::{Node, Value};
use std::collections::BTreeMap;

/// Pieces of one text.
const PARTS_MAX: usize = 256;

/// A text with at least one expression, or what it says without any.
pub(super) enum Parsed {
    Literal(String),
    Expr(Expr),
    Text(Vec<Part>),
}

/// Where in the text an expression is wrong, and how.
pub(super) struct BadExpr {
    /// The byte of the text at which the mistake stands.
    pub(super) offset: usize,
    pub(super) error: ExprError,
}

/// Splits a text into what stands as it is and its expressions.
pub(super) fn parse_text(text: &str) -> Result<Parsed, Vec<BadExpr>> {
    let mut parts = Vec::new();
    let mut bad = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${").map(|found| found + at) {
        if text[..found].ends_with('$') && found > at {
            // `$${`: one dollar less, and no expression.
            literal.push_str(&text[at..found]);
            literal.push('{');
            at = found + 2;
            continue;
        }
        literal.push_str(&text[at..found]);
        let start = found + 2;
        let end = match Expr::end_in(text, start) {
            Ok(end) => end,
            Err(error) => {
                bad.push(BadExpr { offset: error.offset.max(found), error });
                return Err(bad);
            }
        };
        if parts.len() + bad.len() >= PARTS_MAX {
            bad.push(BadExpr { offset: found, error: ExprError::too_many(PARTS_MAX) });
            return Err(bad);
        }
        match Expr::parse(&text[start..end]) {
            Ok(expr) => {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Expr(expr));
            }
            Err(error) => bad.push(BadExpr { offset: start + error.offset, error }),
        }
        at = end + 1;
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    literal.push_str(&text[at..]);
    if parts.is_empty() {
        return Ok(Parsed::Literal(literal));
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    match parts.as_slice() {
        [Part::Expr(expr)] => Ok(Parsed::Expr(expr.clone())),
        _ => Ok(Parsed::Text(parts)),
    }
}

impl Template {
    /// Fills in the expressions. Lists and maps of the workflow file have public shapes; a text has
    /// the join of the labels of what it was put together from.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, EvalError> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expr(expr) => expr.eval(scope),
            Template::Text(parts) => fill(parts, scope),
            Template::List(items) => {
                let items = items.iter().map(|item| item.eval(scope)).collect::<Result<Vec<_>, _>>()?;
                Ok(Value::list(items))
            }
            Template::Map(members) => {
                let members = members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), member.eval(scope)?)))
                    .collect::<Result<BTreeMap<_, _>, EvalError>>()?;
                Ok(Value::map(members))
            }
        }
    }

    /// Everything its expressions read, in the order of the text.
    pub fn reads(&self) -> Vec<&Read> {
        self.expressions().into_iter().flat_map(Expr::reads).collect()
    }

    /// Its expressions, in the order of the text.
    pub fn expressions(&self) -> Vec<&Expr> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Expr>) {
        match self {
            Template::Literal(_) => {}
            Template::Expr(expr) => found.push(expr),
            Template::Text(parts) => found.extend(parts.iter().filter_map(|part| match part {
                Part::Expr(expr) => Some(expr),
                Part::Literal(_) => None,
            })),
            Template::List(items) => items.iter().for_each(|item| item.collect(found)),
            Template::Map(members) => members.values().for_each(|member| member.collect(found)),
        }
    }

    /// Whether its value may differ between the items of a fan-out.
    pub fn is_per_item(&self) -> bool {
        self.reads().iter().any(|read| read.is_per_item())
    }
}

fn fill(parts: &[Part], scope: &dyn Scope) -> Result<Value, EvalError> {
    let mut out = String::new();
    let mut label = Label::PUBLIC;
    for part in parts {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Expr(expr) => {
                let value = expr.eval(scope)?;
                label.raise(&value.joined_label());
                print(&value, expr, &mut out)?;
            }
        }
        // What is put together from pieces that are inline each may still be no inline text; the
        // operations keep that as a blob. Here only sheer size is refused.
        if out.len() as u64 > limits::BLOB_BYTES_MAX {
            return Err(EvalError::Size { expression: source_of(parts) });
        }
    }
    Ok(Value::new(Node::Text(out.into()), label))
}

fn source_of(parts: &[Part]) -> String {
    let piece = |part: &Part| match part {
        Part::Literal(text) => text.clone(),
        Part::Expr(expr) => format!("${{{}}}", expr.source()),
    };
    parts.iter().map(piece).collect()
}

/// Prints a scalar; a list of scalars with commas between them; nothing for `null`.
fn print(value: &Value, expr: &Expr, out: &mut String) -> Result<(), EvalError> {
    match &value.node {
        Node::Null => {}
        Node::Bool(_) | Node::Int(_) | Node::Float(_) => out.push_str(&value.to_json()),
        Node::Text(text) => out.push_str(text),
        Node::Blob(_) => return Err(EvalError::Blob { expression: expr.source().to_owned() }),
        Node::List(items) if items.iter().all(|item| !matches!(item.node, Node::List(_) | Node::Map(_))) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                print(item, expr, out)?;
            }
        }
        Node::List(_) | Node::Map(_) => {
            return Err(EvalError::Type {
                expression: expr.source().to_owned(),
                what: format!("a {} of values cannot stand inside of a text", value.kind_name()),
            });
        }
    }
    Ok(())
}
