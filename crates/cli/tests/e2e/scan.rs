//! `tidegate scan`: what it finds, where, and that it never says what.

use crate::documents;
use crate::harness::{Place, examples, of_type};
use crate::oracle::{self, Canary};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const CATEGORIES: [&str; 12] = [
    "email",
    "phone",
    "card",
    "iban",
    "national_id",
    "birth_date",
    "private_key",
    "cloud_key",
    "access_token",
    "jwt",
    "password",
    "address",
];

/// What was planted and not found, after printing the recall of each category. Checks every line
/// against the contract and its offsets against `--show-text`.
fn missed(place: &Place, folder: &Path, planted: &[(Canary, String)]) -> Vec<(String, String, String)> {
    let ended = place.plain(&["scan", folder.to_str().unwrap(), "--json"]).expect_code(0);
    for (canary, _) in planted {
        assert!(!ended.out.contains(&canary.value), "the value `{}` was printed", canary.value);
    }
    let lines = ended.lines();
    let last = lines.last().unwrap();
    assert_eq!(last["type"], "scan.finished");
    let findings = of_type(&lines, "finding");
    assert_eq!(last["findings"], findings.len() as u64);
    for name in ["files", "unreadable", "bytes"] {
        assert!(last[name].is_u64(), "{name} in {last}");
    }
    assert!(last["seconds"].is_number() && last["would_leave"].is_object(), "{last}");
    let mut by_category: BTreeMap<&str, u64> = BTreeMap::new();
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for finding in &findings {
        let category = finding["category"].as_str().unwrap();
        assert!(CATEGORIES.contains(&category), "{finding}");
        assert!(finding["rule"].is_string(), "{finding}");
        assert!(finding["confidence"].as_f64().is_some_and(|c| c > 0.0 && c <= 1.0), "{finding}");
        *by_category.entry(category).or_default() += 1;
        let path = finding["path"].as_str().unwrap();
        texts.entry(path).or_insert_with(|| show_text(place, folder, path));
    }
    let told: BTreeMap<&str, u64> =
        last["by_category"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_u64().unwrap())).collect();
    assert_eq!(told, by_category);

    let span =
        |finding: &Json| (finding["start"].as_u64().unwrap() as usize, finding["end"].as_u64().unwrap() as usize);
    for finding in &findings {
        let text = &texts[finding["path"].as_str().unwrap()];
        let (start, end) = span(finding);
        assert!(
            start < end && text.get(start..end).is_some(),
            "offsets of the text that --show-text prints: {finding}"
        );
    }
    let mut missed = Vec::new();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (canary, file) in planted {
        let text = texts.entry(file).or_insert_with(|| show_text(place, folder, file));
        let at: Vec<usize> = text.match_indices(&canary.value).map(|(at, _)| at).collect();
        assert!(!at.is_empty(), "`{}` stands in the text of {file}", canary.value);
        let covered = |at: usize| {
            findings.iter().filter(|f| f["path"] == file.as_str() && f["category"] == canary.category.as_str()).any(
                |f| {
                    let (start, end) = span(f);
                    // An address may be found without the name of its house.
                    let tail = canary.category == "address" && start > at && start - at < 24;
                    (start <= at || tail) && end >= at + canary.value.len()
                },
            )
        };
        let count = counts.entry(&canary.category).or_default();
        count.1 += 1;
        if at.into_iter().all(covered) {
            count.0 += 1;
        } else {
            missed.push((canary.category.clone(), canary.value.clone(), file.clone()));
        }
    }
    for (category, (found, of)) in &counts {
        println!("recall of {category}: {found} of {of}");
    }
    assert_eq!(
        counts.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from(CATEGORIES),
        "every category is planted"
    );
    missed
}

fn show_text(place: &Place, folder: &Path, file: &str) -> String {
    let whole = folder.join(file);
    place.plain(&["scan", folder.to_str().unwrap(), "--show-text", whole.to_str().unwrap()]).expect_code(0).out
}

#[test]
fn scan_finds_what_is_planted_in_the_samples_and_never_prints_it() {
    let place = Place::new();
    let missed = missed(&place, &examples().join("brief/documents"), &oracle::planted());
    assert!(missed.is_empty(), "missed: {missed:#?}");
}

#[test]
fn scan_finds_what_is_planted_in_every_format_of_an_unseen_folder() {
    let place = Place::new();
    let (folder, planted) = documents::planted_folder(&place, "own");
    let missed = missed(&place, &folder, &planted);
    assert!(missed.is_empty(), "missed: {missed:#?}");
}

#[test]
fn scan_stores_nothing_and_tells_what_could_leave() {
    let place = Place::new();
    let (folder, _) = documents::planted_folder(&place, "own");
    let last = place.tidegate(&["scan", folder.to_str().unwrap(), "--json"]).expect_code(0).last();
    assert_eq!(last["would_leave"]["as_it_is"], 0);
    assert_eq!(last["would_leave"]["redacted"], 0, "without leave nothing of an own folder: {last}");
    assert_eq!(last["would_leave"]["redacted_with_leave"], last["files"], "{last}");
    assert!(!place.data().exists());
    let error = place.plain(&["scan", "/nowhere/at/all", "--json"]).expect_code(1).last();
    assert_eq!(error["code"], "not-found");
}
