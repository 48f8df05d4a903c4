//! E-mail: who wrote to whom about what, the bodies, and attached text.
//!
//! Job: the headers people read, as lines; each body, plain text where the
//! sender offers it and HTML turned into text where not; every attachment's
//! name; the content of attached text, and of attached messages to a depth.
//!
//! Not its job: attached PDFs, documents and pictures (their names are listed;
//! a step that wants them extracts them on their own), signatures, threading.

use std::collections::HashSet;

use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::text::{TextOut, one_line};
use super::{Bound, ExtractError, Flaw, Format, Found, charset, html, plain};

/// How deep attached messages are followed.
const DEPTH_MAX: u32 = 8;
/// How many messages a file may announce within itself. They can nest, and the
/// parser's cleanup recurses.
const NESTED_MAX: usize = 4096;

/// The headers people read, in the order they are written.
const SHOWN: &[HeaderName<'static>] = &[
    HeaderName::From,
    HeaderName::Sender,
    HeaderName::ReplyTo,
    HeaderName::To,
    HeaderName::Cc,
    HeaderName::Bcc,
    HeaderName::Date,
    HeaderName::Subject,
];

/// Reads an e-mail message.
pub(super) fn read(bytes: &[u8], out: &mut TextOut) -> Result<Found, ExtractError> {
    let malformed = |flaw| ExtractError::Malformed { format: Format::Eml, flaw };
    if announced(bytes) > NESTED_MAX {
        return Err(ExtractError::LimitPassed { bound: Bound::NestedMessages, max: NESTED_MAX as u64 });
    }
    let message = MessageParser::default().parse(bytes).ok_or(malformed(Flaw::NotThisFormat))?;
    let mut found = Found { title: message.subject().map(str::to_owned), ..Found::default() };
    read_message(&message, 0, &mut found, out);
    Ok(found)
}

/// How often the file announces a message within it.
fn announced(bytes: &[u8]) -> usize {
    let marks: [&[u8]; 3] = [b"message/rfc822", b"message/global", b"multipart/digest"];
    bytes
        .split(|byte| *byte == b'/')
        .zip(bytes.split(|byte| *byte == b'/').skip(1))
        .filter(|(before, after)| {
            marks.iter().any(|mark| {
                let slash = mark.iter().position(|byte| *byte == b'/').unwrap_or(0);
                let (kind, rest) = (mark.get(..slash).unwrap_or_default(), mark.get(slash + 1..).unwrap_or_default());
                before.len() >= kind.len()
                    && before.get(before.len() - kind.len()..).is_some_and(|end| end.eq_ignore_ascii_case(kind))
                    && after.get(..rest.len()).is_some_and(|start| start.eq_ignore_ascii_case(rest))
            })
        })
        .count()
}

fn read_message(message: &Message<'_>, depth: u32, found: &mut Found, out: &mut TextOut) {
    headers(message, out);
    out.line("");
    let bodies: HashSet<u32> = message.text_body.iter().copied().collect();
    let alternatives: HashSet<u32> = message.html_body.iter().copied().collect();
    let before = out.len();
    for part in numbered(message).filter(|(id, _)| bodies.contains(id)).map(|(_, part)| part) {
        found.parts = found.parts.saturating_add(1);
        body(part, out);
    }
    // A plain text that says nothing is no alternative to the other.
    if out.since(before).trim().is_empty() {
        for (_, part) in numbered(message).filter(|(id, _)| alternatives.contains(id) && !bodies.contains(id)) {
            found.parts = found.parts.saturating_add(1);
            body(part, out);
        }
    }
    for (id, part) in numbered(message) {
        if out.is_full() {
            return;
        }
        let alternative = alternatives.contains(&id) && matches!(part.body, PartType::Html(_) | PartType::Text(_));
        if !bodies.contains(&id) && !alternative && !matches!(part.body, PartType::Multipart(_)) {
            found.parts = found.parts.saturating_add(1);
            attachment(part, depth, found, out);
        }
    }
}

fn numbered<'a, 'x>(message: &'a Message<'x>) -> impl Iterator<Item = (u32, &'a MessagePart<'x>)> {
    (0u32..).zip(&message.parts)
}

