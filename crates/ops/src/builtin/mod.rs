//! The built-in operations, one file each.

pub mod files_read;
pub mod files_scan;
pub mod files_write;
pub mod library_match;
pub mod privacy_redact;
pub mod privacy_restore;
pub mod privacy_scan;
pub mod text_compose;
pub mod text_extract;
pub mod text_similar;
pub mod text_summarize;
pub mod value_set;

use tidegate_domain::schema::{Field, Type};

/// A file as `files.scan` lists it and other operations take it.
pub(crate) const FILE: &[Field] = &[
    Field::required("workspace", Type::Text, "the folder that was scanned, by its id"),
    Field::required("path", Type::Text, "the file, relative to the folder"),
    Field::optional("name", Type::Text, "the last part of the path"),
    Field::optional("bytes", Type::Int { min: 0, max: i64::MAX }, "its size"),
    Field::optional("format", Type::Text, "what kind of document it is, if known"),
    Field::optional("modified_ms", Type::Int { min: 0, max: i64::MAX }, "when it was last changed"),
];
