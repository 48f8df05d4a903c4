//! What passes between `extract_sandboxed` and `handle_child`.
//!
//! Job: limits and file into the child, result or error out of it.
//!
//! Not its job: frames (the sandbox has its own). The child's side is not
//! believed: it may be the attacker by the time it answers, so lengths, text
//! and error codes are checked against what an honest child could have said.

use super::text::{is_normal, one_line};
use super::{Bound, ExtractError, ExtractLimits, Extracted, Flaw, Format};

/// Bytes of the limits in front of a file.
const LIMITS_BYTES: usize = 5 * 8;
/// Bytes in front of a result's title and text.
const HEAD_BYTES: usize = 1 + 4 + 4 + 4;
const TRUNCATED: u8 = 1;
const TITLED: u8 = 2;

pub(super) fn encode_request(bytes: &[u8], limits: &ExtractLimits) -> Vec<u8> {
    let mut payload = Vec::with_capacity(LIMITS_BYTES + bytes.len());
    for limit in [
        limits.input_bytes_max,
        limits.output_bytes_max,
        limits.inflated_bytes_max,
        limits.inflate_ratio_max,
        limits.entries_max,
    ] {
        payload.extend_from_slice(&limit.to_le_bytes());
    }
    payload.extend_from_slice(bytes);
    payload
}

/// The limits and where the file starts.
pub(super) fn decode_request(payload: &[u8]) -> Option<(ExtractLimits, &[u8])> {
    let (head, bytes) = payload.split_first_chunk::<LIMITS_BYTES>()?;
    let mut numbers = head.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
    let limits = ExtractLimits {
        input_bytes_max: numbers.next()?,
        output_bytes_max: numbers.next()?,
        inflated_bytes_max: numbers.next()?,
        inflate_ratio_max: numbers.next()?,
        entries_max: numbers.next()?,
        ..ExtractLimits::default()
    };
    Some((limits, bytes))
}

pub(super) fn encode_result(result: &Extracted) -> Vec<u8> {
    let title = result.title.as_deref().unwrap_or_default();
    let mut body = Vec::with_capacity(HEAD_BYTES + title.len() + result.text.len());
    let flags = if result.truncated { TRUNCATED } else { 0 } | if result.title.is_some() { TITLED } else { 0 };
    body.push(flags);
    body.extend_from_slice(&result.parts.to_le_bytes());
    body.extend_from_slice(&result.unreadable.to_le_bytes());
    // A title is at most a thousand characters.
    body.extend_from_slice(&(title.len() as u32).to_le_bytes());
    body.extend_from_slice(title.as_bytes());
    body.extend_from_slice(result.text.as_bytes());
    body
}

/// A result, if it is one that an honest child could give under `limits`.
pub(super) fn decode_result(body: Vec<u8>, limits: &ExtractLimits) -> Result<Extracted, ExtractError> {
    read_result(body, limits).ok_or(ExtractError::BadAnswer)
}

fn read_result(body: Vec<u8>, limits: &ExtractLimits) -> Option<Extracted> {
    let (head, rest) = body.split_first_chunk::<HEAD_BYTES>()?;
    let (&flags, numbers) = head.split_first()?;
    let mut numbers = numbers.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number));
    let (parts, unreadable, title_bytes) = (numbers.next()?, numbers.next()?, numbers.next()? as usize);
    let title = std::str::from_utf8(rest.get(..title_bytes)?).ok()?.to_owned();
    let titled = flags & TITLED != 0;
    if flags & !(TRUNCATED | TITLED) != 0 || titled == title.is_empty() || one_line(&title) != title {
        return None;
    }
    let mut text = body;
    text.drain(..HEAD_BYTES + title_bytes);
    let text = String::from_utf8(text).ok()?;
    let fits = text.len() as u64 <= limits.output_bytes_max;
    (fits && is_normal(&text)).then_some(Extracted {
        text,
        title: titled.then_some(title),
        parts,
        unreadable,
        truncated: flags & TRUNCATED != 0,
    })
}