fn headers(message: &Message<'_>, out: &mut TextOut) {
    for name in SHOWN {
        for header in message.headers().iter().filter(|header| header.name == *name) {
            let value = match &header.value {
                HeaderValue::Address(address) => addresses(address),
                HeaderValue::Text(text) => text.to_string(),
                HeaderValue::TextList(list) => list.join(", "),
                HeaderValue::DateTime(date) if date.is_valid() => date.to_rfc3339(),
                // What could not be understood is shown as it was sent.
                HeaderValue::DateTime(_)
                | HeaderValue::ContentType(_)
                | HeaderValue::Received(_)
                | HeaderValue::Empty => {
                    let raw = message.raw_message.get(header.offset_start as usize..header.offset_end as usize);
                    String::from_utf8_lossy(raw.unwrap_or_default()).into_owned()
                }
            };
            out.line(&format!("{}: {}", name.as_str(), one_line(&value)));
        }
    }
}

fn addresses(address: &Address<'_>) -> String {
    let one = |name: Option<&str>, address: Option<&str>| match (name, address) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    };
    let list = |list: &[mail_parser::Addr<'_>]| {
        let each: Vec<_> = list.iter().map(|addr| one(addr.name.as_deref(), addr.address.as_deref())).collect();
        each.join(", ")
    };
    match address {
        Address::List(addrs) => list(addrs),
        Address::Group(groups) => {
            let each: Vec<_> = groups
                .iter()
                .map(|group| match &group.name {
                    Some(name) => format!("{name}: {}", list(&group.addresses)),
                    None => list(&group.addresses),
                })
                .collect();
            each.join("; ")
        }
    }
}

fn body(part: &MessagePart<'_>, out: &mut TextOut) {
    match &part.body {
        PartType::Text(text) => out.push(text),
        PartType::Html(text) => {
            html::read_into(text, out);
        }
        PartType::InlineBinary(_) | PartType::Binary(_) => {
            out.line(&format!("Attachment: {}", name_of(part)));
        }
        PartType::Message(_) | PartType::Multipart(_) => {}
    }
    out.end_line();
}

fn name_of(part: &MessagePart<'_>) -> String {
    let name = part.attachment_name().map(one_line).filter(|name| !name.is_empty());
    let kind = part.content_type().map(|kind| one_line(&format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("*"))));
    match (name, kind) {
        (Some(name), _) => name,
        (None, Some(kind)) => format!("unnamed ({kind})"),
        (None, None) => "unnamed".to_owned(),
    }
}

fn attachment(part: &MessagePart<'_>, depth: u32, found: &mut Found, out: &mut TextOut) {
    out.line("");
    out.line(&format!("Attachment: {}", name_of(part)));
    match &part.body {
        PartType::Text(text) => out.push(text),
        PartType::Html(text) => {
            html::read_into(text, out);
        }
        PartType::Message(message) if depth < DEPTH_MAX => read_message(message, depth + 1, found, out),
        PartType::Message(_) => found.unreadable += 1,
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => binary(part, bytes, depth, found, out),
        PartType::Multipart(_) => {}
    }
    out.end_line();
}

/// An attachment sent as bytes: text if its name and start say so.
fn binary(part: &MessagePart<'_>, bytes: &[u8], depth: u32, found: &mut Found, out: &mut TextOut) {
    let name = part.attachment_name().unwrap_or("unnamed.bin");
    match Format::detect(name, bytes) {
        Some(Format::Text | Format::Markdown | Format::Csv) => {
            plain::read_text(bytes, out);
        }
        Some(Format::Json) => {
            plain::read_json(bytes, out);
        }
        Some(Format::Html) => {
            html::read_into(&charset::decode_markup(bytes), out);
        }
        Some(Format::Eml) if depth < DEPTH_MAX && announced(bytes) <= NESTED_MAX => {
            match MessageParser::default().parse(bytes) {
                Some(message) => read_message(&message, depth + 1, found, out),
                None => found.unreadable += 1,
            }
        }
        Some(Format::Eml | Format::Pdf | Format::Docx) => found.unreadable += 1,
        None => {}
    }
}
