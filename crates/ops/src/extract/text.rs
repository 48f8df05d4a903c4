//! The text under construction: normalised as it grows, and never over its cap.
//!
//! Job: one line ending, no control characters, a hard limit on size.
//!
//! Not its job: any format. Readers push what they find and may stop early when
//! [`TextOut::is_full`]; pushing on is harmless.

/// What stands in for a character that text must not hold.
const REPLACEMENT: char = '\u{fffd}';

/// Text under construction.
#[derive(Debug)]
pub(super) struct TextOut {
    text: String,
    bytes_max: usize,
    truncated: bool,
    /// The last character pushed was a carriage return, already written as `\n`.
    after_return: bool,
}

impl TextOut {
    pub(super) fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        TextOut { text: String::new(), bytes_max, truncated: false, after_return: false }
    }

    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.truncated
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The text so far from byte `from` on; empty if that is past the end.
    pub(super) fn since(&self, from: usize) -> &str {
        self.text.get(from..).unwrap_or_default()
    }

    /// Appends `part`, normalised.
    pub(super) fn push(&mut self, part: &str) {
        let mut rest = part;
        while !rest.is_empty() && !self.truncated {
            let clean = rest.bytes().position(is_suspect).unwrap_or(rest.len());
            let (head, tail) = rest.split_at(clean);
            if !head.is_empty() {
                self.after_return = false;
                self.append(head);
            }
            let mut chars = tail.chars();
            match chars.next() {
                Some(found) => self.push_char(found),
                None => return,
            }
            rest = chars.as_str();
        }
    }

    /// Appends one character, normalised.
    pub(super) fn push_char(&mut self, found: char) {
        let was_return = std::mem::replace(&mut self.after_return, found == '\r');
        let clean = match normal(found) {
            '\n' if found == '\n' && was_return => return,
            clean => clean,
        };
        self.append(clean.encode_utf8(&mut [0; 4]));
    }

    /// Ends the current line, if there is anything on it.
    pub(super) fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.push_char('\n');
        }
    }

    /// Takes back the end of the last line, or the tab after a row's last cell.
    pub(super) fn reopen_line(&mut self) {
        if !self.truncated && self.text.ends_with(['\n', '\t']) {
            self.text.pop();
        }
    }

    /// Appends `part` as lines of its own.
    pub(super) fn line(&mut self, part: &str) {
        self.end_line();
        self.push(part);
        self.end_line();
    }

    /// Appends a space, unless the line starts here or has one.
    pub(super) fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n', '\t']) {
            self.push_char(' ');
        }
    }

    fn append(&mut self, clean: &str) {
        if self.truncated {
            return;
        }
        let room = self.bytes_max.saturating_sub(self.text.len());
        if clean.len() <= room {
            self.text.push_str(clean);
            return;
        }
        self.truncated = true;
        let cut = (0..=room).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
        self.text.push_str(clean.get(..cut).unwrap_or_default());
    }

    /// The finished text and whether it was cut. A title that the text does not
    /// contain is put in front, so that whoever judges the text judges it too.
    pub(super) fn finish(mut self, title: Option<&str>) -> (String, bool) {
        if self.text.starts_with('\u{feff}') {
            self.text.remove(0);
        }
        if let Some(title) = title
            && !self.text.contains(title)
        {
            let mut whole = TextOut::new(self.bytes_max as u64);
            whole.line(title);
            whole.append(&self.text);
            whole.truncated |= self.truncated;
            self = whole;
        }
        (self.text, self.truncated)
    }
}

/// Whether a byte may start a character that is replaced: a cheap first look.
fn is_suspect(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || matches!(byte, 0x7f | 0xc2 | 0xe2)
}

/// What stands for `found` in a text.
fn normal(found: char) -> char {
    match found {
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        '\t' => '\t',
        control if control.is_control() => REPLACEMENT,
        other => other,
    }
}

/// Whether `text` is as [`TextOut`] would have written it.
pub(super) fn is_normal(text: &str) -> bool {
    text.chars().all(|found| normal(found) == found)
}

/// `text` in one line: runs of white space become one space. Cut at 1,000
/// characters.
pub(super) fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|found| if found == '\t' { ' ' } else { normal(found) }).collect();
    let mut line = String::new();
    for word in clean.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(1000) {
        Some((cut, _)) => line.get(..cut).unwrap_or_default().to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(parts: &[&str], max: u64) -> (String, bool) {
        let mut out = TextOut::new(max);
        for part in parts {
            out.push(part);
        }
        out.finish(None)
    }

    #[test]
    fn line_ends_and_controls_are_normalised() {
        let (text, cut) = through(&["a\r\nb\rc\r", "\nd\r", "e\u{85}f\u{2028}g\u{c}h\0\u{1b}\u{9b}\u{7f}\ti"], 1000);
        assert_eq!(text, "a\nb\nc\nd\ne\nf\ng\nh\u{fffd}\u{fffd}\u{fffd}\u{fffd}\ti");
        assert!(!cut && is_normal(&text) && !is_normal("a\rb"));
        assert_eq!(through(&["a\r", "b\n\nc", "é–“”\u{feff}"], 99).0, "a\nb\n\ncé–“”\u{feff}");
    }

    #[test]
    fn the_cap_holds_and_cuts_between_characters() {
        assert_eq!(through(&["ab", "cd"], 4), ("abcd".into(), false));
        assert_eq!(through(&["aé", "é"], 4), ("aé".into(), true));
        assert_eq!(through(&["abc", "x"], 0), (String::new(), true));
    }

    #[test]
    fn the_title_is_part_of_the_text() {
        let mut out = TextOut::new(100);
        out.push("body");
        assert_eq!(out.finish(Some("Title")).0, "Title\nbody");
        let mut out = TextOut::new(100);
        out.push("has Title already");
        assert_eq!(out.finish(Some("Title")).0, "has Title already");
    }

    #[test]
    fn titles_fit_one_line() {
        assert_eq!(one_line(" a \n\t b\0 "), "a b\u{fffd}");
        assert_eq!(one_line(&"é".repeat(5000)).chars().count(), 1000);
    }
}
