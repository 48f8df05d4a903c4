//! Sealing bytes with a key: AES-256-GCM with a fresh random nonce in front, from the injected
//! entropy.
//!
//! Whoever destroys the key has forgotten what was sealed with it; that is how runs are forgotten.

use crate::Entropy;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Sealed bytes do not open with this key for this purpose: another key, another purpose, or damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open with this key")]
pub struct NotOpened;

/// A key for sealing.
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// From its 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, NotOpened> {
        UnboundKey::new(&AES_256_GCM, bytes).map(|key| Self(LessSafeKey::new(key))).map_err(|_| NotOpened)
    }

    /// Seals `content`, bound to `purpose`.
    pub fn seal(&self, mut content: Vec<u8>, purpose: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, NotOpened> {
        let nonce: [u8; NONCE_LEN] = crate::entropy::bytes(entropy);
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut content)
            .map_err(|_| NotOpened)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + content.len() + tag.as_ref().len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&content);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what [`SealingKey::seal`] made for the same purpose.
    pub fn open(&self, sealed: &[u8], purpose: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let (nonce, content) = sealed.split_at_checked(NONCE_LEN).ok_or(NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened)?;
        let mut content = content.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(purpose), &mut content).map_err(|_| NotOpened)?.len();
        content.truncate(length);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn opens_with_the_same_key_and_purpose_only() {
        let key = |byte| SealingKey::new(&[byte; 32]).unwrap();
        let mut sealed = key(1).seal(b"Ada".to_vec(), b"a", &SystemEntropy).unwrap();
        assert!(!sealed.windows(3).any(|w| w == b"Ada"));
        assert_eq!(key(1).open(&sealed, b"a").unwrap(), b"Ada");
        assert_eq!(key(2).open(&sealed, b"a"), Err(NotOpened));
        assert_eq!(key(1).open(&sealed, b"b"), Err(NotOpened));
        assert_eq!(key(1).open(&sealed[..5], b"a"), Err(NotOpened));
        sealed[14] ^= 1;
        assert_eq!(key(1).open(&sealed, b"a"), Err(NotOpened));
    }
}
