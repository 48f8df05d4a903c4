//! Why the gate could not be opened or changed.
//!
//! Not here: refusals. Those are verdicts, with a rule.

use std::path::PathBuf;

/// Why the gate could not be opened or changed. A gate that does not open lets nothing out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GateError {
    /// A file could not be read or written.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// Others than the owner could read the key.
    #[error("{path} can be read by others; run `chmod 600 {path}`, and make a new key if someone may have read it")]
    KeyReadable {
        /// The key's file.
        path: PathBuf,
    },
    /// The key's file does not hold a key.
    #[error("{path} does not hold an owner's key; restore it from a backup")]
    KeyBroken {
        /// The key's file.
        path: PathBuf,
    },
    /// A file that an earlier start made is gone.
    #[error("{path} is missing although this gate was set up before; restore it from a backup")]
    Missing {
        /// The missing file.
        path: PathBuf,
    },
    /// Policies that do not parse, do not fit the schema or lack their annotations.
    #[error("the {set} policies are refused: {why}")]
    Policies {
        /// `organisation` or `owner`.
        set: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The owner's policies are not what the owner signed.
    #[error("{path} is not what the owner signed; restore it, or adopt the change with the owner's key")]
    Tampered {
        /// The policies' file.
        path: PathBuf,
    },
    /// The owner's policies are older than ones that were in force here.
    #[error("{path} has version {found}, but version {seen} was in force here; restore the newer one")]
    Older {
        /// The policies' file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The highest version seen.
        seen: u64,
    },
    /// A grant that the owner's key did not sign, or that says more than a grant may.
    #[error("the grant {id} is not signed by this device's owner; it was not taken")]
    GrantRefused {
        /// The grant's name.
        id: String,
    },
    /// More grants than the gate keeps.
    #[error("there are already {max} grants; revoke some first")]
    TooManyGrants {
        /// The limit, `GRANTS_MAX`.
        max: usize,
    },
    /// Redaction is granted where the data lives.
    #[error("redaction is granted on the device that owns the data, not on the hub")]
    DeviceOnly,
    /// The workspace belongs to another realm.
    #[error("the folder belongs to another realm")]
    Realm,
}
