//! Why a file gave no text.
//!
//! Job: a closed set of reasons with stable codes, so that callers, help pages
//! and the child's wire agree.
//!
//! Not its job: detail about the content. No variant can hold a byte of a file,
//! which is what makes these errors safe to log, show and send.

use tidegate_seams::sandbox::ChildError;

use super::Format;

/// Why a file gave no text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// Neither name nor first bytes are of a format that is read here.
    #[error("this file's format is not supported; supported are text, markdown, html, csv, json, eml, pdf and docx")]
    Unsupported,
    /// The file is larger than the limit.
    #[error("the file has {bytes} bytes and the limit is {bytes_max}; split it or raise the limit")]
    InputTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The file is not what its format asks for.
    #[error("the {} file cannot be read: {}", format.name(), flaw.describe())]
    Malformed {
        /// The format it was read as.
        format: Format,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The file is encrypted.
    #[error("the {} file is encrypted; remove its password first", format.name())]
    Encrypted {
        /// The format it was read as.
        format: Format,
    },
    /// The file unfolds beyond a limit.
    #[error("the file passes the limit of {max} {}; it may be an attack", bound.describe())]
    LimitPassed {
        /// Which limit.
        bound: Bound,
        /// Its value.
        max: u64,
    },
    /// The format's parser failed an internal check.
    #[error("the {} file cannot be read: its parser gave up on it", format.name())]
    ParserFailed {
        /// The format it was read as.
        format: Format,
    },
    /// The child answered with something that is no result.
    #[error("the sandboxed child gave an invalid answer; treat the file as an attack")]
    BadAnswer,
    /// The sandboxed child gave no answer.
    #[error(transparent)]
    Sandbox(#[from] ChildError),
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Not of this format at all.
    NotThisFormat,
    /// Cut off or damaged.
    Damaged,
    /// The part that holds the text is not there.
    NoContent,
    /// Archive entries share bytes or a name, so that readers may differ about
    /// what the file says.
    AmbiguousEntries,
    /// Declares entities, which this format does not need and attacks do.
    EntityDeclarations,
}

/// A limit on how far a file may unfold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Entries of an archive.
    Entries,
    /// Bytes that an archive unpacks to.
    InflatedBytes,
    /// How many times its packed size an entry unpacks to.
    InflateRatio,
    /// Messages inside one another.
    NestedMessages,
}

impl Flaw {
    pub(super) const ALL: [Flaw; 5] =
        [Flaw::NotThisFormat, Flaw::Damaged, Flaw::NoContent, Flaw::AmbiguousEntries, Flaw::EntityDeclarations];

    pub(super) fn code(self) -> &'static str {
        match self {
            Flaw::NotThisFormat => "not-this-format",
            Flaw::Damaged => "damaged",
            Flaw::NoContent => "no-content",
            Flaw::AmbiguousEntries => "ambiguous-entries",
            Flaw::EntityDeclarations => "entity-declarations",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Flaw::NotThisFormat => "it is not of this format",
            Flaw::Damaged => "it is cut off or damaged",
            Flaw::NoContent => "the part that holds its text is missing",
            Flaw::AmbiguousEntries => "its archive entries share bytes or a name, which only attacks do",
            Flaw::EntityDeclarations => "it declares entities, which only attacks do",
        }
    }
}

impl Bound {
    pub(super) const ALL: [Bound; 4] =
        [Bound::Entries, Bound::InflatedBytes, Bound::InflateRatio, Bound::NestedMessages];

    pub(super) fn code(self) -> &'static str {
        match self {
            Bound::Entries => "entries",
            Bound::InflatedBytes => "inflated-bytes",
            Bound::InflateRatio => "inflate-ratio",
            Bound::NestedMessages => "nested-messages",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Bound::Entries => "archive entries",
            Bound::InflatedBytes => "unpacked bytes",
            Bound::InflateRatio => "times its packed size",
            Bound::NestedMessages => "messages inside one another",
        }
    }
}

impl ExtractError {
    /// The stable code of this error, for help pages and logs.
    pub fn code(&self) -> &'static str {
        match self {
            ExtractError::Unsupported => "extract.unsupported",
            ExtractError::InputTooLarge { .. } => "extract.input-too-large",
            ExtractError::Malformed { .. } => "extract.malformed",
            ExtractError::Encrypted { .. } => "extract.encrypted",
            ExtractError::LimitPassed { .. } => "extract.limit-passed",
            ExtractError::ParserFailed { .. } => "extract.parser-failed",
            ExtractError::BadAnswer => "extract.bad-answer",
            ExtractError::Sandbox(_) => "extract.sandbox",
        }
    }
}
