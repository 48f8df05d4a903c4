//! The owner's key, and the policies it signs.
//!
//! Three files in the gate's folder:
//! - `owner.key`: the Ed25519 key, readable by its user alone. The hub never has it.
//! - `owner.cedar`: the owner's policies. The first line carries version and signature, so that one
//!   rename replaces text and signature together.
//! - `owner.version`: the highest version that was in force. An older one is refused, even though
//!   the owner did sign it once (attack A3).
//!
//! Who can replace all three has the owner's rights on this machine, against which no promise is
//! made. Not here: what policies mean (`rules`).

use crate::error::GateError;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tidegate_domain::ids::SiteId;
use tidegate_seams::files;

const KEY_HEAD: &str = "tidegate owner key 1";
const POLICY_HEAD: &str = "// tidegate owner policies, version ";
const SIGNED: &str = ", signed ";

/// Number and digest of one set of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetVersion {
    /// Rises with every change.
    pub number: u64,
    /// BLAKE3 of the text.
    pub digest: [u8; 32],
}

impl SetVersion {
    pub(crate) fn of(number: u64, text: &str) -> Self {
        Self { number, digest: *blake3::hash(text.as_bytes()).as_bytes() }
    }
}

/// The policies in force: both sets. Grants are not counted in: they lower labels and judge no
/// transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyVersion {
    /// The organisation's set.
    pub organisation: SetVersion,
    /// The owner's set.
    pub owner: SetVersion,
}

impl fmt::Display for PolicyVersion {
    /// `organisation 1 (9f86d081), owner 3 (60303ae2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |set: &SetVersion| blake3::Hash::from_bytes(set.digest).to_hex()[..8].to_owned();
        write!(
            f,
            "organisation {} ({}), owner {} ({})",
            self.organisation.number,
            short(&self.organisation),
            self.owner.number,
            short(&self.owner)
        )
    }
}

/// The owner's signing key.
pub(crate) struct OwnerKey {
    pair: Ed25519KeyPair,
    seed: [u8; 32],
}

impl OwnerKey {
    /// The key of a seed that must be secret and random.
    pub(crate) fn from_seed(seed: [u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self { pair, seed })
    }

    /// Signs `text` for `what`: neither another site nor another use takes the signature.
    pub(crate) fn sign(&self, what: &str, site: SiteId, text: &str) -> String {
        hex(self.pair.sign(&message(what, site, text)).as_ref())
    }

    /// Whether this key signed `text` for `what`.
    pub(crate) fn verify(&self, what: &str, site: SiteId, text: &str, signature: &str) -> bool {
        let public = UnparsedPublicKey::new(&ED25519, self.pair.public_key().as_ref());
        unhex::<64>(signature).is_some_and(|s| public.verify(&message(what, site, text), &s).is_ok())
    }
}

/// Every part is preceded by its length, so that parts cannot run together.
fn message(what: &str, site: SiteId, text: &str) -> Vec<u8> {
    let site = format!("{}/{site}", site.realm);
    let mut all = Vec::with_capacity(text.len() + 128);
    for part in ["tidegate gate 1", what, &site, text] {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    all
}

/// Where the key and the policies are kept: a folder, or nowhere.
pub(crate) struct Keeper {
    dir: Option<PathBuf>,
    site: SiteId,
    pub(crate) key: OwnerKey,
}

/// The owner's policies and their version.
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) text: String,
}

impl Keeper {
    /// A key that is forgotten with the process.
    pub(crate) fn in_memory(site: SiteId, seed: [u8; 32], default_text: &str) -> Result<(Self, Kept), GateError> {
        let key = OwnerKey::from_seed(seed).ok_or(GateError::KeyBroken { path: PathBuf::new() })?;
        Ok((Self { dir: None, site, key }, Kept { number: 1, text: default_text.to_owned() }))
    }

