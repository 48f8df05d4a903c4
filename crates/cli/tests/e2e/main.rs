//! End to end: the `tidegate` binary as a user and as a script meet it, on folders of its own.
//!
//! Every test starts processes of its own on a data folder of its own and ends them; nothing but
//! loopback is used and nothing depends on how long things take (deadlines are generous and only
//! end a test that hangs). [`harness`] runs the binary, [`oracle`] searches everything the hub's
//! side got for what was planted, [`documents`] makes folders to read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the real program and wait for it by the real clock")]

mod documents;
mod harness;
mod oracle;

mod audit;
mod brief;
mod broken;
mod cancel;
mod codes;
mod crash;
mod dev;
mod hostile;
mod leaks;
mod scan;
