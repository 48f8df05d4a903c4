//! The registry of error codes: every code a user can meet, with what it means and what to do.
//!
//! Codes are stable: one is never given a new meaning. `tidegate help E…` prints an entry; the
//! documentation page is generated from the same table.

/// An entry of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code, `E` and four digits.
    pub code: &'static str,
    /// The word that scripts match on (`error.code` in JSON).
    pub word: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

mod table;

pub use table::CODES;

/// Finds an entry by code (any case) or by word.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|c| c.code.eq_ignore_ascii_case(name) || c.word == name)
}

/// The word for a code; a code that is not registered stands for itself.
pub fn word(code: &str) -> &str {
    find(code).map_or(code, |c| c.word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_complete() {
        for pair in CODES.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} and {}", pair[0].code, pair[1].code);
        }
        for code in CODES {
            assert!(code.code.len() == 5 && code.code.starts_with('E'));
            assert!(!code.meaning.is_empty() && !code.remedy.is_empty() && !code.word.contains(' '));
        }
    }

    #[test]
    fn codes_are_found_by_code_and_word() {
        assert_eq!(find("e3001").map(|c| c.word), Some("refused"));
        assert_eq!(find("refused").map(|c| c.code), Some("E3001"));
        assert_eq!(word("E9999"), "E9999");
    }
}
