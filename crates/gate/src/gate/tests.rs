//! Decisions, downgrades and grants through the gate's own door.

use super::*;
use crate::clearance::{ClearError, Stale};
use crate::downgrade::{ALLOW_REDACTED_FLAG, Downgrade, DowngradeDecision, DowngradeKind, SAMPLES};
use crate::grants::{GRANTS_MAX, GRANTS_SETTING, GrantScope};
use crate::question::{Action, Destination};
use bytes::Bytes;
use proptest::prelude::*;
use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use tidegate_domain::ids::{Realm, RunId, WorkspaceId};
use tidegate_domain::label::{Categories, Category, Integrity, Label, Level};
use tidegate_domain::ops::SiteKind;
use tidegate_store::memory::MemoryStore;
use tidegate_store::{Batch, Receipt, Store};

const NOW: u64 = 1_790_000_000_000;
const HERE: SiteId = SiteId { realm: Realm::LOCAL, bits: 1 };
const THERE: SiteId = SiteId { realm: Realm::LOCAL, bits: 2 };

fn gate(side: Side) -> Gate {
    Gate::in_memory(side, HERE, Seams::system()).unwrap()
}

fn to(kind: SiteKind) -> Destination {
    Destination { site: THERE, kind, onward: Vec::new() }
}

fn question<'a>(label: &'a Label, destination: &'a Destination) -> Question<'a> {
    Question { label, destination, purpose: "text.embed", speculative: false, origin: None }
}

fn of(level: Level, categories: &[Category]) -> Label {
    let categories = categories.iter().copied().fold(Categories::NONE, Categories::with);
    Label { categories, ..Label::of(level) }
}

fn space(bits: u128) -> WorkspaceId {
    WorkspaceId { realm: Realm::LOCAL, bits }
}

fn run(bits: u128) -> RunId {
    RunId { realm: Realm::LOCAL, bits }
}

/// Asserts who decided; an allowing rule is written with `+`, a refusing one with `-`.
#[track_caller]
fn expect(verdict: &Verdict, wanted: &str) {
    let sign = if verdict.is_allowed() { '+' } else { '-' };
    assert_eq!(format!("{sign}{}", verdict.rule()), wanted);
}

// --- transfers -------------------------------------------------------------------------------

#[test]
fn a_device_sends_internal_data_without_private_kinds_to_the_hub_alone() {
    let gate = gate(Side::Device);
    let ask = |label: &Label, d: &Destination| gate.would_transfer(&question(label, d));
    for level in [Level::Public, Level::Internal] {
        expect(&ask(&of(level, &[]), &to(SiteKind::Hub)), "+owner/may-go-to-the-hub");
        expect(&ask(&of(level, &[]), &to(SiteKind::Worker)), "+owner/may-go-to-the-hub");
        for category in Category::ALL {
            let named = match category {
                Category::Unknown => "-organisation/unknown-stays",
                _ => "-organisation/private-kinds-stay-on-the-device",
            };
            expect(&ask(&of(level, &[category]), &to(SiteKind::Hub)), named);
        }
    }
    let above = "-organisation/above-internal-stays-on-the-device";
    expect(&ask(&of(Level::Confidential, &[]), &to(SiteKind::Hub)), above);
    expect(&ask(&of(Level::Restricted, &[]), &to(SiteKind::Hub)), "-organisation/restricted-stays");
    expect(&ask(&Label::highest(), &to(SiteKind::Worker)), "-organisation/restricted-stays");
    expect(&ask(&Label::PUBLIC, &to(SiteKind::Device)), "-organisation/no-rule");
}

/// The owner's set alone holds the same line: a hub that loosens the organisation's gains nothing.
#[test]
fn a03_an_organisation_that_allows_everything_changes_nothing_on_a_device() {
    let open = "@id(\"all\") @says(\"all goes\") permit (principal, action, resource);";
    let kept = Keeper::in_memory(HERE, [1; 32], DEVICE_OWNER).unwrap();
    let gate = Gate::with(kept, Side::Device, HERE, Seams::system(), open).unwrap();
    let hub = to(SiteKind::Hub);
    let ask = |label: &Label| gate.would_transfer(&question(label, &hub));
    expect(&ask(&of(Level::Internal, &[])), "+owner/may-go-to-the-hub");
    expect(&ask(&of(Level::Confidential, &[])), "-owner/above-internal-stays");
    expect(&ask(&of(Level::Restricted, &[])), "-owner/restricted-stays");
    for category in Category::ALL {
        expect(&ask(&of(Level::Public, &[category])), "-owner/private-kinds-stay");
    }
    expect(&gate.would_transfer(&question(&Label::PUBLIC, &to(SiteKind::Device))), "-owner/no-rule");
    let d = redact(&CONFIDENTIAL_IN_A, None);
    assert_eq!(gate.would_downgrade(&d).label.level, Level::Confidential);
}

