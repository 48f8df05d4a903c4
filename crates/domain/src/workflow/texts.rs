//! Finding the expressions in a file's texts, and the place of each in the file.

use super::check::{Use, Where};
use super::literal;
use super::mistake::Mistake;
use super::read::Reader;
use super::template::{Parsed, parse_text};
use super::yaml::{At as Spot, Walk, What, Yaml};
use super::{Part, Template};
use crate::expr::Expr;
use crate::value::Value;

/// Expressions in one file.
const EXPRESSIONS_MAX: usize = 4_096;

impl Reader<'_> {
    /// A value with expressions in it. The expressions are noted, to be followed later.
    pub(super) fn template(&mut self, node: &Yaml, role: Where) -> Template {
        match &node.what {
            What::Text(text) => self.text_template(node, text, role),
            What::List(items) if has_expression(node) => {
                Template::List(items.iter().map(|item| self.template(item, role)).collect())
            }
            What::Map(members) if has_expression(node) => Template::Map(
                members.iter().map(|(key, member)| (key.name.clone(), self.template(member, role))).collect(),
            ),
            _ => Template::Literal(literal::value(node).unwrap_or(Value::NULL)),
        }
    }

    fn text_template(&mut self, node: &Yaml, text: &str, role: Where) -> Template {
        let mut places = Places::new(self.source, node, text);
        let parsed = match parse_text(text) {
            Ok(parsed) => parsed,
            Err(bad) => {
                for bad in bad {
                    let mistake = Mistake::new("E1014", &places.of(bad.offset), bad.error.message);
                    self.wrong(match bad.error.hint {
                        Some(hint) => mistake.hint(hint),
                        None => mistake,
                    });
                }
                return Template::Literal(Value::NULL);
            }
        };
        let mut from = 0;
        let mut note = |reader: &mut Self, expr: &Expr| {
            if reader.uses.len() == EXPRESSIONS_MAX {
                let message = format!("more than {EXPRESSIONS_MAX} expressions");
                reader.wrong(Mistake::new("E1012", &node.at, message).hint("use `each` for what is done many times"));
                return;
            }
            let offset = text[from..].find(expr.source()).map_or(from, |found| from + found);
            from = offset + expr.source().len();
            let at = places.of(offset);
            reader.uses.push(Use { expr: expr.clone(), at, role });
        };
        match parsed {
            Parsed::Literal(text) => Template::Literal(Value::text(text)),
            Parsed::Expr(expr) => {
                note(self, &expr);
                Template::Expr(expr)
            }
            Parsed::Text(parts) => {
                for part in &parts {
                    if let Part::Expr(expr) = part {
                        note(self, expr);
                    }
                }
                Template::Text(parts)
            }
        }
    }
}

/// From the bytes of a text to places in the file, further and further on. Quoting, folding and
/// indenting change a text; it is looked for line by line, and where a line cannot be found the
/// place is the one where the text starts.
struct Places<'a> {
    walk: Walk<'a>,
    start: Spot,
    raw: &'a str,
    raw_from: usize,
    text: &'a str,
    /// The line that was looked for last: where it starts in the text, and in the file.
    line: Option<(usize, Option<usize>)>,
}

impl<'a> Places<'a> {
    fn new(source: &'a str, node: &Yaml, text: &'a str) -> Self {
        let span = node.at.span.clone().unwrap_or(0..0);
        let raw = source.get(span.clone()).unwrap_or_default();
        Self { walk: Walk::new(source, &node.at), start: node.at.clone(), raw, raw_from: span.start, text, line: None }
    }

    fn of(&mut self, offset: usize) -> Spot {
        let offset = offset.min(self.text.len());
        let line_from = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let found = match self.line {
            Some((from, found)) if from == line_from => found,
            _ => {
                let line = self.text[line_from..].lines().next().unwrap_or_default();
                let found = if line.is_empty() { None } else { self.raw.find(line) };
                self.line = Some((line_from, found));
                found
            }
        };
        match found {
            Some(found) => self.walk.to(self.raw_from + found + offset - line_from, self.raw_from + self.raw.len()),
            None => self.start.clone(),
        }
    }
}

pub(super) fn has_expression(node: &Yaml) -> bool {
    match &node.what {
        What::Text(text) => text.contains("${"),
        What::List(items) => items.iter().any(has_expression),
        What::Map(members) => members.iter().any(|(_, member)| has_expression(member)),
        _ => false,
    }
}
