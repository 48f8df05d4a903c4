//! The canonical text of a value (RFC 8785, JSON Canonicalization Scheme).
//!
//! Blobs appear as `{"$blob":"keyed:…","kind":"text","size":n}`; a member name of the user's that
//! starts with `$` gets one more `$` in front, so that content cannot pass for a reference.

use super::{BlobKind, Node, Value};
use std::fmt::Write as _;

pub(super) fn write(value: &Value, out: &mut String) {
    match &value.node {
        Node::Null => out.push_str("null"),
        Node::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Node::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Node::Float(number) => write_double(*number, out),
        Node::Text(text) => write_string(text, out),
        Node::Blob(blob) => {
            let kind = if blob.kind == BlobKind::Text { "text" } else { "bytes" };
            let _ = write!(out, "{{\"$blob\":\"{}\",\"kind\":\"{kind}\",\"size\":{}}}", blob.id, blob.size);
        }
        Node::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Node::Map(members) => {
            out.push('{');
            // RFC 8785 sorts by UTF-16 code units; that differs from UTF-8 order only where a name
            // holds a character outside the basic plane.
            let mut names: Vec<&String> = members.keys().collect();
            if names.iter().any(|n| !n.is_ascii()) {
                names.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            }
            for (i, name) in names.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if name.starts_with('$') {
                    write_string(&format!("${name}"), out);
                } else {
                    write_string(name, out);
                }
                out.push(':');
                if let Some(member) = members.get(name) {
                    write(member, out);
                }
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain_from..i]);
        plain_from = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// ECMAScript's `Number::toString`, which RFC 8785 prescribes, from Rust's shortest digits.
fn write_double(number: f64, out: &mut String) {
    if number == 0.0 || !number.is_finite() {
        out.push('0');
        return;
    }
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    if number < 0.0 {
        out.push('-');
    }
    if count <= point && point <= 21 {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', (point - count) as usize));
    } else if 0 < point && point <= 21 {
        out.push_str(&digits[..point as usize]);
        out.push('.');
        out.push_str(&digits[point as usize..]);
    } else if -6 < point && point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', -point as usize));
        out.push_str(&digits);
    } else {
        out.push_str(&digits[..1]);
        if count > 1 {
            out.push('.');
            out.push_str(&digits[1..]);
        }
        let _ = write!(out, "e{}{}", if point > 0 { '+' } else { '-' }, (point - 1).abs());
    }
}
