//! The second look at a candidate: checksums, entropy, extent.
//!
//! Job: given where a pattern matched, say whether the value can be real and
//! where exactly it ends.
//!
//! Not its job: the arithmetic of checksums (`checksum.rs`), what makes a word
//! after `password:` a secret (`secret.rs`).
//!
//! Why: a pattern sees shape only. Everything that needs counting is here, in a
//! closed list that the rule files name, so that rules stay data.

use super::{checksum, disguise, secret};

/// How far the end of a key block is looked for.
const KEY_BLOCK_MAX: usize = 32 * 1024;
/// The least characters of a key block's body.
const KEY_BODY_MIN: usize = 16;

/// A place where a rule's pattern matched.
pub struct Candidate<'a> {
    /// The whole text.
    pub text: &'a str,
    /// Where the value starts in it.
    pub start: usize,
    /// Where the value ends.
    pub end: usize,
}

impl<'a> Candidate<'a> {
    /// The value as the pattern cut it.
    pub fn value(&self) -> &'a str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    const fn whole(&self) -> (usize, usize) {
        (self.start, self.end)
    }
}

/// The checks that a rule can ask for, by the name in the rule file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Validator {
    /// Shape is enough.
    None,
    /// A card network's prefix and length, and the Luhn digit.
    Luhn,
    /// A country's length and MOD 97-10.
    Mod97,
    /// At least so many bits a character, with a letter and a digit.
    Entropy(f32),
    /// A host that is not the name of a file.
    MailHost,
    /// At least so many digits.
    Digits(usize),
    /// A password in a URL: anything but a placeholder.
    UrlSecret,
    /// So many digits as telephone numbers have, after a real country code.
    Phone,
    /// A header that decodes to JSON with `alg`.
    Jwt,
    /// Looks like a secret rather than a word, a type or a placeholder.
    Secret,
    /// A key block: the value reaches to its end line.
    KeyBlock,
    /// Base64 of `user:password`.
    Basic,
    /// A date that exists, between 1900 and 2099.
    Date,
    /// US social security number.
    UsSsn,
    /// UK national insurance number.
    UkNino,
    /// German tax number.
    DeTaxId,
    /// French social security number.
    FrNir,
    /// Spanish identity number.
    EsDni,
    /// Italian tax code.
    ItCodiceFiscale,
    /// Dutch citizen service number.
    NlBsn,
}

impl Validator {
    /// Reads the name that a rule file gives.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(bits) = name.strip_prefix("entropy>=") {
            return bits.parse().ok().map(Self::Entropy);
        }
        if let Some(count) = name.strip_prefix("digits>=") {
            return count.parse().ok().map(Self::Digits);
        }
        Some(match name {
            "mail_host" => Self::MailHost,
            "url_secret" => Self::UrlSecret,
            "" | "none" => Self::None,
            "luhn" => Self::Luhn,
            "mod97" => Self::Mod97,
            "phone" => Self::Phone,
            "jwt" => Self::Jwt,
            "secret" => Self::Secret,
            "key_block" => Self::KeyBlock,
            "basic" => Self::Basic,
            "date" => Self::Date,
            "us_ssn" => Self::UsSsn,
            "uk_nino" => Self::UkNino,
            "de_tax_id" => Self::DeTaxId,
            "fr_nir" => Self::FrNir,
            "es_dni" => Self::EsDni,
            "it_codice_fiscale" => Self::ItCodiceFiscale,
            "nl_bsn" => Self::NlBsn,
            _ => return None,
        })
    }

    /// Where the value really starts and ends, or nothing if it is none.
    pub fn accept(self, candidate: &Candidate<'_>) -> Option<(usize, usize)> {
        let value = candidate.value();
        let good = match self {
            Self::None => true,
            Self::Luhn => return card(candidate),
            Self::Mod97 => return iban(candidate),
            Self::KeyBlock => return key_block(candidate),
            Self::Entropy(least) => mixed(value) && entropy(value) >= least,
            Self::Phone => phone(value),
            Self::Jwt => jwt(value),
            Self::Secret => return secret::cut(candidate),
            Self::UrlSecret => !secret::is_placeholder(value),
            Self::MailHost => {
                // The signs that may stand in a name but hardly start one.
                let name = value.trim_start_matches(['\'', '.', '!', '#', '&', '~', '-']);
                let start = candidate.end - name.len();
                let good = !name.starts_with('@') && mail_host(name) && !in_url_login(candidate);
                return good.then_some((start, candidate.end));
            }
            Self::Digits(least) => checksum::digits(value).len() >= least,
            Self::Basic => disguise::decode_base64(value.as_bytes()).is_some_and(|plain| plain.contains(':')),
            Self::Date => date(value),
            Self::UsSsn => checksum::us_ssn(&checksum::digits(value)),
            Self::UkNino => !matches!(value.get(..2), Some("BG" | "GB" | "KN" | "NK" | "NT" | "TN" | "ZZ")),
            Self::DeTaxId => checksum::de_tax_id(&checksum::digits(value)),
            Self::FrNir => checksum::fr_nir(value),
            Self::EsDni => checksum::es_dni(value),
            Self::ItCodiceFiscale => checksum::it_codice_fiscale(value),
            Self::NlBsn => checksum::nl_bsn(&checksum::digits(value)),
        };
        good.then(|| candidate.whole())
    }
}

