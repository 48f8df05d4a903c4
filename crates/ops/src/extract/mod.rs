//! Text out of files: what a step that reads, searches or redacts works on.
//!
//! Job: eight formats to plain text, faithfully and in bounds. Faithful means
//! that what a reader of the file could see is in the text, hidden corners
//! included (footnotes, comments, alternative texts, link targets), because
//! labels and redaction are decided on this text. What is lost is counted.
//!
//! Not its job: spreadsheets, images, archives in archives; layout; running
//! anything found in a file. [`extract`] is pure and synchronous. Where it runs
//! is [`extract_sandboxed`]'s choice: formats whose parsers are simple, safe and
//! flat run in the process, the others in a child without any reach, since a
//! parser of a rich format is attack surface however well it is written.
//!
//! One file per format; `text` is the shared, capped output; `package` opens
//! zip files; `wire` carries limits in and results out of the child.

mod charset;
mod docx;
mod eml;
mod error;
mod format;
mod html;
mod package;
mod pdf;
mod plain;
mod sandboxed;
mod text;
mod wire;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

pub use error::{Bound, ExtractError, Flaw};
pub use format::Format;
pub use sandboxed::{extract_sandboxed, handle_child};

use text::TextOut;

/// Bytes in a mebibyte.
const MIB: u64 = 1024 * 1024;

/// What one extraction may take and give. Passing a limit is an error that
/// names it, except the output's, which cuts the text and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractLimits {
    /// Bytes of the file. Default 64 MiB.
    pub input_bytes_max: u64,
    /// Bytes of the text. Default 16 MiB; beyond it the text is cut.
    pub output_bytes_max: u64,
    /// Bytes an archive's entries may unpack to, together. Default 128 MiB.
    pub inflated_bytes_max: u64,
    /// How many times its packed size an entry may unpack to, once it is past
    /// 8 MiB. Default 200.
    pub inflate_ratio_max: u64,
    /// Entries of an archive. Default 10,000.
    pub entries_max: u64,
    /// How long a sandboxed extraction may take. Default 30 s. Those that run
    /// in the process take time in proportion to the input and ignore it.
    pub deadline: Duration,
}

impl Default for ExtractLimits {
    fn default() -> Self {
        ExtractLimits {
            input_bytes_max: 64 * MIB,
            output_bytes_max: 16 * MIB,
            inflated_bytes_max: 128 * MIB,
            inflate_ratio_max: 200,
            entries_max: 10_000,
            deadline: Duration::from_secs(30),
        }
    }
}

/// The text of a file. No `Debug`: it is content.
#[derive(Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The text: lines end in `\n`, and there is no control character but
    /// `\n` and `\t`. It contains the title too.
    pub text: String,
    /// The title the file gives itself, in one line.
    pub title: Option<String>,
    /// Pages of a PDF, rows of a CSV, records of line-wise JSON, a mail's bodies
    /// and attachments, parts of a DOCX; 1 otherwise.
    pub parts: u32,
    /// How many of them gave no text although they should have: the text is
    /// incomplete by these.
    pub unreadable: u32,
    /// The text was cut at the limit.
    pub truncated: bool,
}

/// What a format's reader found besides the text.
#[derive(Debug, Default)]
struct Found {
    title: Option<String>,
    parts: u32,
    unreadable: u32,
}

/// Extracts the text of `bytes`, read as `format`.
///
/// Pure and synchronous. Html, eml, pdf and docx belong into a sandboxed child
/// ([`extract_sandboxed`]): hostile files can make their parsers crash, take
/// long or print what they read.
pub fn extract(format: Format, bytes: &[u8], limits: &ExtractLimits) -> Result<Extracted, ExtractError> {
    let size = bytes.len() as u64;
    if size > limits.input_bytes_max {
        return Err(ExtractError::InputTooLarge { bytes: size, bytes_max: limits.input_bytes_max });
    }
    let read = || {
        let mut out = TextOut::new(limits.output_bytes_max);
        let found = match format {
            Format::Text | Format::Markdown => plain::read_text(bytes, &mut out),
            Format::Csv => plain::read_csv(bytes, &mut out),
            Format::Json => plain::read_json(bytes, &mut out),
            Format::Html => html::read(bytes, &mut out),
            Format::Eml => eml::read(bytes, &mut out)?,
            Format::Pdf => pdf::read(bytes, &mut out)?,
            Format::Docx => docx::read(bytes, limits, &mut out)?,
        };
        Ok((found, out))
    };
    // Nothing half-done survives: everything `read` touches is dropped with it.
    let (found, out) =
        std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(ExtractError::ParserFailed { format }))?;
    let title = found.title.map(|title| text::one_line(&title)).filter(|title| !title.is_empty());
    let (text, truncated) = out.finish(title.as_deref());
    Ok(Extracted { text, title, parts: found.parts, unreadable: found.unreadable, truncated })
}
