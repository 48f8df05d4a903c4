//! The parent's side of one child.
//!
//! Job: start it, check its report, exchange requests within a deadline and a
//! size, and on any trouble kill it, reap it and say what happened.
//!
//! Not its job: how many children there are and who shares them (`pool`).
//!
//! A child is trusted with nothing: its answer is read to a cap, its standard
//! error is read only to tell causes apart, and one broken frame ends it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::child::EXIT_REFUSED;
use super::frame::{self, Hello, Tag};
use super::{ChildError, ChildLimits, Confinement, FailureDetail, HIDDEN_ARG, Requirement, spawner};

/// How long a child may take from its start to its report.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a child that closed its pipes may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How much of a child's standard error is kept, to tell causes apart.
const STDERR_BYTES_MAX: usize = 4096;
/// How much memory is taken at a time for an answer, so that a child that
/// announces much and sends little costs little.
const READ_STEP_BYTES: usize = 1024 * 1024;

/// The program children are made of: this very one, by a name that still means
/// it after an update has replaced the file.
pub fn own_program() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    if link.exists() {
        return link.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| link.to_owned())
}

/// Starts a child, takes its report and ends it: what `tidegate doctor` shows.
pub async fn probe(program: &Path, limits: ChildLimits) -> Result<Confinement, ChildError> {
    let child = Child::spawn(program, limits, &[]).await?;
    let report = child.confinement();
    child.end().await;
    Ok(report)
}

/// One confined child process. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: JoinHandle<Vec<u8>>,
    confinement: Confinement,
    limits: ChildLimits,
    seq: u32,
}

impl Child {
    /// Starts `program` as a child under `limits` and waits for its report. A
    /// child without one of the `required` walls is ended and refused.
    #[expect(clippy::disallowed_methods, reason = "this is the seam that starts processes")]
    pub async fn spawn(program: &Path, limits: ChildLimits, required: &[Requirement]) -> Result<Child, ChildError> {
        let mut command = Command::new(program);
        command
            .arg0("tidegate-child")
            .arg(HIDDEN_ARG)
            .args(limits.to_args())
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut process = spawner::spawn(command).await.map_err(ChildError::Spawn)?;
        let (Some(input), Some(output), Some(errors)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(ChildError::Spawn(io::Error::other("a pipe is missing")));
        };
        let mut child = Child {
            process,
            input: Some(input),
            output,
            errors: tokio::spawn(drain(errors)),
            confinement: Confinement::NONE,
            limits,
            seq: 0,
        };
        match timeout(HELLO_LIMIT, child.read_hello()).await {
            Ok(Ok(Hello::Serving(report))) => child.confinement = report,
            Ok(Ok(Hello::Refused(wall))) => {
                child.kill_and_reap().await;
                return Err(ChildError::Refused { wall });
            }
            Ok(Err(broken)) => return Err(child.explain(broken).await),
            Err(_) => {
                child.kill_and_reap().await;
                return Err(ChildError::TimedOut { limit: HELLO_LIMIT });
            }
        }
        if !child.confinement.mandatory() {
            child.kill_and_reap().await;
            return Err(ChildError::Protocol { what: "a report without a mandatory wall" });
        }
        let missing: Vec<_> =
            required.iter().filter(|wall| !child.confinement.meets(**wall)).map(|wall| wall.name()).collect();
        if missing.is_empty() {
            Ok(child)
        } else {
            child.kill_and_reap().await;
            Err(ChildError::Unconfined { missing })
        }
    }

