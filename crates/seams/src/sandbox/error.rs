//! What can go wrong with a child, and what to do about it.
//!
//! Job: one error for everything between "please do this" and an answer. Each
//! message says which limit was passed and the way out.
//!
//! Not its job: the handler's own errors, which pass through unread in
//! [`ChildError::Failed`]. No message here holds a byte of content: a child's
//! standard error is read only to tell two causes apart, never repeated.

use std::time::Duration;

/// What a handler said when it failed. It may quote content, so it neither
/// prints nor debug-prints; whoever wrote the handler reads it on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct FailureDetail(String);

impl FailureDetail {
    pub(super) fn new(text: String) -> Self {
        FailureDetail(text)
    }

    /// The handler's message, as untrusted as the bytes it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for FailureDetail {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "FailureDetail({} bytes)", self.0.len())
    }
}

/// Why a request to a sandboxed child brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// The process could not be started at all.
    #[error(
        "the sandboxed child could not be started; check that the program file is still there and that this user may start processes"
    )]
    Spawn(#[source] std::io::Error),
    /// The child could not build a wall that is mandatory, so it did not serve.
    #[error("the sandboxed child refuses to serve because this system did not give it `{wall}`; run `tidegate doctor`")]
    Refused {
        /// The wall, and the system's error number where there is one.
        wall: String,
    },
    /// The operation needs walls that this system does not give.
    #[error("this operation needs {} and this system does not give it; run `tidegate doctor`", missing.join(", "))]
    Unconfined {
        /// The walls that are not there.
        missing: Vec<&'static str>,
    },
    /// No child became free before the deadline.
    #[error("all {children_max} sandboxed children were busy for {} ms; try again later or raise the number of children", waited.as_millis())]
    Busy {
        /// How long the request waited.
        waited: Duration,
        /// How many children the pool may have.
        children_max: usize,
    },
    /// The request took longer than its deadline; the child was killed.
    #[error("the sandboxed child passed its limit of {} ms and was ended; give it less or raise the limit", limit.as_millis())]
    TimedOut {
        /// The deadline it had.
        limit: Duration,
    },
    /// The request used more processor time than its limit.
    #[error(
        "the sandboxed child passed its limit of {seconds_max} processor seconds and was ended; give it less or raise the limit"
    )]
    CpuExhausted {
        /// The limit.
        seconds_max: u64,
    },
    /// The child needed more memory than its limit.
    #[error(
        "the sandboxed child passed its memory limit of {bytes_max} bytes and was ended; give it less or raise the limit"
    )]
    OutOfMemory {
        /// The limit.
        bytes_max: u64,
    },
    /// The child's calls nested deeper than its stack holds.
    #[error(
        "the sandboxed child passed its stack limit of {bytes_max} bytes and was ended; the input nests too deeply"
    )]
    StackOverflow {
        /// The limit.
        bytes_max: u64,
    },
    /// The child made a system call that is not on its list.
    #[error("the sandboxed child made a forbidden system call and was ended; treat the input as an attack")]
    Forbidden,
    /// The child ended without an answer, for none of the reasons above.
    #[error("the sandboxed child crashed ({}); the input cannot be processed", ended(*signal, *code))]
    Crashed {
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// Its exit code, if it had one.
        code: Option<i32>,
    },
    /// The handler panicked.
    #[error("the code in the sandboxed child failed an internal check; the input cannot be processed")]
    Panicked,
    /// The request is larger than a child takes.
    #[error("the request of {bytes} bytes passes the limit of {bytes_max} bytes; give it less or raise the limit")]
    RequestTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The answer is larger than the parent takes.
    #[error("the sandboxed child's answer passes the limit of {bytes_max} bytes; give it less or raise the limit")]
    ResponseTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The child did not keep to the protocol and was killed.
    #[error("the sandboxed child broke the protocol ({what}) and was ended; treat the input as an attack")]
    Protocol {
        /// What was wrong.
        what: &'static str,
    },
    /// The handler ran and answered with an error of its own.
    #[error("the operation in the sandboxed child failed")]
    Failed(FailureDetail),
}

impl ChildError {
    /// Whether the child that gave this error can serve another request.
    pub(super) fn leaves_child_usable(&self) -> bool {
        matches!(self, ChildError::Failed(_) | ChildError::RequestTooLarge { .. })
    }
}

fn ended(signal: Option<i32>, code: Option<i32>) -> String {
    match (signal, code) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "unknown end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handlers_message_is_never_printed() {
        let error = ChildError::Failed(FailureDetail::new("canary-content".into()));
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn messages_name_the_limit() {
        let limit = Duration::from_millis(1500);
        assert!(ChildError::TimedOut { limit }.to_string().contains("1500 ms"));
        assert!(ChildError::OutOfMemory { bytes_max: 4096 }.to_string().contains("4096 bytes"));
        assert!(ChildError::Unconfined { missing: vec!["landlock"] }.to_string().contains("landlock"));
    }
}
