//! The hashes that chain rows together, as pure functions.
//!
//! Every journal row and audit entry carries a hash over its predecessor's hash and its own
//! content, so that a changed, removed, added or moved row breaks the chain at its place
//! (invariant I9). An audit entry is hashed through a salted commitment: once a run is forgotten,
//! salt and body are gone, the commitment stays, and the chain still verifies.
//!
//! Both hashes also cover `back`, the sequence number of the previous row of the same run (0 for
//! its first). A run's rows are found by following these links, so no row can drop out of a run
//! unnoticed, which an index (whose pages nothing checks) could not promise.
//!
//! All numbers are little-endian and of fixed width and the one part of free length comes last,
//! so two different rows never have the same input. No key is involved: the chain shows damage and
//! edits against a head that somebody else holds; it does not show who made them.
//!
//! Not here: where the head is kept (`head`) and who walks the chain (`memory`, `sqlite::verify`).

use tidegate_domain::ids::{Realm, RunId};

/// A chain hash.
pub type Hash = [u8; 32];

/// The place a chain has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Sequence number of the last row, 0 for an empty chain.
    pub seq: u64,
    /// Hash of the last row, zeros for an empty chain.
    pub hash: Hash,
}

impl Link {
    /// Before the first row.
    pub const START: Link = Link { seq: 0, hash: [0; 32] };
}

/// The hash of a journal row: BLAKE3 of `prev ‖ seq ‖ realm ‖ run ‖ back ‖ kind ‖ body`.
pub fn journal(prev: &Hash, seq: u64, run: RunId, back: u64, kind: u8, body: &[u8]) -> Hash {
    let mut head = [0; 32 + 8 + 16 + 16 + 8 + 1];
    head[..32].copy_from_slice(prev);
    head[32..40].copy_from_slice(&seq.to_le_bytes());
    head[40..56].copy_from_slice(&realm_bytes(run.realm));
    head[56..72].copy_from_slice(&run.to_bytes());
    head[72..80].copy_from_slice(&back.to_le_bytes());
    head[80] = kind;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head).update(body);
    *hasher.finalize().as_bytes()
}

/// What stands for an audit entry's content in the chain: BLAKE3 of `salt ‖ body`.
pub fn commitment(salt: &[u8; 16], body: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(body);
    *hasher.finalize().as_bytes()
}

/// The hash of an audit entry: BLAKE3 of `prev ‖ seq ‖ realm ‖ run ‖ back ‖ commitment`, where an
/// entry without a run has zeros for the run and the site's realm.
pub fn audit(prev: &Hash, seq: u64, realm: Realm, run: Option<RunId>, back: u64, commitment: &Hash) -> Hash {
    let mut all = [0; 32 + 8 + 16 + 16 + 8 + 32];
    all[..32].copy_from_slice(prev);
    all[32..40].copy_from_slice(&seq.to_le_bytes());
    all[40..56].copy_from_slice(&realm_bytes(run.map_or(realm, |run| run.realm)));
    all[56..72].copy_from_slice(&run.map_or([0; 16], RunId::to_bytes));
    all[72..80].copy_from_slice(&back.to_le_bytes());
    all[80..].copy_from_slice(commitment);
    *blake3::hash(&all).as_bytes()
}

/// A checksum of a row that is in no chain. `table` keeps rows of different tables apart; each
/// part is preceded by its length.
pub(crate) fn checksum(table: u8, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[table]);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    sum
}

fn realm_bytes(realm: Realm) -> [u8; 16] {
    let mut bytes = [0; 16];
    let name = realm.as_str().as_bytes();
    bytes[..name.len()].copy_from_slice(name);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bits: u128) -> RunId {
        RunId { realm: Realm::LOCAL, bits }
    }

    #[test]
    fn each_part_of_a_journal_row_counts() {
        let base = journal(&[1; 32], 2, run(3), 1, 4, b"body");
        let acme = RunId { realm: "acme".parse().unwrap(), bits: 3 };
        let others = [
            journal(&[2; 32], 2, run(3), 1, 4, b"body"),
            journal(&[1; 32], 3, run(3), 1, 4, b"body"),
            journal(&[1; 32], 2, run(4), 1, 4, b"body"),
            journal(&[1; 32], 2, acme, 1, 4, b"body"),
            journal(&[1; 32], 2, run(3), 0, 4, b"body"),
            journal(&[1; 32], 2, run(3), 1, 5, b"body"),
            journal(&[1; 32], 2, run(3), 1, 4, b"bodY"),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(&base, other, "variant {i}");
        }
    }

    #[test]
    fn each_part_of_an_audit_entry_counts() {
        let c = commitment(&[9; 16], b"body");
        assert_ne!(c, commitment(&[8; 16], b"body"));
        assert_ne!(c, commitment(&[9; 16], b"bodY"));
        let base = audit(&[1; 32], 2, Realm::LOCAL, Some(run(3)), 1, &c);
        let others = [
            audit(&[2; 32], 2, Realm::LOCAL, Some(run(3)), 1, &c),
            audit(&[1; 32], 3, Realm::LOCAL, Some(run(3)), 1, &c),
            audit(&[1; 32], 2, Realm::LOCAL, None, 1, &c),
            audit(&[1; 32], 2, Realm::LOCAL, Some(run(4)), 1, &c),
            audit(&[1; 32], 2, Realm::LOCAL, Some(run(3)), 0, &c),
            audit(&[1; 32], 2, Realm::LOCAL, Some(run(3)), 1, &[0; 32]),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(&base, other, "variant {i}");
        }
    }

    #[test]
    fn parts_of_a_checksum_do_not_run_together() {
        assert_ne!(checksum(1, &[b"ab", b"c"]), checksum(1, &[b"a", b"bc"]));
        assert_ne!(checksum(1, &[b"ab"]), checksum(2, &[b"ab"]));
    }
}
