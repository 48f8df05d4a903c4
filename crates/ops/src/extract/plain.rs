//! Text, Markdown, CSV and JSON: files whose source is their text.
//!
//! Job: decode, normalise, count rows; write JSON's escaped characters out, so
//! that what judges the text sees the characters a program would.
//!
//! Not its job: parsing. Nothing here nests, so nothing here can overflow; a
//! malformed CSV or JSON file is still a text somebody may want to read. Every
//! pass is linear.

use super::text::TextOut;
use super::{Found, charset};

/// Plain text and Markdown.
pub(super) fn read_text(bytes: &[u8], out: &mut TextOut) -> Found {
    out.push(&charset::decode(bytes));
    Found { parts: 1, ..Found::default() }
}

/// CSV: the source, with its rows counted as a reader of CSV would.
pub(super) fn read_csv(bytes: &[u8], out: &mut TextOut) -> Found {
    let text = charset::decode(bytes);
    out.push(&text);
    Found { parts: rows(&text), ..Found::default() }
}

/// JSON: the source, with `\u` escapes written out where that leaves it valid.
pub(super) fn read_json(bytes: &[u8], out: &mut TextOut) -> Found {
    let text = charset::decode(bytes);
    unescape(&text, out);
    let records = text.lines().filter(|line| line.trim_start().starts_with(['{', '['])).count();
    let by_line = records > 1 && text.lines().all(|line| line.is_empty() || line.starts_with(['{', '[']));
    let parts = if by_line { u32::try_from(records).unwrap_or(u32::MAX) } else { 1 };
    Found { parts, ..Found::default() }
}

/// Rows that hold anything; a line end within quotes does not end a row.
fn rows(text: &str) -> u32 {
    let (mut rows, mut quoted, mut filled) = (0u32, false, false);
    for byte in text.bytes() {
        match byte {
            b'"' => {
                quoted = !quoted;
                filled = true;
            }
            b'\n' | b'\r' if !quoted => {
                rows = rows.saturating_add(u32::from(filled));
                filled = false;
            }
            _ => filled = true,
        }
    }
    rows.saturating_add(u32::from(filled))
}

/// Copies JSON and replaces `\uXXXX` by its character, and `\/` by `/`. Escapes
/// of quotes, backslashes and control characters stay as they are.
fn unescape(text: &str, out: &mut TextOut) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push(before);
        let (found, taken) = match escape.as_bytes().get(1) {
            Some(b'u') => escaped_char(escape),
            Some(b'/') => (Some('/'), 2),
            Some(byte) if byte.is_ascii() => (None, 2),
            // A backslash before a foreign character or the end.
            _ => (None, 1),
        };
        match found {
            Some(found) if !found.is_control() && found != '"' && found != '\\' => out.push_char(found),
            _ => out.push(escape.get(..taken).unwrap_or_default()),
        }
        rest = escape.get(taken..).unwrap_or_default();
    }
    out.push(rest);
}

/// The character that `\uXXXX`, or two of them, stand for, and their length. A
/// lone surrogate stands for the replacement character.
fn escaped_char(escape: &str) -> (Option<char>, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let Some(first) = unit(0) else {
        return (None, 2);
    };
    if let Some(second) = unit(6)
        && let Some(Ok(pair)) = char::decode_utf16([first, second]).next()
        && pair.len_utf16() == 2
    {
        return (Some(pair), 12);
    }
    let single = char::from_u32(u32::from(first)).unwrap_or('\u{fffd}');
    (Some(single), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut out = TextOut::new(1 << 20);
        read_json(text.as_bytes(), &mut out);
        out.finish(None).0
    }

    #[test]
    fn escapes_are_written_out_and_the_rest_stays() {
        assert_eq!(json(r#"{"a\u0040b":"\u00e9\ud83d\ude00\/"}"#), r#"{"a@b":"é😀/"}"#);
        assert_eq!(json(r#""\u0022 \u005c \u000a \n \\u0041 \"""#), r#""\u0022 \u005c \u000a \n \\u0041 \"""#);
        assert_eq!(json(r#""\ud83d x \udc00 \ud83d\u0041""#), "\"\u{fffd} x \u{fffd} \u{fffd}A\"");
        for broken in ["\\", "\\u", "\\u12", "\\u12é4", "\\é", "\\u+123", "\\ud83d\\u"] {
            assert!(!json(broken).is_empty());
        }
    }

    #[test]
    fn rows_and_records_are_counted() {
        assert_eq!(rows("a,b\r\n1,\"x\ny\"\n\n2,3"), 3);
        assert_eq!(rows(""), 0);
        let count = |text: &str| read_json(text.as_bytes(), &mut TextOut::new(1000)).parts;
        assert_eq!((count("{\"a\":1}\n{\"b\":2}\n"), count("{\n \"a\": [1,\n2]\n}"), count("")), (2, 1, 1));
    }
}
