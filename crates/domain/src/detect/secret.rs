//! Telling a secret from a word after `password:`.
//!
//! Job: look at the value, the separator, the quotes and the end of the line,
//! and say whether somebody wrote a secret down there.
//!
//! Not its job: finding the keyword and cutting the value (rules of
//! `rules/secrets.toml`).
//!
//! Why: `password: String`, `password = getPassword()` and `password is
//! required` are everywhere in code and prose, `password: changeme` is a leak.
//! No pattern tells them apart; a few questions in order do.

use super::redact;
use super::validate::{Candidate, entropy, mixed};

/// The least characters of a value that was written without quotes.
const BARE_MIN: usize = 4;
/// The longest value that is read, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// Words that stand for a value, a type or a state and are none themselves.
const NOT_VALUES: &[&str] = &[
    "any",
    "array",
    "bool",
    "boolean",
    "bytes",
    "char",
    "const",
    "default",
    "denied",
    "disabled",
    "empty",
    "enabled",
    "env",
    "expired",
    "false",
    "field",
    "file",
    "hashed",
    "hidden",
    "input",
    "incorrect",
    "int",
    "integer",
    "invalid",
    "key",
    "length",
    "masked",
    "missing",
    "mustmatch",
    "needed",
    "never",
    "new",
    "nil",
    "no",
    "none",
    "null",
    "number",
    "object",
    "off",
    "ok",
    "on",
    "optional",
    "placeholder",
    "prompt",
    "redacted",
    "removed",
    "required",
    "reset",
    "secretkeyref",
    "secretstr",
    "self",
    "str",
    "string",
    "text",
    "this",
    "todo",
    "token",
    "true",
    "undefined",
    "unknown",
    "unset",
    "user",
    "username",
    "value",
    "varchar",
    "void",
    "wrong",
    "xxx",
    "yes",
    "your",
    "yourpassword",
    "yoursecret",
    "str|none",
    "secret",
    "password",
];

/// Parts of a phrase that talks about a password instead of giving one.
const LABEL_PARTS: &[&str] = &[
    "password",
    "passwort",
    "passphrase",
    "contrase",
    "mot de passe",
    "enter",
    "your",
    "must",
    "please",
    "require",
    "invalid",
    "forgot",
    "reset",
    "change ",
    "confirm",
    "incorrect",
    "wrong",
    "expired",
    "minimum",
    "characters",
    "bitte",
    "saisir",
    "optional",
    "example",
];

/// Words that people do use as passwords though they are only letters.
const WEAK: &[&str] = &[
    "admin",
    "changeme",
    "changeit",
    "hunter",
    "iloveyou",
    "letmein",
    "monkey",
    "qwerty",
    "qwertz",
    "sunshine",
    "swordfish",
    "trustno",
    "welcome",
    "geheim",
    "azerty",
    "dragon",
    "rosebud",
    "toor",
    "supersecret",
    "topsecret",
    "sesame",
    "opensesame",
];

/// What a match of a rule on secrets is made of. Such a pattern ends with the
/// first character of the value; the rest is told apart here, which is much
/// cheaper than capture groups.
struct Parts<'a> {
    key: &'a str,
    sep: &'a str,
    quote: &'a str,
    /// Where the value starts.
    start: usize,
}

fn parts<'a>(candidate: &Candidate<'a>) -> Parts<'a> {
    let matched = candidate.value();
    let last = matched.chars().next_back().map_or(0, char::len_utf8);
    let head = matched.get(..matched.len() - last).unwrap_or_default();
    let quotes = ["\\\"", "\"", "'", "`", ">"];
    let ends = quotes.iter().find(|quote| head.ends_with(**quote) && !head.ends_with("=>"));
    let quote_at = head.len() - ends.map_or(0, |quote| quote.len());
    let before = head.get(..quote_at).unwrap_or_default();
    let sep_at = before.trim_end_matches([' ', '\t', ':', '=', '>', '(']).len();
    let key = head.trim_start_matches('-');
    let key_end = key.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-'));
    Parts {
        key: key.get(..key_end.unwrap_or(key.len())).unwrap_or_default(),
        sep: before.get(sep_at..).unwrap_or_default(),
        quote: head.get(quote_at..).unwrap_or_default(),
        start: candidate.start + head.len(),
    }
}

