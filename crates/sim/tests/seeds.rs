//! Many seeds under all faults, the same trace for the same seed, and broken rules that must be
//! noticed.
#![expect(clippy::unwrap_used, reason = "a test stops at any failure")]

use tidegate_sim::{Broken, FaultKind, Plan, Report, run};

/// Plays seeds on all cores, in shares; each seed is alone on its thread.
fn play(seeds: Vec<u64>, plan: &Plan) -> Vec<Report> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut reports: Vec<Report> = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|share| {
                let seeds: Vec<u64> = seeds.iter().copied().skip(share).step_by(threads).collect();
                scope.spawn(move || seeds.into_iter().map(|seed| run(seed, plan)).collect::<Vec<_>>())
            })
            .collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    reports.sort_by_key(|report| report.seed);
    reports
}

fn none_is_broken(reports: &[Report]) {
    let broken: Vec<String> = reports.iter().filter(|r| !r.violations.is_empty()).map(|r| r.to_string()).collect();
    assert!(broken.is_empty(), "{} of {} seeds\n{}", broken.len(), reports.len(), broken.join("\n"));
}

#[test]
fn f06_three_hundred_seeds_keep_every_promise() {
    let reports = play((1..=300).collect(), &Plan::default());
    none_is_broken(&reports);
    // The faults were met, and there was something to lose.
    for kind in FaultKind::ALL {
        let times: u64 = reports.iter().filter_map(|report| report.faults.get(&kind)).sum();
        assert!(times >= 300, "{}: {times}", kind.as_str());
    }
    let total = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    assert!(total(|r| r.acknowledged) > 1_500);
    assert!(total(|r| r.payloads) > 5_000);
    assert!(total(|r| r.refused) > 500);
    assert!(total(|r| r.cancelled) > 20);
    assert!(total(|r| r.executed_again) > 0, "no crash between an execution and its record");
}

/// `TIDEGATE_SIM_SEED=17 cargo test -p tidegate-sim` plays a hundred seeds derived from 17.
#[test]
fn f06_seeds_that_somebody_asked_for() {
    let Some(first) = std::env::var("TIDEGATE_SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) else { return };
    let seeds = (0..100u64).map(|i| first.wrapping_mul(1_000_003).wrapping_add(i)).collect();
    none_is_broken(&play(seeds, &Plan::default()));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let seeds: Vec<u64> = (1_000..1_010).collect();
    let traces = || play(seeds.clone(), &Plan::default()).into_iter().map(|r| r.trace).collect::<Vec<_>>();
    let first = traces();
    assert_eq!(first, traces());
    let different: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(different.len(), seeds.len());
}

/// Plays until a broken rule is noticed in these words.
fn notices(broken: Broken, kinds: &[FaultKind], words: &str) {
    let plan = Plan { broken: Some(broken), kinds: kinds.to_vec(), ..Plan::default() };
    let noticed = (1..=20).any(|seed| run(seed, &plan).violations.iter().any(|violation| violation.contains(words)));
    assert!(noticed, "{broken:?} was not noticed in 20 seeds");
}

#[test]
fn bytes_that_no_gate_saw_are_noticed() {
    notices(Broken::Unaudited, &[], "durable intents");
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    notices(Broken::LyingDisk, &FaultKind::ALL, "with 0 durable intents");
    notices(Broken::LyingDisk, &[FaultKind::DeviceCrash], "is lost");
}

#[test]
fn an_attempt_recorded_twice_is_noticed() {
    notices(Broken::ForgetfulInbox, &FaultKind::ALL, "was recorded 2 times");
}

#[test]
fn a_secret_labelled_too_low_is_noticed() {
    notices(Broken::LowLabels, &[], "a secret is in a frame");
}
