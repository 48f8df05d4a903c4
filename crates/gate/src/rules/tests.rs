//! Policies: the default sets both ways, and that an erroring one denies.

use super::*;
use crate::gate::Side;
use crate::question::{Destination, Question};
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_domain::label::{Label, Level};
use tidegate_domain::ops::SiteKind;

const OPEN: &str = r#"
@id("all") @says("everything may go")
permit (principal, action, resource);
"#;

fn ask(organisation: &str, owner: &str) -> Verdict {
    let rules = Rules::new().unwrap();
    let (organisation, owner) =
        (rules.load("organisation", organisation).unwrap(), rules.load("owner", owner).unwrap());
    let site = |bits| SiteId { realm: Realm::LOCAL, bits };
    let destination = Destination { site: site(2), kind: SiteKind::Hub, onward: Vec::new() };
    let label = Label::of(Level::Internal);
    let q = Question { label: &label, destination: &destination, purpose: "x.y", speculative: false, origin: None };
    let request = rules.transfer(Side::Device, site(1), &q).unwrap();
    rules.decide(&organisation, &owner, &request).verdict
}

fn refused(text: &str) -> String {
    match Rules::new().unwrap().load("owner", text) {
        Ok(_) => panic!("was accepted: {text}"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn both_sets_must_allow() {
    let shut = r#"@id("shut") @says("nothing goes") forbid (principal, action, resource);"#;
    assert!(ask(OPEN, OPEN).is_allowed());
    assert_eq!(ask(OPEN, shut).rule().as_str(), "owner/shut");
    assert_eq!(ask(shut, OPEN).rule().as_str(), "organisation/shut");
    assert_eq!(ask(OPEN, "").rule().as_str(), "owner/no-rule");
    assert_eq!(ask("", OPEN).rule().as_str(), "organisation/no-rule");
    assert_eq!(ask(shut, shut).words(), "nothing goes");
}

/// The language skips a policy that fails, so this `forbid` alone would let everything through
/// (cedar-policy/cedar #2428). The overflow passes strict validation.
#[test]
fn a_forbid_that_fails_denies() {
    let failing = r#"
        @id("never-above") @says("nothing above the limit goes")
        forbid (principal, action == Action::"transfer", resource)
        when { context.data.level + 9223372036854775807 > 0 };
    "#;
    let with = format!("{OPEN}{failing}");
    for (organisation, owner, name) in
        [(with.as_str(), OPEN, "organisation/never-above"), (OPEN, with.as_str(), "owner/never-above")]
    {
        let verdict = ask(organisation, owner);
        assert!(!verdict.is_allowed(), "a failing forbid let it through");
        assert_eq!(verdict.rule().as_str(), name);
    }
    // A permit that fails denies as well, although another one permits.
    let permit = failing.replace("forbid", "permit");
    assert!(!ask(OPEN, &format!("{OPEN}{permit}")).is_allowed());
}

#[test]
fn a_ban_that_asks_asks_unless_another_one_bans() {
    let asking = r#"
        @id("careful") @says("not without a word") @asks("may this go?")
        forbid (principal, action, resource);
    "#;
    let shut = r#"@id("shut") @says("nothing goes") forbid (principal, action, resource);"#;
    let verdict = ask(OPEN, &format!("{OPEN}{asking}"));
    assert_eq!(verdict, Verdict::Ask { rule: Rule::new("owner/careful"), question: "may this go?".into() });
    assert_eq!(ask(OPEN, &format!("{OPEN}{asking}{shut}")).rule().as_str(), "owner/shut");
    assert_eq!(ask(shut, &format!("{OPEN}{asking}")).rule().as_str(), "organisation/shut");
    assert_eq!(ask("", &format!("{OPEN}{asking}")).rule().as_str(), "organisation/no-rule");
}

#[test]
fn the_first_of_several_in_the_file_is_named() {
    let many: String = (0..12)
        .map(|n| format!("@id(\"rule-{n}\") @says(\"number {n}\") forbid (principal, action, resource);\n"))
        .collect();
    assert_eq!(ask(OPEN, &many).rule().as_str(), "owner/rule-0");
}

#[test]
fn what_does_not_fit_the_schema_is_refused_when_it_is_loaded() {
    let with = |condition: &str| {
        format!(
            "@id(\"a\") @says(\"b\") forbid (principal, action == Action::\"transfer\", resource) when {{ {condition} }};"
        )
    };
    for condition in [
        "context.data.levle > 1",
        "context.data.level > \"internal\"",
        "context has nothing",
        "principal.name == \"x\"",
        "context.data.categories.contains(1)",
        "[].containsAll(context.onward)",
    ] {
        refused(&with(condition));
    }
    assert!(refused("@id(\"a\") @says(\"b\") permit (principal == User::\"x\", action, resource);").contains("owner"));
    refused("@id(\"a\") @says(\"b\") permit (principal, action == Action::\"trnasfer\", resource);");
    refused("@id(\"a\") @says(\"b\") permit (principal == ?principal, action, resource);");
    refused("this is no policy");
    refused(&" ".repeat(POLICY_TEXT_BYTES_MAX + 1));
}

#[test]
fn every_policy_has_a_name_of_its_own_and_words() {
    let end = "permit (principal, action, resource);";
    assert!(refused(end).contains("@id"));
    assert!(refused(&format!("@id(\"a\") {end}")).contains("@says"));
    assert!(refused(&format!("@id(\"a\") @says(\"\") {end}")).contains("@says"));
    assert!(refused(&format!("@id(\"No Good\") @says(\"b\") {end}")).contains("no id"));
    let twice = format!("@id(\"a\") @says(\"b\") {end}\n@id(\"a\") @says(\"c\") {end}");
    assert!(refused(&twice).contains("two policies"));
}
