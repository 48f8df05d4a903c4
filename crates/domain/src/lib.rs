//! The decisions of Tidegate that need nothing but their arguments.
//!
//! Nothing here is async, does I/O, reads a clock or draws a random number; time and entropy
//! arrive as arguments. That is why everything in this room can be tested by calling it, and why
//! the same code decides on a device, on the hub and in the simulator.
//!
//! Not here: how a decision is carried out (`engine`), stored (`store`) or sent (`transport`).

pub mod codes;
pub mod detect;
pub mod expr;
pub mod ids;
pub mod label;
pub mod limits;
pub mod ops;
pub mod placement;
pub mod run;
pub mod schema;
pub mod sensitive;
pub mod session;
pub mod value;
pub mod workflow;
