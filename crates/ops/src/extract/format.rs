//! Which format a file is in.
//!
//! Job: the closed set of formats, their names, and a guess from a file's name
//! and first bytes.
//!
//! Not its job: being sure. A wrong guess costs an error or plain text, never
//! more. The bytes outweigh the name where they are telling, so that a renamed
//! PDF is read as one and noise named `.txt` is not read at all.

/// A format that text can be extracted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Plain text, source code and configuration.
    Text,
    /// Markdown; its text is the source.
    Markdown,
    /// HTML and XHTML.
    Html,
    /// Comma- or tab-separated rows.
    Csv,
    /// JSON, one document or one a line.
    Json,
    /// An e-mail message.
    Eml,
    /// PDF.
    Pdf,
    /// A Word document in its zipped XML form.
    Docx,
}

/// How many of the first bytes [`Format::detect`] looks at.
const HEAD_BYTES: usize = 4096;

const MARKDOWN: &[&str] = &["md", "markdown", "mdown", "mkd"];
const HTML: &[&str] = &["html", "htm", "xhtml", "xht"];
const CSV: &[&str] = &["csv", "tsv", "tab"];
const JSON: &[&str] = &["json", "jsonl", "ndjson", "geojson"];
const EML: &[&str] = &["eml", "mht", "mhtml"];
const DOCX: &[&str] = &["docx", "docm", "dotx", "dotm"];
/// Names of formats that look like text but hold none that is worth reading,
/// or that are zip files of another kind.
const NOT_READ: &[&str] = &["xlsx", "pptx", "odt", "ods", "odp", "epub", "zip", "jar", "rtf", "ps", "svgz"];

impl Format {
    /// All formats.
    pub const ALL: [Format; 8] = [
        Format::Text,
        Format::Markdown,
        Format::Html,
        Format::Csv,
        Format::Json,
        Format::Eml,
        Format::Pdf,
        Format::Docx,
    ];

    /// The format's name, the same everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Markdown => "markdown",
            Format::Html => "html",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Eml => "eml",
            Format::Pdf => "pdf",
            Format::Docx => "docx",
        }
    }

    /// The format called `name`.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether this format's parser is complex enough that it only runs in a
    /// sandboxed child.
    pub fn needs_sandbox(self) -> bool {
        match self {
            Format::Html | Format::Eml | Format::Pdf | Format::Docx => true,
            Format::Text | Format::Markdown | Format::Csv | Format::Json => false,
        }
    }

    /// Guesses a file's format from its name and its first bytes (a few
    /// kilobytes are enough). `None` means it is not supported.
    pub fn detect(name: &str, head: &[u8]) -> Option<Format> {
        let head = head.get(..HEAD_BYTES).unwrap_or(head);
        let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let extension = base.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_ascii_lowercase());
        let named = |list: &[&str]| list.contains(&extension.as_str());

        if contains(head.get(..1024).unwrap_or(head), b"%PDF-") {
            return Some(Format::Pdf);
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            let word = named(DOCX) || !named(NOT_READ) && contains(head, b"word/");
            return word.then_some(Format::Docx);
        }
        // An encrypted document is wrapped in the older container; reading it
        // as docx is what gives the user the error that says so.
        if head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
            return named(DOCX).then_some(Format::Docx);
        }
        if named(NOT_READ) || head.starts_with(b"{\\rtf") {
            return None;
        }
        // An empty or damaged file keeps the format its name says, and that
        // format's reader says what is wrong with it.
        if extension == "pdf" && !looks_binary(head) {
            return Some(Format::Pdf);
        }
        if named(DOCX) {
            return Some(Format::Docx);
        }
        if looks_binary(head) {
            return None;
        }
        for (list, format) in [
            (MARKDOWN, Format::Markdown),
            (HTML, Format::Html),
            (CSV, Format::Csv),
            (JSON, Format::Json),
            (EML, Format::Eml),
        ] {
            if named(list) {
                return Some(format);
            }
        }
        Some(if !extension.is_empty() { Format::Text } else { guess_text(head) })
    }
}

/// The kind of text in a file whose name says nothing.
fn guess_text(head: &[u8]) -> Format {
    let start: Vec<u8> = head.trim_ascii_start().iter().take(64).map(u8::to_ascii_lowercase).collect();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        return Format::Html;
    }
    let mail = [&b"return-path:"[..], b"received:", b"delivered-to:", b"mime-version:"];
    if mail.iter().any(|header| start.starts_with(header)) {
        return Format::Eml;
    }
    Format::Text
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether bytes are no text in any encoding that is read here: they have NULs
/// and no UTF-16 mark, or more than one control character in fifty.
fn looks_binary(head: &[u8]) -> bool {
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return false;
    }
    let control =
        |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b) || **byte == 0x7f;
    head.contains(&0) || head.iter().filter(control).count() * 50 > head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
        }
        assert_eq!(Format::from_name("exe"), None);
    }

    #[test]
    fn names_decide_where_bytes_do_not() {
        for (name, head, format) in [
            ("a.txt", &b"hello"[..], Some(Format::Text)),
            ("A.MD", b"# hello", Some(Format::Markdown)),
            ("dir.d/a.HTM", b"<p>", Some(Format::Html)),
            ("a.csv", b"a,b\n", Some(Format::Csv)),
            ("a.jsonl", b"{}\n", Some(Format::Json)),
            ("a.eml", b"From: x\n", Some(Format::Eml)),
            ("a.rs", b"fn main() {}", Some(Format::Text)),
            ("LICENSE", b"Apache", Some(Format::Text)),
            ("page", b"  <!DOCTYPE html><p>", Some(Format::Html)),
            ("mail", b"Received: from x", Some(Format::Eml)),
            ("empty.txt", b"", Some(Format::Text)),
            ("empty.pdf", b"", Some(Format::Pdf)),
            ("a.txt", b"\xff\xfeh\0i\0", Some(Format::Text)),
            ("a.xlsx", b"PK\x03\x04....", None),
            ("a.rtf", b"{\\rtf1", None),
            ("a.txt", b"\0\0\0\0", None),
            ("a.txt", b"\x01\x02\x03\x04abcdef", None),
        ] {
            assert_eq!(Format::detect(name, head), format, "{name}");
        }
    }

    #[test]
    fn bytes_outweigh_names() {
        assert_eq!(Format::detect("a.txt", b"%PDF-1.7"), Some(Format::Pdf));
        assert_eq!(Format::detect("a.bin", b"PK\x03\x04....word/document.xml"), Some(Format::Docx));
        assert_eq!(Format::detect("a.zip", b"PK\x03\x04....word/document.xml"), None);
        assert_eq!(Format::detect("a.docx", b"\xd0\xcf\x11\xe0"), Some(Format::Docx));
        assert_eq!(Format::detect("a.doc", b"\xd0\xcf\x11\xe0"), None);
    }
}
