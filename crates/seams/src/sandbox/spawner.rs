//! The one thread that starts child processes.
//!
//! Job: run `spawn` on a thread that lives as long as the program.
//!
//! Not its job: what is started (`process`).
//!
//! Why a thread: a child is killed when its parent dies, and for the kernel
//! "parent" is the *thread* that started it. Runtime threads come and go, and
//! with them would go healthy children in the middle of a request.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Job {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();

fn start() -> Option<Sender<Job>> {
    let (jobs, inbox) = channel::<Job>();
    let work = move || {
        while let Ok(mut job) = inbox.recv() {
            // Pipes and the reaper belong to the caller's runtime.
            let _inside = job.runtime.enter();
            // A caller that gave up drops the child, which kills and reaps it.
            let _ = job.reply.send(job.command.spawn());
        }
    };
    std::thread::Builder::new().name("child-spawner".into()).spawn(work).ok().map(|_| jobs)
}

/// Starts `command` from the long-lived thread. Must be called in a runtime.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let Some(jobs) = SPAWNER.get_or_init(start) else {
        return Err(io::Error::other("the thread that starts children could not be started"));
    };
    let (reply, answer) = oneshot::channel();
    let ended = || io::Error::other("the thread that starts children has ended");
    jobs.send(Job { command, runtime: Handle::current(), reply }).map_err(|_| ended())?;
    answer.await.map_err(|_| ended())?
}
