//! PDF: the text of its pages, notes on them, and what was filled in.
//!
//! Job: page text page by page, so that one bad page costs one page; then
//! annotations, form fields and link addresses, which are not page text; the
//! title.
//!
//! Not its job: parsing PDF (the `pdf-extract` and `lopdf` crates do), pictures
//! of text, embedded files. Those crates assert their way through malformed
//! files and recurse, which is why this runs in a child only: a panic is caught
//! and costs the page, anything worse costs the child.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{ConvertToFmt, Dictionary, Document, Object, ObjectId, OutputError, PlainTextOutput};

use super::text::TextOut;
use super::{ExtractError, Flaw, Format, Found};

const FORMAT: Format = Format::Pdf;

/// Reads a PDF file.
pub(super) fn read(bytes: &[u8], out: &mut TextOut) -> Result<Found, ExtractError> {
    let malformed = |flaw| ExtractError::Malformed { format: FORMAT, flaw };
    let head = bytes.get(..1024).unwrap_or(bytes);
    if !head.windows(5).any(|part| part == b"%PDF-") {
        return Err(malformed(Flaw::NotThisFormat));
    }
    let mut document = load(bytes)?;
    let pages: Vec<ObjectId> = document.get_pages().into_values().collect();
    if pages.is_empty() {
        return Err(malformed(Flaw::NoContent));
    }
    let mut found = Found {
        title: info(&document, b"Title"),
        parts: u32::try_from(pages.len()).unwrap_or(u32::MAX),
        unreadable: 0,
    };
    read_pages(&mut document, &pages, &mut found, out);
    read_beside_pages(&document, out);
    Ok(found)
}

/// Parses the file. The parser opens it with the empty password, which is how
/// files that are only protected against changes are meant to open; the mark
/// stays when that password is wrong.
fn load(bytes: &[u8]) -> Result<Document, ExtractError> {
    match Document::load_mem(bytes) {
        Ok(document) if document.trailer.has(b"Encrypt") => Err(ExtractError::Encrypted { format: FORMAT }),
        Ok(document) => Ok(document),
        Err(pdf_extract::Error::Decryption(_) | pdf_extract::Error::InvalidPassword) => {
            Err(ExtractError::Encrypted { format: FORMAT })
        }
        Err(_) => Err(ExtractError::Malformed { format: FORMAT, flaw: Flaw::Damaged }),
    }
}

/// Reads the pages one at a time, so that one that fails costs no other. Each in
/// turn becomes the page tree's only page: the reader looks its pages up from the
/// top for every call, which in a long document would cost their square. What
/// pages inherit goes by their own parents and stays.
fn read_pages(document: &mut Document, pages: &[ObjectId], found: &mut Found, out: &mut TextOut) {
    let top = document.catalog().and_then(|catalog| catalog.get(b"Pages")).and_then(Object::as_reference);
    for page in pages {
        if out.is_full() {
            return;
        }
        if let Ok(top) = top.as_ref().map_or(Err(()), |top| document.get_dictionary_mut(*top).map_err(|_| ())) {
            top.set("Kids", vec![Object::Reference(*page)]);
        }
        let before = out.len();
        let outcome =
            catch_unwind(AssertUnwindSafe(|| pdf_extract::output_doc(document, &mut PlainTextOutput::new(Lines(out)))));
        let cut = matches!(outcome, Ok(Err(OutputError::FormatError(_))));
        if !cut && !matches!(outcome, Ok(Ok(()))) {
            found.unreadable = found.unreadable.saturating_add(1);
        }
        if out.len() > before {
            out.end_line();
            out.push("\n");
        }
    }
}

/// Annotations, form fields and link addresses, wherever in the file they are:
/// going through all objects needs no walk and so cannot loop.
fn read_beside_pages(document: &Document, out: &mut TextOut) {
    for object in document.objects.values() {
        if out.is_full() {
            return;
        }
        let Ok(dictionary) = object.as_dict() else { continue };
        beside_page(document, dictionary, out);
        for annotation in dictionary.get(b"Annots").and_then(Object::as_array).into_iter().flatten() {
            if let Ok(annotation) = annotation.as_dict() {
                beside_page(document, annotation, out);
            }
        }
    }
}

fn beside_page(document: &Document, dictionary: &Dictionary, out: &mut TextOut) {
    let text = |key: &[u8]| dictionary.get_deref(key, document).ok().and_then(string);
    let is = |key: &[u8], value: &[u8]| dictionary.get(key).and_then(Object::as_name).is_ok_and(|name| name == value);
    let annotation = is(b"Type", b"Annot") || dictionary.has(b"Rect") && dictionary.has(b"Subtype");
    if annotation && let Some(text) = text(b"Contents") {
        out.line(&text);
    }
    if dictionary.has(b"FT") {
        for key in [&b"TU"[..], b"V"] {
            if let Some(text) = text(key) {
                out.line(&text);
            }
        }
    }
    let action = dictionary.get_deref(b"A", document).and_then(Object::as_dict).unwrap_or(dictionary);
    if let Some(address) = action.get_deref(b"URI", document).ok().and_then(string) {
        out.line(&format!("<{address}>"));
    }
}

fn info(document: &Document, key: &[u8]) -> Option<String> {
    let info = document.trailer.get_deref(b"Info", document).ok()?.as_dict().ok()?;
    info.get_deref(key, document).ok().and_then(string)
}

/// A text string, in whichever of the encodings PDF has it is.
fn string(object: &Object) -> Option<String> {
    let bytes = object.as_str().ok()?;
    let wide = |unit: fn([u8; 2]) -> u16| {
        let pairs = bytes.get(2..).unwrap_or_default().chunks_exact(2);
        let units = pairs.map(|pair| unit([pair.first().copied().unwrap_or(0), pair.last().copied().unwrap_or(0)]));
        char::decode_utf16(units).map(|found| found.unwrap_or('\u{fffd}')).collect::<String>()
    };
    let text = if bytes.starts_with(b"\xfe\xff") {
        wide(u16::from_be_bytes)
    } else if bytes.starts_with(b"\xff\xfe") {
        wide(u16::from_le_bytes)
    } else {
        match pdf_extract::decode_text_string(object) {
            Ok(text) => text,
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        }
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// Lets the page reader write into our text and stops it when that is full.
struct Lines<'a>(&'a mut TextOut);

impl fmt::Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push(text);
        if self.0.is_full() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl<'a> ConvertToFmt for Lines<'a> {
    type Writer = Lines<'a>;

    fn convert(self) -> Lines<'a> {
        self
    }
}
