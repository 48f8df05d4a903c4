//! Every bound on an input, with its default, its unit in its name and its reason.
//!
//! Passing one is a typed error that names the limit (invariant I6). Limits of one detector rule
//! or one parser stand beside that parser; here are those that more than one room must agree on.

/// A workflow file larger than this is refused before it is parsed.
pub const WORKFLOW_FILE_BYTES_MAX: usize = 1 << 20;
/// Steps in one workflow file.
pub const STEPS_MAX: usize = 256;
/// Items in one fan-out.
pub const ITEMS_MAX: usize = 100_000;
/// Concurrent items of one fan-out unless the workflow says otherwise.
pub const EACH_CONCURRENCY_DEFAULT: u32 = 4;
/// Upper bound of what a workflow may ask for.
pub const EACH_CONCURRENCY_MAX: u32 = 256;
/// Attempts of one step, the first included.
pub const ATTEMPTS_MAX: u32 = 20;
/// Nesting of a value.
pub const VALUE_DEPTH_MAX: usize = 64;
/// Leaves and containers in one value.
pub const VALUE_NODES_MAX: usize = 2_000_000;
/// A text leaf above this many bytes is kept as a blob and travels by reference.
pub const INLINE_TEXT_BYTES_MAX: usize = 16 << 10;
/// Largest integer a value holds as a number (RFC 8785 relies on IEEE doubles).
pub const SAFE_INTEGER_MAX: i64 = (1 << 53) - 1;
/// One blob.
pub const BLOB_BYTES_MAX: u64 = 64 << 20;
/// Everything one remote attempt may carry, blobs included.
pub const TRANSFER_BYTES_MAX: usize = 8 << 20;
/// One frame on the wire: a transfer plus its header.
pub const FRAME_BYTES_MAX: usize = TRANSFER_BYTES_MAX + (64 << 10);
/// Frames a sender may have on the way before it waits for an acknowledgement.
pub const SESSION_WINDOW_FRAMES: usize = 1024;
/// Length of one expression.
pub const EXPRESSION_BYTES_MAX: usize = 4 << 10;
/// Work one expression may do, in elements visited (its comprehensions multiplied out).
pub const EXPRESSION_STEPS_MAX: u64 = 1_000_000;
/// `timeout` of a step that names none, in milliseconds.
pub const ATTEMPT_TIMEOUT_MS_DEFAULT: u64 = 120_000;
/// Runs that one node works on at once; further ones wait their turn.
pub const ACTIVE_RUNS_MAX: usize = 1024;
/// Steps that `run.finished` lists one by one; beyond it there are totals by operation and site.
pub const REPORTED_STEPS_MAX: usize = 1_000;
