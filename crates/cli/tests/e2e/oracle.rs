//! The oracle for I1: everything the hub's side got or kept, searched for what was planted, in its
//! disguises.

use crate::harness::Place;
use serde_json::Value as Json;
use std::path::Path;

/// Something that must not be found.
#[derive(Clone, Debug)]
pub struct Canary {
    pub category: String,
    pub value: String,
}

impl Canary {
    pub fn new(category: &str, value: &str) -> Self {
        Self { category: category.into(), value: value.into() }
    }
}

/// A canary where it should not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    pub category: String,
    pub value: String,
    pub disguise: &'static str,
    pub place: String,
}

/// The values planted in the shipped samples.
pub fn planted() -> Vec<(Canary, String)> {
    let text = std::fs::read_to_string(crate::harness::examples().join("brief/planted.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let field = |line: &Json, name: &str| line[name].as_str().unwrap().to_owned();
    lines.map(|l| (Canary::new(&field(&l, "category"), &field(&l, "value")), field(&l, "file"))).collect()
}

/// What the hub's side got and kept: the recording, decoded, and every file of its folder.
pub fn hub_side(place: &Place, record: &Path) -> Vec<(String, Vec<u8>)> {
    let recorded = Record::read(record);
    assert!(!recorded.frames.is_empty(), "the recording is empty: the oracle would see nothing");
    let mut places = vec![("recording: headers".to_owned(), recorded.headers.join("\n").into_bytes())];
    // Each by itself and all in a row, for what is spread over several.
    places.extend(recorded.frames.iter().enumerate().map(|(no, f)| (format!("recording: frame {no}"), f.clone())));
    places.push(("recording: all frames".to_owned(), recorded.frames.concat()));
    places.push(("recording: all payloads".to_owned(), recorded.payloads().concat()));
    let kept = Place::files_below(&place.hub());
    assert!(kept.iter().any(|(path, _)| path.ends_with("journal.db")), "the hub keeps a journal");
    places.extend(kept.iter().map(|(path, bytes)| (path.display().to_string(), bytes.clone())));
    let names = kept.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join("\n");
    places.push(("file names".to_owned(), names.into_bytes()));
    places
}

/// Searches.
pub fn search(canaries: &[Canary], places: &[(String, Vec<u8>)]) -> Vec<Leak> {
    let mut found = Vec::new();
    for canary in canaries {
        let disguises = disguises(&canary.value);
        for (place, bytes) in places {
            for (disguise, form) in &disguises {
                if contains(bytes, form) {
                    found.push(Leak {
                        category: canary.category.clone(),
                        value: canary.value.clone(),
                        disguise,
                        place: place.clone(),
                    });
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The forms in which a value is looked for.
pub fn disguises(value: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = value.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let escaped = serde_json::to_string(value).unwrap();
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("lower case", value.to_lowercase().into_bytes()),
        ("upper case", value.to_uppercase().into_bytes()),
        ("JSON", escaped.trim_matches('"').as_bytes().to_vec()),
        ("reversed", bytes.iter().rev().copied().collect()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
        ("URL", url(value, false).into_bytes()),
        ("URL with +", url(value, true).into_bytes()),
        ("UTF-16", value.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("without blanks", value.replace(' ', "").into_bytes()),
    ];
    for (name, lead) in [("base64", 0), ("base64, one on", 1), ("base64, two on", 2)] {
        for web in [false, true] {
            forms.push((name, base64_within(bytes, lead, web)));
        }
    }
    // What is too short says nothing.
    forms.retain(|(_, form)| form.len() >= 5);
    forms
}

fn url(value: &str, plus: bool) -> String {
    let coded = |b: u8| match b {
        b' ' if plus => "+".to_owned(),
        _ if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    value.bytes().map(coded).collect()
}

/// The characters of a base64 text that depend on `bytes` alone, `lead` bytes into a group.
fn base64_within(bytes: &[u8], lead: usize, web: bool) -> Vec<u8> {
    let alphabet: &[u8; 64] = if web {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    } else {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    };
    let padded = [&vec![0; lead][..], bytes].concat();
    let bit = |at: usize| padded.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let first = (lead * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    (first..last).map(|at| alphabet[(0..6).fold(0, |sum, i| sum * 2 + usize::from(bit(at * 6 + i)))]).collect()
}

/// Whether `needle` occurs.
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = hay;
    while let Some(at) = rest.iter().position(|b| b == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// A `--record` file, decoded.
pub struct Record {
    pub headers: Vec<String>,
    /// Every message the hub's side received.
    pub frames: Vec<Vec<u8>>,
}

impl Record {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut record = Self { headers: Vec::new(), frames: Vec::new() };
        for line in text.lines() {
            let json: Json = serde_json::from_str(line).unwrap();
            match json["type"].as_str() {
                Some("headers") => record.headers.push(json.to_string()),
                Some("message") => {
                    let body = decode_base64(json["body_base64"].as_str().unwrap());
                    assert_eq!(json["bytes"].as_u64(), Some(body.len() as u64), "a whole body");
                    record.frames.push(body);
                }
                other => panic!("a line of type {other:?} in the recording"),
            }
        }
        record
    }

    /// The payloads: field 4 of frames (`transport/proto`). Everything else is control.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        self.frames.iter().flat_map(|frame| fields(frame, 4)).collect()
    }
}

/// The length-delimited fields of a protobuf message with this number.
fn fields(mut message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => drop(varint(&mut message)),
            1 => message = &message[8..],
            5 => message = &message[4..],
            2 => {
                let length = varint(&mut message) as usize;
                if key >> 3 == wanted {
                    found.push(message[..length].to_vec());
                }
                message = &message[length..];
            }
            kind => panic!("wire type {kind}: not a frame"),
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}

pub fn decode_base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("`{}` in base64", char::from(other)),
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        held = held << 6 | u32::from(digit(c));
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    out
}

pub fn encode_base64(bytes: &[u8]) -> String {
    let whole = bytes.chunks(3).map(|group| {
        let mut text = String::from_utf8(base64_within(&[group, &[0; 3][group.len()..]].concat(), 0, false)).unwrap();
        text.truncate(group.len() + 1);
        format!("{text:=<4}")
    });
    whole.collect()
}

#[test]
fn disguises_are_what_encoders_write() {
    let text = "planted Value+7";
    for lead in 0..3 {
        let coded = encode_base64(format!("{}{text}zz", &"xyz"[..lead]).as_bytes());
        assert!(contains(coded.as_bytes(), &base64_within(text.as_bytes(), lead, false)), "{lead}: {coded}");
    }
    assert_eq!(decode_base64("Zm9vYg=="), b"foob");
    assert_eq!(encode_base64(b"foob"), "Zm9vYg==");
    assert_eq!(url("a b+ü", false), "a%20b%2B%C3%BC");
}
