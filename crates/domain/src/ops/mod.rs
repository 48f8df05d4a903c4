//! What an operation declares about itself. Placement, the workflow checker and the gate decide on
//! these declarations; the `ops` room holds the code behind them.

use crate::schema::{Field, Type};

/// What running an operation does to the world. Decides what may be repeated, raced or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effects {
    /// Its output depends on its input alone; may run anywhere, any number of times.
    Pure,
    /// Looks at something outside (files, an index) and changes nothing.
    Read,
    /// Changes something in a sink that joins our journal: prepared, journaled, committed.
    Write,
    /// Changes something that cannot be asked afterwards whether it happened.
    External,
}

impl Effects {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Effects::Pure => "pure",
            Effects::Read => "read",
            Effects::Write => "write",
            Effects::External => "external",
        }
    }
}

/// The three kinds of site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SiteKind {
    /// Owns user data.
    Device,
    /// Owns the control plane, shared data and heavy operations.
    Hub,
    /// Hub-side compute.
    Worker,
}

impl SiteKind {
    /// The name used in output and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            SiteKind::Device => "device",
            SiteKind::Hub => "hub",
            SiteKind::Worker => "worker",
        }
    }
}

/// Something a site must have for an operation to run there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// The user's files.
    Files,
    /// The redaction vault.
    Vault,
    /// The document library.
    Library,
    /// Confined child processes for hostile parsers.
    Sandbox,
}

impl Capability {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Files => "files",
            Capability::Vault => "vault",
            Capability::Library => "library",
            Capability::Sandbox => "sandbox",
        }
    }
}

/// What an operation is expected to cost before anything is known of it, on a site of speed 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostHint {
    /// Microseconds whatever the input.
    pub fixed_us: u64,
    /// Nanoseconds for each byte of input.
    pub ns_per_byte: u64,
}

/// An operation's declaration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpSpec {
    /// `ns.verb`.
    pub name: &'static str,
    /// Raised when the meaning of an input or output changes.
    pub version: u32,
    /// One line for people.
    pub summary: &'static str,
    /// What it does to the world.
    pub effects: Effects,
    /// The kinds of site it can run on.
    pub sites: &'static [SiteKind],
    /// What the site must have.
    pub needs: &'static [Capability],
    /// Where the operation itself sends what it gets, beyond the site it runs on.
    pub onward: &'static [&'static str],
    /// Expected cost.
    pub cost: CostHint,
    /// Members of `with`.
    pub input: &'static [Field],
    /// Shape of the output.
    pub output: Type,
}
