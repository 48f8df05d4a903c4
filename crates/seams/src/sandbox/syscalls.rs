//! Which system calls a child may make.
//!
//! Job: the lists, and the two seccomp programs made from them.
//!
//! Not its job: installing them (`confine`, last step). Everything not listed
//! kills the process: a parser that tries to connect, run, trace or start
//! anything has been taken over. A short second list is refused politely
//! (`EPERM`) instead, because honest library code probes these and copes: a
//! memory allocator that looks for a setting in `/proc`, a clock that looks for
//! a time zone. Refused or killed, nothing on either list gets through.
//!
//! Two programs, because one program knows two outcomes and we need three; the
//! kernel takes the harsher verdict of the two. Calls of another architecture
//! (32-bit, x32) fit no list and kill.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Calls that touch nothing but the process's own memory, signals, clocks and
/// descriptors it already has.
const ALLOWED: &[libc::c_long] = &[
    // pipes
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    // memory (`mmap` and `mprotect` have a rule: nothing new is executable)
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // waiting on itself
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // signals to itself (`tgkill` has a rule)
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // looking at itself, the time, randomness
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrusage,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // the end
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls that fail with `EPERM` instead of killing.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sched_setaffinity,
    libc::SYS_membarrier,
    libc::SYS_mlock,
];

/// The older forms that only this architecture still has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn only_if(arg: u8, op: SeccompCmpOp, value: u64) -> Result<Vec<SeccompRule>, BackendError> {
    let condition = SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value)?;
    Ok(vec![SeccompRule::new(vec![condition])?])
}

fn arch() -> Result<TargetArch, BackendError> {
    std::env::consts::ARCH.try_into()
}

/// The programs in the order to install them: the polite one first, because
/// once the strict one stands no further program can be installed.
pub(super) fn programs(own_pid: u32) -> Result<[BpfProgram; 2], BackendError> {
    let no_code = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    let mut strict: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    strict.insert(libc::SYS_mmap, only_if(2, no_code.clone(), 0)?);
    strict.insert(libc::SYS_mprotect, only_if(2, no_code, 0)?);
    strict.insert(libc::SYS_tgkill, only_if(0, SeccompCmpOp::Eq, u64::from(own_pid))?);
    // Its own limits only; hard limits stand, so this can lower or restore.
    strict.insert(libc::SYS_prlimit64, only_if(0, SeccompCmpOp::Eq, 0)?);

    let mut polite = Rules::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        strict.insert(*call, Vec::new());
        polite.insert(*call, Vec::new());
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let polite = SeccompFilter::new(polite, SeccompAction::Allow, refuse, arch()?)?;
    let strict = SeccompFilter::new(strict, SeccompAction::KillProcess, SeccompAction::Allow, arch()?)?;
    Ok([polite.try_into()?, strict.try_into()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_out_is_allowed() {
        let dangerous = [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_bpf,
            libc::SYS_userfaultfd,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_seccomp,
            libc::SYS_prctl,
            libc::SYS_memfd_create,
            libc::SYS_ioctl,
            libc::SYS_fchmodat,
        ];
        for call in dangerous {
            assert!(!ALLOWED.contains(&call), "{call}");
        }
    }

    #[test]
    fn the_lists_do_not_overlap_and_compile() {
        for call in REFUSED.iter().chain(REFUSED_HERE) {
            assert!(!ALLOWED.contains(call), "{call}");
        }
        let [polite, strict] = programs(1234).unwrap();
        assert!(polite.len() > 10 && strict.len() > 30);
    }
}
