//! Finding private values in text, and taking them out again.
//!
//! Job: given a text, say which byte ranges hold a private value and of which
//! category ([`Detectors::scan`]); given those ranges, swap them for stable
//! placeholders and back ([`redact`]).
//!
//! Not its job: deciding what may leave. A finding only adds a category to a
//! label; the gate decides. No detector here covers free-text names, health or
//! anything else without a recognisable form, and redaction is never the
//! boundary by itself.
//!
//! Why it looks like this: what is searched for is data (`rules/*.toml`), each
//! rule carrying its own examples; the code only knows how to find candidates
//! cheaply, how to check a checksum and how to settle overlaps. Every input,
//! hostile ones too, is read a bounded number of times.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod checksum;
mod digits;
mod disguise;
pub mod redact;
mod resolve;
mod rules;
mod scan;
mod secret;
#[cfg(test)]
mod tests;
mod validate;

pub use rules::RulesError;
pub use scan::Detectors;

/// What sort of private value a finding is. The names are a stable contract:
/// policies, audit rows and command output use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A payment card number.
    Card,
    /// An international bank account number.
    Iban,
    /// A number a state gives to a person.
    NationalId,
    /// A date of birth.
    BirthDate,
    /// A private key, such as a PEM block.
    PrivateKey,
    /// A key to a cloud account.
    CloudKey,
    /// A token that lets its bearer into a service.
    AccessToken,
    /// A signed JSON web token.
    Jwt,
    /// A password or another shared secret.
    Password,
    /// A postal address.
    Address,
}

/// The label category that a [`Category`] adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Says who somebody is or how to reach them.
    Pii,
    /// Says where somebody's money is.
    Financial,
    /// Opens something.
    Credential,
}

impl Kind {
    /// The stable name, as labels spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pii => "pii",
            Self::Financial => "financial",
            Self::Credential => "credential",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Category {
    /// Every category, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Email,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::NationalId,
        Self::BirthDate,
        Self::PrivateKey,
        Self::CloudKey,
        Self::AccessToken,
        Self::Jwt,
        Self::Password,
        Self::Address,
    ];

    /// The label category this one adds.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Email | Self::Phone | Self::NationalId | Self::BirthDate | Self::Address => Kind::Pii,
            Self::Card | Self::Iban => Kind::Financial,
            Self::PrivateKey | Self::CloudKey | Self::AccessToken | Self::Jwt | Self::Password => Kind::Credential,
        }
    }

    /// The stable name in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::NationalId => "national_id",
            Self::BirthDate => "birth_date",
            Self::PrivateKey => "private_key",
            Self::CloudKey => "cloud_key",
            Self::AccessToken => "access_token",
            Self::Jwt => "jwt",
            Self::Password => "password",
            Self::Address => "address",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a [`Category`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a category that a detector knows")]
pub struct UnknownCategory(pub String);

impl FromStr for Category {
    type Err = UnknownCategory;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|category| category.as_str() == text).ok_or_else(|| UnknownCategory(text.to_owned()))
    }
}

/// One private value in a text: where it is and why we think so.
///
/// It never holds the value, so printing one is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What sort of value it is.
    pub category: Category,
    /// The id of the rule that found it, such as `card.grouped`.
    pub rule: Arc<str>,
    /// How sure the rule is, from 0 to 1.
    pub confidence: f32,
    /// Where the value starts: a byte offset on a character boundary.
    pub start: usize,
    /// Where the value ends, exclusive: a byte offset on a character boundary.
    pub end: usize,
}

impl Finding {
    /// The value itself, if `text` is the text that was scanned.
    #[must_use]
    pub fn value<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.get(self.start..self.end)
    }
}
