//! The types of operations' inputs and outputs: small enough to be constants, rich enough for a
//! JSON Schema and for checking a literal before anything runs.

mod check;
mod json_schema;

pub use check::{Mismatch, check};
pub(crate) use json_schema::record as record_schema;

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// An integer between two bounds, both included.
    Int {
        /// Lowest.
        min: i64,
        /// Highest.
        max: i64,
    },
    /// A number.
    Number,
    /// Text; may be kept as a text blob where it is long.
    Text,
    /// A path on the site's file system.
    Path,
    /// One of a few words.
    Enum(&'static [&'static str]),
    /// A list.
    List(&'static Type),
    /// A map with known members; others are refused.
    Record(&'static [Field]),
    /// The same, or `null`.
    Optional(&'static Type),
}

/// A member of a [`Type::Record`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Whether it must be there.
    pub required: bool,
    /// One line for people.
    pub doc: &'static str,
}

impl Field {
    /// A member that must be there.
    pub const fn required(name: &'static str, ty: Type, doc: &'static str) -> Self {
        Self { name, ty, required: true, doc }
    }

    /// A member that may be left out.
    pub const fn optional(name: &'static str, ty: Type, doc: &'static str) -> Self {
        Self { name, ty, required: false, doc }
    }
}

#[cfg(test)]
mod tests;