    /// Opens the folder; `seed` and `default_text` are used if it is new.
    pub(crate) fn open(
        dir: &Path,
        site: SiteId,
        seed: [u8; 32],
        default_text: &str,
    ) -> Result<(Self, Kept), GateError> {
        fs::create_dir_all(dir).map_err(|e| failed("make", dir, &e))?;
        let [key_path, text_path, mark_path] = ["owner.key", "owner.cedar", "owner.version"].map(|n| dir.join(n));
        let (key_file, text, mark) = (read(&key_path)?, read(&text_path)?, read(&mark_path)?);
        let fresh = key_file.is_none();
        let key = match key_file {
            Some(content) => read_key(&key_path, &content)?,
            // Policies or a mark without a key: somebody took the key away.
            None if text.is_some() || mark.is_some() => return Err(GateError::Missing { path: key_path }),
            None => OwnerKey::from_seed(seed).ok_or(GateError::KeyBroken { path: key_path.clone() })?,
        };
        if fresh {
            write(&key_path, &format!("{KEY_HEAD}\n{}\n", hex(&key.seed)))?;
        }
        let keeper = Self { dir: Some(dir.to_owned()), site, key };
        let seen = match &mark {
            None => 0,
            Some(content) => content.trim().parse().map_err(|_| GateError::Tampered { path: mark_path.clone() })?,
        };
        let kept = match text {
            Some(content) => keeper.verified(&text_path, &content)?,
            // Falling back to the defaults here would let whoever deletes a file loosen the policies.
            None if seen > 0 => return Err(GateError::Missing { path: text_path }),
            None => {
                let kept = Kept { number: 1, text: default_text.to_owned() };
                keeper.keep(&kept)?;
                return Ok((keeper, kept));
            }
        };
        if kept.number < seen {
            return Err(GateError::Older { path: text_path, found: kept.number, seen });
        }
        if kept.number > seen {
            write(&mark_path, &format!("{}\n", kept.number))?;
        }
        Ok((keeper, kept))
    }

    /// Signs and stores policies: the text first, then the mark. A crash between leaves a text
    /// newer than the mark, which the next start accepts, since the owner signed it.
    pub(crate) fn keep(&self, kept: &Kept) -> Result<(), GateError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let signature = self.key.sign(&format!("policies {}", kept.number), self.site, &kept.text);
        let head = format!("{POLICY_HEAD}{}{SIGNED}{signature}\n", kept.number);
        write(&dir.join("owner.cedar"), &(head + &kept.text))?;
        write(&dir.join("owner.version"), &format!("{}\n", kept.number))
    }

    fn verified(&self, path: &Path, content: &str) -> Result<Kept, GateError> {
        let tampered = || GateError::Tampered { path: path.to_owned() };
        let (head, text) = content.split_once('\n').ok_or_else(tampered)?;
        let (number, signature) =
            head.strip_prefix(POLICY_HEAD).and_then(|rest| rest.split_once(SIGNED)).ok_or_else(tampered)?;
        let number: u64 = number.parse().map_err(|_| tampered())?;
        if !self.key.verify(&format!("policies {number}"), self.site, text, signature) {
            return Err(tampered());
        }
        Ok(Kept { number, text: text.to_owned() })
    }
}

fn read_key(path: &Path, content: &str) -> Result<OwnerKey, GateError> {
    let mode = fs::metadata(path).map_err(|e| failed("read", path, &e))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(GateError::KeyReadable { path: path.to_owned() });
    }
    let seed = content.strip_prefix(KEY_HEAD).and_then(|rest| unhex::<32>(rest.trim()));
    seed.and_then(OwnerKey::from_seed).ok_or_else(|| GateError::KeyBroken { path: path.to_owned() })
}

fn read(path: &Path) -> Result<Option<String>, GateError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, &e)),
    }
}

fn write(path: &Path, content: &str) -> Result<(), GateError> {
    files::replace(path, content.as_bytes()).map_err(|e| failed("write", path, &e))
}

fn failed(doing: &'static str, path: &Path, cause: &io::Error) -> GateError {
    GateError::Io { doing, path: path.to_owned(), cause: cause.to_string() }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| DIGITS[usize::from(d)] as char).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; N];
    for (i, slot) in out.iter_mut().enumerate() {
        *slot = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
