//! Labels: how confidential a value is, what kinds of data it holds, and whether to trust it.
//!
//! Labels form a lattice and derived values carry the *join* of what they were derived from, so a
//! label only rises (invariant I8); the one way down is a downgrade that the gate grants. Unknown
//! levels and categories read as the highest.
//!
//! Not here: who may receive what. That is the gate's policy.

use crate::detect::Category as Detected;
use crate::ids::WorkspaceId;
use std::fmt;

/// How far a value may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Anyone may see it.
    #[default]
    Public,
    /// The organisation may see it.
    Internal,
    /// Stays where it is unless its owner agrees. What a workspace is out of the box.
    Confidential,
    /// Never leaves, and no redaction lowers it.
    Restricted,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Level; 4] = [Level::Public, Level::Internal, Level::Confidential, Level::Restricted];

    /// The name used in files, flags and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Public => "public",
            Level::Internal => "internal",
            Level::Confidential => "confidential",
            Level::Restricted => "restricted",
        }
    }

    /// Reads a name; a name nobody knows is the highest level.
    pub fn from_name(name: &str) -> Level {
        Level::ALL.into_iter().find(|l| l.as_str() == name).unwrap_or(Level::Restricted)
    }
}

/// A kind of data inside a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Category {
    /// Personal data.
    Pii = 0,
    /// Payment and bank data.
    Financial = 1,
    /// Keys, tokens and passwords.
    Credential = 2,
    /// Health data.
    Health = 3,
    /// Nobody has looked yet, so it may be anything.
    Undetermined = 4,
    /// A name this version does not know; treated as the worst.
    Unknown = 5,
}

impl Category {
    /// All categories.
    pub const ALL: [Category; 6] = [
        Category::Pii,
        Category::Financial,
        Category::Credential,
        Category::Health,
        Category::Undetermined,
        Category::Unknown,
    ];

    /// The name used in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Pii => "pii",
            Category::Financial => "financial",
            Category::Credential => "credential",
            Category::Health => "health",
            Category::Undetermined => "undetermined",
            Category::Unknown => "unknown",
        }
    }
}

impl From<Detected> for Category {
    fn from(detected: Detected) -> Self {
        use crate::detect::Kind;
        match detected.kind() {
            Kind::Pii => Category::Pii,
            Kind::Financial => Category::Financial,
            Kind::Credential => Category::Credential,
        }
    }
}

/// A set of [`Category`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Categories(u8);

impl Categories {
    /// No category.
    pub const NONE: Categories = Categories(0);

    /// The set with one member.
    pub const fn only(category: Category) -> Self {
        Categories(1 << category as u8)
    }

    /// From the stored bits; bits without a meaning here become [`Category::Unknown`].
    pub fn from_bits(bits: u32) -> Self {
        let known = (1u32 << Category::ALL.len()) - 1;
        let set = Categories((bits & known) as u8);
        if bits & !known == 0 { set } else { set.with(Category::Unknown) }
    }

    /// Reads names; one nobody knows becomes [`Category::Unknown`].
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self::NONE, |set, name| {
            set.with(Category::ALL.into_iter().find(|c| c.as_str() == name).unwrap_or(Category::Unknown))
        })
    }

    /// The stored bits.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// The set with `category` added.
    #[must_use]
    pub const fn with(self, category: Category) -> Self {
        Categories(self.0 | 1 << category as u8)
    }

    /// The set with `category` taken out.
    #[must_use]
    pub const fn without(self, category: Category) -> Self {
        Categories(self.0 & !(1 << category as u8))
    }

    /// Members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Categories(self.0 | other.0)
    }

    /// Whether the set has no members.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `category` is a member.
    pub const fn contains(self, category: Category) -> bool {
        self.0 & (1 << category as u8) != 0
    }

    /// Whether every member of `other` is a member.
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The members.
    pub fn iter(self) -> impl Iterator<Item = Category> {
        Category::ALL.into_iter().filter(move |c| self.contains(*c))
    }
}

impl fmt::Debug for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Whether a value comes from someone we act for, or from anyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integrity {
    /// Written by the owner, the workflow's author or an operation on trusted inputs.
    #[default]
    Trusted,
    /// Read from a document, a mail, a model: may try to persuade.
    Untrusted,
}

impl Integrity {
    /// The name used in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Integrity::Trusted => "trusted",
            Integrity::Untrusted => "untrusted",
        }
    }
}

