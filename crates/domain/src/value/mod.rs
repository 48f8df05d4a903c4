//! Values: JSON trees in which every node carries its own label and large leaves are blobs.
//!
//! A value is user content. Its `Debug` shows the shape and never the content, and there is no
//! `Serialize`: bytes come out of [`Value::to_json`] (canonical, RFC 8785) and [`codec`] alone, so
//! that a reviewer can find every place where content turns into bytes.
//!
//! Not here: where blobs are kept (`store`) and expressions over values (`expr`).

mod canonical;
pub mod codec;
mod json;

pub use json::JsonError;

use crate::label::Label;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The name of a blob.
///
/// Content that no gate has cleared is named by a hash keyed per device, which tells nobody else
/// whether two devices hold the same bytes; the plain digest is minted when the content is cleared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobId {
    /// BLAKE3 keyed with the device's secret.
    Keyed([u8; 32]),
    /// Plain BLAKE3.
    Digest([u8; 32]),
}

impl BlobId {
    /// The 32 bytes behind either kind.
    pub fn bytes(&self) -> &[u8; 32] {
        match self {
            BlobId::Keyed(bytes) | BlobId::Digest(bytes) => bytes,
        }
    }

    /// Reads what `Display` prints.
    pub fn parse(text: &str) -> Option<BlobId> {
        let (kind, hex) = text.split_once(':')?;
        let bytes = *blake3::Hash::from_hex(hex).ok()?.as_bytes();
        match kind {
            "keyed" => Some(BlobId::Keyed(bytes)),
            "blake3" => Some(BlobId::Digest(bytes)),
            _ => None,
        }
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, BlobId::Keyed(_)) { "keyed" } else { "blake3" };
        write!(f, "{kind}:{}", blake3::Hash::from_bytes(*self.bytes()).to_hex())
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a blob's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobKind {
    /// UTF-8 text: interchangeable with an inline text leaf.
    Text,
    /// Anything else.
    Bytes,
}

/// A typed reference to bytes kept outside the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// Its name.
    pub id: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// What its bytes are.
    pub kind: BlobKind,
}

/// The content of one place in a tree.
#[derive(Clone, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer of at most 2⁵³ − 1 in magnitude; larger ones travel as decimal strings.
    Int(i64),
    /// A finite double.
    Float(f64),
    /// Text of at most [`crate::limits::INLINE_TEXT_BYTES_MAX`] bytes, by convention of the operations.
    Text(Arc<str>),
    /// Bytes kept elsewhere.
    Blob(BlobRef),
    /// An ordered list.
    List(Vec<Value>),
    /// Names to values.
    Map(BTreeMap<String, Value>),
}

/// A tree with a label at every node. A container's own label covers its shape: how many children
/// it has and under which names.
#[derive(Clone, PartialEq)]
pub struct Value {
    /// How sensitive this node is, its children not counted.
    pub label: Label,
    /// What is here.
    pub node: Node,
}

/// One step of a path into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A member of a map.
    Name(&'a str),
    /// An element of a list.
    Index(usize),
}

impl Value {
    /// `null`, public.
    pub const NULL: Value = Value { label: Label::PUBLIC, node: Node::Null };

    /// A node with a label.
    pub fn new(node: Node, label: Label) -> Self {
        Self { label, node }
    }