/// Where a value ends whose first character the pattern found: at the closing
/// quote or tag, or, without quotes, at a space or a sign that cannot belong.
pub fn extent(candidate: &Candidate<'_>) -> usize {
    extent_of(candidate.text, &parts(candidate))
}

fn extent_of(text: &str, parts: &Parts<'_>) -> usize {
    let rest = text.get(parts.start..).unwrap_or_default();
    let quote = parts.quote.as_bytes().first().copied();
    let mut escaped = false;
    let mut length = 0;
    for byte in rest.bytes().take(VALUE_BYTES_MAX) {
        let stop = match quote {
            None => byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b';'),
            Some(b'>') => byte == b'<',
            Some(b'\\') => byte == b'\\',
            Some(quote) => byte == quote && !escaped,
        };
        if stop || byte == b'\n' {
            break;
        }
        escaped = byte == b'\\' && !escaped;
        length += 1;
    }
    text.ceil_char_boundary(parts.start + length)
}

/// Where the secret of a candidate starts and ends, if it is one. What follows
/// it without a space, such as the next part of a query, is left out.
pub fn cut(candidate: &Candidate<'_>) -> Option<(usize, usize)> {
    let parts = parts(candidate);
    let mut end = extent_of(candidate.text, &parts);
    let value = candidate.text.get(parts.start..end)?;
    let rest = candidate.text.get(end..)?;
    let closed = match parts.quote {
        "" => true,
        ">" => rest.starts_with("</"),
        quote => rest.starts_with(quote),
    };
    if !closed || value.is_empty() {
        return None;
    }
    if parts.quote.is_empty() {
        let next_part = value.match_indices(['&', ',']).find(|(at, _)| {
            let after = value.as_bytes().get(at + 1..).unwrap_or_default();
            let name = after.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_');
            let name = name.count();
            name > 0 && matches!(after.get(name), Some(b'=' | b':'))
        });
        let kept = value.get(..next_part.map_or(value.len(), |(at, _)| at))?;
        let kept = match kept.contains('(') {
            true => kept.trim_end_matches(['.', ',', ':']),
            false => kept.trim_end_matches(['.', ',', ':', ')', ']', '}']),
        };
        end = parts.start + kept.len();
    }
    is_secret(candidate, &parts, end).then_some((parts.start, end))
}

/// Whether the value from `parts.start` to `end` is a secret that somebody wrote
/// down.
fn is_secret(candidate: &Candidate<'_>, parts: &Parts<'_>, end: usize) -> bool {
    let value = candidate.text.get(parts.start..end).unwrap_or_default();
    let quoted = !parts.quote.is_empty();
    let sep = parts.sep;
    if !quoted && value.len() < BARE_MIN || same_letters(value, parts.key) {
        return false;
    }
    if is_placeholder(value) {
        return false;
    }
    let lower = value.to_lowercase();
    if NOT_VALUES.contains(&lower.trim_end_matches(['?', '!', '.', ';', ')'])) {
        return false;
    }
    if quoted {
        if value.contains(' ') {
            return value.chars().count() >= 8 && !LABEL_PARTS.iter().any(|p| lower.contains(p));
        }
        let label = !mixed(value) && LABEL_PARTS.iter().any(|p| lower.contains(p));
        let path = value.contains("::") || (value.starts_with('/') && value.len() > 1 && !mixed(value));
        return value.chars().count() >= BARE_MIN && !label && !path && !is_key_path(value);
    }
    if value.chars().count() < BARE_MIN || is_expression(value) {
        return false;
    }
    if WEAK.iter().any(|weak| lower.starts_with(weak)) {
        return true;
    }
    let spoken = !sep.contains([':', '=', '>', '<']);
    let has_digit = value.bytes().any(|b| b.is_ascii_digit());
    let has_sign = value
        .trim_end_matches(['.', ',', '!', '?', ';', ')'])
        .bytes()
        .any(|b| b.is_ascii_punctuation() && !matches!(b, b'_' | b'-' | b'.' | b'\'' | b'/' | b':'));
    if spoken {
        return has_digit && value.bytes().any(|b| b.is_ascii_alphabetic()) || has_sign && value.len() >= 6;
    }
    if has_digit {
        // `password1` for `password = password1` is an identifier; so is `pw2`.
        let digits_only = value.bytes().all(|b| b.is_ascii_digit());
        return !digits_only || value.len() >= BARE_MIN && !sep.contains(' ') || sep.trim() != sep && value.len() >= 6;
    }
    if has_sign {
        return !value.contains(['[', '{', '|']) && value.len() >= 6;
    }
    if value.starts_with('/') || value.starts_with('.') || value.contains("::") {
        return false;
    }
    // Only letters: an .env or YAML line, where nothing else follows.
    let rest = candidate.text.get(end..).unwrap_or_default();
    let line_ends = rest.is_empty() || rest.starts_with('\n') || rest.starts_with('\r');
    let tight = sep.trim() == sep && sep.starts_with('=');
    let yaml = sep.starts_with(':') && sep.len() == 2;
    line_ends
        && (tight || yaml)
        && !value.contains(['_', '.'])
        && (value.chars().count() >= 6)
        && (entropy(value) >= 2.0)
        && starts_line(candidate)
}

