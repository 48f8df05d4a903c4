//! Runs the binary: to its end with a deadline, or in the background; finds and kills its parts.

use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Ends a test that hangs; no result depends on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The repository's examples.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().unwrap()
}

/// The shipped workflow.
pub fn brief_workflow() -> PathBuf {
    examples().join("brief.yaml")
}

/// What a command left behind.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Standard output as JSON lines; every line must be one, with `v` 1 and a type.
    pub fn lines(&self) -> Vec<Json> {
        self.out.lines().map(contract_line).collect()
    }

    pub fn last(&self) -> Json {
        self.lines().pop().unwrap_or_else(|| panic!("nothing on standard output; standard error: {}", self.err))
    }

    /// Both outputs, for messages.
    pub fn all(&self) -> String {
        format!("exit {:?}\n{}\n{}", self.code, self.out, self.err)
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }
}

fn contract_line(line: &str) -> Json {
    let json: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("not a JSON line ({e}): {line}"));
    assert_eq!(json["v"], 1, "{line}");
    assert!(json["type"].is_string(), "{line}");
    json
}

/// Lines of one type.
pub fn of_type<'a>(lines: &'a [Json], kind: &str) -> Vec<&'a Json> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// A data folder and what runs on it. Everything goes with it.
pub struct Place {
    // A short path: UNIX sockets lie below it.
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tg-e2e-").tempdir_in("/tmp").unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn device(&self) -> PathBuf {
        self.data().join("device")
    }

    pub fn hub(&self) -> PathBuf {
        self.data().join("hub")
    }

    /// An empty folder below this place.
    pub fn make(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        file
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Whatever the caller's own environment says stays out.
        command.env("XDG_DATA_HOME", self.path("xdg")).env("HOME", self.path("home")).env("NO_COLOR", "1");
        command
    }

    /// A command to its end, without `--data`.
    pub fn plain(&self, arguments: &[&str]) -> Ended {
        wait(self.command(arguments).spawn().unwrap(), PATIENCE)
    }

    /// A command on this data folder to its end.
    pub fn tidegate(&self, arguments: &[&str]) -> Ended {
        let data = self.data();
        let mut all = arguments.to_vec();
        all.extend(["--data", data.to_str().unwrap()]);
        self.plain(&all)
    }

    /// `run` of a workflow with JSON, to its end.
    pub fn run(&self, workflow: &Path, more: &[&str]) -> Ended {
        let mut all = vec!["run", workflow.to_str().unwrap(), "--json"];
        all.extend(more);
        self.tidegate(&all)
    }

    /// A command on this data folder that goes on in the background.
    pub fn start(&self, arguments: &[&str]) -> Background {
        let data = self.data();
        let mut all = arguments.to_vec();
        all.extend(["--data", data.to_str().unwrap()]);
        let log = std::fs::File::create(self.path("background.err")).unwrap();
        let mut child = self.command(&all).stderr(log).spawn().unwrap();
        let (lines, rest) = channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || read_lines(out, &lines));
        Background { child, lines: rest }
    }

    /// Processes of one kind (`__hub`, `__node`) that live on this data folder.
    pub fn parts(&self, kind: &str) -> Vec<i32> {
        let data = self.data();
        let below = format!("{}/", data.display());
        let found = processes().into_iter().filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
            words.get(1) == Some(&kind.as_bytes()) && words.iter().any(|word| word.starts_with(below.as_bytes()))
        });
        found.collect()
    }

    /// Waits until no part of this place lives any more.
    #[track_caller]
    pub fn wait_until_nobody_lives(&self) {
        until("the hub and the node have ended", || self.parts("__hub").is_empty() && self.parts("__node").is_empty());
    }

    /// The files below a folder, with what they hold.
    pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only what a failed test left, found by its own folder's path.
        for kind in ["__hub", "__node"] {
            for pid in self.parts(kind) {
                kill(pid);
            }
        }
    }
}

fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// SIGKILL, to a process that a test started.
pub fn kill(pid: i32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// SIGTERM, to a process that a test started.
pub fn terminate(pid: i32) {
    signal(pid, rustix::process::Signal::TERM);
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Polls until something holds; a test that waits in vain fails.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait(mut child: Child, patience: Duration) -> Ended {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = std::thread::spawn(move || text(&mut out));
    let err = std::thread::spawn(move || text(&mut err));
    let end = Instant::now() + patience;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a command did not end:\n{}\n{}", out.join().unwrap(), err.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ended { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

fn text(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_lines(out: ChildStdout, to: &std::sync::mpsc::Sender<String>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if to.send(line).is_err() {
            return;
        }
    }
}

/// A command in the background. Killed with the value.
pub struct Background {
    child: Child,
    lines: Receiver<String>,
}

impl Background {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line of JSON.
    #[track_caller]
    pub fn line(&self) -> Json {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => contract_line(&line),
            Err(error) => panic!("no further line: {error}"),
        }
    }

    /// The next line of a type; those before it are passed over.
    #[track_caller]
    pub fn line_of(&self, kind: &str) -> Json {
        loop {
            let line = self.line();
            if line["type"] == kind {
                return line;
            }
        }
    }

    /// Whether it goes on.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; gives its exit code and the lines not yet read.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, Vec<Json>) {
        let child = &mut self.child;
        let mut code = None;
        until("a command in the background ends", || match child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        let rest = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok());
        (code, rest.map(|line| contract_line(&line)).collect())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
