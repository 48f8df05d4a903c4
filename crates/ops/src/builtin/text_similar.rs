//! `text.similar`: which texts of a list are nearly the same.
//!
//! MinHash over five-word shingles with banding (Broder 1997): texts whose Jaccard similarity is
//! above the threshold are found without comparing every pair, and candidates are then estimated
//! by their signatures.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tidegate_domain::label::Label;
use tidegate_domain::ops::{CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::{Node, Value};

/// Hash functions of a signature.
const HASHES: usize = 96;
/// Rows of a band: with 24 bands of 4 rows a pair of similarity 0.5 is a candidate four times in
/// five, one of 0.8 always.
const BAND_ROWS: usize = 4;
/// Words of a shingle.
const SHINGLE: usize = 5;
/// Text beyond this many bytes is not looked at.
const LOOKED_AT_BYTES_MAX: usize = 4 << 20;
/// More texts in one bucket than this are compared with the bucket's first alone.
const BUCKET_MAX: usize = 50;

const GROUP: &[Field] = &[
    Field::required("members", Type::List(&Type::Int { min: 0, max: i64::MAX }), "places in the list, from 0"),
    Field::required("similarity", Type::Number, "of the least similar linked pair, 0 to 1"),
];

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "text.similar",
        version: 1,
        summary: "groups the texts of a list that are nearly the same",
        effects: Effects::Pure,
        sites: &[SiteKind::Device, SiteKind::Hub, SiteKind::Worker],
        needs: &[],
        onward: &[],
        cost: CostHint { fixed_us: 500, ns_per_byte: 60 },
        input: &[
            Field::required(
                "texts",
                Type::List(&Type::Optional(&Type::Text)),
                "the texts; missing ones are passed over",
            ),
            Field::optional(
                "threshold",
                Type::Number,
                "similarity from which two texts belong together, 0.7 unless said",
            ),
        ],
        output: Type::Record(&[Field::required("groups", Type::List(&Type::Record(GROUP)), "groups of two or more")]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let texts = member(input, "texts")?;
    let list = texts.as_list().ok_or_else(|| OpError::invalid("`texts` must be a list"))?;
    let threshold = match input.get("threshold").map(|v| &v.node) {
        None | Some(Node::Null) => 0.7,
        Some(Node::Float(f)) if (0.0..=1.0).contains(f) => *f,
        Some(Node::Int(i @ (0 | 1))) => *i as f64,
        Some(_) => return Err(OpError::invalid("`threshold` must be between 0 and 1")),
    };
    let mut signatures = Vec::with_capacity(list.len());
    for text in list {
        if ctx.host.cancelled() {
            return Err(OpError::new("E4006", "cancelled"));
        }
        signatures.push(if text.is_null() { None } else { signature(&ctx.text_of(text)?) });
    }
    let groups = groups(&signatures, threshold).into_iter().map(|(members, similarity)| {
        Value::map([
            ("members", Value::list(members.into_iter().map(|m| Value::int(m as i64)).collect())),
            ("similarity", Value::new(Node::Float((similarity * 100.0).round() / 100.0), Label::PUBLIC)),
        ])
    });
    Ok(Value::map([("groups", Value::list(groups.collect()))]).raised(&texts.joined_label()))
}

/// `None` for a text without words.
fn signature(text: &str) -> Option<[u32; HASHES]> {
    let text = &text[..text.floor_char_boundary(LOOKED_AT_BYTES_MAX)];
    let mut recent: Vec<u64> = Vec::new();
    let mut lowest = [u32::MAX; HASHES];
    let mut any = false;
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    let mut take = |window: &[u64]| {
        let shingle = window.iter().fold(0u64, |hash, word| mix(hash ^ word));
        for (i, low) in lowest.iter_mut().enumerate() {
            *low = (*low).min((mix(shingle ^ (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32) as u32);
        }
    };
    for word in words {
        any = true;
        let hash = word
            .chars()
            .flat_map(char::to_lowercase)
            .fold(0xcbf2_9ce4_8422_2325u64, |h, c| mix(h ^ u64::from(c as u32)));
        recent.push(hash);
        if recent.len() == SHINGLE {
            take(&recent);
            recent.remove(0);
        }
    }
    if any && recent.len() < SHINGLE {
        take(&recent);
    }
    any.then_some(lowest)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn groups(signatures: &[Option<[u32; HASHES]>], threshold: f64) -> Vec<(Vec<usize>, f64)> {
    let mut candidates: BTreeSet<(usize, usize)> = BTreeSet::new();
    for band in 0..HASHES / BAND_ROWS {
        let mut buckets: HashMap<&[u32], Vec<usize>> = HashMap::new();
        for (at, signature) in signatures.iter().enumerate() {
            if let Some(signature) = signature {
                buckets.entry(&signature[band * BAND_ROWS..(band + 1) * BAND_ROWS]).or_default().push(at);
            }
        }
        for members in buckets.into_values() {
            if members.len() <= BUCKET_MAX {
                for (i, a) in members.iter().enumerate() {
                    candidates.extend(members[i + 1..].iter().map(|b| (*a, *b)));
                }
            } else {
                candidates.extend(members[1..].iter().map(|b| (members[0], *b)));
            }
        }
    }
    let mut parent: Vec<usize> = (0..signatures.len()).collect();
    let mut links: Vec<(usize, f64)> = Vec::new();
    for (a, b) in candidates {
        let (Some(x), Some(y)) = (&signatures[a], &signatures[b]) else { continue };
        let similarity = x.iter().zip(y).filter(|(p, q)| p == q).count() as f64 / HASHES as f64;
        if similarity >= threshold {
            let (ra, rb) = (root(&mut parent, a), root(&mut parent, b));
            parent[ra.max(rb)] = ra.min(rb);
            links.push((a, similarity));
        }
    }
    let mut found: BTreeMap<usize, (Vec<usize>, f64)> = BTreeMap::new();
    for at in 0..signatures.len() {
        let r = root(&mut parent, at);
        found.entry(r).or_insert_with(|| (Vec::new(), 1.0)).0.push(at);
    }
    for (a, similarity) in links {
        let r = root(&mut parent, a);
        if let Some(group) = found.get_mut(&r) {
            group.1 = group.1.min(similarity);
        }
    }
    found.into_values().filter(|(members, _)| members.len() > 1).collect()
}

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seed: usize) -> String {
        (0..200).map(|i| format!("word{} ", (i * 7 + seed * 1_000) % 900 + seed * 1_000)).collect()
    }

    #[test]
    fn near_copies_are_grouped_and_others_are_not() {
        let copy = text(1).replacen("word1007", "changed", 1);
        let texts = [text(1), text(2), copy, text(3), String::new(), text(1)];
        let signatures: Vec<_> = texts.iter().map(|t| signature(t)).collect();
        let groups = groups(&signatures, 0.7);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].0, vec![0, 2, 5]);
        assert!(groups[0].1 >= 0.7);
    }

    #[test]
    fn a_thousand_equal_texts_do_not_cost_a_million_comparisons() {
        let signatures = vec![signature(&text(1)); 20_000];
        assert_eq!(groups(&signatures, 0.7)[0].0.len(), 20_000);
    }
}