#[test]
fn data_goes_on_beyond_the_hub_only_where_the_owner_says() {
    let gate = gate(Side::Device);
    let onward = Destination { onward: vec!["api.example.com".into()], ..to(SiteKind::Hub) };
    expect(&gate.would_transfer(&question(&Label::PUBLIC, &onward)), "-owner/onward-only-where-named");
    let named = DEVICE_OWNER.replace("[\"nowhere.invalid\"]", "[\"api.example.com\"]");
    assert_ne!(named, DEVICE_OWNER);
    gate.adopt_policies(&named, NOW).unwrap();
    expect(&gate.would_transfer(&question(&Label::PUBLIC, &onward)), "+owner/may-go-to-the-hub");
    let further = Destination { onward: vec!["api.example.com".into(), "b.example".into()], ..onward };
    expect(&gate.would_transfer(&question(&Label::PUBLIC, &further)), "-owner/onward-only-where-named");
}

#[test]
fn the_hub_keeps_its_confidential_data_and_gives_back_what_came() {
    let gate = gate(Side::Hub);
    let device = to(SiteKind::Device);
    let ask = |label: &Label, origin| gate.would_transfer(&Question { origin, ..question(label, &device) });
    expect(&ask(&of(Level::Internal, &[Category::Pii]), None), "+owner/may-go-to-sites");
    let stays = "-organisation/confidential-stays-on-the-hub";
    expect(&ask(&of(Level::Confidential, &[]), None), stays);
    expect(&ask(&of(Level::Confidential, &[]), Some(HERE)), stays);
    expect(&ask(&of(Level::Confidential, &[]), Some(THERE)), "+owner/may-go-to-sites");
    expect(&ask(&of(Level::Restricted, &[]), Some(THERE)), "-organisation/restricted-stays");
    expect(&ask(&of(Level::Public, &[Category::Unknown]), Some(THERE)), "-organisation/unknown-stays");
    let worker = to(SiteKind::Worker);
    expect(&gate.would_transfer(&question(&of(Level::Confidential, &[]), &worker)), stays);
    expect(&gate.would_transfer(&question(&of(Level::Internal, &[]), &worker)), "+owner/may-go-to-sites");
}

#[test]
fn nothing_above_internal_is_sent_for_work_that_may_never_run() {
    let gate = gate(Side::Hub);
    let device = to(SiteKind::Device);
    let ask = |label: &Label| {
        gate.would_transfer(&Question { origin: Some(THERE), speculative: true, ..question(label, &device) })
    };
    expect(&ask(&of(Level::Internal, &[])), "+owner/may-go-to-sites");
    expect(&ask(&of(Level::Confidential, &[])), "-organisation/no-guessing-above-internal");
}

#[test]
fn another_realm_and_a_transfer_too_large_are_refused() {
    let gate = gate(Side::Device);
    let acme = Destination { site: SiteId { realm: "acme".parse().unwrap(), bits: 2 }, ..to(SiteKind::Hub) };
    expect(&gate.would_transfer(&question(&Label::PUBLIC, &acme)), "-gate/realm");
    let large = transfer(Label::PUBLIC, &vec![0; TRANSFER_BYTES_MAX + 1]);
    expect(&gate.judge(large, NOW).verdict(), "-gate/transfer-bytes-max");
    let fits = transfer(Label::PUBLIC, &vec![0; TRANSFER_BYTES_MAX]);
    assert!(gate.judge(fits, NOW).verdict().is_allowed());
}

static DEVICE: LazyLock<Gate> = LazyLock::new(|| gate(Side::Device));
static HUB: LazyLock<Gate> = LazyLock::new(|| gate(Side::Hub));

fn any_label() -> impl Strategy<Value = Label> {
    (0usize..4, 0u32..64, any::<bool>()).prop_map(|(level, bits, untrusted)| Label {
        categories: Categories::from_bits(bits),
        integrity: if untrusted { Integrity::Untrusted } else { Integrity::Trusted },
        ..Label::of(Level::ALL[level])
    })
}

