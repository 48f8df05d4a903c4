//! A child program for the sandbox's tests: each request kind tries one way out.
//!
//! Job: attempt what a taken-over parser would attempt and say what happened.
//!
//! Not its job: judging it; `tests/sandbox.rs` does.
#![expect(unsafe_code, reason = "it makes the raw system calls an attacker would make")]
#![expect(clippy::panic, reason = "a panic is one of the attempts")]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tidegate_seams::sandbox::{ChildPool, PoolConfig, enter_child_if_asked};

fn main() -> ExitCode {
    match enter_child_if_asked(attempt) {
        Some(code) => code,
        None => re_execute(),
    }
}

/// An ordinary start: has a child of this very program echo a word.
fn re_execute() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let echoed = runtime.map(|runtime| {
        runtime.block_on(async {
            let pool = ChildPool::new(PoolConfig::default());
            pool.request("key", "echo", b"myself", Duration::from_secs(10)).await
        })
    });
    match echoed {
        Ok(Ok(word)) if word == b"myself" => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Makes one raw call and says `ok` or its error number.
fn call(number: libc::c_long, args: [libc::c_long; 6]) -> Result<Vec<u8>, String> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: whatever it asks for, the sandbox is expected to deny it, and the
    // pointers passed below are either null or constant strings.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result >= 0 {
        return Ok(b"ok".to_vec());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or("?".into(), |errno| errno.to_string()))
}

fn attempt(kind: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let path = c"/etc/passwd".as_ptr() as libc::c_long;
    let cwd = libc::c_long::from(libc::AT_FDCWD);
    let pid = libc::c_long::from(std::process::id());
    // SAFETY: takes nothing.
    let parent = libc::c_long::from(unsafe { libc::getpid() });
    let inet = libc::c_long::from(libc::AF_INET);
    let unix = libc::c_long::from(libc::AF_UNIX);
    let stream = libc::c_long::from(libc::SOCK_STREAM);
    let datagram = libc::c_long::from(libc::SOCK_DGRAM);
    match kind {
        "echo" => Ok(bytes),
        "fail" => Err(String::from_utf8_lossy(&bytes).into_owned()),
        "open" => call(libc::SYS_openat, [cwd, path, 0, 0, 0, 0]),
        "std-open" => std::fs::read("/etc/passwd").map_err(|error| error.to_string()),
        "stat" => std::fs::metadata("/etc/passwd").map(|_| Vec::new()).map_err(|error| error.to_string()),
        "inet" => call(libc::SYS_socket, [inet, stream, 0, 0, 0, 0]),
        "udp" => call(libc::SYS_socket, [inet, datagram, 0, 0, 0, 0]),
        "unix" => call(libc::SYS_socket, [unix, stream, 0, 0, 0, 0]),
        "socketpair" => call(libc::SYS_socketpair, [unix, stream, 0, 0, 0, 0]),
        "exec" => call(libc::SYS_execve, [c"/bin/true".as_ptr() as libc::c_long, 0, 0, 0, 0, 0]),
        "io_uring" => call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        "fork" => call(libc::SYS_clone, [libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0, 0]),
        "thread" => std::thread::Builder::new().spawn(|| {}).map(|_| Vec::new()).map_err(|error| error.to_string()),
        "ptrace" => call(libc::SYS_ptrace, [libc::c_long::from(libc::PTRACE_TRACEME), 0, 0, 0, 0, 0]),
        "kill-parent" => call(libc::SYS_kill, [parent, 0, 0, 0, 0, 0]),
        "tgkill-other" => call(libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
        "tgkill-own" => call(libc::SYS_tgkill, [pid, pid, 0, 0, 0, 0]),
        "memfd" => call(libc::SYS_memfd_create, [path, 0, 0, 0, 0, 0]),
        "bpf" => call(libc::SYS_bpf, [0, 0, 0, 0, 0, 0]),
        "raise-limit" => call(libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]),
        "executable-memory" => {
            let flags = libc::c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let rwx = libc::c_long::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
            call(libc::SYS_mmap, [0, 4096, rwx, flags, -1, 0])
        }
        "descriptors" => Ok(open_descriptors()),
        "environment" => Ok(std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" ").into_bytes()),
        "print" => {
            println!("noise on standard output");
            let _ = std::io::stdout().write_all(&[b'x'; 100_000]);
            for _ in 0..3_000 {
                eprintln!("noise on standard error: 0123456789012345678901234567890123456789");
            }
            Ok(bytes)
        }
        "bomb" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 8 << 20]);
            }
        }
        "deep" => Ok(vec![dig(u64::MAX)]),
        "panic" => panic!("canary: {}", String::from_utf8_lossy(&bytes)),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "flood" => Ok(vec![b'x'; 32 << 20]),
        "raw-flood" => raw(&[0xff; 1 << 16]),
        "raw-stale" => raw(&[5, 0, 0, 0, 99, 99, 99, 99, 0]),
        "raw-tag" => raw(&[5, 0, 0, 0, 0, 0, 0, 0, 77]),
        "exit" => std::process::exit(3),
        other => Err(format!("no such attempt: {other}")),
    }
}

/// Recurses for real: the array keeps each call's frame alive.
#[inline(never)]
fn dig(left: u64) -> u8 {
    let room = std::hint::black_box([left as u8; 1024]);
    if left == 0 { room[0] } else { dig(left - 1).wrapping_add(room[7]) }
}

/// Writes straight to the protocol's pipe, past the frame code.
fn raw(bytes: &[u8]) -> ! {
    loop {
        for fd in 3..8 {
            // SAFETY: a valid buffer with its length; the number may be closed.
            unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        }
    }
}

/// The numbers of all open descriptors: reading or writing nothing tells a
/// closed one from an open one without any further right.
fn open_descriptors() -> Vec<u8> {
    (0..=255u8)
        .filter(|fd| {
            let fd = i32::from(*fd);
            // SAFETY: zero bytes are transferred, so the pointers are not used.
            unsafe { libc::read(fd, std::ptr::null_mut(), 0) == 0 || libc::write(fd, std::ptr::null(), 0) == 0 }
        })
        .collect()
}
