//! Looking behind simple disguises, one level deep.
//!
//! Job: a second look at text that holds unusual digits, spaces or invisible
//! characters, percent-encoding, or base64; what is found there is reported at
//! its place in the original text.
//!
//! Not its job: encryption, compression, nested encodings, look-alike letters
//! of other scripts.
//!
//! Why: copies from web pages and logs carry these without any intent to hide,
//! so they must be seen through; plain ASCII text without any of it pays only
//! the check.

use super::{Detectors, Finding};

/// The shortest base64 run that is looked into.
const BASE64_MIN: usize = 24;
/// The shortest encoded value: `a%40b.co`.
const TOKEN_MIN: usize = 8;
/// The longest stretch of a token around a percent sign, on each side.
const TOKEN_MAX: usize = 512;

/// A changed copy of a text that knows where each piece came from.
#[derive(Default)]
struct Copy {
    text: String,
    pieces: Vec<Piece>,
}

struct Piece {
    /// Where the piece starts in the copy.
    at: usize,
    /// Where it starts in the original.
    from: usize,
    /// How long it is in the original.
    length: usize,
    /// Whether it is the same byte for byte.
    verbatim: bool,
}

impl Copy {
    fn push(&mut self, piece: &str, from: usize, length: usize, verbatim: bool) {
        if piece.is_empty() {
            return;
        }
        self.pieces.push(Piece { at: self.text.len(), from, length, verbatim });
        self.text.push_str(piece);
    }

    fn piece(&self, at: usize) -> Option<&Piece> {
        let next = self.pieces.partition_point(|piece| piece.at <= at);
        self.pieces.get(next.checked_sub(1)?)
    }

    /// The range of the original that a range of the copy came from.
    fn origin(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let first = self.piece(start)?;
        let last = self.piece(end.checked_sub(1)?)?;
        let start = match first.verbatim {
            true => first.from + (start - first.at),
            false => first.from,
        };
        let end = match last.verbatim {
            true => last.from + (end - last.at),
            false => last.from + last.length,
        };
        Some((start, end))
    }

    fn scan(&self, detectors: &Detectors, found: &mut Vec<Finding>) {
        let mut inside = Vec::new();
        detectors.scan_plain(&self.text, &mut inside);
        found.extend(inside.into_iter().filter_map(|finding| {
            let (start, end) = self.origin(finding.start, finding.end)?;
            Some(Finding { start, end, ..finding })
        }));
    }
}

/// Looks at the text with unusual digits, spaces and dashes made plain and
/// invisible characters left out.
pub fn scan_normalised(detectors: &Detectors, text: &str, found: &mut Vec<Finding>) {
    if text.is_ascii() {
        return;
    }
    let mut copy = Copy::default();
    let mut plain_from = 0;
    let mut buffer = [0u8; 4];
    for (at, c) in text.char_indices() {
        if c.is_ascii() {
            continue;
        }
        let Some(plain) = plain_form(c) else {
            continue;
        };
        copy.push(text.get(plain_from..at).unwrap_or_default(), plain_from, at - plain_from, true);
        plain_from = at + c.len_utf8();
        if let Some(plain) = plain {
            copy.push(plain.encode_utf8(&mut buffer), at, c.len_utf8(), false);
        }
    }
    if plain_from == 0 {
        return;
    }
    let rest = text.get(plain_from..).unwrap_or_default();
    copy.push(rest, plain_from, rest.len(), true);
    copy.scan(detectors, found);
}

/// The ASCII form of a character that stands for one; `Some(None)` for a
/// character that shows nothing.
fn plain_form(c: char) -> Option<Option<char>> {
    /// The zeros of the scripts whose digits follow each other.
    const ZEROS: [u32; 18] = [
        0x0660, 0x06F0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0, 0x0F20,
        0x1040, 0x17E0, 0x1810, 0xFF10,
    ];
    let code = c as u32;
    match code {
        0x00AD | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2064 | 0xFEFF => {
            return Some(None);
        }
        0x00A0 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => return Some(Some(' ')),
        0x2010..=0x2015 | 0x2212 | 0xFE58 | 0xFE63 => return Some(Some('-')),
        0xFE6B => return Some(Some('@')),
        0xFF01..=0xFF5E => return Some(char::from_u32(code - 0xFEE0)),
        0x1D7CE..=0x1D7FF => return Some(char::from_digit((code - 0x1D7CE) % 10, 10)),
        _ => {}
    }
    ZEROS
        .iter()
        .find_map(|zero| code.checked_sub(*zero).filter(|digit| *digit < 10))
        .map(|digit| char::from_digit(digit, 10))
}

