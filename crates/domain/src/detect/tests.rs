//! Tests over the detectors as a whole: each rule's own examples, a corpus that
//! must stay clean, disguises, hostile inputs, and laws over any text.

use proptest::prelude::*;

use super::redact::{PlaceholderTable, Slot, redact, restore};
use super::*;

/// Takes the marks out that keep invented tokens from looking real.
fn plain(text: &str) -> String {
    text.replace('¦', "")
}

/// Category and value of each finding.
fn found(text: &str) -> Vec<(Category, &str)> {
    Detectors::builtin().scan(text).iter().map(|f| (f.category, f.value(text).unwrap())).collect()
}

#[test]
fn every_rule_passes_its_own_tests() {
    let detectors = Detectors::builtin();
    assert!(detectors.rules.len() > 50, "the built-in rules did not load: {:?}", scan::load_builtin().err());
    let mut wrong = Vec::new();
    for rule in &detectors.rules {
        for test in &rule.tests {
            let text = plain(&test.text);
            let wanted: Vec<String> = test.find.iter().map(|f| plain(f)).collect();
            let all = detectors.scan(&text);
            let found: Vec<String> = all
                .iter()
                .filter(|f| f.category == rule.category)
                .map(|f| f.value(&text).unwrap().to_owned())
                .collect();
            let alone = wanted.is_empty() || all.iter().any(|f| f.rule == rule.id);
            if found != wanted || !alone {
                wrong.push(format!("{}: {text:?}\n   wanted {wanted:?}\n   found  {found:?} {all:?}", rule.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ids_are_unique_and_start_with_a_family() {
    let mut ids: Vec<&str> = Detectors::builtin().rules.iter().map(|r| &*r.id).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
    assert!(ids.iter().all(|id| id.split_once('.').is_some()));
}

#[test]
fn every_category_has_a_rule_and_a_stable_name() {
    for category in Category::ALL {
        assert!(Detectors::builtin().rules.iter().any(|r| r.category == category));
        assert_eq!(category.as_str().parse::<Category>(), Ok(category));
        let json = serde_json::to_string(&category).unwrap();
        assert_eq!(json, format!("\"{category}\""));
    }
    assert!("name".parse::<Category>().is_err());
}

#[test]
fn ordinary_text_is_clean() {
    let mut wrong = Vec::new();
    let corpus = include_str!("corpus/clean.txt");
    for line in corpus.lines() {
        for (category, value) in found(line) {
            wrong.push(format!("{category} {value:?} in {line}"));
        }
    }
    for (category, value) in found(corpus) {
        wrong.push(format!("{category} {value:?} in the whole corpus"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_broken_set_calls_everything_a_finding() {
    let all = Detectors::broken().scan("anything");
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].start, all[0].end), (0, 8));
}

#[test]
fn rules_that_do_not_fit_are_refused_by_name() {
    let rule = |line: &str| {
        format!(
            "[[rule]]\nid = \"x.y\"\ncategory = \"email\"\nconfidence = 0.5\n\
             test = [{{ text = \"a\", find = [] }}]\n{line}\n"
        )
    };
    let message = |line: &str| Detectors::from_toml(&[&rule(line)]).unwrap_err().to_string();
    assert!(message("regex = 'a('\nkeywords = ['a']").contains("x.y"));
    assert!(message("regex = 'a'").contains("either keywords or digits"));
    assert!(message("regex = 'a'\nkeywords = ['a']\nvalidator = 'x'").contains("validator"));
    assert!(Detectors::from_toml(&[&rule("regex = 'a'\nkeywords = ['a']")]).is_ok());
}

#[test]
fn disguised_values_are_found_in_place() {
    let card = "4111\u{a0}1111\u{2009}1111\u{202f}1111";
    assert_eq!(found(&format!("é {card} é")), [(Category::Card, card)]);
    let wide = format!("４{}", "１".repeat(15));
    assert_eq!(found(&format!("({wide})")), [(Category::Card, wide.as_str())]);
    let arabic = "٤١١١ ١١١١ ١١١١ ١١١١";
    assert_eq!(found(arabic), [(Category::Card, arabic)]);
    let invisible = "bo\u{200b}b@exam\u{ad}ple.com";
    assert_eq!(found(&format!("<{invisible}>")), [(Category::Email, invisible)]);
    let dashes = "536\u{2011}90\u{2011}4399";
    assert_eq!(found(dashes), [(Category::NationalId, dashes)]);
    let percent = "bob%40example.com";
    assert_eq!(found(&format!("https://x.example/?m={percent}&x=1")), [(Category::Email, percent)]);
    // "card 4111 1111 1111 1111, mail bob@example.com"
    let hidden = "Y2FyZCA0MTExIDExMTEgMTExMSAxMTExLCBtYWlsIGJvYkBleGFtcGxlLmNvbQ==";
    assert_eq!(found(&format!("data: {hidden};")), [(Category::Email, hidden), (Category::Card, hidden)]);
}

#[test]
fn overlaps_are_settled() {
    assert_eq!(found("password=ghp_16C7e42F292c6912E7710c838347Ae178B4a").len(), 1);
    assert_eq!(
        found("postgres://a:hunter2@db.example.com/ bob@example.com"),
        [(Category::Password, "hunter2"), (Category::Email, "bob@example.com")]
    );
}

#[test]
fn many_values_in_one_text() {
    let text = "name,mail,card\nA,a1@example.com,4111111111111111\nB,b1@example.com,5500000000000004\n";
    let categories: Vec<Category> = found(text).into_iter().map(|(c, _)| c).collect();
    use Category::{Card, Email};
    assert_eq!(categories, [Email, Card, Email, Card]);
}

/// Inputs made to be slow: each must finish, the speed is measured by the
/// `detect_speed` example.
#[test]
fn hostile_inputs_finish() {
    let pieces = [
        "@",
        "1",
        "a.a.a.a@",
        "password=password=",
        "password=${",
        "-----BEGIN ",
        "-----BEGIN RSA PRIVATE KEY-----\n",
        "eyJ.",
        "eyJhbGciOi.",
        "+1 ",
        "0 ",
        "01 ",
        "4111 ",
        "4111-",
        "DE89",
        "DE89 ",
        "://a:b",
        "%40",
        "%40 ",
        "\u{200b}",
        "１",
        "QUFB",
        "é@é.",
        "born ",
        "straße 1",
        "sk-",
        "(415) ",
        "1 Abc ",
        "secret: ",
        "AKIA",
        "tel: ",
        "a@a.",
    ];
    for piece in pieces {
        let text = piece.repeat(200_000 / piece.len());
        let _ = Detectors::builtin().scan(&text);
    }
}

fn planted() -> impl Strategy<Value = String> {
    let values = prop::sample::select(vec![
        "bob@example.com",
        "4111 1111 1111 1111",
        "+49 170 1234567",
        "password=hunter2",
        "DE89 3704 0044 0532 0130 00",
        "[EMAIL_1]",
        "[LITERAL_1]",
        "[CARD_01]",
        "[",
        "]",
        "_1]",
        "[EMAIL",
        "é",
        "\u{200b}",
        "%40",
        " ",
        "\n",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "password: [PASSWORD_1]",
        "536-90-4399",
        "https://a:p4ss1@h.example",
        "４１１１",
        "born 1985-03-12",
        "@",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n",
    ]);
    prop::collection::vec(prop_oneof![3 => values.prop_map(str::to_owned), 1 => ".{0,8}"], 0..12)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn ranges_fit_any_text(text in prop_oneof![".*", planted()]) {
        let all = Detectors::builtin().scan(&text);
        for finding in &all {
            prop_assert!(finding.start < finding.end);
            prop_assert!(finding.value(&text).is_some());
            prop_assert!(finding.confidence > 0.0 && finding.confidence <= 1.0);
        }
        prop_assert!(all.is_sorted_by_key(|f| f.start));
    }

    #[test]
    fn restoring_gives_the_original(text in prop_oneof![".*", planted()]) {
        let mut table = PlaceholderTable::new();
        let redacted = table.redact(&text, &Detectors::builtin().scan(&text));
        prop_assert_eq!(table.restore(&redacted.text), text.clone());
        // The same after a trip through storage, and the same numbers again.
        let entries = table.entries().map(|(n, v)| (n.to_owned(), v.to_owned()));
        let mut stored = PlaceholderTable::from_entries(entries).unwrap();
        prop_assert_eq!(stored.restore(&redacted.text), text.clone());
        prop_assert_eq!(stored.redact(&text, &Detectors::builtin().scan(&text)), redacted);
    }

    #[test]
    fn any_ranges_can_be_redacted(text in planted(), ranges in prop::collection::vec((0usize..200, 0usize..60, 0usize..12), 0..6)) {
        let findings: Vec<Finding> = ranges
            .into_iter()
            .map(|(start, length, category)| Finding {
                category: Category::ALL[category],
                rule: Arc::from("test.any"),
                confidence: 0.5,
                start,
                end: start + length,
            })
            .collect();
        let mut table = PlaceholderTable::new();
        let redacted = redact(&text, &findings, &mut |slot, value| table.assign(slot, value));
        for range in &redacted.replacements {
            prop_assert!(table.value(&redacted.text[range.clone()]).is_some());
        }
        prop_assert_eq!(restore(&redacted.text, &|name| table.value(name).map(str::to_owned)), text);
    }

    #[test]
    fn redacted_values_are_gone(text in planted()) {
        let detectors = Detectors::builtin();
        let findings = detectors.scan(&text);
        let mut table = PlaceholderTable::new();
        let redacted = table.redact(&text, &findings);
        for finding in detectors.scan(&redacted.text) {
            let value = finding.value(&redacted.text).unwrap();
            let known = findings.iter().any(|f| f.value(&text) == Some(value));
            prop_assert!(!known, "{} {:?} is left in {:?}", finding.rule, value, redacted.text);
        }
    }

    #[test]
    fn changing_one_digit_breaks_luhn(digits in prop::collection::vec(0u8..10, 1..19), at in 0usize..19, by in 1u8..10) {
        let mut digits = digits;
        digits.push(0);
        let check = (0..10).find(|d| { *digits.last_mut().unwrap() = *d; checksum::luhn(&digits) });
        *digits.last_mut().unwrap() = check.unwrap();
        prop_assert!(checksum::luhn(&digits));
        let at = at % digits.len();
        digits[at] = (digits[at] + by) % 10;
        prop_assert!(!checksum::luhn(&digits));
    }

    #[test]
    fn changing_one_digit_breaks_mod97(body in "[A-Z0-9]{11,30}", at in 0usize..30, by in 1u8..10) {
        let account = |key: u32| format!("DE{key:02}{body}");
        let key = (2..=98).find(|key| checksum::mod97(account(*key).as_bytes())).unwrap();
        let mut good = account(key).into_bytes();
        let at = 4 + at % body.len();
        prop_assume!(good[at].is_ascii_digit());
        good[at] = b'0' + (good[at] - b'0' + by) % 10;
        prop_assert!(!checksum::mod97(&good));
    }
}

#[test]
fn placeholders_are_numbered_by_first_appearance() {
    let text = "a1@example.com B1@example.com a1@example.com [EMAIL_1] [EMAIL_X] [NOTE_1]";
    let mut table = PlaceholderTable::new();
    let redacted = table.redact(text, &Detectors::builtin().scan(text));
    assert_eq!(redacted.text, "[EMAIL_1] [EMAIL_2] [EMAIL_1] [LITERAL_1] [EMAIL_X] [NOTE_1]");
    assert_eq!(table.len(), 3);
    assert_eq!(table.assign(Slot::Found(Category::Email), "a1@example.com"), "[EMAIL_1]");
    assert_eq!(table.restore("[EMAIL_1] and [EMAIL_9]"), "a1@example.com and [EMAIL_9]");
    assert!(!format!("{table:?}{redacted:?}").contains("example"));
    let twice = vec![("[EMAIL_1]".to_owned(), "x".to_owned()), ("[EMAIL_1]".to_owned(), "y".to_owned())];
    assert!(PlaceholderTable::from_entries(twice).is_err());
    assert!(PlaceholderTable::from_entries([("[EMAIL_01]".to_owned(), String::new())]).is_err());
}
