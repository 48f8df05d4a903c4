//! How fast the detectors read, in MB/s on one core.
//!
//! Job: `cargo run --release -p tidegate-domain --example detect_speed` prints a
//! line for each kind of ordinary text and for each hostile input, with the
//! slowest of the hostile ones last.
//!
//! Not its job: recall and precision (the module's tests), statistics (`xtask
//! bench`). It is an example because the room itself may not read a clock.

use std::fmt::Write as _;
use std::time::Instant;

use tidegate_domain::detect::Detectors;

/// How much text each line scans.
const BYTES: usize = 4 * 1024 * 1024;
/// Of how many runs the fastest counts.
const RUNS: usize = 3;

fn main() {
    let started = now();
    let detectors = Detectors::builtin();
    println!("compile          {:8.1} ms", started.elapsed().as_secs_f64() * 1e3);
    println!("ordinary");
    for (name, text) in [
        ("prose", ordinary_prose(BYTES)),
        ("prose, accented", accented_prose(BYTES)),
        ("code", code(BYTES)),
        ("csv of numbers", csv(BYTES)),
        ("log", log(BYTES)),
        ("contacts", contacts(BYTES)),
        ("base64 binary", base64_binary(BYTES)),
    ] {
        measure(detectors, name, &text);
    }
    println!("hostile");
    let mut slowest = ("", f64::MAX);
    for piece in HOSTILE {
        let speed = measure(detectors, piece, &piece.repeat(BYTES / 4 / piece.len()));
        if speed < slowest.1 {
            slowest = (piece, speed);
        }
    }
    println!("slowest hostile  {:8.1} MB/s  {:?}", slowest.1, slowest.0);
}

const HOSTILE: &[&str] = &[
    "@",
    "7",
    "a.a.a.a@",
    "a@",
    "a@a.",
    "a@b.co ",
    "aa.aa@",
    "password=password=",
    "password=",
    "password=${",
    "password is ",
    "secret: ",
    "secret=x ",
    "pwd=\"",
    "pwd=\"a",
    "token=",
    "token ",
    "-----BEGIN ",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n",
    "eyJ.",
    "eyJhbGciOiJIUzI1NiJ9.",
    "eyJaaaaaaaa.",
    "AbC1dEf2",
    "QUFB",
    "+1 ",
    "+1234567",
    "0 ",
    "01 ",
    "0170 ",
    "0170/1",
    "00491 ",
    "4111 ",
    "4111-",
    "4111 1111 1111 1112 ",
    "415-",
    "415-555-",
    "(415) ",
    "123-45-",
    "1 85 05 ",
    "DE89",
    "DE89 ",
    "AB12 ",
    "AB 12 ",
    "://a:b",
    "://a:b@",
    "%40",
    "%40 ",
    "a%40",
    "\u{200b}",
    "\u{a0}1",
    "１",
    "é@é.",
    "born ",
    "born 12 ",
    "straße 1",
    "a straße 1 ",
    "sk-",
    "sk-a1 ",
    "ghp_ ",
    "1 Abc ",
    "12 Abc Def Ghi ",
    "via A",
    "calle A",
    "AKIA",
    "tel: ",
    "tel 1 ",
    "1,2,3;",
    "12.5 ",
    "password>a",
    "a1",
    "\"a\":\"b\",",
    "bearer a",
    "basic a",
];

#[expect(clippy::disallowed_methods, reason = "an example that measures needs the clock")]
fn now() -> Instant {
    Instant::now()
}

fn measure(detectors: &Detectors, name: &str, text: &str) -> f64 {
    let mut best = f64::MAX;
    let mut findings = 0;
    for _ in 0..RUNS {
        let started = now();
        findings = detectors.scan(text).len();
        best = best.min(started.elapsed().as_secs_f64());
    }
    let speed = text.len() as f64 / best / 1e6;
    println!("{speed:8.1} MB/s  {findings:7} findings  {:?}", name.escape_debug().to_string());
    speed
}

/// A generator of repeatable numbers: a text must be the same on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let at = self.next() as usize % words.len().max(1);
        words.get(at).copied().unwrap_or_default()
    }
}

