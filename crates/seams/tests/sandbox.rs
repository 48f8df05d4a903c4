//! A17 and the sandbox's part of A15: what a taken-over child can reach, proved
//! from inside a real one (`examples/sandbox_child.rs`).
//!
//! Not here: what the file parsers do with hostile files; `ops` tests that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tidegate_seams::sandbox::{
    Child, ChildError, ChildLimits, ChildPool, HIDDEN_ARG, Landlock, PoolConfig, Requirement, probe,
};

const LIMIT: Duration = Duration::from_secs(20);

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/sandbox_child");
    assert!(path.exists(), "run `cargo build --examples` first: {} is missing", path.display());
    path
}

fn limits() -> ChildLimits {
    ChildLimits { memory_bytes_max: 256 << 20, response_bytes_max: 8 << 20, ..ChildLimits::default() }
}

fn pool(change: impl FnOnce(&mut PoolConfig)) -> ChildPool {
    let mut config = PoolConfig { program: program(), limits: limits(), ..PoolConfig::default() };
    change(&mut config);
    ChildPool::new(config)
}

async fn ask(kind: &str) -> Result<Vec<u8>, ChildError> {
    let mut child = Child::spawn(&program(), limits(), &[]).await.unwrap();
    child.request(kind, b"payload", LIMIT).await
}

