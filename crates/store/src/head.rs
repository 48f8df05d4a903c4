//! The head file: where both chains had got to, kept outside the database.
//!
//! SQLite drops damaged WAL frames silently, and a chain whose last rows are gone is still a valid
//! chain. The head is the witness: on opening, the chain must contain the row the head names, with
//! its hash. Transactions without a chained row (an inbox row alone, a setting) are counted, since
//! the chains would not miss them. The head is replaced atomically, only ever *after* the rows it names are durable (a head
//! ahead of its chain would condemn a healthy folder after a crash).
//!
//! **The undetectable tail.** Rows newer than the head, at most 4,096 of them or 1 s of them, can
//! vanish unnoticed if the database loses them after acknowledging them; so can everything if
//! somebody restores an older database *with* its older head. A head that another site has
//! counter-signed closes the second gap, not the store.
//!
//! Not here: when it is written (`sqlite::writer`).

use crate::StoreError;
use crate::chain::{Hash, Link};
use std::io;
use std::path::Path;
use tidegate_seams::files;

/// The head file's name in the data folder.
const NAME: &str = "head";
/// First line; the number is the format of this file.
const FORMAT_LINE: &str = "tidegate head 1";
/// A head is a few short lines; anything longer is not one.
const BYTES_MAX: u64 = 1024;

/// Both chains' heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) audit: Link,
    pub(crate) journal: Link,
    /// Transactions so far that wrote no chained row.
    pub(crate) unchained: u64,
}

impl Head {
    pub(crate) const START: Head = Head { audit: Link::START, journal: Link::START, unchained: 0 };

    /// Replaces the head file in `dir`; durable when it returns.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        files::replace(&dir.join(NAME), self.encode().as_bytes())
    }

    /// Reads the head file in `dir`; `None` if there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Head>, StoreError> {
        let path = dir.join(NAME);
        let bad = |why| StoreError::Corrupt { what: "the head file", seq: 0, why };
        let io_error =
            |cause: io::Error| StoreError::Io { doing: format!("read {}", path.display()), cause: cause.to_string() };
        let bytes = match std::fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error(e)),
            Ok(meta) if meta.len() > BYTES_MAX => return Err(bad("it is too long")),
            Ok(_) => std::fs::read(&path).map_err(io_error)?,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| bad("it is not text"))?;
        Self::decode(text).map(Some).ok_or_else(|| bad("its checksum or its form does not fit"))
    }

    fn encode(&self) -> String {
        let line = |name: &str, link: &Link| format!("{name} {} {}\n", link.seq, hex(&link.hash));
        let mut text = format!("{FORMAT_LINE}\n");
        text.push_str(&line("audit", &self.audit));
        text.push_str(&line("journal", &self.journal));
        text.push_str(&format!("unchained {}\n", self.unchained));
        let sum = blake3::hash(text.as_bytes());
        text.push_str(&format!("check {sum}\n"));
        text
    }

    /// Accepts exactly what `encode` writes: the text must encode back to itself, so no byte of
    /// the file is without meaning.
    fn decode(text: &str) -> Option<Head> {
        let mut lines = text.lines();
        if lines.next()? != FORMAT_LINE {
            return None;
        }
        let mut link = |name: &str| {
            let rest = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            let (seq, hash) = rest.split_once(' ')?;
            let hash = *blake3::Hash::from_hex(hash).ok()?.as_bytes();
            Some(Link { seq: seq.parse().ok()?, hash })
        };
        let audit = link("audit")?;
        let journal = link("journal")?;
        let unchained = lines.next()?.strip_prefix("unchained ")?.parse().ok()?;
        let head = Head { audit, journal, unchained };
        (head.encode() == text).then_some(head)
    }
}

fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Head {
        Head { audit: Link { seq: 7, hash: [0xab; 32] }, journal: Link { seq: 1 << 40, hash: [3; 32] }, unchained: 5 }
    }

    #[test]
    fn a_head_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Head::read(dir.path()).unwrap(), None);
        sample().write(dir.path()).unwrap();
        assert_eq!(Head::read(dir.path()).unwrap(), Some(sample()));
    }

    #[test]
    fn f05_every_flipped_bit_of_a_head_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let good = sample().encode().into_bytes();
        for place in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[place] ^= 1 << bit;
                std::fs::write(dir.path().join(NAME), &bad).unwrap();
                let read = Head::read(dir.path());
                assert!(matches!(read, Err(StoreError::Corrupt { .. })), "byte {place} bit {bit}: {read:?}");
            }
        }
        for length in 0..good.len() {
            std::fs::write(dir.path().join(NAME), &good[..length]).unwrap();
            assert!(Head::read(dir.path()).is_err(), "cut to {length}");
        }
    }
}
