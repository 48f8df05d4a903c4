//! From an expression's characters to its tokens.
//!
//! CEL's lexical grammar without what has no place here: bytes, escaped names, unsigned numbers.
//! The same scan finds the `}` that ends an expression inside of a longer text.
//!
//! Not its job: whether the tokens form an expression.

use super::ExprError;

/// A piece of an expression, and the byte it starts at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Name(String),
    Int(u64),
    Double(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// Longest first: the first that fits is the sign.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ".", ",", "-", "+", "*", "/", "%", "?", ":", "!",
    "<", ">",
];

/// All tokens of an expression, an [`Kind::End`] behind them.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, ExprError> {
    let mut scanner = Scanner { text: source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = scanner.next()?;
        let ended = token.kind == Kind::End;
        tokens.push(token);
        if ended {
            return Ok(tokens);
        }
    }
}

/// Where the `}` stands that ends the expression starting at `from`. Braces inside of texts and
/// map literals do not end it.
pub(super) fn closing_brace(text: &str, from: usize) -> Result<usize, ExprError> {
    let mut scanner = Scanner { text, at: from };
    let mut open = 0usize;
    loop {
        let token = scanner.next()?;
        match token.kind {
            Kind::Sign("{") => open += 1,
            Kind::Sign("}") if open == 0 => return Ok(token.at),
            Kind::Sign("}") => open -= 1,
            Kind::End => return Err(ExprError::new("`${` has no closing `}`", from)),
            _ => {}
        }
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The bytes from here on that `good` likes.
    fn run(&mut self, good: impl Fn(u8) -> bool) -> &str {
        let start = self.at;
        while self.at < self.text.len() && good(self.peek(0)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn next(&mut self) -> Result<Token, ExprError> {
        loop {
            self.run(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
            if self.peek(0) == b'/' && self.peek(1) == b'/' {
                self.run(|b| b != b'\n');
            } else {
                break;
            }
        }
        let at = self.at;
        let kind = match self.peek(0) {
            _ if at >= self.text.len() => Kind::End,
            b'0'..=b'9' => self.number()?,
            b'.' if self.peek(1).is_ascii_digit() => self.number()?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word = self.run(|b| b.is_ascii_alphanumeric() || b == b'_').to_owned();
                match (self.peek(0), word.as_str()) {
                    (b'\'' | b'"', "r" | "R") => self.text_literal(true)?,
                    (b'\'' | b'"', _) => {
                        return Err(ExprError::new(format!("`{word}` in front of a text means nothing here"), at));
                    }
                    _ => Kind::Name(word),
                }
            }
            b'\'' | b'"' => self.text_literal(false)?,
            _ => self.sign()?,
        };
        Ok(Token { kind, at })
    }

    fn sign(&mut self) -> Result<Kind, ExprError> {
        let rest = &self.text[self.at..];
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Kind::Sign(sign));
        }
        let message = match rest.chars().next().unwrap_or('?') {
            '=' => "`=` alone means nothing here: write `==` to compare".to_owned(),
            sign @ ('&' | '|') => format!("`{sign}` alone means nothing here: write `{sign}{sign}`"),
            sign => format!("unexpected character `{}`", sign.escape_debug()),
        };
        Err(ExprError::new(message, self.at))
    }

    fn number(&mut self) -> Result<Kind, ExprError> {
        let at = self.at;
        let malformed = || ExprError::new("not a number", at);
        let kind = if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') {
            self.at += 2;
            Kind::Int(u64::from_str_radix(self.run(|b| b.is_ascii_hexdigit()), 16).map_err(|_| malformed())?)
        } else {
            self.run(|b| b.is_ascii_digit());
            let mut whole = true;
            if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
                whole = false;
                self.at += 1;
                self.run(|b| b.is_ascii_digit());
            }
            if matches!(self.peek(0), b'e' | b'E') {
                whole = false;
                self.at += if matches!(self.peek(1), b'+' | b'-') { 2 } else { 1 };
                self.run(|b| b.is_ascii_digit());
            }
            let digits = &self.text[at..self.at];
            if whole {
                Kind::Int(digits.parse().map_err(|_| ExprError::new("a number larger than 64 bits", at))?)
            } else {
                let number: f64 = digits.parse().map_err(|_| malformed())?;
                if !number.is_finite() {
                    return Err(malformed());
                }
                Kind::Double(number)
            }
        };
        if self.peek(0).is_ascii_alphanumeric() || self.peek(0) == b'_' {
            return Err(malformed());
        }
        Ok(kind)
    }

    fn text_literal(&mut self, raw: bool) -> Result<Kind, ExprError> {
        let start = self.at;
        let quote = self.peek(0);
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut out = String::new();
        loop {
            let Some(next) = self.text[self.at..].chars().next() else {
                return Err(ExprError::new("a text is not closed", start));
            };
            let closes = self.peek(0) == quote && (!triple || (self.peek(1) == quote && self.peek(2) == quote));
            match next {
                _ if closes => {
                    self.at += width;
                    return Ok(Kind::Text(out));
                }
                '\n' | '\r' if !triple => return Err(ExprError::new("a text is not closed", start)),
                '\\' if !raw => out.push(self.escape()?),
                other => {
                    out.push(other);
                    self.at += other.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, ExprError> {
        let at = self.at;
        let (skip, digits, base, plain) = match self.peek(1) {
            b'a' => (2, 0, 0, '\x07'),
            b'b' => (2, 0, 0, '\x08'),
            b'f' => (2, 0, 0, '\x0c'),
            b'n' => (2, 0, 0, '\n'),
            b'r' => (2, 0, 0, '\r'),
            b't' => (2, 0, 0, '\t'),
            b'v' => (2, 0, 0, '\x0b'),
            sign @ (b'"' | b'\'' | b'\\' | b'?' | b'`') => (2, 0, 0, char::from(sign)),
            b'x' | b'X' => (2, 2, 16, ' '),
            b'u' => (2, 4, 16, ' '),
            b'U' => (2, 8, 16, ' '),
            b'0'..=b'3' => (1, 3, 8, ' '),
            _ => {
                return Err(ExprError::new("unknown escape in a text", at)
                    .with_hint("write `\\\\` for a backslash, or put an `r` in front of the text"));
            }
        };
        self.at += skip + digits;
        if digits == 0 {
            return Ok(plain);
        }
        self.text
            .get(at + skip..at + skip + digits)
            .and_then(|digits| u32::from_str_radix(digits, base).ok())
            .and_then(char::from_u32)
            .ok_or_else(|| ExprError::new("an escape in a text names no character", at))
    }
}
