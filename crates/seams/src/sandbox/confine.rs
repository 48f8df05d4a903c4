//! Building the walls, from inside, in the one order that works.
//!
//! Job: take a fresh process with one thread and leave it able to compute and
//! to use two pipes. Mandatory walls end the attempt with their name if they
//! cannot be built; the others are reported as they turn out.
//!
//! Not its job: serving (`child`), the list of system calls (`syscalls`).
//!
//! The order matters. Descriptors first, so that nothing inherited is there for
//! any later step. Namespaces and the empty root need privileges; Landlock
//! needs a descriptor, so it comes before the limit of none; identity goes
//! before "dies with parent", which a change of identity resets; limits come
//! after the last step that would trip over them; system calls last.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::report::{Confinement, Landlock};
use super::{ChildLimits, sys, syscalls};

/// The identity a child started as root takes on: the customary "nobody".
const NOBODY: u32 = 65_534;
/// The highest capability number the kernel's interface can carry.
const CAPABILITY_BITS: u32 = 63;
/// Processor seconds a child may use in its whole life, whatever its requests.
const CPU_LIFE_SECONDS_MAX: u64 = 3_600;

/// The pipes a child keeps.
pub(super) struct Pipes {
    pub(super) input: File,
    pub(super) output: File,
}

/// A mandatory wall that could not be built: its name and the cause.
pub(super) struct Refusal(pub(super) String);

fn must<T, E: Into<io::Error>>(wall: &str, result: Result<T, E>) -> Result<T, Refusal> {
    result.map_err(|error| {
        let error: io::Error = error.into();
        match error.raw_os_error() {
            Some(errno) => Refusal(format!("{wall} (errno {errno})")),
            None => Refusal(wall.to_owned()),
        }
    })
}

/// Keeps the two pipes and standard error, and closes everything else that was
/// inherited. Standard error stays: the parent reads it to tell running out of
/// memory from other crashes.
pub(super) fn keep_pipes() -> Result<Pipes, Refusal> {
    must("closed descriptors", sys::close_from(3))?;
    let input = must("pipes", rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3))?;
    let output = must("pipes", rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3))?;
    sys::close_standard_streams();
    Ok(Pipes { input: File::from(input), output: File::from(output) })
}

/// Builds every wall around the calling process, which has closed its
/// descriptors with [`keep_pipes`] and has one thread.
pub(super) fn confine(limits: &ChildLimits, pipes: &Pipes) -> Result<Confinement, Refusal> {
    let mut report = Confinement { descriptors_closed: true, ..Confinement::NONE };
    let root = rustix::process::geteuid().is_root() || rustix::process::getuid().is_root();

    must("no_new_privs", rustix::thread::set_no_new_privs(true))?;
    report.no_new_privs = true;

    leave_namespaces(root, &mut report);
    if report.mount_namespace {
        report.empty_root = enter_empty_root().is_ok();
    }
    report.landlock = enforce_landlock();

    report.bounding_set_cleared = clear_bounding_set();
    if root {
        become_nobody()?;
        report.uid_dropped = true;
    }
    drop_capabilities()?;
    report.unprivileged = true;

    must("not dumpable", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    report.not_dumpable = true;
    must("death with parent", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    // A parent that died before the line above sends no signal any more.
    if sys::hung_up(pipes.input.as_raw_fd()) {
        return Err(Refusal("living parent".to_owned()));
    }
    report.dies_with_parent = true;

    set_limits(limits)?;
    report.rlimits = true;

    let programs = syscalls::programs(std::process::id()).map_err(|_| Refusal("seccomp program".to_owned()))?;
    for program in &programs {
        seccompiler::apply_filter_all_threads(program).map_err(|_| Refusal("seccomp".to_owned()))?;
    }
    report.seccomp = true;
    Ok(report)
}

/// Fresh namespaces, as many as the system gives. Root takes them directly;
/// anyone else gets them together with a user namespace, or not at all.
fn leave_namespaces(root: bool, report: &mut Confinement) {
    let inner = libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC;
    if !root && sys::unshare(libc::CLONE_NEWUSER | inner | libc::CLONE_NEWUTS).is_ok() {
        report.user_namespace = true;
        report.net_namespace = true;
        report.mount_namespace = true;
        report.ipc_namespace = true;
        return;
    }
    report.net_namespace = sys::unshare(libc::CLONE_NEWNET).is_ok();
    report.mount_namespace = sys::unshare(libc::CLONE_NEWNS).is_ok();
    report.ipc_namespace = sys::unshare(libc::CLONE_NEWIPC).is_ok();
}

/// Makes an empty read-only folder the root. It is mounted over a folder that
/// every system has, in this process's own mount namespace.
fn enter_empty_root() -> io::Result<()> {
    sys::make_mounts_private()?;
    let target = [c"/proc", c"/tmp", c"/dev"].into_iter().find(|target| sys::mount_empty(target).is_ok());
    rustix::process::chdir(target.ok_or(io::ErrorKind::PermissionDenied)?)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Denies every right Landlock knows, with no exception.
fn enforce_landlock() -> Landlock {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V6)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match status.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Landlock::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Landlock::Partial,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Landlock::Absent,
    }
}

/// Empties the bounding set, which needs a privilege; without it the set keeps
/// what it had, and `no_new_privs` makes that unusable.
fn clear_bounding_set() -> bool {
    for bit in 0..CAPABILITY_BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => {
                if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
                    return false;
                }
            }
            Ok(false) => {}
            // Past the last capability this kernel knows.
            Err(_) => break,
        }
    }
    true
}

