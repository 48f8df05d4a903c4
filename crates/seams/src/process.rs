//! Starting our own long-lived processes: a hub or a node that the command supervises.
//!
//! A service is this program with hidden arguments. It speaks lines of JSON on its standard input
//! and output and ends when its input ends, so that it never outlives whoever started it, however
//! that one dies. Confined short-lived children are in [`crate::sandbox`].

use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A process that we started.
pub struct Service {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Service {
    /// Starts `program`. Its standard error goes where `errors` says.
    #[expect(clippy::disallowed_methods, reason = "this is the seam that starts processes")]
    pub fn spawn(program: &Path, arguments: &[String], errors: Stdio) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // A key press that interrupts the command must not reach its services: the command
            // ends them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("a started process has no output"))?;
        Ok(Self { child, input, output: BufReader::new(output).lines() })
    }

    /// Its process id, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Writes one line to it.
    pub async fn tell(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        input.write_all(line.as_bytes()).await?;
        input.write_all(b"\n").await?;
        input.flush().await
    }

    /// The next line that it writes; `None` once it has closed its output.
    pub async fn hear(&mut self) -> io::Result<Option<String>> {
        self.output.next_line().await
    }

    /// Waits for its end; says how it ended.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Asks it to end by closing its input, and waits; ends it by force after `patience`.
    pub async fn stop(mut self, patience: std::time::Duration) {
        self.input = None;
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