fn any_transfer() -> impl Strategy<Value = (bool, SiteKind, bool, bool, bool)> {
    let kind = prop_oneof![Just(SiteKind::Device), Just(SiteKind::Hub), Just(SiteKind::Worker)];
    (any::<bool>(), kind, any::<bool>(), any::<bool>(), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// If `a ⊔ b` may go, so may `a`: no category and no level ever opens the gate.
    #[test]
    fn what_is_below_an_allowed_label_is_allowed(
        a in any_label(), b in any_label(), (hub, kind, speculative, returning, onward) in any_transfer()
    ) {
        let gate = if hub { &*HUB } else { &*DEVICE };
        let destination = Destination {
            onward: if onward { vec!["api.example.com".into()] } else { Vec::new() },
            ..to(kind)
        };
        let ask = |label: &Label| gate.would_transfer(&Question {
            label, destination: &destination, purpose: "x.y", speculative, origin: returning.then_some(THERE),
        }).is_allowed();
        let both = a.clone().join(&b);
        prop_assert!(!ask(&both) || (ask(&a) && ask(&b)), "{both} may go, but not {a} or {b}");
        if !hub {
            prop_assert!(!ask(&a) || (a.level <= Level::Internal && a.categories.is_empty() && !onward));
        }
    }
}

// --- downgrades ------------------------------------------------------------------------------

static CONFIDENTIAL_IN_A: LazyLock<Label> = LazyLock::new(|| Label {
    workspaces: vec![space(10)],
    ..of(Level::Confidential, &[Category::Pii, Category::Undetermined])
});

fn redact(from: &Label, run: Option<RunId>) -> Downgrade<'_> {
    Downgrade {
        kind: DowngradeKind::Redact,
        op: "text.redact",
        from,
        run,
        step: "redact",
        item: None,
        residue: Categories::NONE,
    }
}

#[test]
fn without_a_grant_redaction_clears_kinds_and_asks_for_the_level() {
    let gate = gate(Side::Device);
    let DowngradeDecision::Granted { label, rule, ask, audit } =
        gate.downgrade(&redact(&CONFIDENTIAL_IN_A, Some(run(1))), NOW)
    else {
        panic!("clearing kinds needs no grant")
    };
    assert_eq!(label, Label { categories: Categories::NONE, ..CONFIDENTIAL_IN_A.clone() });
    assert_eq!(rule.as_str(), "owner/redaction-clears-what-detectors-know");
    let ask = ask.unwrap();
    assert_eq!(ask.flag, ALLOW_REDACTED_FLAG);
    assert_eq!(ask.workspaces, [space(10)]);
    insta::assert_snapshot!(ask.question, @"may redacted text from this folder go to the hub? names, places and anything no detector knows would go with it");
    let entry = entry_of(&audit);
    assert_eq!((entry.kind, entry.verdict), (EntryKind::Verdict, Some(Outcome::Ask)));
    assert_eq!(entry.label.as_ref(), Some(&*CONFIDENTIAL_IN_A));
    assert_eq!(entry.label_after, Some(label));

    // With nothing to clear there is nothing to grant, only to ask.
    let scanned = Label { categories: Categories::NONE, ..CONFIDENTIAL_IN_A.clone() };
    let DowngradeDecision::Denied { label, ask, rule, .. } = gate.downgrade(&redact(&scanned, None), NOW) else {
        panic!("the level sank without a grant")
    };
    assert_eq!(label, scanned);
    assert!(ask.is_some());
    assert_eq!(rule.as_str(), "owner/no-rule");
}

#[test]
fn a_grant_lowers_its_folder_and_no_other() {
    let gate = gate(Side::Device);
    gate.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    let a = gate.would_downgrade(&redact(&CONFIDENTIAL_IN_A, None));
    assert_eq!(a.label, Label { workspaces: vec![space(10)], ..Label::of(Level::Internal) });
    assert!(a.verdict.rule().as_str().starts_with("owner/grant-"));
    assert_eq!(a.ask, None);

    let b = Label { workspaces: vec![space(11)], ..CONFIDENTIAL_IN_A.clone() };
    assert_eq!(gate.would_downgrade(&redact(&b, None)).label.level, Level::Confidential);
    let both = CONFIDENTIAL_IN_A.clone().join(&b);
    let sunk = gate.would_downgrade(&redact(&both, None));
    assert_eq!(sunk.label.level, Level::Confidential);
    assert_eq!(sunk.ask.unwrap().workspaces, [space(11)], "only the folder that lacks a grant");
    gate.grant_redaction(space(11), GrantScope::Always, NOW).unwrap();
    assert_eq!(gate.would_downgrade(&redact(&both, None)).label.level, Level::Internal);
}

