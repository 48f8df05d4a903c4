//! Types as JSON Schema (2020-12), for editors and for other programs.

use super::{Field, Type};
use serde_json::{Map, Value as Json, json};

impl Type {
    /// The JSON Schema of values of this type.
    pub fn json_schema(&self) -> Json {
        match self {
            Type::Any => json!({}),
            Type::Bool => json!({ "type": "boolean" }),
            Type::Int { min, max } => {
                let mut schema = Map::new();
                schema.insert("type".to_owned(), json!("integer"));
                if *min != i64::MIN {
                    schema.insert("minimum".to_owned(), json!(min));
                }
                if *max != i64::MAX {
                    schema.insert("maximum".to_owned(), json!(max));
                }
                Json::Object(schema)
            }
            Type::Number => json!({ "type": "number" }),
            Type::Text => json!({ "type": "string" }),
            Type::Path => json!({ "type": "string", "format": "path" }),
            Type::Enum(words) => json!({ "type": "string", "enum": words }),
            Type::List(inner) => json!({ "type": "array", "items": inner.json_schema() }),
            Type::Record(fields) => record(fields, &Type::json_schema),
            Type::Optional(inner) => json!({ "anyOf": [inner.json_schema(), { "type": "null" }] }),
        }
    }
}

/// The schema of a map with these members, each member's schema made by `of`.
pub(crate) fn record(fields: &[Field], of: &dyn Fn(&Type) -> Json) -> Json {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = of(&field.ty);
        if let Json::Object(schema) = &mut schema {
            schema.insert("description".to_owned(), json!(field.doc));
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
