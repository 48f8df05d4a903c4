//! Whether a value has a type, and where it does not.
//!
//! Not its job: values that an expression has yet to give.

use super::{Field, Type};
use crate::value::{BlobKind, BlobRef, Node, Value};
use std::fmt;

/// A place at which a value does not have the type it should. Says kinds, never content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `files[3].path`; empty for the value itself.
    pub path: String,
    /// What should be there, for people.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// Compares a value with a type. A text blob is text; a record takes no members but its own.
pub fn check(ty: &Type, value: &Value) -> Vec<Mismatch> {
    let mut found = Vec::new();
    walk(ty, value, &mut String::new(), &mut found);
    found
}

/// After this many there is nothing more to learn.
const MISMATCHES_MAX: usize = 20;

fn walk(ty: &Type, value: &Value, path: &mut String, out: &mut Vec<Mismatch>) {
    if out.len() >= MISMATCHES_MAX {
        return;
    }
    match (ty, &value.node) {
        (Type::Optional(_), Node::Null) => {}
        (Type::Optional(inner), _) => walk(inner, value, path, out),
        (Type::List(inner), Node::List(items)) => {
            for (at, item) in items.iter().enumerate() {
                within(path, &format!("[{at}]"), |path| walk(inner, item, path, out));
            }
        }
        (Type::Record(fields), Node::Map(members)) => {
            for field in *fields {
                within(path, &dotted(path, field.name), |path| match members.get(field.name) {
                    Some(member) => walk(&field.ty, member, path, out),
                    None if field.required => out.push(Mismatch {
                        path: path.clone(),
                        expected: field.ty.describe(),
                        found: "nothing".to_owned(),
                    }),
                    None => {}
                });
            }
            // The other names are not repeated: values come from documents, and so do names.
            for _ in members.keys().filter(|name| !fields.iter().any(|field| field.name == name.as_str())) {
                out.push(Mismatch {
                    path: path.clone(),
                    expected: format!("only {}", names(fields)),
                    found: "a member of another name".to_owned(),
                });
            }
        }
        _ if fits_scalar(ty, value) => {}
        _ => out.push(Mismatch { path: path.clone(), expected: ty.describe(), found: describe_value(ty, value) }),
    }
}

fn within(path: &mut String, key: &str, inner: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(key);
    inner(path);
    path.truncate(length);
}

fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!(".{name}") }
}

fn names(fields: &[Field]) -> String {
    let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
    if names.is_empty() { "no members".to_owned() } else { names.join(", ") }
}

fn fits_scalar(ty: &Type, value: &Value) -> bool {
    match (ty, &value.node) {
        (Type::Any, _) => true,
        (Type::Bool, Node::Bool(_)) => true,
        (Type::Int { min, max }, Node::Int(number)) => (min..=max).contains(&number),
        (Type::Number, Node::Int(_) | Node::Float(_)) => true,
        (Type::Text | Type::Path, Node::Text(_)) => true,
        (Type::Text, Node::Blob(BlobRef { kind: BlobKind::Text, .. })) => true,
        (Type::Enum(words), Node::Text(text)) => words.contains(&&**text),
        _ => false,
    }
}

fn describe_value(ty: &Type, value: &Value) -> String {
    match (ty, &value.node) {
        (Type::Int { .. }, Node::Int(_)) => "an integer outside of that".to_owned(),
        (Type::Enum(_), Node::Text(_)) => "another text".to_owned(),
        _ => value.kind_name().to_owned(),
    }
}

impl Type {
    /// What a value of this type is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Type::Any => "anything".to_owned(),
            Type::Bool => "`true` or `false`".to_owned(),
            Type::Int { min: i64::MIN, max: i64::MAX } => "an integer".to_owned(),
            Type::Int { min, max: i64::MAX } => format!("an integer of at least {min}"),
            Type::Int { min, max } => format!("an integer from {min} to {max}"),
            Type::Number => "a number".to_owned(),
            Type::Text => "text".to_owned(),
            Type::Path => "a path".to_owned(),
            Type::Enum(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            Type::List(inner) => format!("a list ({} each)", inner.describe()),
            Type::Record(fields) => format!("a map of {}", names(fields)),
            Type::Optional(inner) => format!("{} or null", inner.describe()),
        }
    }
}
