//! The owner's key and policies on disk: made once, verified ever after.

use crate::gate::{Gate, Side};
use crate::{Act, Action, Actor, GateError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_domain::label::Label;
use tidegate_seams::Seams;

const SITE: SiteId = SiteId { realm: Realm::LOCAL, bits: 1 };
const SHUT: &str = "@id(\"shut\") @says(\"nothing goes\")\nforbid (principal, action, resource);\n";

fn open(dir: &Path) -> Result<Gate, GateError> {
    Gate::open(dir, Side::Device, SITE, Seams::system())
}

fn refusal(dir: &Path) -> GateError {
    match open(dir) {
        Ok(_) => panic!("the gate opened"),
        Err(e) => e,
    }
}

fn edit(path: &Path, edit: impl Fn(String) -> String) {
    let old = fs::read_to_string(path).unwrap();
    let new = edit(old.clone());
    assert_ne!(old, new, "the test changes nothing");
    fs::write(path, new).unwrap();
}

#[test]
fn the_first_start_makes_a_key_and_later_ones_take_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("gate");
    let version = open(dir).unwrap().policy_version();
    assert_eq!(version.owner.number, 1);
    let key = fs::read(dir.join("owner.key")).unwrap();
    assert_eq!(fs::metadata(dir.join("owner.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(open(dir).unwrap().policy_version(), version);
    assert_eq!(fs::read(dir.join("owner.key")).unwrap(), key);
}

#[test]
fn a_first_start_that_was_interrupted_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    open(dir).unwrap();
    let key = fs::read(dir.join("owner.key")).unwrap();
    fs::remove_file(dir.join("owner.version")).unwrap();
    open(dir).unwrap();
    fs::remove_file(dir.join("owner.version")).unwrap();
    fs::remove_file(dir.join("owner.cedar")).unwrap();
    open(dir).unwrap();
    assert_eq!(fs::read(dir.join("owner.key")).unwrap(), key);
}

/// A3: only what the owner signed is taken.
#[test]
fn a03_policies_that_the_owner_did_not_sign_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    open(dir).unwrap();
    let path = dir.join("owner.cedar");
    let good = fs::read_to_string(&path).unwrap();
    let (head, text) = good.split_once('\n').unwrap();
    let edits: [(&str, String); 6] = [
        ("text", good.replace("context.data.level > 1", "context.data.level > 2")),
        ("signature", good.replacen(&head[head.len() - 4..], "0000", 1)),
        ("version", good.replacen("version 1,", "version 2,", 1)),
        ("no head", text.to_owned()),
        ("empty", String::new()),
        ("a space at the end", format!("{good} ")),
    ];
    for (what, edited) in edits {
        assert_ne!(edited, good, "{what}");
        fs::write(&path, edited).unwrap();
        assert!(matches!(refusal(dir), GateError::Tampered { .. }), "{what}");
    }
    fs::write(&path, &good).unwrap();
    open(dir).unwrap();

    // Signed by another owner, or by this one for another site.
    let other = tempfile::tempdir().unwrap();
    open(other.path()).unwrap();
    fs::copy(other.path().join("owner.cedar"), &path).unwrap();
    assert!(matches!(refusal(dir), GateError::Tampered { .. }));
    fs::write(&path, &good).unwrap();
    let moved = SiteId { realm: Realm::LOCAL, bits: 2 };
    assert!(matches!(Gate::open(dir, Side::Device, moved, Seams::system()).err(), Some(GateError::Tampered { .. })));
}

#[test]
fn a03_an_older_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let gate = open(dir).unwrap();
    let first = fs::read(dir.join("owner.cedar")).unwrap();
    let (version, _) = gate.adopt_policies(SHUT, 5).unwrap();
    assert_eq!(version.owner.number, 2);
    assert_eq!(gate.policy_version(), version);
    let act = Act { action: Action::Run, actor: Actor::Owner, operation: "a.b", label: &Label::PUBLIC };
    assert_eq!(gate.may(&act).rule().as_str(), "owner/shut");
    assert_eq!(open(dir).unwrap().policy_version(), version);
    fs::write(dir.join("owner.cedar"), &first).unwrap();
    assert!(matches!(refusal(dir), GateError::Older { found: 1, seen: 2, .. }));
    // Deleting the policies does not bring the defaults back either, nor does a broken mark.
    fs::remove_file(dir.join("owner.cedar")).unwrap();
    assert!(matches!(refusal(dir), GateError::Missing { .. }));
    fs::write(dir.join("owner.version"), "x").unwrap();
    assert!(matches!(refusal(dir), GateError::Tampered { .. }));
}

#[test]
fn the_mark_catches_up_after_a_crash_between_text_and_mark() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    open(dir).unwrap().adopt_policies(SHUT, 5).unwrap();
    fs::write(dir.join("owner.version"), "1\n").unwrap();
    assert_eq!(open(dir).unwrap().policy_version().owner.number, 2);
    assert_eq!(fs::read_to_string(dir.join("owner.version")).unwrap(), "2\n");
}

#[test]
fn a_bad_change_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let gate = open(dir).unwrap();
    let before = fs::read(dir.join("owner.cedar")).unwrap();
    assert!(matches!(gate.adopt_policies("permit (principal, action, resource);", 5), Err(GateError::Policies { .. })));
    assert_eq!(fs::read(dir.join("owner.cedar")).unwrap(), before);
    assert_eq!(gate.policy_version().owner.number, 1);
}

#[test]
fn a_key_that_is_gone_broken_or_readable_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    open(dir).unwrap();
    let path = dir.join("owner.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(refusal(dir), GateError::KeyReadable { .. }));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    edit(&path, |text| text.replace("owner key 1", "owner key 9"));
    assert!(matches!(refusal(dir), GateError::KeyBroken { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(refusal(dir), GateError::Missing { .. }));
}