#[test]
fn a_grant_for_one_run_gives_nothing_to_another() {
    let gate = gate(Side::Device);
    gate.grant_redaction(space(10), GrantScope::Run(run(1)), NOW).unwrap();
    let level = |run| gate.would_downgrade(&redact(&CONFIDENTIAL_IN_A, run)).label.level;
    assert_eq!(level(Some(run(1))), Level::Internal);
    assert_eq!(level(Some(run(2))), Level::Confidential);
    assert_eq!(level(None), Level::Confidential);
    assert!(!gate.end_run(run(2)));
    assert!(gate.end_run(run(1)));
    assert_eq!(level(Some(run(1))), Level::Confidential);
}

#[test]
fn no_grant_lowers_restricted_data_or_data_of_no_folder_or_what_no_detector_knows() {
    let gate = gate(Side::Device);
    gate.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    let restricted = Label { level: Level::Restricted, ..CONFIDENTIAL_IN_A.clone() };
    let sunk = gate.would_downgrade(&redact(&restricted, None));
    assert_eq!(sunk.label, restricted);
    expect(&sunk.verdict, "-organisation/restricted-is-never-lowered");
    assert_eq!(sunk.ask, None);

    let nowhere = of(Level::Confidential, &[]);
    let sunk = gate.would_downgrade(&redact(&nowhere, None));
    assert_eq!(sunk.label, nowhere);
    expect(&sunk.verdict, "-owner/lowering-needs-a-folder");
    assert_eq!(sunk.ask, None);

    for left in [Category::Health, Category::Unknown] {
        let label = Label { categories: CONFIDENTIAL_IN_A.categories.with(left), ..CONFIDENTIAL_IN_A.clone() };
        let sunk = gate.would_downgrade(&redact(&label, None));
        assert_eq!(sunk.label.level, Level::Confidential);
        assert_eq!(sunk.label.categories, Categories::only(left));
    }
    // Whatever is still found in the text keeps it where it is.
    let residue = Categories::only(Category::Credential);
    let sunk = gate.would_downgrade(&Downgrade { residue, ..redact(&CONFIDENTIAL_IN_A, None) });
    assert_eq!(sunk.label, Label { categories: residue, ..CONFIDENTIAL_IN_A.clone() });
}

#[test]
fn the_samples_may_go_and_nothing_mixed_with_them() {
    let gate = gate(Side::Device);
    assert!(DEVICE_OWNER.contains(&format!("Workspace::\"{SAMPLES}\"")));
    let samples = Label { workspaces: vec![SAMPLES], ..CONFIDENTIAL_IN_A.clone() };
    let sunk = gate.would_downgrade(&redact(&samples, None));
    assert_eq!(sunk.label.level, Level::Internal);
    expect(&sunk.verdict, "+owner/samples-may-go");
    let mixed = samples.join(&CONFIDENTIAL_IN_A);
    assert_eq!(gate.would_downgrade(&redact(&mixed, None)).label.level, Level::Confidential);
    let elsewhere = WorkspaceId { realm: "acme".parse().unwrap(), ..SAMPLES };
    let other = Label { workspaces: vec![elsewhere], ..CONFIDENTIAL_IN_A.clone() };
    assert_eq!(gate.would_downgrade(&redact(&other, None)).label.level, Level::Confidential);
}

#[test]
fn a_match_tells_what_it_declares_on_the_hub_alone() {
    let index = of(Level::Confidential, &[Category::Undetermined]);
    let extract = |op| Downgrade { kind: DowngradeKind::Extract, op, ..redact(&index, None) };
    let sunk = HUB.would_downgrade(&extract("library.match"));
    assert_eq!(sunk.label, of(Level::Internal, &[Category::Undetermined]));
    expect(&sunk.verdict, "+owner/match-tells-what-it-declares");
    expect(&HUB.would_downgrade(&extract("library.export")).verdict, "-organisation/no-rule");
    expect(&DEVICE.would_downgrade(&extract("library.match")).verdict, "-owner/lowering-needs-a-folder");
    let placed = Label { workspaces: vec![space(10)], ..index.clone() };
    let d = Downgrade { from: &placed, ..extract("library.match") };
    expect(&DEVICE.would_downgrade(&d).verdict, "-organisation/no-rule");
    let sunk = HUB.would_downgrade(&redact(&index, None));
    assert_eq!(sunk.label, index);
    expect(&sunk.verdict, "-organisation/no-rule");
    let restricted = Label { level: Level::Restricted, ..index.clone() };
    let d = Downgrade { from: &restricted, ..extract("library.match") };
    expect(&HUB.would_downgrade(&d).verdict, "-organisation/restricted-is-never-lowered");
}

// --- grants ----------------------------------------------------------------------------------

