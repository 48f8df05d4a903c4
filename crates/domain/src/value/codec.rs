//! The stored and sent form of a labelled value.
//!
//! Format 1: a version byte, the length of the canonical JSON (varint) and the JSON, then the
//! labels: how many distinct ones (varint), each as level, categories (varint), integrity and its
//! workspaces; then pairs (index, repetitions) over the tree's nodes, parents first. Most values
//! have one label, and then the labels take a handful of bytes.
//!
//! A frame for another site uses the same form without workspaces ([`Scope::Wire`]).

use super::{Node, Value};
use crate::ids::{Realm, WorkspaceId};
use crate::label::{Categories, Integrity, Label, Level};

/// The format written today.
pub const VERSION: u8 = 1;

/// Who will read the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This site's own journal: everything is kept.
    Journal,
    /// Another site: what only the device may know is left out.
    Wire,
}

/// Why bytes are not a labelled value. None of these shows content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a version this one cannot read.
    #[error("value format {0} is newer than this program reads ({VERSION}); update tidegate")]
    Version(u8),
    /// Bytes are missing.
    #[error("a stored value ends early")]
    Truncated,
    /// The JSON inside cannot be read.
    #[error("a stored value is damaged: {0}")]
    Json(#[from] super::JsonError),
    /// The labels do not fit the tree.
    #[error("a stored value's labels do not fit it")]
    Labels,
}

/// Encodes a value with its labels.
pub fn encode(value: &Value, scope: Scope) -> Vec<u8> {
    let json = value.to_json();
    let mut out = Vec::with_capacity(json.len() + 16);
    out.push(VERSION);
    put_varint(&mut out, json.len() as u64);
    out.extend_from_slice(json.as_bytes());

    let mut table: Vec<&Label> = Vec::new();
    let mut runs: Vec<(usize, u64)> = Vec::new();
    value.visit(&mut |v| {
        let index = match runs.last() {
            Some((last, _)) if *table[*last] == v.label => *last,
            _ => table.iter().position(|l| **l == v.label).unwrap_or_else(|| {
                table.push(&v.label);
                table.len() - 1
            }),
        };
        match runs.last_mut() {
            Some((last, count)) if *last == index => *count += 1,
            _ => runs.push((index, 1)),
        }
    });
    put_varint(&mut out, table.len() as u64);
    for label in table {
        put_label(&mut out, label, scope);
    }
    for (index, count) in runs {
        put_varint(&mut out, index as u64);
        put_varint(&mut out, count);
    }
    out
}

/// Decodes what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Value, CodecError> {
    let mut rest = bytes;
    match take_byte(&mut rest)? {
        VERSION => {}
        other => return Err(CodecError::Version(other)),
    }
    let length = take_varint(&mut rest)? as usize;
    if length > rest.len() {
        return Err(CodecError::Truncated);
    }
    let (json, tail) = rest.split_at(length);
    rest = tail;
    let mut value = Value::from_json(json, &Label::PUBLIC)?;

    let distinct = take_varint(&mut rest)? as usize;
    if distinct > rest.len() {
        return Err(CodecError::Labels);
    }
    let table = (0..distinct).map(|_| take_label(&mut rest)).collect::<Result<Vec<_>, _>>()?;
    let mut current = (0usize, 0u64);
    assign(&mut value, &mut |label| {
        if current.1 == 0 {
            current = (take_varint(&mut rest)? as usize, take_varint(&mut rest)?);
        }
        current.1 = current.1.checked_sub(1).ok_or(CodecError::Labels)?;
        *label = table.get(current.0).ok_or(CodecError::Labels)?.clone();
        Ok(())
    })?;
    if current.1 != 0 || !rest.is_empty() {
        return Err(CodecError::Labels);
    }
    Ok(value)
}

fn assign(value: &mut Value, set: &mut dyn FnMut(&mut Label) -> Result<(), CodecError>) -> Result<(), CodecError> {
    set(&mut value.label)?;
    match &mut value.node {
        Node::List(items) => items.iter_mut().try_for_each(|v| assign(v, set)),
        Node::Map(members) => members.values_mut().try_for_each(|v| assign(v, set)),
        _ => Ok(()),
    }
}

/// Writes one label.
pub fn put_label(out: &mut Vec<u8>, label: &Label, scope: Scope) {
    out.push(label.level as u8);
    put_varint(out, u64::from(label.categories.bits()));
    out.push(label.integrity as u8);
    let workspaces: &[WorkspaceId] = if scope == Scope::Journal { &label.workspaces } else { &[] };
    put_varint(out, workspaces.len() as u64);
    for workspace in workspaces {
        out.extend_from_slice(&workspace.to_bytes());
    }
}

/// Reads one label. Levels and categories without a meaning here read as the highest (I8).
pub fn take_label(rest: &mut &[u8]) -> Result<Label, CodecError> {
    let level = match take_byte(rest)? {
        0 => Level::Public,
        1 => Level::Internal,
        2 => Level::Confidential,
        _ => Level::Restricted,
    };
    let categories = Categories::from_bits(take_varint(rest)?.try_into().unwrap_or(u32::MAX));
    let integrity = if take_byte(rest)? == 0 { Integrity::Trusted } else { Integrity::Untrusted };
    let count = take_varint(rest)? as usize;
    if count > rest.len() / 16 {
        return Err(CodecError::Truncated);
    }
    let mut workspaces = Vec::with_capacity(count);
    for _ in 0..count {
        let (head, tail) = rest.split_at(16);
        *rest = tail;
        workspaces.push(WorkspaceId::from_bytes(Realm::LOCAL, head.try_into().unwrap_or_default()));
    }
    workspaces.sort_unstable();
    workspaces.dedup();
    Ok(Label { level, categories, integrity, workspaces })
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, CodecError> {
    let (first, tail) = rest.split_first().ok_or(CodecError::Truncated)?;
    *rest = tail;
    Ok(*first)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, CodecError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(CodecError::Truncated)
}
