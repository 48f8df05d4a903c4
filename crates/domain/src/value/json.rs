//! Between JSON text and values: reading with limits, and writing the canonical form.

use super::{BlobId, BlobKind, BlobRef, Node, Value, canonical};
use crate::label::Label;
use crate::limits;
use std::collections::BTreeMap;

/// Why a text is not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON. The position is told, the content is not.
    #[error("not JSON (line {line}, column {column})")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Nested deeper than [`limits::VALUE_DEPTH_MAX`].
    #[error("nested deeper than {} levels", limits::VALUE_DEPTH_MAX)]
    Depth,
    /// More nodes than [`limits::VALUE_NODES_MAX`].
    #[error("more than {} values", limits::VALUE_NODES_MAX)]
    Nodes,
    /// A `$blob` member that is not a reference.
    #[error("a malformed blob reference")]
    Blob,
}

impl Value {
    /// The canonical JSON text (RFC 8785).
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        canonical::write(self, &mut out);
        out
    }

    /// Reads canonical JSON, blob references included. Every node gets `label`.
    pub fn from_json(text: &[u8], label: &Label) -> Result<Value, JsonError> {
        let tree: serde_json::Value =
            serde_json::from_slice(text).map_err(|e| JsonError::Syntax { line: e.line(), column: e.column() })?;
        let mut budget = limits::VALUE_NODES_MAX;
        convert(tree, label, Dialect::Canonical, 0, &mut budget)
    }

    /// Turns somebody else's JSON tree into a value: nothing in it is a blob reference, whatever
    /// it is called. Every node gets `label`.
    pub fn from_tree(tree: serde_json::Value, label: &Label) -> Result<Value, JsonError> {
        let mut budget = limits::VALUE_NODES_MAX;
        convert(tree, label, Dialect::Foreign, 0, &mut budget)
    }

    /// A parsed JSON tree of this value, for output to the user.
    pub fn to_tree(&self) -> serde_json::Value {
        serde_json::from_str(&self.to_json()).unwrap_or(serde_json::Value::Null)
    }
}

/// Whether `$` in front of a name is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Canonical,
    Foreign,
}

fn convert(
    tree: serde_json::Value,
    label: &Label,
    dialect: Dialect,
    depth: usize,
    budget: &mut usize,
) -> Result<Value, JsonError> {
    if depth > limits::VALUE_DEPTH_MAX {
        return Err(JsonError::Depth);
    }
    *budget = budget.checked_sub(1).ok_or(JsonError::Nodes)?;
    let node = match tree {
        serde_json::Value::Null => Node::Null,
        serde_json::Value::Bool(truth) => Node::Bool(truth),
        serde_json::Value::Number(number) => convert_number(&number),
        serde_json::Value::String(text) => Node::Text(text.into()),
        serde_json::Value::Array(items) => Node::List(
            items.into_iter().map(|item| convert(item, label, dialect, depth + 1, budget)).collect::<Result<_, _>>()?,
        ),
        serde_json::Value::Object(members) => {
            if dialect == Dialect::Canonical && members.contains_key("$blob") {
                Node::Blob(read_blob(&members).ok_or(JsonError::Blob)?)
            } else {
                let mut out = BTreeMap::new();
                for (name, member) in members {
                    let ours = dialect == Dialect::Canonical;
                    let name = name.strip_prefix('$').filter(|_| ours).map(str::to_owned).unwrap_or(name);
                    out.insert(name, convert(member, label, dialect, depth + 1, budget)?);
                }
                Node::Map(out)
            }
        }
    };
    Ok(Value::new(node, label.clone()))
}

fn convert_number(number: &serde_json::Number) -> Node {
    match number.as_i64() {
        Some(int) if int.unsigned_abs() <= limits::SAFE_INTEGER_MAX as u64 => Node::Int(int),
        _ if number.is_i64() || number.is_u64() => Node::Text(number.to_string().into()),
        _ => match number.as_f64() {
            // A double without a fraction is the same number as the integer and must hash alike.
            Some(f) if f.fract() == 0.0 && f.abs() <= limits::SAFE_INTEGER_MAX as f64 => Node::Int(f as i64),
            Some(f) if f.is_finite() => Node::Float(f),
            _ => Node::Text(number.to_string().into()),
        },
    }
}

fn read_blob(members: &serde_json::Map<String, serde_json::Value>) -> Option<BlobRef> {
    let id = BlobId::parse(members.get("$blob")?.as_str()?)?;
    let kind = match members.get("kind")?.as_str()? {
        "text" => BlobKind::Text,
        "bytes" => BlobKind::Bytes,
        _ => return None,
    };
    Some(BlobRef { id, size: members.get("size")?.as_u64()?, kind })
}
