//! Finding the expressions in a file's texts, and the place of each in the file.

use super::check::{Use, Where};
use super::literal;
use super::mistake::Mistake;
use super::read::Reader;
use super::template::{Parsed, parse_text};
use super::yaml::{self, At as Spot, What, Yaml};
use super::{Part, Template};
use crate::expr::Expr;
use crate::value::Value;

impl Reader<'_> {
    /// A value with expressions in it. The expressions are noted, to be followed later.
    pub(super) fn template(&mut self, node: &Yaml, role: Where) -> Template {
        match &node.what {
            What::Text(text) => self.text_template(node, text, role),
            What::List(items) if has_expression(node) => Template::List(items.iter().map(|item| self.template(item, role)).collect()),
            What::Map(members) if has_expression(node) => {
                Template::Map(members.iter().map(|(key, member)| (key.name.clone(), self.template(member, role))).collect())
            }
            _ => Template::Literal(literal::value(node).unwrap_or(Value::NULL)),
        }
    }

    fn text_template(&mut self, node: &Yaml, text: &str, role: Where) -> Template {
        let parsed = match parse_text(text) {
            Ok(parsed) => parsed,
            Err(bad) => {
                for bad in bad {
                    let at = self.inside(node, text, bad.offset);
                    let mistake = Mistake::new("E1014", &at, bad.error.message);
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
            let offset = text[from..].find(expr.source()).map_or(from, |found| from + found);
            from = offset + expr.source().len();
            let at = reader.inside(node, text, offset);
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

    /// The place in the file of a byte of a text. Where quoting or folding changed the text it is
    /// the line's, and at worst the place where the text starts.
    fn inside(&self, node: &Yaml, text: &str, offset: usize) -> Spot {
        let Some(raw) = node.at.span.clone().and_then(|span| Some((span.start, self.source.get(span)?))) else { return node.at.clone() };
        let (start, raw) = raw;
        let (line_start, line) = match text[..offset.min(text.len())].rfind('\n') {
            Some(at) => (at + 1, text[at + 1..].lines().next().unwrap_or_default()),
            None => (0, text.lines().next().unwrap_or_default()),
        };
        match raw.find(line) {
            Some(found) if !line.is_empty() => {
                let at = start + found + (offset - line_start).min(line.len());
                yaml::place_of(self.source, at, start + raw.len())
            }
            _ => node.at.clone(),
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