const WORDS: &[&str] = &[
    "the",
    "of",
    "a",
    "and",
    "to",
    "in",
    "harbour",
    "was",
    "that",
    "it",
    "he",
    "for",
    "tide",
    "with",
    "as",
    "his",
    "gate",
    "on",
    "be",
    "at",
    "by",
    "I",
    "this",
    "had",
    "not",
    "are",
    "but",
    "from",
    "or",
    "have",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "her",
    "all",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "more",
    "no",
    "if",
    "out",
    "so",
    "said",
    "what",
    "morning",
    "water",
    "letters",
    "between",
    "another",
    "question",
    "through",
    "something",
    "thought",
    "against",
    "children",
    "government",
    "understand",
    "particular",
    "information",
    "development",
];

/// Words that rules take a closer look at; in real text they are rare, too.
const RARE_WORDS: &[&str] =
    &["bring", "telephone", "secretary", "street", "platform", "via", "born", "call", "password", "office"];

fn ordinary_prose(bytes: usize) -> String {
    let mut numbers = Numbers(1);
    let mut text = String::with_capacity(bytes + 64);
    let mut column = 0;
    while text.len() < bytes {
        let rare = numbers.next().is_multiple_of(40);
        let word = numbers.pick(if rare { RARE_WORDS } else { WORDS });
        text.push_str(word);
        column += word.len() + 1;
        match numbers.next() % 60 {
            0..=2 => text.push_str(". "),
            3..=6 => text.push_str(", "),
            7 => {
                let _ = write!(text, " {} ", numbers.next() % 2100);
            }
            _ if column > 90 => {
                text.push('\n');
                column = 0;
            }
            _ => text.push(' '),
        }
    }
    text
}

fn accented_prose(bytes: usize) -> String {
    let mut text = ordinary_prose(bytes);
    text = text.replace("which", "über").replace("would", "déjà");
    text
}

fn code(bytes: usize) -> String {
    const LINES: &[&str] = &[
        "    let mut values: Vec<u64> = Vec::with_capacity(input.len());\n",
        "    for (index, item) in items.iter().enumerate() {\n",
        "        if item.kind() == Kind::Token && index < 128 { return Err(Error::Limit(index)); }\n",
        "    }\n",
        "    // The caller holds the lock, see `Store::append` for why.\n",
        "pub fn scan(&self, text: &str) -> Result<Vec<Finding>, ScanError> {\n",
        "    self.state.password_hash = hash(&request.password, Params::default())?;\n",
        "    const MASK: u32 = 0xff00_ff00; let shifted = (value >> 16) & MASK;\n",
        "#[derive(Debug, Clone, PartialEq)]\n",
        "import { useState } from 'react'; // react@18.2.0\n",
        "def handler(event, context): return {'statusCode': 200, 'body': json.dumps(event)}\n",
    ];
    let mut numbers = Numbers(2);
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        text.push_str(numbers.pick(LINES));
    }
    text
}

fn csv(bytes: usize) -> String {
    let mut numbers = Numbers(3);
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        let n = numbers.next();
        let _ = writeln!(
            text,
            "{},{},{}.{:02},2024-{:02}-{:02},{},{},0.{}",
            n % 100_000,
            n % 977,
            n % 4000,
            n % 100,
            n % 12 + 1,
            n % 28 + 1,
            numbers.next(),
            n % 10,
            numbers.next(),
        );
    }
    text
}

fn log(bytes: usize) -> String {
    let mut numbers = Numbers(4);
    let mut text = String::with_capacity(bytes + 256);
    while text.len() < bytes {
        let n = numbers.next();
        let _ = writeln!(
            text,
            "2024-03-{:02}T14:{:02}:{:02}.{:06}Z INFO gate::session peer=10.0.{}.{} run={:016x} step={} took {} us, {} bytes, status ok",
            n % 28 + 1,
            n % 60,
            n % 59,
            n % 1_000_000,
            n % 255,
            n % 254,
            n.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            n % 40,
            n % 90_000,
            n % 1_000_000,
        );
    }
    text
}

fn contacts(bytes: usize) -> String {
    let mut numbers = Numbers(5);
    let mut text = String::with_capacity(bytes + 256);
    while text.len() < bytes {
        let n = numbers.next();
        let _ = writeln!(
            text,
            "Contact {} wrote from user{}@example.com, phone +49 170 {:07}, card 4111 1111 1111 1111, born 1985-03-{:02}.",
            numbers.pick(WORDS),
            n % 9999,
            n % 9_999_999,
            n % 28 + 1,
        );
    }
    text
}

fn base64_binary(bytes: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut numbers = Numbers(6);
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        for _ in 0..76 {
            let at = numbers.next() as usize % ALPHABET.len();
            text.push(char::from(ALPHABET.get(at).copied().unwrap_or(b'A')));
        }
        text.push('\n');
    }
    text
}