#[test]
fn grants_survive_a_restart_and_bad_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Gate::open(dir.path(), Side::Device, HERE, Seams::system()).unwrap();
    let first = open();
    let (record, audit) = first.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    let entry = entry_of(&audit);
    assert_eq!((entry.kind, entry.purpose.as_str()), (EntryKind::Admin, "grant.made"));
    first.grant_redaction(space(11), GrantScope::Run(run(1)), NOW).unwrap();
    let Write::Setting { name, value } = first.grants_setting() else { panic!("no setting") };
    assert_eq!(name, GRANTS_SETTING);

    let second = open();
    let level = |gate: &Gate| gate.would_downgrade(&redact(&CONFIDENTIAL_IN_A, None)).label.level;
    assert_eq!(level(&second), Level::Confidential);
    let records = GrantRecord::decode_all(&value).unwrap();
    assert_eq!(records.len(), 2);
    second.load_grants(&records).unwrap();
    assert_eq!(level(&second), Level::Internal);

    // Another folder or a wider scope under the old signature, another owner's grant.
    let mut wider = records.iter().find(|r| r.id != record.id).unwrap().clone();
    wider.scope = GrantScope::Always;
    let mut moved = record.clone();
    moved.workspace = space(12);
    let (foreign, _) = gate(Side::Device).grant_redaction(space(12), GrantScope::Always, NOW).unwrap();
    for bad in [wider, moved, foreign] {
        let third = open();
        assert!(matches!(third.load_grants(&[record.clone(), bad]), Err(GateError::GrantRefused { .. })));
        assert_eq!(level(&third), Level::Confidential, "one bad record and none is taken");
    }
    let mut broken = value;
    let at = broken.len() - 1;
    broken[at] ^= 1;
    assert!(GrantRecord::decode_all(&broken).and_then(|r| open().load_grants(&r)).is_err());
    assert!(GrantRecord::decode_all(&[]).is_err());
}

/// What the owner's key signs for another use is no grant, and a grant with other words neither.
#[test]
fn a_signed_text_that_is_no_grant_is_refused() {
    let (keeper, _) = Keeper::in_memory(HERE, [3; 32], DEVICE_OWNER).unwrap();
    let id = GrantId([1; 16]);
    let good = GrantRecord::sign(&keeper.key, HERE, id, space(10), GrantScope::Always, NOW);
    assert!(good.verify(&keeper.key, HERE).is_ok());
    assert!(good.verify(&keeper.key, THERE).is_err(), "made for another site");
    let text = "@id(\"x\") @says(\"y\") permit (principal, action, resource);";
    let forged = good.with_text(text, keeper.key.sign("grant", HERE, text));
    assert!(forged.verify(&keeper.key, HERE).is_err());
    let reused = good.with_text(good.text(), keeper.key.sign("policies 1", HERE, good.text()));
    assert!(reused.verify(&keeper.key, HERE).is_err());
}

#[test]
fn a_revoked_grant_ends_at_once() {
    let gate = gate(Side::Device);
    let (record, _) = gate.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    assert_eq!(gate.would_downgrade(&redact(&CONFIDENTIAL_IN_A, None)).label.level, Level::Internal);
    let audit = gate.revoke(record.id, NOW).unwrap();
    assert_eq!(entry_of(&audit).purpose, "grant.revoked");
    assert_eq!(gate.would_downgrade(&redact(&CONFIDENTIAL_IN_A, None)).label.level, Level::Confidential);
    assert!(gate.revoke(record.id, NOW).is_none());
    assert!(gate.grants().is_empty());
}

#[test]
fn grants_are_made_on_devices_for_their_realm_and_bounded() {
    assert!(matches!(HUB.grant_redaction(space(1), GrantScope::Always, NOW), Err(GateError::DeviceOnly)));
    let acme = WorkspaceId { realm: "acme".parse().unwrap(), bits: 10 };
    let gate = gate(Side::Device);
    assert!(matches!(gate.grant_redaction(acme, GrantScope::Always, NOW), Err(GateError::Realm)));
    let keeper = gate.keeper();
    let many = (0..GRANTS_MAX as u128 + 1).map(|n| {
        let id = GrantId(n.to_be_bytes());
        GrantRecord::sign(&keeper.key, HERE, id, space(n), GrantScope::Always, NOW)
    });
    assert!(matches!(gate.add_grants(&many.collect::<Vec<_>>()), Err(GateError::TooManyGrants { .. })));
}