/// What is known about a value's sensitivity.
///
/// `workspaces` says whose rules apply: it names the folders the value was derived from. It is
/// used on the device alone and never sent.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Label {
    /// How far it may travel.
    pub level: Level,
    /// What it holds.
    pub categories: Categories,
    /// Whether to trust it.
    pub integrity: Integrity,
    /// The folders it comes from, sorted, without repetition.
    pub workspaces: Vec<WorkspaceId>,
}

impl Label {
    /// The lowest label: what a literal in a workflow file has.
    pub const PUBLIC: Label = Label {
        level: Level::Public,
        categories: Categories::NONE,
        integrity: Integrity::Trusted,
        workspaces: Vec::new(),
    };

    /// The highest label: what an unreadable one is taken for.
    pub fn highest() -> Label {
        let all = Category::ALL.into_iter().fold(Categories::NONE, Categories::with);
        Label { level: Level::Restricted, categories: all, integrity: Integrity::Untrusted, workspaces: Vec::new() }
    }

    /// A trusted label of `level` without categories.
    pub fn of(level: Level) -> Label {
        Label { level, ..Label::PUBLIC }
    }

    /// The least label that is at least as high as both.
    #[must_use]
    pub fn join(mut self, other: &Label) -> Label {
        self.raise(other);
        self
    }

    /// Raises this label to the join of both.
    pub fn raise(&mut self, other: &Label) {
        self.level = self.level.max(other.level);
        self.categories = self.categories.union(other.categories);
        self.integrity = self.integrity.max(other.integrity);
        for workspace in &other.workspaces {
            if let Err(at) = self.workspaces.binary_search(workspace) {
                self.workspaces.insert(at, *workspace);
            }
        }
    }

    /// Whether this label is at least as high as `other` in every respect.
    pub fn covers(&self, other: &Label) -> bool {
        self.level >= other.level
            && self.integrity >= other.integrity
            && self.categories.contains_all(other.categories)
            && other.workspaces.iter().all(|w| self.workspaces.binary_search(w).is_ok())
    }

    /// The label without what only the device may know.
    #[must_use]
    pub fn for_the_wire(&self) -> Label {
        Label { workspaces: Vec::new(), ..self.clone() }
    }
}

impl fmt::Display for Label {
    /// `confidential (pii, credential)`, with `untrusted` behind where it applies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        let mut names: Vec<&str> = self.categories.iter().map(Category::as_str).collect();
        if self.integrity == Integrity::Untrusted {
            names.push("untrusted");
        }
        if names.is_empty() { Ok(()) } else { write!(f, " ({})", names.join(", ")) }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::Realm;
    use proptest::prelude::*;

    /// Any label, for the laws here and in other modules.
    pub(crate) fn any_label() -> impl Strategy<Value = Label> {
        (0usize..4, 0u32..64, any::<bool>(), proptest::collection::btree_set(0u128..5, 0..3)).prop_map(
            |(level, bits, untrusted, spaces)| Label {
                level: Level::ALL[level],
                categories: Categories::from_bits(bits),
                integrity: if untrusted { Integrity::Untrusted } else { Integrity::Trusted },
                workspaces: spaces.into_iter().map(|bits| WorkspaceId { realm: Realm::LOCAL, bits }).collect(),
            },
        )
    }

    proptest! {
        #[test]
        fn join_is_a_lattice(a in any_label(), b in any_label(), c in any_label()) {
            prop_assert_eq!(a.clone().join(&b), b.clone().join(&a));
            prop_assert_eq!(a.clone().join(&b).join(&c), a.clone().join(&b.clone().join(&c)));
            prop_assert_eq!(a.clone().join(&a), a.clone());
            prop_assert_eq!(a.clone().join(&Label::PUBLIC), a.clone());
            prop_assert!(a.clone().join(&b).covers(&a) && a.clone().join(&b).covers(&b));
        }
    }

    #[test]
    fn what_nobody_knows_is_the_highest() {
        assert_eq!(Level::from_name("cosmic"), Level::Restricted);
        assert!(Categories::from_names(["telepathy"]).contains(Category::Unknown));
        assert!(Categories::from_bits(1 << 20).contains(Category::Unknown));
        assert!(Label::highest().covers(&Label::of(Level::Restricted)));
    }
}
