//! Operations: what a site can do, declared in the domain's terms and carried out here.
//!
//! One file per operation under `builtin/`; [`registry`] is the list. An operation gets its input
//! as a labelled value and a [`context::Context`] with narrow handles to what it may touch: files
//! below the run's folders, the vault, the library, blobs, confined children. It cannot reach the
//! network, the journal or another run.
//!
//! Not here: where an operation runs and what is journaled about it (`engine`), who may receive
//! its output (`gate`).

pub mod builtin;
pub mod context;
pub mod extract;
pub mod library;
pub mod registry;
pub mod vault;
pub mod workspace;

pub use context::{Context, Host, OpError};
pub use registry::{Body, Operation, find, names, spec, specs};
