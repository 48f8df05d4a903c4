//! The few raw system calls that no safe binding covers.
//!
//! Job: one function per call, each with the reason it is sound, used by
//! `confine` and `child` while the process has a single thread.
//!
//! Not its job: any decision. All unsafe code of the sandbox is in this file.

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from `first` up, whoever opened it.
#[expect(
    unsafe_code,
    reason = "closes descriptors the program never owned; runs first of all, before anything in Rust holds one"
)]
pub(super) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers. No Rust object owns a descriptor at or above
    // `first` yet: the child has opened nothing of its own when it calls this.
    check(unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, 0) })
}

/// Closes standard input and output, whose copies the child keeps higher up,
/// so that nothing printed by a library reaches the protocol.
#[expect(unsafe_code, reason = "standard streams are borrowed numbers, not owned objects")]
pub(super) fn close_standard_streams() {
    // SAFETY: takes plain numbers; the standard library treats a closed
    // standard stream as an empty one.
    unsafe {
        libc::close(libc::STDIN_FILENO);
        libc::close(libc::STDOUT_FILENO);
    }
}

/// Leaves the namespaces named by `flags` for fresh, empty ones.
#[expect(unsafe_code, reason = "unshare is unsafe only where it splits descriptor tables between threads")]
pub(super) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes plain numbers; `flags` never has CLONE_FILES and the
    // process has one thread.
    check(libc::c_long::from(unsafe { libc::unshare(flags) }))
}

/// Makes every mount private, so that what follows stays in this namespace.
#[expect(unsafe_code, reason = "no safe binding is compiled in")]
pub(super) fn make_mounts_private() -> io::Result<()> {
    // SAFETY: the only pointer is a constant string; the rest are null, which
    // the call allows for a change of propagation.
    check(libc::c_long::from(unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    }))
}

/// Mounts an empty read-only folder over `target`.
#[expect(unsafe_code, reason = "no safe binding is compiled in")]
pub(super) fn mount_empty(target: &CStr) -> io::Result<()> {
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: every pointer is a NUL-terminated string that outlives the call.
    check(libc::c_long::from(unsafe {
        libc::mount(
            c"tmpfs".as_ptr(),
            target.as_ptr(),
            c"tmpfs".as_ptr(),
            flags,
            c"size=4k,nr_inodes=2,mode=555".as_ptr().cast(),
        )
    }))
}

/// Whether the other end of the pipe `fd` is gone.
#[expect(unsafe_code, reason = "no safe binding is compiled in")]
pub(super) fn hung_up(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: one valid, exclusively borrowed element and a count of one.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
}

/// Processor time of this process so far, in whole seconds, rounded up.
#[expect(unsafe_code, reason = "no safe binding is compiled in")]
pub(super) fn cpu_seconds_used() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid, exclusively borrowed timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if result == 0 { u64::try_from(time.tv_sec).unwrap_or(0).saturating_add(1) } else { 1 }
}