/// An error as the words of a closed language.
pub(super) fn encode_error(error: &ExtractError) -> String {
    match error {
        ExtractError::Malformed { flaw, .. } => format!("malformed {}", flaw.code()),
        ExtractError::Encrypted { .. } => "encrypted".to_owned(),
        ExtractError::LimitPassed { bound, max } => format!("limit {} {max}", bound.code()),
        ExtractError::InputTooLarge { bytes, bytes_max } => format!("input {bytes} {bytes_max}"),
        ExtractError::Unsupported => "unsupported".to_owned(),
        ExtractError::ParserFailed { .. } => "parser".to_owned(),
        ExtractError::BadAnswer | ExtractError::Sandbox(_) => "internal".to_owned(),
    }
}

/// Reads back [`encode_error`]; anything else is no answer.
pub(super) fn decode_error(message: &str, format: Format) -> ExtractError {
    let words: Vec<&str> = message.split(' ').collect();
    let read = match words.as_slice() {
        ["malformed", code] => {
            Flaw::ALL.into_iter().find(|flaw| flaw.code() == *code).map(|flaw| ExtractError::Malformed { format, flaw })
        }
        ["encrypted"] => Some(ExtractError::Encrypted { format }),
        ["limit", code, max] => Bound::ALL
            .into_iter()
            .find(|bound| bound.code() == *code)
            .zip(max.parse().ok())
            .map(|(bound, max)| ExtractError::LimitPassed { bound, max }),
        ["input", bytes, max] => bytes
            .parse()
            .ok()
            .zip(max.parse().ok())
            .map(|(bytes, bytes_max)| ExtractError::InputTooLarge { bytes, bytes_max }),
        ["unsupported"] => Some(ExtractError::Unsupported),
        ["parser"] => Some(ExtractError::ParserFailed { format }),
        _ => None,
    };
    read.unwrap_or(ExtractError::BadAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> Extracted {
        Extracted {
            text: "Title\nbody é\n".into(),
            title: Some("Title".into()),
            parts: 3,
            unreadable: 1,
            truncated: true,
        }
    }

    #[test]
    fn requests_and_results_round_trip() {
        let limits = ExtractLimits { output_bytes_max: 77, entries_max: 5, ..ExtractLimits::default() };
        let payload = encode_request(b"file", &limits);
        assert_eq!(decode_request(&payload), Some((limits, &b"file"[..])));
        assert_eq!(decode_request(&payload[..39]), None);
        assert!(decode_result(encode_result(&result()), &limits).ok() == Some(result()));
        let untitled = Extracted { title: None, truncated: false, ..result() };
        assert!(decode_result(encode_result(&untitled), &limits).ok() == Some(untitled));
    }

    #[test]
    fn a_hostile_childs_result_is_refused() {
        let limits = ExtractLimits { output_bytes_max: 20, ..ExtractLimits::default() };
        let bad = |change: &dyn Fn(&mut Extracted)| {
            let mut result = result();
            change(&mut result);
            matches!(decode_result(encode_result(&result), &limits), Err(ExtractError::BadAnswer))
        };
        assert!(bad(&|result| result.text = "x".repeat(21)));
        assert!(bad(&|result| result.text = "a\u{1b}[2J".into()));
        assert!(bad(&|result| result.title = Some("two\nlines".into())));
        assert!(bad(&|result| result.title = Some(String::new())));
        for bytes in [vec![], vec![0; 12], vec![0xff; 40], [&[0; 9][..], &[9, 0, 0, 0, b'x']].concat()] {
            assert!(decode_result(bytes, &limits).is_err());
        }
        let mut invalid = encode_result(&Extracted { title: None, ..result() });
        invalid.push(0xff);
        assert!(decode_result(invalid, &limits).is_err());
    }

    #[test]
    fn errors_round_trip_and_nothing_else_passes() {
        let format = Format::Docx;
        let mut errors: Vec<ExtractError> =
            Flaw::ALL.into_iter().map(|flaw| ExtractError::Malformed { format, flaw }).collect();
        errors.extend(Bound::ALL.into_iter().map(|bound| ExtractError::LimitPassed { bound, max: 7 }));
        errors.push(ExtractError::Encrypted { format });
        errors.push(ExtractError::ParserFailed { format });
        errors.push(ExtractError::InputTooLarge { bytes: 2, bytes_max: 1 });
        for error in errors {
            let back = decode_error(&encode_error(&error), format);
            assert_eq!(back.to_string(), error.to_string());
        }
        for noise in ["", "malformed", "malformed canary", "limit entries -1", "encrypted now"] {
            assert!(matches!(decode_error(noise, format), ExtractError::BadAnswer));
        }
    }
}