fn become_nobody() -> Result<(), Refusal> {
    let uid = rustix::process::Uid::from_raw(NOBODY);
    let gid = rustix::process::Gid::from_raw(NOBODY);
    must("dropped groups", rustix::thread::set_thread_groups(&[]))?;
    must("dropped group", rustix::thread::set_thread_res_gid(gid, gid, gid))?;
    must("dropped user", rustix::thread::set_thread_res_uid(uid, uid, uid))?;
    let left = rustix::process::getuid().is_root() || rustix::process::geteuid().is_root();
    if left { Err(Refusal("dropped user".to_owned())) } else { Ok(()) }
}

fn drop_capabilities() -> Result<(), Refusal> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let _ = rustix::thread::clear_ambient_capability_set();
    must("dropped capabilities", rustix::thread::set_capabilities(None, none))?;
    let left = must("dropped capabilities", rustix::thread::capabilities(None))?;
    if left.effective.is_empty() && left.permitted.is_empty() {
        Ok(())
    } else {
        Err(Refusal("dropped capabilities".to_owned()))
    }
}

fn set_limits(limits: &ChildLimits) -> Result<(), Refusal> {
    let cpu_life = CPU_LIFE_SECONDS_MAX.max(limits.cpu_seconds_max);
    for (resource, soft, hard) in [
        (Resource::Core, 0, 0),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, 0, 0),
        (Resource::Memlock, 0, 0),
        (Resource::Msgqueue, 0, 0),
        (Resource::Nproc, 0, 0),
        (Resource::Stack, limits.stack_bytes_max, limits.stack_bytes_max),
        (Resource::Cpu, limits.cpu_seconds_max.max(1), cpu_life.max(1)),
        (Resource::As, limits.memory_bytes_max, limits.memory_bytes_max),
    ] {
        // Only ever lower: a system that is stricter already stays so.
        let now = rustix::process::getrlimit(resource);
        let hard = now.maximum.map_or(hard, |now| now.min(hard));
        let new = Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) };
        must("resource limits", setrlimit(resource, new))?;
    }
    Ok(())
}

/// Gives the next request its own processor seconds.
pub(super) fn renew_cpu_limit(limits: &ChildLimits) {
    let hard = rustix::process::getrlimit(Resource::Cpu).maximum;
    let wanted = sys::cpu_seconds_used().saturating_add(limits.cpu_seconds_max.max(1));
    let soft = hard.map_or(wanted, |hard| wanted.min(hard));
    // Failing leaves the earlier, stricter limit in force.
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(soft), maximum: hard });
}
