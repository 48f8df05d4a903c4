//! The shell around runs, the same on device and hub: it takes the domain's actions, appends what
//! must be durable, and only then performs.
//!
//! - [`site::Site`] is what one site is made of: store, blobs, gate, seams, tools.
//! - [`Engine`] starts, resumes, watches and cancels runs; `runner` drives one of them.
//! - `local` makes an attempt here; `remote` has it made elsewhere; `serve` makes attempts that
//!   another site asked for and answers repeated ones from the inbox.
//!
//! Not here: decisions (`domain`), what an operation does (`ops`), the API in front (`node`, `hub`).

pub mod contract;
mod engine;
pub mod local;
pub mod remote;
pub mod rows;
mod runner;
pub mod serve;
pub mod site;
pub mod views;
mod wire;

pub use engine::{Engine, EngineError, RunView, Submission};
