//! Opening a zip file that may be a bomb.
//!
//! Job: give out entries by name, each unpacked within what is left of the
//! file's budget: number of entries, total bytes, ratio.
//!
//! Not its job: what the entries mean; writing anything anywhere. Declared
//! sizes are not believed, they only fail early; what counts is what comes out.
//! Entries that share bytes, which makes a small file unfold without end, or a
//! name, which makes two readers see two files, are refused before anything is
//! unpacked. Names differ by more than case, as the format demands.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::{Bound, ExtractError, ExtractLimits, Flaw, Format, MIB};

/// Below this an entry's ratio does not matter: small, very regular parts are
/// common and harmless.
const RATIO_FREE_BYTES: u64 = 8 * MIB;
/// How much is unpacked between two looks at the budget.
const STEP_BYTES: usize = 64 * 1024;

/// An open zip file and what is left of its budget.
pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    limits: &'a ExtractLimits,
    format: Format,
    /// Where each entry is, by its name in lower case.
    places: HashMap<String, usize>,
    inflated: u64,
}

impl<'a> Package<'a> {
    pub(super) fn open(format: Format, bytes: &'a [u8], limits: &'a ExtractLimits) -> Result<Self, ExtractError> {
        let flawed = |flaw| ExtractError::Malformed { format, flaw };
        if !bytes.starts_with(b"PK") {
            return Err(flawed(Flaw::NotThisFormat));
        }
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| flawed(Flaw::Damaged))?;
        if archive.len() as u64 > limits.entries_max {
            return Err(ExtractError::LimitPassed { bound: Bound::Entries, max: limits.entries_max });
        }
        let shared = archive.has_overlapping_entries().map_err(|_| flawed(Flaw::Damaged))?;
        let mut places = HashMap::new();
        for place in 0..archive.len() {
            if let Some(Ok(name)) = archive.name_for_index(place) {
                places.insert(name.to_ascii_lowercase(), place);
            }
        }
        if shared || archive.has_duplicate_names() || places.len() < archive.len() {
            return Err(flawed(Flaw::AmbiguousEntries));
        }
        Ok(Package { archive, limits, format, places, inflated: 0 })
    }

    /// The entries' names, in the file's order.
    pub(super) fn names(&self) -> Vec<String> {
        self.archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect()
    }

    /// Unpacks the entry called `name`; `None` if there is none.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExtractError> {
        let format = self.format;
        let damaged = ExtractError::Malformed { format, flaw: Flaw::Damaged };
        let Some(place) = self.places.get(&name.to_ascii_lowercase()) else {
            return Ok(None);
        };
        let mut entry = match self.archive.by_index(*place) {
            Ok(entry) => entry,
            Err(ZipError::UnsupportedArchive(why)) if why == ZipError::PASSWORD_REQUIRED => {
                return Err(ExtractError::Encrypted { format });
            }
            Err(_) => return Err(damaged),
        };
        let packed = entry.compressed_size().max(1);
        let limits = self.limits;
        let left = limits.inflated_bytes_max.saturating_sub(self.inflated);
        let over = |bytes: u64| {
            if bytes > left {
                Some(ExtractError::LimitPassed { bound: Bound::InflatedBytes, max: limits.inflated_bytes_max })
            } else if bytes > RATIO_FREE_BYTES && bytes / packed > limits.inflate_ratio_max {
                Some(ExtractError::LimitPassed { bound: Bound::InflateRatio, max: limits.inflate_ratio_max })
            } else {
                None
            }
        };
        if let Some(error) = over(entry.size()) {
            return Err(error);
        }
        let mut content = Vec::new();
        let mut step = vec![0; STEP_BYTES];
        loop {
            let read = entry.read(&mut step).map_err(|_| ExtractError::Malformed { format, flaw: Flaw::Damaged })?;
            if read == 0 {
                break;
            }
            content.extend_from_slice(step.get(..read).unwrap_or_default());
            if let Some(error) = over(content.len() as u64) {
                return Err(error);
            }
        }
        self.inflated += content.len() as u64;
        Ok(Some(content))
    }
}