#[test]
fn a_change_of_policies_keeps_the_grants() {
    let gate = gate(Side::Device);
    gate.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    gate.adopt_policies(DEVICE_OWNER, NOW).unwrap();
    assert_eq!(gate.would_downgrade(&redact(&CONFIDENTIAL_IN_A, None)).label.level, Level::Internal);
}

// --- acts ------------------------------------------------------------------------------------

#[test]
fn a_hub_orders_a_device_nothing_and_only_owners_approve() {
    let may =
        |gate: &Gate, action, actor, label: &Label| gate.may(&Act { action, actor, operation: "files.write", label });
    let hub = Actor::Site(THERE, SiteKind::Hub);
    for action in [Action::Place, Action::Read, Action::Write, Action::Run] {
        expect(&may(&DEVICE, action, Actor::Owner, &Label::highest()), "+owner/the-owner-works-here");
        expect(&may(&DEVICE, action, hub, &Label::PUBLIC), "-owner/no-rule");
    }
    expect(&may(&DEVICE, Action::Approve, Actor::Owner, &Label::PUBLIC), "+owner/the-owner-works-here");
    expect(&may(&DEVICE, Action::Approve, hub, &Label::PUBLIC), "-organisation/only-owners-approve");
    let device = Actor::Site(THERE, SiteKind::Device);
    for action in [Action::Place, Action::Read, Action::Run] {
        expect(&may(&HUB, action, device, &Label::of(Level::Internal)), "+owner/sites-use-the-hub");
        expect(&may(&HUB, action, device, &Label::of(Level::Confidential)), "-owner/no-rule");
    }
    expect(&may(&HUB, Action::Write, device, &Label::PUBLIC), "-owner/no-rule");
    let stranger = Actor::Site(SiteId { realm: "acme".parse().unwrap(), bits: 2 }, SiteKind::Device);
    expect(&may(&HUB, Action::Run, stranger, &Label::PUBLIC), "-gate/realm");
}

// --- clearance and audit ---------------------------------------------------------------------

fn transfer(label: Label, payload: &[u8]) -> Transfer {
    Transfer {
        run: Some(run(1)),
        attempt: None,
        step: "embed".into(),
        item: Some(3),
        label,
        destination: to(SiteKind::Hub),
        purpose: "text.embed".into(),
        speculative: false,
        origin: None,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn commit(store: &MemoryStore, writes: Vec<Write>) -> Receipt {
    let mut ticket = pin!(store.commit(Batch { writes }));
    match ticket.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(receipt) => receipt.unwrap(),
        Poll::Pending => panic!("the memory store waits"),
    }
}

fn entry_of(write: &Write) -> AuditEntry {
    match write {
        Write::Audit { body, .. } => AuditEntry::decode(body).unwrap(),
        _ => panic!("not an audit entry"),
    }
}

fn draft(gate: &Gate, payload: &[u8]) -> Draft {
    gate.judge(transfer(Label::PUBLIC, payload), NOW).into_draft().unwrap()
}

#[test]
fn a_receipt_turns_a_draft_into_cleared_bytes() {
    let (gate, store) = (gate(Side::Device), MemoryStore::new(Realm::LOCAL));
    let (first, second) = (draft(&gate, b"one"), draft(&gate, b"two"));
    let journal = Write::Journal { run: run(1), kind: 1, body: vec![1] };
    let receipt = commit(&store, vec![first.write(), journal, second.write()]);
    let cleared = second.clear(&receipt, 1, &store).unwrap();
    assert_eq!(cleared.payload().as_ref(), b"two");
    assert_eq!(cleared.digest(), blake3::hash(b"two").as_bytes());
    assert_eq!((cleared.seq(), cleared.hash()), (2, &receipt.audit()[1].1));
    assert_eq!(cleared.destination(), &to(SiteKind::Hub));
    assert_eq!(cleared.policy(), gate.policy_version());
    let first = first.clear(&receipt, 0, &store).unwrap();
    assert_eq!((first.seq(), first.payload().as_ref()), (1, b"one".as_slice()));

    commit(&store, vec![gate.sent(cleared.meta(), NOW + 5)]);
    let rows = store.audit(0, None, 10).unwrap();
    let entries = rows.iter().map(|r| (r.seq, AuditEntry::decode(r.body.as_ref().unwrap()).unwrap()));
    let folded = fold_states_of(entries);
    assert_eq!(folded, [Some("possibly_sent"), Some("intent"), Some("sent")]);
    let intent = AuditEntry::decode(rows[1].body.as_ref().unwrap()).unwrap();
    assert_eq!(intent.digest, Some(*cleared.digest()));
    assert_eq!((intent.from, intent.to, intent.item), (Some(HERE), Some(THERE), Some(3)));
    assert_eq!(intent.rule, "owner/may-go-to-the-hub");
}

fn fold_states_of(entries: impl Iterator<Item = (u64, AuditEntry)>) -> Vec<Option<&'static str>> {
    crate::fold_states(entries).iter().map(|(_, e)| e.state.map(TransferState::as_str)).collect()
}

