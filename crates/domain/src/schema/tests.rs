//! Checking values against types, and the types' JSON Schema.

use super::*;
use crate::label::Label;
use crate::value::{BlobId, BlobKind, BlobRef, Node, Value};

const FILE: Type = Type::Record(&[
    Field::required("path", Type::Path, "where"),
    Field::optional("size", Type::Int { min: 0, max: i64::MAX }, "how large"),
    Field::optional("kind", Type::Enum(&["text", "pdf"]), "what"),
    Field::optional("note", Type::Optional(&Type::Text), "why"),
]);

#[track_caller]
fn mismatches(ty: Type, json: &str, expected: &[&str]) {
    let value = Value::from_json(json.as_bytes(), &Label::PUBLIC).unwrap();
    let found: Vec<String> = check(&ty, &value).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{json}");
}

#[test]
fn values_that_fit_have_no_mismatch() {
    mismatches(Type::Any, r#"{"anything": [1]}"#, &[]);
    mismatches(FILE, r#"{"path": "a"}"#, &[]);
    mismatches(FILE, r#"{"path": "a", "size": 3, "kind": "pdf", "note": null}"#, &[]);
    mismatches(Type::List(&FILE), r#"[{"path": "a"}, {"path": "b", "note": "x"}]"#, &[]);
    mismatches(Type::Number, "1", &[]);
    mismatches(Type::Number, "1.5", &[]);
}

#[test]
fn mismatches_name_the_place_and_never_the_content() {
    mismatches(Type::Text, "1", &["expected text, found integer"]);
    mismatches(
        Type::List(&FILE),
        r#"[{"path": 1}, {"size": -1, "kind": "secret", "secret": 1}]"#,
        &[
            "`[0].path`: expected a path, found integer",
            "`[1].path`: expected a path, found nothing",
            "`[1].size`: expected an integer of at least 0, found an integer outside of that",
            "`[1].kind`: expected one of `text`, `pdf`, found another text",
            "`[1]`: expected only `path`, `size`, `kind`, `note`, found a member of another name",
        ],
    );
    mismatches(Type::Bool, "null", &["expected `true` or `false`, found null"]);
    mismatches(
        Type::Int { min: 1, max: 5 },
        "9",
        &["expected an integer from 1 to 5, found an integer outside of that"],
    );
    mismatches(Type::Int { min: 1, max: 5 }, "1.5", &["expected an integer from 1 to 5, found number"]);
}

#[test]
fn a_text_blob_is_text_and_nothing_else() {
    let blob = |kind| Value::new(Node::Blob(BlobRef { id: BlobId::Keyed([1; 32]), size: 9, kind }), Label::PUBLIC);
    assert!(check(&Type::Text, &blob(BlobKind::Text)).is_empty());
    assert_eq!(check(&Type::Text, &blob(BlobKind::Bytes))[0].found, "bytes");
    assert_eq!(check(&Type::Path, &blob(BlobKind::Text))[0].expected, "a path");
}

#[test]
fn mismatches_are_not_endless() {
    let value = Value::list(vec![Value::int(1); 1000]);
    assert_eq!(check(&Type::List(&Type::Text), &value).len(), 20);
}

#[test]
fn types_have_a_json_schema() {
    let schema = serde_json::to_string(&FILE.json_schema()).unwrap();
    assert!(schema.contains(r#""required":["path"]"#), "{schema}");
    assert!(schema.contains(r#""minimum":0"#) && !schema.contains("maximum"), "{schema}");
    assert!(schema.contains(r#""enum":["text","pdf"]"#), "{schema}");
    assert!(schema.contains(r#""additionalProperties":false"#), "{schema}");
}
