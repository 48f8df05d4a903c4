//! `text.summarize`: the sentences that say most, and the words that a text is about.
//!
//! Extractive: sentences are scored by how often their words occur in the whole text (SumBasic,
//! Nenkova and Vanderwende 2005), a chosen sentence's words counting less afterwards, and are given
//! in the order of the text. No model is involved.

use crate::context::{Context, OpError, int_member, member};
use crate::registry::{Body, Operation};
use std::collections::{HashMap, HashSet};
use tidegate_domain::ops::{CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::Value;

/// Text beyond this many bytes is not looked at: a summary of a book needs another method.
const LOOKED_AT_BYTES_MAX: usize = 1 << 20;
/// Candidate sentences.
const SENTENCES_MAX: usize = 2_000;
/// A longer sentence is cut for the summary.
const SENTENCE_CHARS_MAX: usize = 400;

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "text.summarize",
        version: 1,
        summary: "the most telling sentences and words of a text",
        effects: Effects::Pure,
        sites: &[SiteKind::Device, SiteKind::Hub, SiteKind::Worker],
        needs: &[],
        onward: &[],
        cost: CostHint { fixed_us: 200, ns_per_byte: 200 },
        input: &[
            Field::required("text", Type::Text, "the text"),
            Field::optional("sentences", Type::Int { min: 1, max: 20 }, "how many sentences, 3 unless said"),
        ],
        output: Type::Record(&[
            Field::required("summary", Type::Text, "the sentences, in the order of the text"),
            Field::required("keywords", Type::List(&Type::Text), "at most 12, the most frequent first"),
            Field::required("words", Type::Int { min: 0, max: i64::MAX }, "how many words were looked at"),
        ]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let source = member(input, "text")?;
    let text = ctx.text_of(source)?;
    let count = int_member(input, "sentences", 3)?.clamp(1, 20) as usize;
    let summary = summarize(&text, count);
    let label = source.joined_label();
    let output = Value::map([
        ("summary", ctx.text_value(summary.text, label.clone())?),
        ("keywords", Value::list(summary.keywords.into_iter().map(Value::text).collect())),
        ("words", Value::int(summary.words as i64)),
    ]);
    Ok(output.raised(&label))
}

struct Summary {
    text: String,
    keywords: Vec<String>,
    words: usize,
}

fn summarize(text: &str, count: usize) -> Summary {
    let text = &text[..text.floor_char_boundary(LOOKED_AT_BYTES_MAX)];
    let mut frequency: HashMap<String, f64> = HashMap::new();
    let mut total = 0usize;
    for word in words(text) {
        total += 1;
        *frequency.entry(word).or_default() += 1.0;
    }
    let mut ranked: Vec<(&String, f64)> = frequency.iter().map(|(w, n)| (w, *n)).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    let keywords = ranked.iter().take(12).map(|(w, _)| (*w).clone()).collect();

    let candidates: Vec<(&str, Vec<String>)> = sentences(text)
        .take(SENTENCES_MAX)
        .map(|s| (s, words(s).collect::<Vec<_>>()))
        .filter(|(_, words)| words.len() >= 4)
        .collect();
    let mut weight: HashMap<String, f64> =
        frequency.into_iter().map(|(word, n)| (word, n / total.max(1) as f64)).collect();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count.min(candidates.len()) {
        let score = |at: &usize| {
            let words = &candidates[*at].1;
            words.iter().filter_map(|w| weight.get(w)).sum::<f64>() / (words.len() as f64).max(8.0)
        };
        let best = (0..candidates.len())
            .filter(|at| !chosen.contains(at))
            .max_by(|a, b| score(a).total_cmp(&score(b)).then(b.cmp(a)));
        let Some(best) = best else { break };
        for word in candidates[best].1.iter().collect::<HashSet<_>>() {
            if let Some(w) = weight.get_mut(word) {
                *w *= *w;
            }
        }
        chosen.push(best);
    }
    chosen.sort_unstable();
    let picked: Vec<String> = chosen.into_iter().map(|at| shorten(candidates[at].0)).collect();
    let text = if picked.is_empty() { shorten(text.trim()) } else { picked.join(" ") };
    Summary { text, keywords, words: total }
}

fn shorten(sentence: &str) -> String {
    let flat = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(SENTENCE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", whole_placeholders(&flat[..at])),
        None => flat,
    }
}

/// Leaves out a placeholder that was cut in the middle: its value could not be put back.
fn whole_placeholders(cut: &str) -> &str {
    let of_placeholders = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    match cut.rsplit_once('[') {
        Some((head, torn)) if torn.bytes().all(of_placeholders) => head.trim_end(),
        _ => cut,
    }
}

/// Sentences and lines: a summary must not glue a table's rows together.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").flat_map(|paragraph| {
        let mut rest = paragraph;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = rest
                    .char_indices()
                    .find(|(i, c)| {
                        let after = rest[i + c.len_utf8()..].chars().next();
                        matches!(c, '.' | '!' | '?') && after.is_none_or(char::is_whitespace)
                    })
                    .map_or(rest.len(), |(i, c)| i + c.len_utf8());
                let (sentence, tail) = rest.split_at(end);
                rest = tail;
                if !sentence.trim().is_empty() {
                    return Some(sentence.trim());
                }
            }
            None
        })
    })
}

/// The words of a text that mean something: lower case, three letters or more, common words and
/// placeholders left out.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.len() > 2 && !word.contains('_') && !word.bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_lowercase)
        .filter(|word| COMMON.binary_search(&word.as_str()).is_err())
}

/// English words that say nothing of a text's subject, sorted.
const COMMON: &[&str] = &[
    "about", "above", "after", "again", "all", "also", "and", "any", "are", "because", "been", "before", "being",
    "below", "between", "both", "but", "can", "could", "did", "does", "down", "each", "few", "for", "from", "further",
    "had", "has", "have", "her", "here", "him", "his", "how", "into", "its", "itself", "just", "may", "more", "most",
    "must", "nor", "not", "now", "off", "once", "one", "only", "other", "our", "out", "over", "own", "per", "same",
    "shall", "she", "should", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these", "they",
    "this", "those", "through", "too", "two", "under", "until", "upon", "very", "was", "were", "what", "when", "where",
    "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "The roof leaks above the north stair. Nobody has a key.\n\nThe roof was patched in May, \
        but the leak in the roof came back in June. We had lunch. A full repair of the roof is planned.";

    #[test]
    fn sentences_about_the_subject_are_chosen_in_order() {
        let summary = summarize(TEXT, 2);
        assert!(summary.text.contains("roof") && !summary.text.contains("lunch"), "{}", summary.text);
        assert_eq!(summary.keywords[0], "roof");
    }

    #[test]
    fn odd_texts_are_summarised_too() {
        assert_eq!(summarize("", 3).text, "");
        assert_eq!(summarize("One word", 3).text, "One word");
        let long = "é".repeat(2 << 20);
        assert!(summarize(&long, 3).text.chars().count() <= SENTENCE_CHARS_MAX + 1);
    }

    #[test]
    fn a_cut_leaves_no_half_placeholder() {
        assert_eq!(whole_placeholders("write to [EMAIL_1] or [PHONE_1"), "write to [EMAIL_1] or");
        assert_eq!(whole_placeholders("write to [EMAIL_1] or"), "write to [EMAIL_1] or");
        assert_eq!(whole_placeholders("see [the note"), "see [the note");
    }

    #[test]
    fn the_common_words_are_sorted() {
        assert!(COMMON.windows(2).all(|w| w[0] < w[1]));
    }
}