#[test]
fn another_batchs_receipt_clears_nothing() {
    let (gate, store) = (gate(Side::Device), MemoryStore::new(Realm::LOCAL));
    // The same bytes, judged in the same millisecond: only the entry tells them apart.
    let (committed, never) = (draft(&gate, b"same"), draft(&gate, b"same"));
    let receipt = commit(&store, vec![committed.write()]);
    assert!(matches!(never.clear(&receipt, 0, &store), Err(ClearError::OtherEntry { seq: 1 })));
    assert!(matches!(draft(&gate, b"x").clear(&receipt, 1, &store), Err(ClearError::NoEntry { entry: 1 })));

    // A receipt of another store, in which the same place holds the same draft's entry.
    let elsewhere = MemoryStore::new(Realm::LOCAL);
    let other = gate.admin_entry(&AdminAct::Opened, NOW);
    commit(&elsewhere, vec![other, committed.write()]);
    assert!(matches!(committed.clear(&receipt, 0, &elsewhere), Err(ClearError::OtherEntry { seq: 1 })));

    // A receipt of another store, in which the very same entry follows upon another one.
    let (a, b) = (MemoryStore::new(Realm::LOCAL), MemoryStore::new(Realm::LOCAL));
    let twice = draft(&gate, b"twice");
    let receipt = commit(&a, vec![gate.admin_entry(&AdminAct::Opened, NOW), twice.write()]);
    commit(&b, vec![gate.admin_entry(&AdminAct::Opened, NOW), twice.write()]);
    assert!(matches!(twice.clear(&receipt, 1, &b), Err(ClearError::OtherEntry { seq: 2 })));

    // An entry at the wrong place of the right batch.
    let (a, b) = (draft(&gate, b"a"), draft(&gate, b"b"));
    let receipt = commit(&store, vec![a.write(), b.write()]);
    assert!(matches!(a.clear(&receipt, 1, &store), Err(ClearError::OtherEntry { .. })));
    assert!(b.clear(&receipt, 1, &store).is_ok());
}

#[test]
fn cleared_bytes_go_stale() {
    let (gate, store) = (gate(Side::Device), MemoryStore::new(Realm::LOCAL));
    let draft = draft(&gate, b"x");
    let receipt = commit(&store, vec![draft.write()]);
    let cleared = draft.clear(&receipt, 0, &store).unwrap();
    let version = gate.policy_version();
    assert_eq!(cleared.expires_ms(), NOW + CLEARANCE_MS);
    assert_eq!(cleared.check(NOW, version), Ok(()));
    assert_eq!(cleared.check(NOW + CLEARANCE_MS - 1, version), Ok(()));
    let expired = Err(Stale::Expired { expires_ms: NOW + CLEARANCE_MS });
    assert_eq!(cleared.check(NOW + CLEARANCE_MS, version), expired);
    assert_eq!(cleared.check(NOW - 1, version), expired, "a clock set back does not lengthen it");
    gate.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    assert_eq!(cleared.check(NOW, gate.policy_version()), Ok(()), "a grant judges no transfer");
    gate.adopt_policies(DEVICE_OWNER, NOW).unwrap();
    assert_eq!(cleared.check(NOW, gate.policy_version()), Err(Stale::OtherPolicy));
}

#[test]
fn a_refusal_is_audited_without_a_digest() {
    let gate = gate(Side::Device);
    let judged = gate.judge(transfer(CONFIDENTIAL_IN_A.clone(), b"secret"), NOW);
    let entry = entry_of(&judged.write());
    assert_eq!((entry.kind, entry.verdict), (EntryKind::Verdict, Some(Outcome::Deny)));
    assert_eq!((entry.state, entry.digest, entry.bytes), (None, None, 6));
    assert_eq!(entry.rule, "organisation/above-internal-stays-on-the-device");
    insta::assert_snapshot!(judged.verdict().words(), @"only public and internal data may leave a device");
    assert!(judged.into_draft().is_none());
}

