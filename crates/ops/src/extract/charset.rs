//! Bytes to characters.
//!
//! Job: find the encoding and decode it without ever failing.
//!
//! Not its job: being clever. A mark at the start decides, then what the caller
//! was told, then whether it is UTF-8; what is left is taken for Windows-1252,
//! unless more of its foreign characters make sense as UTF-8 than do not — a
//! UTF-8 file with a damaged byte is more common than it seems. Lone surrogates
//! and broken sequences become the replacement character.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How far into a document its own word about its encoding may stand.
const SNIFF_BYTES: usize = 1024;

/// Decodes text that says nothing about its encoding but perhaps by a mark.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    decode_as(bytes, None)
}

/// Decodes markup, which may name its encoding within itself.
pub(super) fn decode_markup(bytes: &[u8]) -> Cow<'_, str> {
    decode_as(bytes, declared(bytes))
}

fn decode_as<'a>(bytes: &'a [u8], told: Option<&'static Encoding>) -> Cow<'a, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let body = bytes.get(mark..).unwrap_or_default();
        return encoding.decode_without_bom_handling(body).0;
    }
    if let Some(encoding) = told
        && encoding != UTF_8
    {
        return encoding.decode_without_bom_handling(bytes).0;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    if mostly_utf8(bytes) {
        return String::from_utf8_lossy(bytes);
    }
    WINDOWS_1252.decode_without_bom_handling(bytes).0
}

fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|found| !found.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good > bad
}

/// The encoding named by `charset=` or `encoding=` near the start. An encoding
/// that cannot be true, because the name itself was readable, is ignored.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..SNIFF_BYTES).unwrap_or(bytes).to_ascii_lowercase();
    let marks: &[&[u8]] =
        if head.trim_ascii_start().starts_with(b"<?xml") { &[b"encoding", b"charset"] } else { &[b"charset"] };
    let at = marks
        .iter()
        .find_map(|mark| head.windows(mark.len()).position(|part| part == *mark).map(|at| at + mark.len()))?;
    let value = head.get(at..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let end =
        value.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"-_:.+".contains(byte)).unwrap_or(value.len());
    Encoding::for_label(value.get(..end)?).filter(|encoding| encoding.is_ascii_compatible())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_decide() {
        assert_eq!(decode(b"\xef\xbb\xbfh\xc3\xa9"), "hé");
        assert_eq!(decode(b"\xff\xfeh\0\xe9\0"), "hé");
        assert_eq!(decode(b"\xfe\xff\0h\0\xe9"), "hé");
    }

    #[test]
    fn lone_surrogates_and_odd_ends_are_replaced() {
        assert_eq!(decode(b"\xff\xfea\0\x00\xd8b\0"), "a\u{fffd}b");
        assert_eq!(decode(b"\xff\xfea\0b"), "a\u{fffd}");
        assert_eq!(decode(b"\xed\xa0\x80").chars().count(), 3);
    }

    #[test]
    fn without_a_mark_utf8_is_tried_first() {
        assert_eq!(decode("naïve – “ok”".as_bytes()), "naïve – “ok”");
        assert_eq!(decode(b"na\xefve \x80 caf\xe9"), "naïve € café");
        let mut damaged = "žluťoučký kůň".as_bytes().to_vec();
        damaged.push(0xff);
        assert_eq!(decode(&damaged), "žluťoučký kůň\u{fffd}");
    }

    #[test]
    fn markup_may_say_its_encoding() {
        assert_eq!(decode_markup(b"<meta charset=\"iso-8859-2\">\xbe"), "<meta charset=\"iso-8859-2\">ž");
        assert_eq!(
            decode_markup(b"<meta content='text/html; charset=shift_jis'>\x83\x65"),
            "<meta content='text/html; charset=shift_jis'>テ"
        );
        assert_eq!(decode_markup(b"<meta charset=utf-16>\xc3\xa9"), "<meta charset=utf-16>é");
        assert_eq!(
            decode_markup(b"<?xml version='1.0' encoding='windows-1251'?>\xc6"),
            "<?xml version='1.0' encoding='windows-1251'?>Ж"
        );
    }
}
