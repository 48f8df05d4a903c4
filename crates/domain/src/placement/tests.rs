//! Feasibility, the choice among possible sites, and the words that explain it.

use super::*;
use crate::ids::Realm;
use crate::ops::{CostHint, Effects};
use crate::schema::Type;
use proptest::prelude::*;

const OP: OpSpec = OpSpec {
    name: "test.op",
    version: 1,
    summary: "",
    effects: Effects::Pure,
    sites: &[SiteKind::Device, SiteKind::Hub],
    needs: &[],
    onward: &[],
    cost: CostHint { fixed_us: 1_000, ns_per_byte: 100 },
    input: &[],
    output: Type::Any,
};
static PURE: OpSpec = OP;
static LIBRARY: OpSpec = OpSpec { needs: &[Capability::Library], sites: &[SiteKind::Hub], ..OP };

fn site(kind: SiteKind, speed_permille: u32) -> SiteView {
    SiteView {
        site: SiteId { realm: Realm::LOCAL, bits: kind as u128 },
        kind,
        here: kind == SiteKind::Device,
        reachable: true,
        capabilities: vec![Capability::Library],
        speed_permille,
        slots: 2,
        load: 0,
        rtt_us: if kind == SiteKind::Device { 0 } else { 500 },
        bytes_per_s: 1_000_000,
    }
}

fn request<'p>(op: &'static OpSpec, place: &'p Place) -> Request<'p> {
    Request { op, input_bytes: 1_000, place, elapsed_ms: 0, snapshot_version: 3 }
}

fn cleared(_: &SiteView) -> Clearance {
    Clearance::Cleared
}

fn denied(_: &SiteView) -> Clearance {
    Clearance::Denied { rule: "level".into(), why: "too high".into() }
}

#[test]
fn on_equal_machines_work_stays() {
    let place = Place::default();
    let sites = [site(SiteKind::Device, 1_000), site(SiteKind::Hub, 1_000)];
    let decision = decide(&request(&PURE, &place), &sites, &cleared);
    assert_eq!(decision.winner().unwrap().kind, SiteKind::Device);
    assert_eq!(decision.reason(), "fastest: 1.1 ms on the device against 2.6 ms on the hub");
}

#[test]
fn a_much_faster_hub_wins_and_prefer_private_keeps_it() {
    let mut place = Place::default();
    let sites = [site(SiteKind::Device, 100), site(SiteKind::Hub, 10_000)];
    assert_eq!(decide(&request(&PURE, &place), &sites, &cleared).winner().unwrap().kind, SiteKind::Hub);
    place.prefer = Prefer::Private;
    let decision = decide(&request(&PURE, &place), &sites, &cleared);
    assert_eq!((decision.winner().unwrap().kind, decision.because), (SiteKind::Device, Because::Private));
}

#[test]
fn a_busy_device_gives_work_away() {
    let place = Place::default();
    let mut sites = [site(SiteKind::Device, 1_000), site(SiteKind::Hub, 1_000)];
    sites[0].load = 8;
    assert_eq!(decide(&request(&PURE, &place), &sites, &cleared).winner().unwrap().kind, SiteKind::Hub);
}

#[test]
fn what_must_go_and_may_not_is_refused_by_the_rule() {
    let place = Place::default();
    let sites = [site(SiteKind::Device, 1_000), site(SiteKind::Hub, 1_000)];
    let decision = decide(&request(&LIBRARY, &place), &sites, &denied);
    assert_eq!(decision.winner(), None);
    assert_eq!(decision.nowhere(&place), Nowhere::Refused { rule: "level".into(), why: "too high".into() });
}

#[test]
fn a_hub_that_is_away_is_waited_for_but_a_forbidden_one_is_not() {
    let place = Place::default();
    let mut sites = [site(SiteKind::Device, 1_000), site(SiteKind::Hub, 1_000)];
    sites[1].reachable = false;
    let away = decide(&request(&LIBRARY, &place), &sites, &cleared);
    assert_eq!(away.nowhere(&place), Nowhere::Away { site: sites[1].site, offline: Offline::Run });
    let forbidden = decide(&request(&LIBRARY, &place), &sites, &denied);
    assert!(matches!(forbidden.nowhere(&place), Nowhere::Refused { .. }));
}

proptest! {
    /// Never a site that the clearance denies, and never a worse one than a possible other.
    #[test]
    fn the_winner_is_possible_and_best(
        speeds in proptest::collection::vec(1u32..10_000, 2..6),
        loads in proptest::collection::vec(0u32..20, 6),
        deny in proptest::collection::vec(any::<bool>(), 6),
        bytes in 0u64..1 << 24,
    ) {
        let place = Place::default();
        let sites: Vec<SiteView> = speeds.iter().enumerate().map(|(i, speed)| {
            let mut view = site(if i == 0 { SiteKind::Device } else { SiteKind::Hub }, *speed);
            view.site.bits = i as u128;
            view.load = loads[i];
            view
        }).collect();
        let clearance = |view: &SiteView| if deny[view.site.bits as usize] { denied(view) } else { Clearance::Cleared };
        let request = Request { input_bytes: bytes, ..request(&PURE, &place) };
        let decision = decide(&request, &sites, &clearance);
        let winner = decision.winner().unwrap();
        prop_assert!(winner.kind == SiteKind::Device || !deny[winner.site.bits as usize]);
        for other in decision.candidates.iter().filter(|c| c.excluded_by.is_none()) {
            prop_assert!(winner.total_us() <= other.total_us());
        }
        prop_assert_eq!(decide(&request, &sites, &clearance), decision.clone());
    }
}