/// The longest run of whole groups that is a card number: what follows it, a
/// check code or an expiry year, may look like one more group.
fn card(candidate: &Candidate<'_>) -> Option<(usize, usize)> {
    let value = candidate.value().as_bytes();
    let mut digits = [0u8; 20];
    let mut count = 0;
    let mut best = None;
    for (at, byte) in value.iter().enumerate() {
        if !byte.is_ascii_digit() {
            continue;
        }
        *digits.get_mut(count)? = byte - b'0';
        count += 1;
        let group_ends = !value.get(at + 1).is_some_and(u8::is_ascii_digit);
        let number = digits.get(..count).unwrap_or_default();
        if group_ends && count >= 13 && checksum::card_network(number) && checksum::luhn(number) {
            best = Some(at + 1);
        }
    }
    let varied = digits.get(..count)?.iter().any(|d| Some(d) != digits.first());
    best.filter(|_| varied).map(|length| (candidate.start, candidate.start + length))
}

/// Exactly as many characters as the country's accounts have.
fn iban(candidate: &Candidate<'_>) -> Option<(usize, usize)> {
    let value = candidate.value();
    let bytes = value.as_bytes();
    let wanted = checksum::iban_length([*bytes.first()?, *bytes.get(1)?])?;
    let mut compact = [0u8; 34];
    let mut count = 0;
    let mut used = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if byte.is_ascii_alphanumeric() {
            *compact.get_mut(count)? = *byte;
            count += 1;
            used = at + 1;
        }
        if count == wanted {
            break;
        }
    }
    let compact = compact.get(..count)?;
    let after = candidate.text.as_bytes().get(candidate.start + used);
    let cut = after.is_some_and(u8::is_ascii_alphanumeric);
    // In lower case and not in groups of four, it is more likely a piece of a hash.
    let plain = bytes.get(4).is_some_and(u8::is_ascii_alphanumeric);
    let lower = compact.iter().any(u8::is_ascii_lowercase);
    let upper = compact.iter().any(u8::is_ascii_uppercase);
    (count == wanted && !cut && !(lower && (upper || plain)) && checksum::mod97(compact))
        .then(|| (candidate.start, candidate.start + used))
}

/// From the first line to the last of a key block; without a last line, to
/// where the lines stop looking like base64. Looks no further than the next
/// block's first line, so that many beginnings cost no more than one.
fn key_block(candidate: &Candidate<'_>) -> Option<(usize, usize)> {
    let text = candidate.text;
    let limit = text.floor_char_boundary(candidate.end + KEY_BLOCK_MAX);
    let rest = text.get(candidate.end..limit)?;
    let mut stop = rest.len();
    if let Some(dashes) = rest.find("-----") {
        let tail = rest.get(dashes..)?;
        if let Some(after) = tail.strip_prefix("-----END") {
            let label = after.bytes().take(80).take_while(|b| b.is_ascii_alphanumeric() || *b == b' ');
            let label = label.count();
            let dashes_after = after.bytes().skip(label).take(5).take_while(|b| *b == b'-').count();
            let body = rest.get(..dashes)?;
            let length = dashes + 8 + label + dashes_after;
            return (body_length(body) >= KEY_BODY_MIN).then_some((candidate.start, candidate.end + length));
        }
        stop = dashes;
    }
    let body = rest.get(..stop)?;
    let mut length = 0;
    let mut last = 0;
    for line in body.split_inclusive('\n') {
        let inner = line.trim();
        let header = inner.len() < 100
            && inner.split_once(": ").is_some_and(|(k, _)| k.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'));
        if !inner.is_empty() && !header && !inner.bytes().all(key_byte) {
            // A line that starts as base64 and goes on as something else.
            let head = inner.bytes().take_while(|b| key_byte(*b)).count();
            if head >= KEY_BODY_MIN {
                last = length + line.find(inner).unwrap_or(0) + head;
            }
            break;
        }
        if !inner.is_empty() {
            last = length + line.trim_end().len();
        }
        length += line.len();
    }
    (body_length(body.get(..last)?) >= KEY_BODY_MIN).then_some((candidate.start, candidate.end + last))
}

const fn key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b'"' | b',')
}