    /// Public text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::new(Node::Text(text.into()), Label::PUBLIC)
    }

    /// A public integer.
    pub fn int(number: i64) -> Self {
        Self::new(Node::Int(number), Label::PUBLIC)
    }

    /// A public truth value.
    pub fn bool(truth: bool) -> Self {
        Self::new(Node::Bool(truth), Label::PUBLIC)
    }

    /// A list with a public shape.
    pub fn list(items: Vec<Value>) -> Self {
        Self::new(Node::List(items), Label::PUBLIC)
    }

    /// A map with a public shape.
    pub fn map<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        let members = members.into_iter().map(|(k, v)| (k.into(), v)).collect();
        Self::new(Node::Map(members), Label::PUBLIC)
    }

    /// The same tree with `label` joined into every node.
    #[must_use]
    pub fn raised(mut self, label: &Label) -> Self {
        self.raise_all(label);
        self
    }

    /// Joins `label` into every node.
    pub fn raise_all(&mut self, label: &Label) {
        self.label.raise(label);
        match &mut self.node {
            Node::List(items) => items.iter_mut().for_each(|v| v.raise_all(label)),
            Node::Map(members) => members.values_mut().for_each(|v| v.raise_all(label)),
            _ => {}
        }
    }

    /// Replaces the label of every node. Only a granted downgrade may call this.
    pub fn relabel_all(&mut self, label: &Label) {
        self.label = label.clone();
        match &mut self.node {
            Node::List(items) => items.iter_mut().for_each(|v| v.relabel_all(label)),
            Node::Map(members) => members.values_mut().for_each(|v| v.relabel_all(label)),
            _ => {}
        }
    }

    /// The join of all labels in the tree.
    pub fn joined_label(&self) -> Label {
        let mut label = Label::PUBLIC;
        self.visit(&mut |v| {
            if !label.covers(&v.label) {
                label.raise(&v.label);
            }
        });
        label
    }

    /// Calls `see` for every node, parents first, map members in the order of their names.
    pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Value)) {
        see(self);
        match &self.node {
            Node::List(items) => items.iter().for_each(|v| v.visit(see)),
            Node::Map(members) => members.values().for_each(|v| v.visit(see)),
            _ => {}
        }
    }

    /// All blobs the tree refers to.
    pub fn blobs(&self) -> Vec<BlobRef> {
        let mut found = Vec::new();
        self.visit(&mut |v| {
            if let Node::Blob(blob) = &v.node {
                found.push(*blob);
            }
        });
        found
    }

    /// The node at `key`, if this is a container that has it.
    pub fn child(&self, key: &Key<'_>) -> Option<&Value> {
        match (&self.node, key) {
            (Node::Map(members), Key::Name(name)) => members.get(*name),
            (Node::List(items), Key::Index(at)) => items.get(*at),
            _ => None,
        }
    }

    /// The member called `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.child(&Key::Name(name))
    }

    /// The inline text, if that is what this is.
    pub fn as_text(&self) -> Option<&str> {
        if let Node::Text(text) = &self.node { Some(text) } else { None }
    }

    /// The integer, if that is what this is.
    pub fn as_int(&self) -> Option<i64> {
        if let Node::Int(number) = &self.node { Some(*number) } else { None }
    }

    /// The truth value, if that is what this is.
    pub fn as_bool(&self) -> Option<bool> {
        if let Node::Bool(truth) = &self.node { Some(*truth) } else { None }
    }

    /// The elements, if this is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Node::List(items) = &self.node { Some(items) } else { None }
    }

    /// The members, if this is a map.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        if let Node::Map(members) = &self.node { Some(members) } else { None }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.node, Node::Null)
    }

    /// A bound on the bytes this value moves: its inline content plus its blobs.
    pub fn size_bytes(&self) -> u64 {
        let mut total = 0u64;
        self.visit(&mut |v| {
            total += match &v.node {
                Node::Text(text) => text.len() as u64 + 2,
                Node::Blob(blob) => blob.size,
                Node::Map(members) => members.keys().map(|k| k.len() as u64 + 4).sum(),
                _ => 8,
            }
        });
        total
    }

    /// The name of the kind of node, for messages.
    pub fn kind_name(&self) -> &'static str {
        self.node.kind_name()
    }
}

impl Node {
    /// Its kind's name, for messages.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "bool",
            Node::Int(_) => "integer",
            Node::Float(_) => "number",
            Node::Text(_) => "text",
            Node::Blob(BlobRef { kind: BlobKind::Text, .. }) => "text",
            Node::Blob(_) => "bytes",
            Node::List(_) => "list",
            Node::Map(_) => "map",
        }
    }
}

impl fmt::Debug for Node {
    /// Shape, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::List(items) => write!(f, "list of {}", items.len()),
            Node::Map(members) => write!(f, "map of {}", members.len()),
            Node::Text(text) => write!(f, "text of {} bytes", text.len()),
            Node::Blob(blob) => write!(f, "{} of {} bytes", self.kind_name(), blob.size),
            _ => f.write_str(self.kind_name()),
        }
    }
}

impl fmt::Debug for Value {
    /// Shape and label, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}]", self.node, self.label)
    }
}

#[cfg(test)]
mod tests;