/// Looks at the words that hold `%40` and the like with those decoded.
pub fn scan_percent(detectors: &Detectors, text: &str, found: &mut Vec<Finding>) {
    let bytes = text.as_bytes();
    let mut copy = Copy::default();
    let mut done = 0;
    for (at, _) in text.match_indices('%') {
        if at < done || percent(bytes, at).is_none() {
            continue;
        }
        let inside = |b: &u8| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'<' | b'>');
        let before = bytes.get(done..at).unwrap_or_default();
        let before = before.iter().rev().take(TOKEN_MAX).take_while(|b| inside(b)).count();
        let after = bytes.get(at..).unwrap_or_default();
        let after = after.iter().take(TOKEN_MAX).take_while(|b| inside(b)).count();
        let from = text.ceil_char_boundary(at - before);
        let to = text.ceil_char_boundary(at + after);
        done = to;
        if to - from < TOKEN_MIN {
            continue;
        }
        let mut plain_from = from;
        let mut here = at;
        while here < to {
            let Some(byte) = percent(bytes, here).filter(|_| here + 3 <= to) else {
                here += 1;
                continue;
            };
            copy.push(text.get(plain_from..here).unwrap_or_default(), plain_from, here - plain_from, true);
            let mut buffer = [0u8; 4];
            copy.push(char::from(byte).encode_utf8(&mut buffer), here, 3, false);
            here += 3;
            plain_from = here;
        }
        copy.push(text.get(plain_from..to).unwrap_or_default(), plain_from, to.saturating_sub(plain_from), true);
        copy.push("\n\u{1}\n", to, 0, false);
    }
    if !copy.text.is_empty() {
        copy.scan(detectors, found);
    }
}

/// The ASCII character that a percent sign and two hex digits stand for.
fn percent(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = match bytes.get(at..at + 3)? {
        [b'%', digits @ ..] => digits,
        _ => return None,
    };
    let text = std::str::from_utf8(digits).ok()?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(text, 16).ok().filter(|byte| (b' '..=b'~').contains(byte))
}

const fn sextet(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    } as u32)
}

/// What base64 of either alphabet says, if that is readable text.
pub fn decode_base64(encoded: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(encoded.len() / 4 * 3 + 3);
    let mut word = 0u32;
    let mut bits = 0;
    for byte in encoded.iter().take_while(|b| **b != b'=') {
        word = word << 6 | sextet(*byte)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let decoded = (word >> bits) as u8;
            if decoded < b' ' && !matches!(decoded, b'\n' | b'\r' | b'\t') || decoded == 0x7F {
                return None;
            }
            plain.push(decoded);
        }
    }
    match String::from_utf8(plain) {
        Ok(text) => Some(text),
        // A run that was cut may end inside a character.
        Err(error) if error.utf8_error().error_len().is_none() => {
            let valid = error.utf8_error().valid_up_to();
            let mut plain = error.into_bytes();
            plain.truncate(valid);
            String::from_utf8(plain).ok()
        }
        Err(_) => None,
    }
}

/// Looks into base64 that is readable text when decoded. The whole run is
/// reported, once for each category inside; what lay within it is dropped.
pub fn scan_base64(detectors: &Detectors, text: &str, settled: Vec<Finding>) -> Vec<Finding> {
    let bytes = text.as_bytes();
    let mut decoded_runs: Vec<Finding> = Vec::new();
    let mut known = settled.iter().peekable();
    let mut covered = 0;
    let mut at = 0;
    while let Some((start, end)) = next_run(bytes, at) {
        at = end;
        while let Some(finding) = known.next_if(|finding| finding.start <= start) {
            covered = covered.max(finding.end);
        }
        if covered >= end {
            continue;
        }
        // The run may hang on something: `Basic` needs the padding, too.
        let padding = bytes.get(end..).unwrap_or_default();
        let end = end + padding.iter().take(2).take_while(|b| **b == b'=').count();
        let Some(plain) = bytes.get(start..end).and_then(decode_base64) else {
            continue;
        };
        let mut inside = Vec::new();
        detectors.scan_plain(&plain, &mut inside);
        inside.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let first_of_run = decoded_runs.len();
        for finding in inside {
            let known = decoded_runs.get(first_of_run..).unwrap_or_default();
            if known.iter().all(|other| other.category != finding.category) {
                decoded_runs.push(Finding { start, end, ..finding });
            }
        }
    }
    if decoded_runs.is_empty() {
        return settled;
    }
    let mut all: Vec<Finding> = settled;
    all.retain(|finding| {
        let next = decoded_runs.partition_point(|run| run.start <= finding.start);
        let run = next.checked_sub(1).and_then(|i| decoded_runs.get(i));
        run.is_none_or(|run| finding.end > run.end)
    });
    all.extend(decoded_runs);
    all.sort_by_key(|finding| (finding.start, finding.end, finding.category));
    all
}

/// The next run of at least [`BASE64_MIN`] base64 characters. It looks at the
/// last character such a run could have and jumps on from what breaks it.
fn next_run(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    loop {
        let span = bytes.get(at..at + BASE64_MIN)?;
        if let Some(broken) = span.iter().rposition(|b| !is_base64(*b)) {
            at += broken + 1;
            continue;
        }
        let rest = bytes.get(at + BASE64_MIN..).unwrap_or_default();
        let more = rest.iter().take_while(|b| is_base64(**b)).count();
        return Some((at, at + BASE64_MIN + more));
    }
}

/// Whether a byte is a base64 character, by table: this is asked often.
fn is_base64(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = sextet(byte as u8).is_some();
            byte += 1;
        }
        table
    };
    TABLE.get(usize::from(byte)).copied().unwrap_or(false)
}