/// The longest stretch of base64 in a key block's body, `\n` escapes aside.
fn body_length(body: &str) -> usize {
    body.replace("\\r", "")
        .replace("\\n", "\n")
        .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '/' | '='))
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// Whether a value has letters and digits both.
pub fn mixed(value: &str) -> bool {
    value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Shannon entropy in bits a byte.
pub fn entropy(value: &str) -> f32 {
    let mut counts = [0u32; 256];
    for byte in value.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total = value.len() as f32;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = *count as f32 / total;
            -share * share.log2()
        })
        .sum()
}

/// Whether the value starts like a date: `2024-01-31` or `31.01.2024`.
fn is_date_shaped(value: &str) -> bool {
    let mut parts = value.split(['-', '.', '/', ' ']).map(|part| (part.len(), part.parse::<u32>().unwrap_or(0)));
    let three = (parts.next(), parts.next(), parts.next());
    let year = |y: u32| (1900..=2099).contains(&y);
    match three {
        (Some((4, y)), Some((2, m)), Some((2, d))) => year(y) && m <= 12 && d <= 31,
        (Some((2, a)), Some((2, b)), Some((4, y))) => year(y) && a <= 31 && b <= 31,
        _ => false,
    }
}

fn phone(value: &str) -> bool {
    let digits = checksum::digits(value);
    let varied = digits.iter().any(|d| Some(d) != digits.first());
    if is_date_shaped(value) {
        return false;
    }
    if !(7..=15).contains(&digits.len()) || !varied {
        return false;
    }
    let country = if value.starts_with('+') {
        digits.as_slice()
    } else if value.starts_with("00") {
        digits.get(2..).unwrap_or_default()
    } else {
        return true;
    };
    match country {
        [1, area, _, _, exchange, rest @ ..] => *area >= 2 && *exchange >= 2 && rest.len() == 6,
        [2, 8, ..] | [8, 3 | 9, ..] | [0, ..] => false,
        [_, ..] => country.len() >= 8,
        [] => false,
    }
}

/// Whether this is the `password@host` of `scheme://user:password@host`.
fn in_url_login(candidate: &Candidate<'_>) -> bool {
    let from = candidate.text.floor_char_boundary(candidate.start.saturating_sub(80));
    let before = candidate.text.get(from..candidate.start).unwrap_or_default();
    before.rsplit_once("://").is_some_and(|(_, login)| {
        !login.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '"' | '\'' | ','))
    })
}

/// File names such as `logo@2x.png` have the shape of an address.
fn mail_host(value: &str) -> bool {
    const FILES: &[&str] = &[
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "css",
        "js",
        "ts",
        "tsx",
        "jsx",
        "mjs",
        "json",
        "html",
        "htm",
        "xml",
        "yaml",
        "yml",
        "toml",
        "lock",
        "txt",
        "pdf",
        "py",
        "rs",
        "go",
        "java",
        "cpp",
        "tgz",
        "gz",
        "zip",
        "so",
        "dll",
        "exe",
        "service",
        "timer",
        "local-only",
    ];
    let last = value.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    // Version control logs in under one name for everybody.
    let shared = ["git@", "hg@", "svn@"].iter().any(|login| value.starts_with(login));
    !FILES.contains(&last.as_str()) && !value.contains("..") && !shared
}

/// Whether the first segment is a JSON object with an `alg`.
fn jwt(value: &str) -> bool {
    value
        .split('.')
        .next()
        .and_then(|header| disguise::decode_base64(header.as_bytes()))
        .and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok())
        .is_some_and(|header| header.get("alg").is_some())
}

/// Whether the numbers in it are a year of 1900 to 2099 and a day of a month,
/// in any of the usual orders; months may be words.
fn date(value: &str) -> bool {
    let numbers: Vec<u32> = value
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .filter_map(|part| part.parse().ok())
        .collect();
    let year = |y: u32| (1900..=2099).contains(&y) || y < 100;
    let month_day = |a: u32, b: u32| (1..=31).contains(&a) && (1..=31).contains(&b) && (a <= 12 || b <= 12);
    match numbers.as_slice() {
        [y, a, b] if *y > 99 => year(*y) && month_day(*a, *b),
        [a, b, y] => year(*y) && month_day(*a, *b),
        [d, y] if *y > 99 => year(*y) && (1..=31).contains(d),
        _ => false,
    }
}
