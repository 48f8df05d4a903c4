//! The sandboxed child: how the one binary runs risky code on hostile bytes.
//!
//! Job: a confined copy of this very program that gets bytes by pipe, gives
//! bytes back by pipe and can reach nothing else. `confine` builds the walls,
//! `child` serves inside them, `process` and `pool` are the parent's side.
//!
//! Not its job: what is done with the bytes (a [`Handler`] the program hands
//! in), deciding which work needs a child, labels (a pool key is an opaque
//! string, and no child ever serves two keys).
//!
//! Why re-execute instead of fork: a forked copy of a threaded program inherits
//! its locks, its memory — other users' content and keys among it — and its
//! descriptors. A fresh image inherits an empty environment and three pipes.

mod child;
mod confine;
mod error;
mod frame;
mod pool;
mod process;
mod report;
mod spawner;
mod sys;
mod syscalls;

pub use child::{child_main, enter_child_if_asked};
pub use error::{ChildError, FailureDetail};
pub use pool::{ChildPool, PoolConfig, PoolStatus};
pub use process::{Child, own_program, probe};
pub use report::{Confinement, Landlock, Requirement};

/// The hidden first argument that turns the program into a sandboxed child.
pub const HIDDEN_ARG: &str = "__child";

/// What a child does with one request: a kind, its bytes, and bytes or a
/// message back. It runs without files, network, threads or clocks to wait on.
pub type Handler = fn(kind: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String>;

/// What one child may use. Passing any of these is a typed [`ChildError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildLimits {
    /// Address space in bytes, the program's own image included. Default 512 MiB.
    pub memory_bytes_max: u64,
    /// Processor seconds for one request. Default 60.
    pub cpu_seconds_max: u64,
    /// Stack in bytes, counted within the address space. Default 64 MiB.
    pub stack_bytes_max: u64,
    /// Bytes of one request. Default 80 MiB.
    pub request_bytes_max: u32,
    /// Bytes of one response. Default 64 MiB.
    pub response_bytes_max: u32,
}

/// Bytes in a mebibyte.
const MIB: u32 = 1024 * 1024;

impl Default for ChildLimits {
    fn default() -> Self {
        ChildLimits {
            memory_bytes_max: 512 * u64::from(MIB),
            cpu_seconds_max: 60,
            stack_bytes_max: 64 * u64::from(MIB),
            request_bytes_max: 80 * MIB,
            response_bytes_max: 64 * MIB,
        }
    }
}

impl ChildLimits {
    /// The limits as the arguments that follow [`HIDDEN_ARG`].
    fn to_args(self) -> [String; 5] {
        [
            self.memory_bytes_max.to_string(),
            self.cpu_seconds_max.to_string(),
            self.stack_bytes_max.to_string(),
            self.request_bytes_max.to_string(),
            self.response_bytes_max.to_string(),
        ]
    }

    /// Reads back what [`ChildLimits::to_args`] wrote; `None` if anything is
    /// missing, in excess or not a number.
    fn from_args(args: &[String]) -> Option<Self> {
        let [memory, cpu, stack, request, response] = args else {
            return None;
        };
        Some(ChildLimits {
            memory_bytes_max: memory.parse().ok()?,
            cpu_seconds_max: cpu.parse().ok()?,
            stack_bytes_max: stack.parse().ok()?,
            request_bytes_max: request.parse().ok()?,
            response_bytes_max: response.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_command_line() {
        let limits = ChildLimits { cpu_seconds_max: 7, ..ChildLimits::default() };
        assert_eq!(ChildLimits::from_args(&limits.to_args()), Some(limits));
        assert_eq!(ChildLimits::from_args(&[]), None);
        let mut bad = limits.to_args();
        bad[2] = "-1".into();
        assert_eq!(ChildLimits::from_args(&bad), None);
    }
}
