//! Laws of values: canonical form, storage round trips, labels, and what `Debug` may show.

use super::codec::{self, Scope};
use super::*;
use crate::label::Level;
use crate::label::tests::any_label;
use proptest::prelude::*;

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Bool),
        (-crate::limits::SAFE_INTEGER_MAX..=crate::limits::SAFE_INTEGER_MAX).prop_map(Node::Int),
        any::<f64>()
            .prop_filter("finite, with a fraction", |f| f.is_finite() && f.fract() != 0.0)
            .prop_map(Node::Float),
        ".{0,12}".prop_map(|t| Node::Text(t.into())),
        any::<([u8; 32], u32)>().prop_map(|(b, s)| Node::Blob(BlobRef {
            id: BlobId::Keyed(b),
            size: s.into(),
            kind: BlobKind::Text
        })),
    ];
    let leaf = (leaf, any_label()).prop_map(|(node, label)| Value::new(node, label));
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..6), any_label())
                .prop_map(|(v, l)| Value::new(Node::List(v), l)),
            (proptest::collection::btree_map("[$a-z😀ÿ]{0,4}", inner, 0..6), any_label())
                .prop_map(|(m, l)| Value::new(Node::Map(m), l)),
        ]
    })
}

proptest! {
    #[test]
    fn the_journal_gives_back_what_it_took(value in any_value()) {
        prop_assert_eq!(codec::decode(&codec::encode(&value, Scope::Journal)).unwrap(), value);
    }

    #[test]
    fn the_wire_form_tells_no_workspace(value in any_value()) {
        let received = codec::decode(&codec::encode(&value, Scope::Wire)).unwrap();
        prop_assert_eq!(received.to_json(), value.to_json());
        prop_assert_eq!(received.joined_label(), value.joined_label().for_the_wire());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic(value in any_value(), at: prop::sample::Index, flip in 1u8..) {
        let mut bytes = codec::encode(&value, Scope::Journal);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = codec::decode(&bytes);
        let _ = codec::decode(&bytes[..at]);
    }

    #[test]
    fn canonical_text_is_a_fixed_point(value in any_value()) {
        let text = value.to_json();
        prop_assert_eq!(Value::from_json(text.as_bytes(), &Label::PUBLIC).unwrap().to_json(), text);
    }

    #[test]
    fn the_join_covers_every_leaf(value in any_value()) {
        let joined = value.joined_label();
        value.visit(&mut |v| assert!(joined.covers(&v.label)));
    }
}

#[test]
fn numbers_print_as_rfc_8785_prescribes() {
    // The samples of RFC 8785, appendix B, that are finite.
    for (bits, text) in [
        (0x0000000000000001u64, "5e-324"),
        (0x7fefffffffffffff, "1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0x44b52d02c7e14af5, "9.999999999999997e+22"),
        (0x44b52d02c7e14af6, "1e+23"),
        (0x444b1ae4d6e2ef4e, "999999999999999700000"),
        (0x444b1ae4d6e2ef50, "1e+21"),
        (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
        (0x3eb0c6f7a0b5ed8d, "0.000001"),
        (0x41b3de4355555554, "333333333.33333325"),
    ] {
        let value = Value::new(Node::Float(f64::from_bits(bits)), Label::PUBLIC);
        assert_eq!(value.to_json(), text);
    }
}

#[test]
fn names_sort_by_utf16_and_dollars_cannot_forge_a_blob() {
    let value = Value::from_json(r#"{"😀":1,"\ufb33":2,"$$blob":"x","b":1e2}"#.as_bytes(), &Label::PUBLIC).unwrap();
    assert_eq!(value.to_json(), "{\"$$blob\":\"x\",\"b\":100,\"😀\":1,\"\u{fb33}\":2}");
    assert_eq!(Value::from_json(br#"{"$blob":"x"}"#, &Label::PUBLIC), Err(JsonError::Blob));
}

#[test]
fn big_integers_become_text_and_deep_trees_are_refused() {
    let big = Value::from_json(b"[9007199254740993]", &Label::PUBLIC).unwrap();
    assert_eq!(big.to_json(), r#"["9007199254740993"]"#);
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(Value::from_json(deep.as_bytes(), &Label::PUBLIC), Err(JsonError::Depth));
}

#[test]
fn debug_shows_no_content() {
    let value = Value::map([("name", Value::text("Ada"))]).raised(&Label::of(Level::Restricted));
    assert_eq!(format!("{value:?}"), "map of 1 [restricted]");
}

/// A value written by format 1. If this fails, the format changed without a new version.
#[test]
fn format_1_is_still_read() {
    let stored = b"\x01\x0f{\"a\":[1,\"two\"]}\x02\x00\x00\x00\x00\x02\x03\x01\x00\x00\x02\x01\x02";
    let value = codec::decode(stored).unwrap();
    assert_eq!(value.to_json(), r#"{"a":[1,"two"]}"#);
    assert_eq!(value.joined_label().to_string(), "confidential (pii, financial, untrusted)");
    assert_eq!(codec::encode(&value, Scope::Journal), stored);
}
