//! Typed identifiers, each carrying its realm.
//!
//! An identifier is a realm plus 128 bits, minted from injected time and entropy so that ids of
//! one kind sort by creation time. It prints as `run-0h3…` (26 characters of Crockford base 32);
//! outside the default realm the realm stands in front: `acme/run-0h3…`.
//!
//! Not here: names that a user chose (step ids, workflow names); those are plain strings.

use std::fmt;
use std::str::FromStr;

/// The tenant that every id, row, frame, cache key and blob name belongs to.
///
/// 1–16 characters of `a-z`, `0-9` and `-`, kept inline so that ids stay `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm([u8; 16]);

impl Realm {
    /// The realm of a single-user installation.
    pub const LOCAL: Realm = Realm(*b"local\0\0\0\0\0\0\0\0\0\0\0");

    /// The realm's name.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(16);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl FromStr for Realm {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > 16 || !text.bytes().all(good) {
            return Err(IdError::Realm);
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Realm(bytes))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The realm's name breaks its alphabet or length.
    #[error("a realm is 1 to 16 characters of a-z, 0-9 and '-'")]
    Realm,
    /// The prefix names another kind of identifier, or none.
    #[error("this id does not start with `{0}-`")]
    Kind(&'static str),
    /// The 26 characters behind the prefix are not base 32.
    #[error("an id ends in 26 characters of base 32 (0-9 and a-z without i, l, o, u)")]
    Digits,
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn write_digits(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0u8; 26];
    for (i, slot) in text.iter_mut().enumerate() {
        *slot = ALPHABET[((bits >> (5 * (25 - i))) & 31) as usize];
    }
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn read_digits(text: &str) -> Option<u128> {
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits = 0u128;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|a| *a == byte)?;
        bits = (bits << 5) | digit as u128;
    }
    Some(bits)
}

/// 48 bits of milliseconds since the epoch in front of 80 bits of entropy.
fn sortable_bits(time_ms: u64, entropy: [u8; 10]) -> u128 {
    let mut low = [0u8; 16];
    low[6..].copy_from_slice(&entropy);
    (u128::from(time_ms & 0xffff_ffff_ffff) << 80) | u128::from_be_bytes(low)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The tenant this id belongs to.
            pub realm: Realm,
            /// 48 bits of creation time in milliseconds, then 80 bits of entropy.
            pub bits: u128,
        }

        impl $name {
            /// Mints an id from the time and ten bytes of entropy.
            pub fn mint(realm: Realm, time_ms: u64, entropy: [u8; 10]) -> Self {
                Self { realm, bits: sortable_bits(time_ms, entropy) }
            }

            /// An id of the default realm from its stored 16 bytes.
            pub fn from_bytes(realm: Realm, bytes: [u8; 16]) -> Self {
                Self { realm, bits: u128::from_be_bytes(bytes) }
            }

            /// The 16 bytes that are stored and sent; the realm travels beside them.
            pub fn to_bytes(self) -> [u8; 16] {
                self.bits.to_be_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.realm != Realm::LOCAL {
                    write!(f, "{}/", self.realm)?;
                }
                f.write_str(concat!($prefix, "-"))?;
                write_digits(self.bits, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let (realm, rest) = match text.split_once('/') {
                    Some((realm, rest)) => (realm.parse()?, rest),
                    None => (Realm::LOCAL, text),
                };
                let digits = rest
                    .strip_prefix(concat!($prefix, "-"))
                    .ok_or(IdError::Kind($prefix))?;
                let bits = read_digits(digits).ok_or(IdError::Digits)?;
                Ok(Self { realm, bits })
            }
        }
    };
}

id!(
    /// One execution of a workflow.
    RunId, "run"
);
id!(
    /// One try of one step (or of one item of a fan-out) at one site.
    AttemptId, "att"
);
id!(
    /// A device, hub or worker.
    SiteId, "site"
);
id!(
    /// One incarnation of the connection between a node and the hub; it survives reconnects.
    SessionId, "ses"
);
id!(
    /// A folder on a device whose contents share rules. Keyed, so that it does not tell its path.
    WorkspaceId, "wsp"
);

/// A number that only rises within a run; a sink refuses a write that carries a lower one than it
/// has seen for the same step and item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_print_and_parse_back(bits: u128, acme: bool) {
            let realm = if acme { "acme".parse().unwrap() } else { Realm::LOCAL };
            let id = RunId { realm, bits };
            prop_assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
            prop_assert_eq!(RunId::from_bytes(realm, id.to_bytes()), id);
        }

        #[test]
        fn ids_sort_by_time(a in 0u64..1 << 48, b in 0u64..1 << 48, ea: [u8; 10], eb: [u8; 10]) {
            let (x, y) = (RunId::mint(Realm::LOCAL, a, ea), RunId::mint(Realm::LOCAL, b, eb));
            if a < b { prop_assert!(x.to_string() < y.to_string()); }
        }
    }

    #[test]
    fn other_kinds_and_bad_digits_are_refused() {
        let run = RunId::mint(Realm::LOCAL, 1, [7; 10]).to_string();
        assert_eq!(run.parse::<AttemptId>(), Err(IdError::Kind("att")));
        assert_eq!("run-zz".parse::<RunId>(), Err(IdError::Digits));
        assert_eq!("run-zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<RunId>(), Err(IdError::Digits));
        assert_eq!("Bad Realm".parse::<Realm>(), Err(IdError::Realm));
    }
}
