//! What a request sets, read by the types that the workflow declares.

use super::mistake::{Mistake, quoted};
use super::yaml::At as Spot;
use super::{InputType, Workflow};
use crate::label::Label;
use crate::limits;
use crate::value::{Node, Value};
use std::collections::BTreeMap;

impl Workflow {
    /// The values of all inputs, from `name=text` pairs and the defaults. A path stays as it is
    /// written; whoever submits makes it absolute. Values are public: what is sensitive is what a
    /// path leads to.
    pub fn bind_inputs(&self, set: &BTreeMap<String, String>) -> Result<BTreeMap<String, Value>, Vec<Mistake>> {
        let nowhere = Spot::default();
        let mut values = BTreeMap::new();
        let mut mistakes = Vec::new();
        for name in set.keys().filter(|name| !self.inputs.contains_key(*name)) {
            let names = || self.inputs.keys().map(String::as_str);
            let all = if self.inputs.is_empty() {
                "the workflow has no inputs".to_owned()
            } else {
                format!("there are {}", quoted(names()))
            };
            mistakes.push(Mistake::new("E1021", &nowhere, format!("there is no input `{name}`")).nearest(
                name,
                names(),
                all,
            ));
        }
        for (name, input) in &self.inputs {
            let value = match (set.get(name), &input.default) {
                (Some(text), _) => parse(input.ty, text).map_err(|what| {
                    let mistake = Mistake::new("E1023", &nowhere, format!("the input `{name}` should be {what}"));
                    if input.doc.is_empty() { mistake } else { mistake.hint(input.doc.clone()) }
                }),
                (None, Some(default)) => Ok(default.clone()),
                (None, None) => {
                    let mistake = Mistake::new("E1022", &nowhere, format!("the input `{name}` has no value"));
                    Err(mistake.hint(format!("give it one with `--set {name}=…` ({})", input.ty.as_str())))
                }
            };
            match value {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
    }
}

/// The value of a text under a type, or what it should be.
fn parse(ty: InputType, text: &str) -> Result<Value, &'static str> {
    match ty {
        InputType::Text => Ok(Value::text(text)),
        InputType::Path if text.is_empty() || text.contains('\0') => Err("a path"),
        InputType::Path => Ok(Value::text(text)),
        InputType::Int => match text.trim().parse::<i64>() {
            Ok(number) if number.unsigned_abs() <= limits::SAFE_INTEGER_MAX as u64 => Ok(Value::int(number)),
            _ => Err("an integer of at most 53 bits"),
        },
        InputType::Number => match text.trim().parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && number.abs() <= limits::SAFE_INTEGER_MAX as f64 => {
                Ok(Value::int(number as i64))
            }
            Ok(number) if number.is_finite() => Ok(Value::new(Node::Float(number), Label::PUBLIC)),
            _ => Err("a number"),
        },
        InputType::Bool => match text.trim() {
            "true" => Ok(Value::bool(true)),
            "false" => Ok(Value::bool(false)),
            _ => Err("`true` or `false`"),
        },
        InputType::Json => {
            serde_json::from_str(text).ok().and_then(|tree| Value::from_tree(tree, &Label::PUBLIC).ok()).ok_or("JSON")
        }
    }
}