#[test]
fn arrivals_totals_and_acts_have_entries() {
    let gate = gate(Side::Device);
    let arrival = Arrival {
        run: Some(run(1)),
        attempt: None,
        step: "embed".into(),
        item: None,
        from: THERE,
        label: Label::of(Level::Internal),
        bytes: 9,
        digest: [9; 32],
        purpose: "text.embed".into(),
    };
    let entry = entry_of(&gate.received(&arrival, NOW));
    assert_eq!((entry.direction, entry.state), (Some(crate::Direction::In), Some(TransferState::Sent)));
    assert_eq!((entry.from, entry.to), (Some(THERE), Some(HERE)));

    let frame = |n: u64| crate::FrameTotal { frame: format!("f{n}"), count: n, bytes: 10 * n };
    let totals = SessionTotals {
        session: tidegate_domain::ids::SessionId { realm: Realm::LOCAL, bits: 1 },
        peer: THERE,
        direction: crate::Direction::Out,
        label: Label::PUBLIC,
        frames: (1..=70).map(frame).collect(),
    };
    let entry = entry_of(&gate.totals(&totals, NOW));
    assert_eq!(entry.kind, EntryKind::Totals);
    assert_eq!(entry.totals.len(), crate::TOTALS_MAX);
    assert_eq!(entry.bytes, (1..=70).map(|n| 10 * n).sum::<u64>());
    assert_eq!(entry.totals.iter().map(|t| t.count).sum::<u64>(), (1..=70).sum::<u64>());

    let entry = entry_of(&gate.admin_entry(&AdminAct::Forgotten { run: run(1) }, NOW));
    assert_eq!((entry.kind, entry.run), (EntryKind::Admin, None), "the run's own entries lose their content");
}

// --- cache -----------------------------------------------------------------------------------

#[test]
fn the_cache_is_bounded_and_goes_with_its_state() {
    let gate = gate(Side::Device);
    let hub = to(SiteKind::Hub);
    let public = Label::PUBLIC;
    for n in 0..cache::CACHED_MAX + 10 {
        let purpose = format!("op.{n}");
        let q = Question { purpose: &purpose, ..question(&public, &hub) };
        assert!(gate.would_transfer(&q).is_allowed());
        assert!(gate.state().verdicts.len() <= cache::CACHED_MAX);
    }
    gate.grant_redaction(space(10), GrantScope::Always, NOW).unwrap();
    assert_eq!(gate.state().verdicts.len(), 0);
    assert!(gate.would_transfer(&question(&Label::PUBLIC, &hub)).is_allowed());
    let shut = "@id(\"shut\") @says(\"nothing goes\") forbid (principal, action, resource);";
    gate.adopt_policies(shut, NOW).unwrap();
    expect(&gate.would_transfer(&question(&Label::PUBLIC, &hub)), "-owner/shut");
}

#[test]
fn every_part_of_a_question_is_in_its_key() {
    use std::collections::HashSet;
    let hub = to(SiteKind::Hub);
    let onward = |names: &[&str]| Destination { onward: names.iter().map(|n| (*n).into()).collect(), ..hub.clone() };
    let destinations = [
        hub.clone(),
        to(SiteKind::Worker),
        Destination { site: HERE, ..hub.clone() },
        onward(&["ab", "c"]),
        onward(&["a", "bc"]),
        onward(&["abc"]),
        onward(&["abc", ""]),
        onward(&["x".repeat(300).as_str()]),
        onward(&["x".repeat(301).as_str()]),
    ];
    let labels = [
        Label::PUBLIC,
        of(Level::Internal, &[]),
        of(Level::Public, &[Category::Pii]),
        Label { integrity: Integrity::Untrusted, ..Label::PUBLIC },
    ];
    let mut keys = HashSet::new();
    let mut asked = 0;
    for destination in &destinations {
        for label in &labels {
            for purpose in ["a.b", "a.c"] {
                for (speculative, origin) in [(false, None), (true, None), (false, Some(destination.site))] {
                    keys.insert(cache::transfer_key(&Question { label, destination, purpose, speculative, origin }));
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(keys.len(), asked);

    let labels = [CONFIDENTIAL_IN_A.clone(), Label { workspaces: vec![space(11)], ..CONFIDENTIAL_IN_A.clone() }];
    let mut keys = HashSet::new();
    for from in &labels {
        for run in [None, Some(run(1)), Some(run(2))] {
            for kind in [DowngradeKind::Redact, DowngradeKind::Extract] {
                for residue in [Categories::NONE, Categories::only(Category::Pii)] {
                    for op in ["a.b", "a.c"] {
                        let d = Downgrade { kind, op, residue, ..redact(from, run) };
                        keys.insert(cache::downgrade_key(&d));
                    }
                }
            }
        }
    }
    assert_eq!(keys.len(), 2 * 3 * 2 * 2 * 2);
}