    /// What confinement the child reported.
    pub fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Sends one request and waits for its answer, at most `deadline`. After
    /// any error but [`ChildError::Failed`] and [`ChildError::RequestTooLarge`]
    /// the child is dead and reaped.
    pub async fn request(&mut self, kind: &str, payload: &[u8], deadline: Duration) -> Result<Vec<u8>, ChildError> {
        let outcome = match timeout(deadline, self.exchange(kind, payload)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Broken::Ended)) => return Err(self.explain(Broken::Ended).await),
            Ok(Err(Broken::Error(error))) => Err(error),
            Err(_) => Err(ChildError::TimedOut { limit: deadline }),
        };
        if let Err(error) = &outcome
            && !error.leaves_child_usable()
        {
            self.kill_and_reap().await;
        }
        outcome
    }

    /// Ends the child and waits until it is gone.
    pub async fn end(mut self) {
        self.kill_and_reap().await;
    }

    async fn exchange(&mut self, kind: &str, payload: &[u8]) -> Result<Vec<u8>, Broken> {
        let limits = self.limits;
        let seq = self.seq;
        let Some(head) = frame::request_head(seq, kind, payload.len(), limits.request_bytes_max) else {
            return Err(Broken::Error(ChildError::RequestTooLarge {
                bytes: payload.len() as u64,
                bytes_max: u64::from(limits.request_bytes_max),
            }));
        };
        self.seq = seq.wrapping_add(1);
        let input = self.input.as_mut().ok_or(Broken::Ended)?;
        input.write_all(&head).await?;
        input.write_all(payload).await?;

        let length = self.output.read_u32_le().await?;
        if length > limits.response_bytes_max {
            let bytes_max = u64::from(limits.response_bytes_max);
            return Err(Broken::Error(ChildError::ResponseTooLarge { bytes_max }));
        }
        let mut head = [0; frame::RESPONSE_HEAD_BYTES];
        let body =
            (length as usize).checked_sub(head.len()).ok_or(Broken::Error(protocol("a length below its header")))?;
        self.output.read_exact(&mut head).await?;
        let (answered, tag) = frame::decode_response_head(head).ok_or(Broken::Error(protocol("an unknown tag")))?;
        if answered != seq {
            return Err(Broken::Error(protocol("an answer to another request")));
        }
        let body = self.read_body(body).await?;
        match tag {
            Tag::Done => Ok(body),
            Tag::Failed => {
                let message =
                    String::from_utf8(body).map_err(|_| Broken::Error(protocol("a message that is not text")))?;
                Err(Broken::Error(ChildError::Failed(FailureDetail::new(message))))
            }
            Tag::TooLarge => {
                let bytes_max = u64::from(limits.response_bytes_max);
                Err(Broken::Error(ChildError::ResponseTooLarge { bytes_max }))
            }
            Tag::Panicked => Err(Broken::Error(ChildError::Panicked)),
            Tag::NoMemory => Err(Broken::Error(ChildError::OutOfMemory { bytes_max: limits.memory_bytes_max })),
        }
    }

    async fn read_hello(&mut self) -> Result<Hello, Broken> {
        let length = self.output.read_u32_le().await? as usize;
        if length > frame::HELLO_BYTES_MAX {
            return Err(Broken::Error(protocol("a first frame that is too long")));
        }
        let body = self.read_body(length).await?;
        Hello::decode(&body).ok_or(Broken::Error(protocol("an unknown first frame")))
    }

    async fn read_body(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::with_capacity(length.min(READ_STEP_BYTES));
        let mut source = (&mut self.output).take(length as u64);
        while body.len() < length {
            if source.read_buf(&mut body).await? == 0 {
                return Err(Broken::Ended);
            }
        }
        Ok(body)
    }

    /// Turns the end of a pipe into what ended the process.
    async fn explain(&mut self, broken: Broken) -> ChildError {
        if let Broken::Error(error) = broken {
            self.kill_and_reap().await;
            return error;
        }
        let status = match timeout(END_LIMIT, self.process.wait()).await {
            Ok(Ok(status)) => status,
            _ => {
                self.kill_and_reap().await;
                return protocol("closed pipes while running");
            }
        };
        let said = timeout(END_LIMIT, &mut self.errors).await.ok().and_then(Result::ok).unwrap_or_default();
        let says = |text: &[u8]| said.windows(text.len()).any(|part| part == text);
        match status.signal() {
            Some(libc::SIGSYS) => ChildError::Forbidden,
            Some(libc::SIGXCPU) => ChildError::CpuExhausted { seconds_max: self.limits.cpu_seconds_max },
            // The standard library's words when an allocation fails and when a
            // stack is full; both then abort.
            Some(libc::SIGABRT) if says(b"memory allocation of ") => {
                ChildError::OutOfMemory { bytes_max: self.limits.memory_bytes_max }
            }
            Some(libc::SIGABRT) if says(b" has overflowed its stack") => {
                ChildError::StackOverflow { bytes_max: self.limits.stack_bytes_max }
            }
            None if status.code() == Some(i32::from(EXIT_REFUSED)) => {
                ChildError::Refused { wall: "closed descriptors".to_owned() }
            }
            signal => ChildError::Crashed { signal, code: status.code() },
        }
    }

    /// Kills the whole process group and waits until the process is reaped.
    async fn kill_and_reap(&mut self) {
        self.input = None;
        if let Some(group) = self.process.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // Already gone is fine; anything else `kill_on_drop` takes care of.
        let _ = self.process.kill().await;
        self.errors.abort();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.errors.abort();
    }
}

/// Why an exchange stopped: the pipe ended, or something to report as it is.
enum Broken {
    Ended,
    Error(ChildError),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Broken::Ended
    }
}

fn protocol(what: &'static str) -> ChildError {
    ChildError::Protocol { what }
}

/// Reads standard error to its end so that it never blocks the child, and keeps
/// the first few kilobytes.
async fn drain(mut errors: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut part = [0; 1024];
    while let Ok(read) = errors.read(&mut part).await {
        if read == 0 {
            break;
        }
        let room = STDERR_BYTES_MAX.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(part.get(..room).unwrap_or_default());
    }
    kept
}
