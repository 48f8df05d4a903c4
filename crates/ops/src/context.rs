//! What an operation may touch, and how it fails.

use crate::library::Library;
use crate::vault::Vault;
use crate::workspace::Workspaces;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use tidegate_domain::ids::RunId;
use tidegate_domain::label::{Categories, Label};
use tidegate_domain::limits;
use tidegate_domain::run::{Failure, Status};
use tidegate_domain::value::{BlobKind, BlobRef, Node, Value};
use tidegate_gate::DowngradeKind;
use tidegate_seams::sandbox::ChildPool;

/// What the engine does for a running operation. One per attempt.
pub trait Host: Send + Sync {
    /// Reads a blob, verified.
    fn blob(&self, blob: &BlobRef) -> Result<Vec<u8>, OpError>;
    /// Keeps bytes as a blob that this run uses.
    fn keep(&self, bytes: &[u8], kind: BlobKind) -> Result<BlobRef, OpError>;
    /// Asks the gate for a lower label of a result derived from `from`, in which `residue` is still
    /// found. Gives the label that the result carries, whatever the answer was.
    fn downgrade(&self, kind: DowngradeKind, from: &Label, residue: Categories) -> Label;
    /// Makes a sink's plan durable before the sink is changed. Blocks.
    fn prepare(&self, state: Vec<u8>) -> Result<(), OpError>;
    /// What this attempt had prepared before an earlier process died.
    fn prepared(&self) -> Option<&[u8]>;
    /// Whether somebody asked for the attempt to stop.
    fn cancelled(&self) -> bool;
}

/// What one site gives its operations; the same for all attempts.
#[derive(Clone, Default)]
pub struct SiteTools {
    /// The document library, where there is one.
    pub library: Option<Arc<Library>>,
    /// Confined children, where there are any.
    pub sandbox: Option<Arc<ChildPool>>,
}

/// Everything an operation may touch during one attempt.
#[derive(Clone)]
pub struct Context {
    /// The run it works for.
    pub run: RunId,
    /// The engine.
    pub host: Arc<dyn Host>,
    /// The site's tools.
    pub tools: SiteTools,
    /// The folders that the run was given, on a device.
    pub workspaces: Arc<Workspaces>,
    /// The folder for what the run writes, on a device.
    pub outputs_dir: PathBuf,
    /// The run's redaction vault, on a device.
    pub vault: Option<Arc<Vault>>,
}

impl Context {
    /// The text of a value, whether inline or kept as a blob.
    pub fn text_of<'v>(&self, value: &'v Value) -> Result<Cow<'v, str>, OpError> {
        match &value.node {
            Node::Text(text) => Ok(Cow::Borrowed(text)),
            Node::Blob(blob) if blob.kind == BlobKind::Text => {
                let bytes = self.host.blob(blob)?;
                String::from_utf8(bytes).map(Cow::Owned).map_err(|_| OpError::invalid("a text blob is not UTF-8"))
            }
            _ => Err(OpError::invalid(format!("needs text and got a {}", value.kind_name()))),
        }
    }

    /// A value for a text: inline where it is short, else a blob.
    pub fn text_value(&self, text: String, label: Label) -> Result<Value, OpError> {
        if text.len() <= limits::INLINE_TEXT_BYTES_MAX {
            return Ok(Value::new(Node::Text(text.into()), label));
        }
        let blob = self.host.keep(text.as_bytes(), BlobKind::Text)?;
        Ok(Value::new(Node::Blob(blob), label))
    }
}

/// A failed operation. The message may quote user content and stays on this site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    /// A code of the registry.
    pub code: &'static str,
    /// What went wrong and what to do.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
    /// Whether it is a policy's refusal rather than a failure.
    pub refused: bool,
}

impl OpError {
    /// A failure that trying again does not mend.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: false, refused: false }
    }

    /// The input is not what the operation needs.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("E5001", message)
    }

    /// The same, worth another attempt.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

impl From<OpError> for Failure {
    fn from(error: OpError) -> Self {
        let status = if error.refused { Status::Refused } else { Status::Failed };
        let failure = Failure::new(status, error.code, error.message);
        if error.retryable { failure.retryable() } else { failure }
    }
}

/// A member of an operation's input.
pub(crate) fn member<'v>(input: &'v Value, name: &str) -> Result<&'v Value, OpError> {
    match input.get(name) {
        Some(value) if !value.is_null() => Ok(value),
        _ => Err(OpError::invalid(format!("`{name}` is missing"))),
    }
}

/// A member that must be inline text.
pub(crate) fn text_member<'v>(input: &'v Value, name: &str) -> Result<&'v str, OpError> {
    let value = member(input, name)?;
    value.as_text().ok_or_else(|| OpError::invalid(format!("`{name}` must be text and is a {}", value.kind_name())))
}

/// An integer member, or its default.
pub(crate) fn int_member(input: &Value, name: &str, default: i64) -> Result<i64, OpError> {
    match input.get(name) {
        None => Ok(default),
        Some(value) if value.is_null() => Ok(default),
        Some(value) => value
            .as_int()
            .ok_or_else(|| OpError::invalid(format!("`{name}` must be an integer and is a {}", value.kind_name()))),
    }
}
