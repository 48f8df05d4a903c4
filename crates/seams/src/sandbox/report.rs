//! What confinement a child really has: the report it sends as its first frame.
//!
//! Job: the list of walls, its wire form, and what is missing from it.
//!
//! Not its job: building the walls (`confine`) or deciding what to do about a
//! missing one. The walls every system must give never appear as missing here,
//! because a child without one of them refuses to serve and sends no report.

/// How much of Landlock the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// Files, TCP, abstract sockets and signals are all denied.
    Full,
    /// An older kernel: it denies files, but not all of the rest.
    Partial,
    /// The kernel has no Landlock, or it is switched off.
    Absent,
}

/// A wall that an operation may declare it needs although not every system
/// has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Landlock, fully enforced.
    Landlock,
    /// A network namespace of its own, with nothing in it.
    NetNamespace,
    /// A mount namespace of its own whose root is an empty folder.
    EmptyRoot,
}

impl Requirement {
    /// The name `tidegate doctor` and error messages use.
    pub fn name(self) -> &'static str {
        match self {
            Requirement::Landlock => "landlock",
            Requirement::NetNamespace => "network namespace",
            Requirement::EmptyRoot => "empty root folder",
        }
    }
}

/// The walls around one child, as it reports them itself before it has read
/// any request. The first group is mandatory: a child that cannot have one of
/// them refuses to serve. The second group depends on the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// Mandatory: no program it could run would gain privileges.
    pub no_new_privs: bool,
    /// Mandatory: only listed system calls, none that opens, connects or runs.
    pub seccomp: bool,
    /// Mandatory: nothing open but its pipes.
    pub descriptors_closed: bool,
    /// Mandatory: memory, processor, stack, file, process and core limits.
    pub rlimits: bool,
    /// Mandatory: no core dump, and no other process of the user reads it.
    pub not_dumpable: bool,
    /// Mandatory: killed when the thread that started it ends.
    pub dies_with_parent: bool,
    /// Mandatory: no capability left, and not root.
    pub unprivileged: bool,
    /// It was started as root and gave the identity up.
    pub uid_dropped: bool,
    /// No capability can come back, not even by running a privileged file.
    pub bounding_set_cleared: bool,
    /// What Landlock gives.
    pub landlock: Landlock,
    /// Runs in a user namespace of its own (only tried when not root).
    pub user_namespace: bool,
    /// Runs in a network namespace of its own, with nothing in it.
    pub net_namespace: bool,
    /// Runs in a mount namespace of its own.
    pub mount_namespace: bool,
    /// Runs in an IPC namespace of its own.
    pub ipc_namespace: bool,
    /// Its root is an empty, read-only folder.
    pub empty_root: bool,
}

/// Bytes of an encoded report.
pub(super) const REPORT_BYTES: usize = 3;

impl Confinement {
    /// A report in which nothing is in force yet.
    pub(super) const NONE: Confinement = Confinement {
        no_new_privs: false,
        seccomp: false,
        descriptors_closed: false,
        rlimits: false,
        not_dumpable: false,
        dies_with_parent: false,
        unprivileged: false,
        uid_dropped: false,
        bounding_set_cleared: false,
        landlock: Landlock::Absent,
        user_namespace: false,
        net_namespace: false,
        mount_namespace: false,
        ipc_namespace: false,
        empty_root: false,
    };

    fn flags(&self) -> [bool; 14] {
        [
            self.no_new_privs,
            self.seccomp,
            self.descriptors_closed,
            self.rlimits,
            self.not_dumpable,
            self.dies_with_parent,
            self.unprivileged,
            self.uid_dropped,
            self.bounding_set_cleared,
            self.user_namespace,
            self.net_namespace,
            self.mount_namespace,
            self.ipc_namespace,
            self.empty_root,
        ]
    }

    /// Whether every mandatory wall stands.
    pub fn mandatory(&self) -> bool {
        self.flags()[..7].iter().all(|wall| *wall)
    }

    /// The walls this system does not give, by name; empty where it gives all.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.landlock != Landlock::Full {
            missing.push(Requirement::Landlock.name());
        }
        for (there, name) in [
            (self.net_namespace, Requirement::NetNamespace.name()),
            (self.mount_namespace, "mount namespace"),
            (self.ipc_namespace, "ipc namespace"),
            (self.empty_root, Requirement::EmptyRoot.name()),
            (self.bounding_set_cleared, "cleared bounding set"),
        ] {
            if !there {
                missing.push(name);
            }
        }
        missing
    }

    /// Whether `requirement` is met.
    pub fn meets(&self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::Landlock => self.landlock == Landlock::Full,
            Requirement::NetNamespace => self.net_namespace,
            Requirement::EmptyRoot => self.empty_root,
        }
    }

    pub(super) fn encode(&self) -> [u8; REPORT_BYTES] {
        let bits = self.flags().iter().enumerate().fold(0u16, |bits, (at, flag)| bits | (u16::from(*flag) << at));
        let landlock = match self.landlock {
            Landlock::Absent => 0,
            Landlock::Partial => 1,
            Landlock::Full => 2,
        };
        let [low, high] = bits.to_le_bytes();
        [low, high, landlock]
    }

    pub(super) fn decode(bytes: [u8; REPORT_BYTES]) -> Option<Confinement> {
        let [low, high, landlock] = bytes;
        let bits = u16::from_le_bytes([low, high]);
        if bits >> 14 != 0 {
            return None;
        }
        let flag = |at: u16| bits & (1 << at) != 0;
        Some(Confinement {
            no_new_privs: flag(0),
            seccomp: flag(1),
            descriptors_closed: flag(2),
            rlimits: flag(3),
            not_dumpable: flag(4),
            dies_with_parent: flag(5),
            unprivileged: flag(6),
            uid_dropped: flag(7),
            bounding_set_cleared: flag(8),
            landlock: match landlock {
                0 => Landlock::Absent,
                1 => Landlock::Partial,
                2 => Landlock::Full,
                _ => return None,
            },
            user_namespace: flag(9),
            net_namespace: flag(10),
            mount_namespace: flag(11),
            ipc_namespace: flag(12),
            empty_root: flag(13),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_survives_the_wire() {
        for bit in 0..14u16 {
            for landlock in 0..3u8 {
                let [low, high] = (1u16 << bit).to_le_bytes();
                let report = Confinement::decode([low, high, landlock]).unwrap();
                assert_eq!(report.encode(), [low, high, landlock]);
                assert_eq!(report.flags().iter().filter(|flag| **flag).count(), 1);
            }
        }
    }

    #[test]
    fn unknown_bits_are_refused() {
        assert_eq!(Confinement::decode([0, 0x40, 0]), None);
        assert_eq!(Confinement::decode([0, 0, 3]), None);
    }

    #[test]
    fn mandatory_needs_all_seven() {
        assert!(Confinement::decode([0x7f, 0, 0]).unwrap().mandatory());
        assert!(!Confinement::decode([0x3f, 0x3f, 2]).unwrap().mandatory());
        assert_eq!(Confinement::NONE.missing().len(), 6);
    }
}