fn alive(pid: u32) -> bool {
    // A zombie still has its folder, so this also catches an unreaped child.
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

async fn gone(pid: u32) -> bool {
    for _ in 0..200 {
        if !alive(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn it_serves_and_keeps_its_state_to_itself() {
    let mut child = Child::spawn(&program(), limits(), &[]).await.unwrap();
    for payload in [&b""[..], b"a", &vec![7; 3 << 20]] {
        assert_eq!(child.request("echo", payload, LIMIT).await.unwrap(), payload);
    }
    let Err(ChildError::Failed(detail)) = child.request("fail", b"why", LIMIT).await else {
        panic!("expected the handler's error");
    };
    assert_eq!(detail.as_str(), "why");
    // A handler's own error does not cost the child.
    assert_eq!(child.request("echo", b"still here", LIMIT).await.unwrap(), b"still here");
    let pid = child.id().unwrap();
    child.end().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn a17_polite_refusals_give_nothing() {
    let eperm = libc::EPERM.to_string();
    let Err(ChildError::Failed(detail)) = ask("open").await else { panic!("open") };
    assert_eq!(detail.as_str(), eperm);
    for kind in ["std-open", "stat"] {
        assert!(matches!(ask(kind).await, Err(ChildError::Failed(_))), "{kind}");
    }
}

#[tokio::test]
async fn a17_every_way_out_kills() {
    for kind in [
        "inet",
        "udp",
        "unix",
        "socketpair",
        "exec",
        "io_uring",
        "fork",
        "thread",
        "ptrace",
        "kill-parent",
        "tgkill-other",
        "memfd",
        "bpf",
        "raise-limit",
        "executable-memory",
    ] {
        let outcome = ask(kind).await;
        assert!(matches!(outcome, Err(ChildError::Forbidden)), "{kind}: {outcome:?}");
    }
    assert_eq!(ask("tgkill-own").await.unwrap(), b"ok");
}

#[tokio::test]
async fn a17_inherited_descriptors_and_environment_are_gone() {
    // Leaked on purpose: no close-on-exec, as a careless library would.
    let file = std::fs::File::open("/etc/passwd").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&file, 100).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let seen = ask("descriptors").await.unwrap();
    assert_eq!(seen, [2, 3, 4], "standard error and the two pipes, nothing else");
    assert_eq!(ask("environment").await.unwrap(), b"");
}

#[tokio::test]
async fn a15_memory_stack_and_processor_are_bounded() {
    assert!(matches!(ask("bomb").await, Err(ChildError::OutOfMemory { bytes_max }) if bytes_max == 256 << 20));
    let deep = ask("deep").await;
    assert!(matches!(deep, Err(ChildError::StackOverflow { .. } | ChildError::Crashed { .. })), "{deep:?}");

    let limits = ChildLimits { cpu_seconds_max: 1, ..limits() };
    let mut child = Child::spawn(&program(), limits, &[]).await.unwrap();
    let spun = child.request("spin", b"", LIMIT).await;
    assert!(matches!(spun, Err(ChildError::CpuExhausted { seconds_max: 1 })), "{spun:?}");
}

#[tokio::test]
async fn a15_an_endless_loop_ends_at_its_deadline() {
    let mut child = Child::spawn(&program(), limits(), &[]).await.unwrap();
    let pid = child.id().unwrap();
    let begun = Instant::now();
    let outcome = child.request("spin", b"", Duration::from_millis(200)).await;
    assert!(matches!(outcome, Err(ChildError::TimedOut { limit }) if limit == Duration::from_millis(200)));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!alive(pid), "killed and reaped before the error is returned");
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    for kind in ["flood", "raw-flood"] {
        let outcome = ask(kind).await;
        assert!(
            matches!(outcome, Err(ChildError::ResponseTooLarge { bytes_max }) if bytes_max == 8 << 20),
            "{kind}: {outcome:?}"
        );
    }
    for kind in ["raw-stale", "raw-tag"] {
        let outcome = ask(kind).await;
        assert!(matches!(outcome, Err(ChildError::Protocol { .. })), "{kind}: {outcome:?}");
    }
}

#[tokio::test]
async fn printing_neither_breaks_the_protocol_nor_blocks() {
    assert_eq!(ask("print").await.unwrap(), b"payload");
}

#[tokio::test]
async fn a_panic_is_typed_and_quotes_nothing() {
    let outcome = ask("panic").await;
    assert!(matches!(outcome, Err(ChildError::Panicked)));
    assert!(!format!("{outcome:?}").contains("canary"));
    assert!(matches!(ask("exit").await, Err(ChildError::Crashed { code: Some(3), .. })));
}

#[tokio::test]
async fn a_request_over_the_limit_is_not_sent() {
    let limits = ChildLimits { request_bytes_max: 100, ..limits() };
    let mut child = Child::spawn(&program(), limits, &[]).await.unwrap();
    let outcome = child.request("echo", &[0; 101], LIMIT).await;
    assert!(matches!(outcome, Err(ChildError::RequestTooLarge { bytes: 101, bytes_max: 100 })));
    assert_eq!(child.request("echo", b"ok", LIMIT).await.unwrap(), b"ok");
}

#[tokio::test]
async fn it_ends_with_its_pipe_and_with_its_handle() {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    // The bare pipe: no handle that would kill it.
    let mut process = Command::new(program())
        .args([HIDDEN_ARG, "268435456", "60", "8388608", "1000", "1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut hello = [0; 4];
    process.stdout.as_mut().unwrap().read_exact(&mut hello).unwrap();
    drop(process.stdin.take());
    let status = process.wait().unwrap();
    assert!(status.success(), "{status:?}");

    let child = Child::spawn(&program(), limits(), &[]).await.unwrap();
    let pid = child.id().unwrap();
    drop(child);
    assert!(gone(pid).await, "killed and reaped when dropped");
}

#[tokio::test]
async fn it_dies_with_the_thread_that_started_it_even_when_busy() {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut process = Command::new(program())
            .args([HIDDEN_ARG, "268435456", "60", "8388608", "1000", "1000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut hello = [0; 13];
        process.stdout.as_mut().unwrap().read_exact(&mut hello).unwrap();
        process.stdin.as_mut().unwrap().write_all(b"\x09\0\0\0\0\0\0\0\x04spin").unwrap();
        send.send(process).unwrap();
    })
    .join()
    .unwrap();
    // Its pipes are still open here; only its parent thread is gone.
    let mut process = receive.recv().unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[tokio::test]
async fn a_program_re_executes_itself() {
    let status = tokio::process::Command::new(program()).status().await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_program_that_is_no_child_is_an_error() {
    let outcome = Child::spawn("/bin/true".as_ref(), limits(), &[]).await;
    assert!(matches!(outcome, Err(ChildError::Crashed { code: Some(0), .. })), "{outcome:?}");
    let outcome = Child::spawn("/nonexistent".as_ref(), limits(), &[]).await;
    assert!(matches!(outcome, Err(ChildError::Spawn(_))), "{outcome:?}");
}

#[tokio::test]
async fn the_report_is_whole_and_requirements_are_enforced() {
    let report = probe(&program(), limits()).await.unwrap();
    println!("{report:#?}\nmissing: {:?}", report.missing());
    assert!(report.mandatory());
    for requirement in [Requirement::Landlock, Requirement::NetNamespace, Requirement::EmptyRoot] {
        let outcome = Child::spawn(&program(), limits(), &[requirement]).await;
        assert_eq!(outcome.is_ok(), report.meets(requirement), "{requirement:?}");
        if let Err(error) = outcome {
            assert!(matches!(error, ChildError::Unconfined { .. }), "{error:?}");
        }
    }
    assert_eq!(report.meets(Requirement::Landlock), report.landlock == Landlock::Full);
}

#[tokio::test]
async fn no_child_serves_two_keys_and_the_number_is_bounded() {
    let pool = pool(|config| config.children_max = 2);
    for key in ["a", "a", "b", "a", "b"] {
        pool.request(key, "echo", b"x", LIMIT).await.unwrap();
    }
    assert_eq!(pool.status().started, 2, "one per key");
    pool.request("c", "echo", b"x", LIMIT).await.unwrap();
    let status = pool.status();
    assert_eq!((status.started, status.idle, status.busy), (3, 2, 0), "`a` made room");
    assert_eq!(status.memory_bytes_max, 2 * (256 << 20));
    pool.request("b", "echo", b"x", LIMIT).await.unwrap();
    assert_eq!(pool.status().started, 3, "`b` was used later than `a`, so it stayed");
    pool.end_idle().await;
    assert_eq!(pool.status().idle, 0);
}

#[tokio::test]
async fn after_a_crash_the_next_request_gets_a_fresh_child() {
    let pool = pool(|_| {});
    assert!(matches!(pool.request("k", "bomb", b"", LIMIT).await, Err(ChildError::OutOfMemory { .. })));
    assert!(matches!(
        pool.request("k", "spin", b"", Duration::from_millis(300)).await,
        Err(ChildError::TimedOut { .. })
    ));
    assert!(matches!(pool.request("k", "inet", b"", LIMIT).await, Err(ChildError::Forbidden)));
    assert_eq!(pool.status().idle, 0);
    assert_eq!(pool.request("k", "echo", b"fine", LIMIT).await.unwrap(), b"fine");
    assert_eq!(pool.status().started, 4);
}

#[tokio::test]
async fn children_are_retired_by_count_and_by_idleness() {
    let pool = pool(|config| {
        config.requests_per_child_max = 3;
        config.idle_max = Duration::from_millis(200);
    });
    for _ in 0..7 {
        pool.request("k", "echo", b"x", LIMIT).await.unwrap();
    }
    assert_eq!(pool.status().started, 3);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(pool.status().idle, 0);
    pool.request("k", "echo", b"x", LIMIT).await.unwrap();
    assert_eq!(pool.status().started, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_says_busy_and_given_up_requests_leave_no_process() {
    let pool = pool(|config| config.children_max = 1);
    let hog = tokio::spawn({
        let pool = pool.clone();
        async move { pool.request("a", "spin", b"", LIMIT).await }
    });
    while pool.status().busy == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let outcome = pool.request("b", "echo", b"", Duration::from_millis(100)).await;
    assert!(matches!(outcome, Err(ChildError::Busy { children_max: 1, .. })), "{outcome:?}");
    hog.abort();
    assert!(hog.await.unwrap_err().is_cancelled());
    assert_eq!(pool.status().busy, 0);
    assert_eq!(pool.request("b", "echo", b"now", LIMIT).await.unwrap(), b"now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_few_children() {
    let pool = pool(|config| config.children_max = 2);
    let work: Vec<_> = (0..60)
        .map(|at| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let key = format!("key-{}", at % 3);
                let payload = vec![at as u8; 1000 + at];
                assert_eq!(pool.request(&key, "echo", &payload, LIMIT).await.unwrap(), payload);
                assert!(pool.status().idle + pool.status().busy <= 4);
            })
        })
        .collect();
    for one in work {
        one.await.unwrap();
    }
    assert_eq!(pool.status().busy, 0);
    assert!(pool.status().idle <= 2);
}

/// Not a bound, a figure for the docs: run with `--nocapture`.
#[tokio::test]
async fn what_a_child_costs() {
    let begun = Instant::now();
    for _ in 0..20 {
        Child::spawn(&program(), limits(), &[]).await.unwrap().end().await;
    }
    let start = begun.elapsed() / 20;
    let mut child = Child::spawn(&program(), limits(), &[]).await.unwrap();
    let begun = Instant::now();
    for _ in 0..500 {
        child.request("echo", &[0; 10_000], LIMIT).await.unwrap();
    }
    println!("start and end: {start:?}, request: {:?}", begun.elapsed() / 500);
}
