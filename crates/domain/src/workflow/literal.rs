//! What stands in a workflow file as it is: values, times, and whether they fit a type.

use super::yaml::{At as Spot, What, Yaml};
use super::{At, InputType, Offline, Prefer};
use crate::limits;
use crate::schema::{Type, check};
use crate::value::{Node, Value};

/// The value of a node without expressions; `$${` becomes `${`.
pub(super) fn value(node: &Yaml) -> Option<Value> {
    Some(match &node.what {
        What::Null => Value::NULL,
        What::Bool(truth) => Value::bool(*truth),
        What::Int(number) if number.unsigned_abs() <= limits::SAFE_INTEGER_MAX as u64 => Value::int(*number),
        What::Int(number) => Value::text(number.to_string()),
        What::Float(number) if number.fract() == 0.0 && number.abs() <= limits::SAFE_INTEGER_MAX as f64 => {
            Value::int(*number as i64)
        }
        What::Float(number) if number.is_finite() => Value::new(Node::Float(*number), crate::label::Label::PUBLIC),
        What::Float(_) => return None,
        What::Text(text) => Value::text(text.replace("$${", "${")),
        What::List(items) => Value::list(items.iter().map(value).collect::<Option<Vec<_>>>()?),
        What::Map(members) => {
            let members = members.iter().map(|(key, member)| Some((key.name.clone(), value(member)?)));
            Value::map(members.collect::<Option<Vec<_>>>()?)
        }
    })
}

/// A node that does not have the type it should.
pub(super) struct Misfit {
    pub(super) at: Spot,
    pub(super) path: String,
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) hint: Option<String>,
}

/// Compares what is written with a type. What an expression will give is not known yet, and fits.
pub(super) fn misfits(node: &Yaml, ty: &Type) -> Vec<Misfit> {
    let mut out = Vec::new();
    walk(node, ty, String::new(), &mut out);
    out
}

fn walk(node: &Yaml, ty: &Type, path: String, out: &mut Vec<Misfit>) {
    match (&node.what, ty) {
        (_, Type::Any) | (What::Null, Type::Optional(_)) => {}
        (_, Type::Optional(inner)) => walk(node, inner, path, out),
        (What::Text(text), _) if text.contains("${") => {
            let alone = is_one_expression(text);
            if !alone && !matches!(ty, Type::Text | Type::Path | Type::Enum(_)) {
                out.push(Misfit {
                    at: node.at.clone(),
                    path,
                    expected: ty.describe(),
                    found: "text around an expression".to_owned(),
                    hint: Some("an expression keeps its type only if nothing stands around its `${…}`".to_owned()),
                });
            }
        }
        (What::List(items), Type::List(inner)) => {
            for (n, item) in items.iter().enumerate() {
                walk(item, inner, format!("{path}[{n}]"), out);
            }
        }
        (What::Map(members), Type::Record(fields)) => {
            for (key, member) in members {
                match fields.iter().find(|field| field.name == key.name) {
                    Some(field) => walk(member, &field.ty, join(&path, &key.name), out),
                    None => {
                        let close = crate::expr::closest(&key.name, fields.iter().map(|field| field.name));
                        out.push(Misfit {
                            at: key.at.clone(),
                            path: path.clone(),
                            expected: ty.describe(),
                            found: format!("`{}`", key.name),
                            hint: close.map(|close| format!("did you mean `{close}`?")),
                        });
                    }
                }
            }
            for field in
                fields.iter().filter(|field| field.required && !members.iter().any(|(key, _)| key.name == field.name))
            {
                out.push(Misfit {
                    at: node.at.clone(),
                    path: join(&path, field.name),
                    expected: field.ty.describe(),
                    found: "left out".to_owned(),
                    hint: None,
                });
            }
        }
        _ => {
            let Some(written) = value(node) else {
                let found = "infinite or not a number".to_owned();
                out.push(Misfit { at: node.at.clone(), path, expected: ty.describe(), found, hint: None });
                return;
            };
            if let Some(mismatch) = check(ty, &written).into_iter().next() {
                let quotes = matches!(
                    (&node.what, ty),
                    (What::Int(_) | What::Float(_) | What::Bool(_), Type::Text | Type::Path)
                );
                let hint = match (&node.what, ty) {
                    (What::Text(text), Type::Enum(words)) => crate::expr::closest(text, words.iter().copied())
                        .map(|close| format!("did you mean `{close}`?")),
                    _ => quotes.then(|| "put quotes around it".to_owned()),
                };
                let found = shown(node).unwrap_or(mismatch.found);
                out.push(Misfit { at: node.at.clone(), path, expected: mismatch.expected, found, hint });
            }
        }
    }
}

/// What the file says, where that is short enough to repeat.
fn shown(node: &Yaml) -> Option<String> {
    match &node.what {
        What::Int(number) => Some(format!("`{number}`")),
        What::Float(number) => Some(format!("`{number}`")),
        What::Bool(truth) => Some(format!("`{truth}`")),
        What::Text(text) if text.len() <= 40 && !text.contains('\n') => Some(format!("`{text}`")),
        _ => None,
    }
}

fn is_one_expression(text: &str) -> bool {
    text.starts_with("${") && crate::expr::Expr::end_in(text, 2).is_ok_and(|end| end + 1 == text.len())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A time is at most this long.
const DURATION_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

/// `250ms`, `2s`, `5m`, `1h`
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|ms| *ms <= DURATION_MS_MAX)
}

impl InputType {
    pub(super) const WORDS: &[(&'static str, InputType)] = &[
        ("text", InputType::Text),
        ("path", InputType::Path),
        ("int", InputType::Int),
        ("number", InputType::Number),
        ("bool", InputType::Bool),
        ("json", InputType::Json),
    ];

    /// The name used in files.
    pub fn as_str(self) -> &'static str {
        InputType::WORDS.iter().find(|(_, ty)| *ty == self).map_or("json", |(word, _)| word)
    }

    /// The type of its values.
    pub fn value_type(self) -> Type {
        match self {
            InputType::Text => Type::Text,
            InputType::Path => Type::Path,
            InputType::Int => Type::Int { min: -limits::SAFE_INTEGER_MAX, max: limits::SAFE_INTEGER_MAX },
            InputType::Number => Type::Number,
            InputType::Bool => Type::Bool,
            InputType::Json => Type::Any,
        }
    }
}

impl At {
    pub(super) const WORDS: &[(&'static str, At)] = &[("local", At::Local), ("remote", At::Remote), ("auto", At::Auto)];
}

impl Prefer {
    pub(super) const WORDS: &[(&'static str, Prefer)] =
        &[("fastest", Prefer::Fastest), ("cheapest", Prefer::Cheapest), ("private", Prefer::Private)];
}

impl Offline {
    pub(super) const WORDS: &[(&'static str, Offline)] =
        &[("run", Offline::Run), ("wait", Offline::Wait), ("fail", Offline::Fail)];
}
