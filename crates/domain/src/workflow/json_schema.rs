//! The JSON Schema of workflow files, with every operation's inputs, so that editors complete them.

use super::{At, InputType, Offline, Prefer};
use crate::limits;
use crate::ops::OpSpec;
use crate::schema::Type;
use crate::schema::record_schema;
use serde_json::{Map, Value as Json, json};

const EXPRESSION: &str = "#/$defs/expression";
const NAME: &str = "^[a-z][a-z0-9_-]{0,39}$";

/// A JSON Schema (2020-12) of workflow files that may use `ops`.
pub fn json_schema(ops: &[OpSpec]) -> Json {
    let mut by_op: Vec<&OpSpec> = ops.iter().collect();
    by_op.sort_by_key(|op| op.name);
    let op_names: Vec<Json> = by_op.iter().map(|op| json!({ "const": op.name, "description": op.summary })).collect();
    let with: Vec<Json> = by_op
        .iter()
        .map(|op| {
            let mut inputs = record_schema(op.input, &or_expression);
            if let Json::Object(inputs) = &mut inputs {
                inputs.insert("description".to_owned(), json!(op.summary));
            }
            let needs_with = op.input.iter().any(|field| field.required);
            let mut then = Map::new();
            then.insert("properties".to_owned(), json!({ "with": { "anyOf": [inputs, { "$ref": EXPRESSION }] } }));
            if needs_with {
                then.insert("required".to_owned(), json!(["with"]));
            }
            json!({ "if": { "properties": { "op": { "const": op.name } }, "required": ["op"] }, "then": then })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate workflow",
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "steps"],
        "properties": {
            "name": { "type": "string", "description": "The workflow's name." },
            "description": { "type": "string", "description": "What it is for." },
            "inputs": {
                "type": "object",
                "description": "What a request may set with `--set name=value`.",
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/input" },
            },
            "steps": {
                "type": "array",
                "minItems": 1,
                "maxItems": limits::STEPS_MAX,
                "items": { "$ref": "#/$defs/step" },
            },
            "outputs": {
                "type": "object",
                "description": "What the run is for. Without any, it succeeds when all its steps are finished.",
                "propertyNames": { "pattern": NAME },
            },
        },
        "$defs": {
            "expression": { "type": "string", "pattern": "\\$\\{", "description": "Text with a CEL expression: `${step.member}`." },
            "duration": { "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["250ms", "2s", "5m", "1h"] },
            "input": {
                "type": "object",
                "additionalProperties": false,
                "required": ["type"],
                "properties": {
                    "type": { "enum": words(InputType::WORDS) },
                    "default": { "description": "Its value where a request sets none." },
                    "description": { "type": "string" },
                },
            },
            "step": {
                "type": "object",
                "additionalProperties": false,
                "required": ["id", "op"],
                "properties": {
                    "id": { "type": "string", "pattern": NAME, "description": "Its name in expressions." },
                    "op": { "oneOf": op_names },
                    "with": { "description": "The operation's input." },
                    "needs": {
                        "description": "Steps to wait for beyond those that its expressions read.",
                        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
                    },
                    "each": {
                        "description": "Runs once for each element of a list; `item` and `index` are the current one.",
                        "anyOf": [list(), {
                            "type": "object",
                            "additionalProperties": false,
                            "required": ["in"],
                            "properties": {
                                "in": { "anyOf": [list()] },
                                "concurrency": { "type": "integer", "minimum": 1, "maximum": limits::EACH_CONCURRENCY_MAX, "default": limits::EACH_CONCURRENCY_DEFAULT },
                            },
                        }],
                    },
                    "when": { "description": "Runs only if this is true.", "anyOf": [{ "$ref": EXPRESSION }, { "type": "boolean" }] },
                    "place": {
                        "description": "Wishes about where.",
                        "anyOf": [{ "enum": words(At::WORDS) }, {
                            "type": "object",
                            "additionalProperties": false,
                            "properties": {
                                "at": { "enum": words(At::WORDS) },
                                "prefer": { "enum": words(Prefer::WORDS) },
                                "deadline": { "$ref": "#/$defs/duration" },
                                "offline": { "enum": words(Offline::WORDS) },
                            },
                        }],
                    },
                    "retry": {
                        "type": "object",
                        "additionalProperties": false,
                        "properties": {
                            "attempts": { "type": "integer", "minimum": 1, "maximum": limits::ATTEMPTS_MAX },
                            "backoff": { "$ref": "#/$defs/duration" },
                        },
                    },
                    "timeout": { "$ref": "#/$defs/duration", "description": "Limit of one attempt." },
                },
                "allOf": with,
            },
        },
    })
}

fn list() -> Json {
    json!({ "anyOf": [{ "$ref": EXPRESSION }, { "type": "array", "maxItems": limits::ITEMS_MAX }] })
}

fn words<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// What may stand where a value of a type is wanted: such a value, with expressions anywhere in it.
fn or_expression(ty: &Type) -> Json {
    let literal = match ty {
        Type::Any => return json!({}),
        // Text takes an expression as it is.
        Type::Text | Type::Path => return ty.json_schema(),
        Type::List(inner) => json!({ "type": "array", "items": or_expression(inner) }),
        Type::Record(fields) => record_schema(fields, &or_expression),
        Type::Optional(inner) => return json!({ "anyOf": [or_expression(inner), { "type": "null" }] }),
        Type::Bool | Type::Int { .. } | Type::Number | Type::Enum(_) => ty.json_schema(),
    };
    json!({ "anyOf": [literal, { "$ref": EXPRESSION }] })
}