/// Whether only a key stands before the value on its line.
fn starts_line(candidate: &Candidate<'_>) -> bool {
    let before = candidate.text.get(..candidate.start).unwrap_or_default();
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let bytes = before.as_bytes();
    let mut rest = bytes.iter().rev().take(64).skip_while(|b| word(b));
    rest.by_ref().find(|b| !matches!(b, b' ' | b'\t' | b'-')).is_none_or(|b| *b == b'\n')
}

/// Stars, brackets, variables and our own placeholders.
pub fn is_placeholder(value: &str) -> bool {
    let Some(first) = value.chars().next() else {
        return true;
    };
    let same = value.chars().all(|c| c == first);
    let telling = |b: u8| {
        matches!(b, b'*' | b'x' | b'X' | b'.' | b'-' | b'<' | b'$' | b'%' | b'&' | b'`' | b'{' | b'[') || b >= 0x80
    };
    if same || !value.bytes().any(telling) {
        return same;
    }
    let starred = value.bytes().filter(|b| matches!(b, b'*' | b'x' | b'X' | b'.' | b'-')).count();
    starred * 4 >= value.len() * 3
        || value.contains("***")
        || value.contains("•")
        || matches!(first, '<' | '$' | '%' | '&' | '`') && value.len() > 1 && is_reference(value)
        || value.contains("${")
        || value.contains("{{")
        || value.contains("$(")
        || value.starts_with('{')
        || value.starts_with("...")
        || redact::contains_placeholder(value)
}

/// `<name>`, `$NAME`, `%NAME%`, `%s`, `&str`, a word in backticks.
fn is_reference(value: &str) -> bool {
    let inner = value.trim_start_matches(['<', '$', '%', '&', '`']).trim_end_matches(['>', '%', '`']);
    let name = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b' ' | b'\'' | b':' | b'.' | b'(' | b')');
    inner.bytes().all(name) || value.starts_with('<') && value.ends_with('>')
}

/// `config.password`-like keys of a catalogue of messages.
fn is_key_path(value: &str) -> bool {
    value.contains('.')
        && !mixed(value)
        && value.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'.' | b'_' | b'-'))
}

/// Calls, paths, indexes and annotations of source code.
fn is_expression(value: &str) -> bool {
    let head = value
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'&' | b'!' | b'?' | b'-'));
    let head = head.count();
    let next = value.as_bytes().get(head);
    let opens = head > 0 && matches!(next, Some(b'(' | b'[' | b'<' | b'{' | b'|'));
    let known = [
        "os.",
        "env.",
        "process.",
        "config.",
        "self.",
        "this.",
        "settings.",
        "std::",
        "args.",
        "req.",
        "request.",
        "ctx.",
        "opts.",
        "options.",
        "params.",
        "props.",
        "secrets.",
        "var.",
        "local.",
        "data.",
        "state.",
        "form.",
        "user.",
        "body.",
        "values.",
        "credentials.",
    ];
    opens
        || value.contains("::")
        || value.starts_with('/') && value.matches('/').count() > 1
        || value.contains("->")
        || value.contains("()")
        || value.starts_with(['(', '[', '|', ')', ']'])
        || known.iter().any(|k| value.starts_with(k))
}

fn same_letters(value: &str, key: &str) -> bool {
    fn plain(text: &str) -> impl Iterator<Item = char> + '_ {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase)
    }
    !key.is_empty() && plain(value).eq(plain(key))
}
