//! The redaction vault of one run: which placeholder stands for which value, on the device alone.
//!
//! Numbering is stable within a run: the same value has the same placeholder in every document.
//! New entries are appended to a sealed file and synced before the redacted text is given out, so
//! that whatever left can be restored after a crash. Each record stands alone; a torn last record
//! belongs to a text that was never given out and is cut off.
//!
//! Not here: finding the values (`domain::detect`), and the label of a redacted text (`gate`).

use crate::context::OpError;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_domain::detect::Finding;
use tidegate_domain::detect::redact::{self, PlaceholderTable, Slot};
use tidegate_domain::label::Label;
use tidegate_domain::value::{Value, codec};
use tidegate_seams::{Entropy, SealingKey};

const PURPOSE: &[u8] = b"tidegate vault 1";
/// A larger vault file is refused.
const VAULT_BYTES_MAX: u64 = 256 << 20;

/// Placeholders and values of one run.
pub struct Vault {
    state: Mutex<State>,
    key: SealingKey,
    entropy: Arc<dyn Entropy>,
}

struct State {
    table: PlaceholderTable,
    labels: HashMap<String, Label>,
    file: Option<File>,
}

impl Vault {
    /// A vault without a file, for the simulator and tests.
    pub fn in_memory(key: SealingKey, entropy: Arc<dyn Entropy>) -> Self {
        let state = State { table: PlaceholderTable::new(), labels: HashMap::new(), file: None };
        Self { state: Mutex::new(state), key, entropy }
    }

    /// Opens or creates the vault file of a run.
    pub fn open(path: &Path, key: SealingKey, entropy: Arc<dyn Entropy>) -> Result<Self, OpError> {
        let cannot = |e: &dyn std::fmt::Display| OpError::new("E2002", format!("cannot open the redaction vault: {e}"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| cannot(&e))?;
        tidegate_seams::files::sync_parent(path).map_err(|e| cannot(&e))?;
        let mut bytes = Vec::new();
        (&file).take(VAULT_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| cannot(&e))?;

        let mut entries = Vec::new();
        let mut labels: HashMap<String, Label> = HashMap::new();
        let mut good = 0;
        while let Some(record) = next_record(&bytes[good..]) {
            let damaged = || OpError::new("E2003", "the redaction vault is damaged");
            let plain = key.open(record, PURPOSE).map_err(|_| damaged())?;
            let value = codec::decode(&plain).map_err(|_| damaged())?;
            let text = |name: &str| value.get(name).and_then(Value::as_text).map(str::to_owned).ok_or_else(damaged);
            let (placeholder, content) = (text("placeholder")?, text("value")?);
            match labels.get_mut(&placeholder) {
                // Written again because its label rose.
                Some(label) => label.raise(&value.label),
                None => {
                    labels.insert(placeholder.clone(), value.label.clone());
                    entries.push((placeholder, content));
                }
            }
            good += 4 + record.len();
        }
        let table = PlaceholderTable::from_entries(entries)
            .map_err(|_| OpError::new("E2003", "the redaction vault contradicts itself"))?;
        file.set_len(good as u64).and_then(|()| file.seek(SeekFrom::End(0)).map(|_| ())).map_err(|e| cannot(&e))?;
        Ok(Self { state: Mutex::new(State { table, labels, file: Some(file) }), key, entropy })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock leaves at worst an entry that nothing refers to.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces findings by placeholders. `label` is the text's; the values keep it.
    pub fn redact(&self, text: &str, findings: &[Finding], label: &Label) -> Result<String, OpError> {
        let mut state = self.lock();
        let State { table, labels, file } = &mut *state;
        let mut fresh: Vec<(String, String)> = Vec::new();
        let redacted = redact::redact(text, findings, &mut |slot: Slot, value: &str| {
            let placeholder = table.assign(slot, value);
            let known = labels.get_mut(&placeholder);
            if known.as_ref().is_none_or(|known| !known.covers(label)) {
                match known {
                    Some(known) => known.raise(label),
                    None => {
                        labels.insert(placeholder.clone(), label.clone());
                    }
                }
                fresh.push((placeholder.clone(), value.to_owned()));
            }
            placeholder
        });
        if let (Some(file), false) = (file, fresh.is_empty()) {
            let mut bytes = Vec::new();
            for (placeholder, value) in fresh {
                let record = Value::map([("placeholder", Value::text(placeholder)), ("value", Value::text(value))])
                    .raised(label);
                let plain = codec::encode(&record, codec::Scope::Journal);
                let sealed = self
                    .key
                    .seal(plain, PURPOSE, self.entropy.as_ref())
                    .map_err(|_| OpError::new("E2006", "the redaction vault's key does not work"))?;
                bytes.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&sealed);
            }
            file.write_all(&bytes)
                .and_then(|()| file.sync_data())
                .map_err(|e| OpError::new("E2002", format!("cannot write the redaction vault: {e}")))?;
        }
        Ok(redacted.text)
    }

    /// Puts values back. Gives the join of the labels of those that were put back, too.
    pub fn restore(&self, text: &str) -> (String, Label) {
        let state = self.lock();
        let label = std::cell::RefCell::new(Label::PUBLIC);
        let restored = redact::restore(text, &|placeholder| {
            let value = state.table.value(placeholder)?;
            if let Some(known) = state.labels.get(placeholder) {
                label.borrow_mut().raise(known);
            }
            Some(value.to_owned())
        });
        (restored, label.into_inner())
    }
}

fn next_record(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    rest.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_domain::detect::Detectors;
    use tidegate_domain::label::Level;
    use tidegate_seams::SystemEntropy;

    const TEXT: &str = "Write to ada.smith@example.org or bob@example.net. [EMAIL_1] is not ours.";

    fn key(byte: u8) -> SealingKey {
        SealingKey::new(&[byte; 32]).unwrap()
    }

    fn open(path: &Path) -> Result<Vault, OpError> {
        Vault::open(path, key(1), Arc::new(SystemEntropy))
    }

    fn redact(vault: &Vault, text: &str) -> String {
        vault.redact(text, &Detectors::builtin().scan(text), &Label::of(Level::Confidential)).unwrap()
    }

    #[test]
    fn what_was_redacted_can_be_restored_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let redacted = redact(&open(&path).unwrap(), TEXT);
        assert!(!redacted.contains("ada.smith"));
        let again = open(&path).unwrap();
        let (restored, label) = again.restore(&redacted);
        assert_eq!((restored.as_str(), label.level), (TEXT, Level::Confidential));
        assert_eq!(redact(&again, TEXT), redacted);
        assert!(!std::fs::read(&path).unwrap().windows(9).any(|w| w == b"ada.smith"));
    }

    #[test]
    fn a_torn_end_is_cut_off_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let redacted = redact(&open(&path).unwrap(), TEXT);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(open(&path).unwrap().restore(&redacted).0, TEXT);
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(open(&path).err().map(|e| e.code), Some("E2003"));
    }
}
