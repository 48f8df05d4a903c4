//! F1 from outside: SIGKILL at random moments. Nothing is lost, nothing is written twice.

use crate::documents;
use crate::harness::{Background, Place, brief_workflow, kill};
use serde_json::Value as Json;
use std::path::Path;
use std::time::Duration;

const FILES: usize = 100;

/// The brief of [`documents::many`], whole: every file once, with its own value put back.
#[track_caller]
fn expect_whole(place: &Place, finished: &Json) {
    assert_eq!(finished["type"], "run.finished", "{finished}");
    assert_eq!(finished["status"], "succeeded", "{finished}");
    let run = finished["run"].as_str().unwrap();
    let path = Path::new(finished["outputs"]["brief"]["path"].as_str().unwrap());
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(finished["outputs"]["brief"]["bytes"], text.len() as u64);
    let steps = finished["step_totals"].as_array().unwrap();
    let unwell: Vec<&Json> = steps.iter().filter(|total| total["status"] != "succeeded").collect();
    assert!(unwell.is_empty(), "every item of every step succeeded: {unwell:#?}");
    assert_eq!(text.matches("\n## ").count(), FILES, "a section for each file");
    for no in 0..FILES {
        let heading = format!("## file-{no:03}.txt\n");
        assert_eq!(text.matches(&heading).count(), 1, "`{heading}` once");
    }
    let restored = (0..FILES).filter(|no| text.contains(&format!("person{no:03}@many.example.com"))).count();
    assert!(restored > 0, "values were put back");
    assert!(!text.contains("[EMAIL_"), "no placeholder is left");
    // Each output once: one folder, one file, no temporary one.
    let written = Place::files_below(&place.data().join("outputs"));
    let names: Vec<_> = written.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(names, [place.data().join("outputs").join(run).join("brief.md")]);
    for side in ["device", "hub"] {
        place.tidegate(&["audit", "verify", "--side", side, "--json"]).expect_code(0);
    }
    // What the journal says afterwards is what the run said.
    let shown = place.tidegate(&["show", run, "--json"]).expect_code(0).last();
    assert_eq!(shown["outputs"], finished["outputs"]);
    assert_eq!(shown["status"], "succeeded");
}

/// Starts the run and waits for a moment in it that the seed chooses.
fn begin(place: &Place, seed: u64) -> (Background, String) {
    let folder = documents::many(place, "own", FILES);
    let set = format!("folder={}", folder.display());
    let workflow = brief_workflow();
    let running = place.start(&["run", workflow.to_str().unwrap(), "--json", "--set", &set, "--allow-redacted"]);
    let run = running.line_of("run.started")["run"].as_str().unwrap().to_owned();
    // Between the start and shortly before the usual end; no result depends on where it hits.
    std::thread::sleep(Duration::from_millis(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53));
    (running, run)
}

fn side_is_killed(kind: &str, seed: u64) {
    let place = Place::new();
    let (mut running, _) = begin(&place, seed);
    let victims = place.parts(kind);
    let hit = running.lives() && !victims.is_empty();
    for pid in victims {
        kill(pid);
    }
    println!("seed {seed}: {kind} {}", if hit { "killed while the run went on" } else { "had ended already" });
    let (code, lines) = running.end();
    let last = lines.last().cloned().unwrap_or_default();
    assert_eq!(code, Some(0), "{last}\n{}", std::fs::read_to_string(place.path("background.err")).unwrap());
    expect_whole(&place, &last);
    place.wait_until_nobody_lives();
}

fn command_is_killed(seed: u64) {
    let place = Place::new();
    let (mut running, run) = begin(&place, seed);
    println!("seed {seed}: the command {}", if running.lives() { "is killed" } else { "had ended already" });
    kill(running.pid());
    drop(running);
    place.wait_until_nobody_lives();
    let listed = place.tidegate(&["runs", "--json"]).expect_code(0).lines();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["run"], run);
    let resumed = place.tidegate(&["resume", &run, "--json"]).expect_code(0);
    expect_whole(&place, &resumed.last());
}

macro_rules! seeds {
    ($($name:ident: $test:ident($($arguments:expr),*);)*) => {
        $(#[test] fn $name() { $test($($arguments),*); })*
    };
}

seeds! {
    f01_a_killed_node_is_started_again_and_the_run_ends_whole_seed_1: side_is_killed("__node", 1);
    f01_a_killed_node_is_started_again_and_the_run_ends_whole_seed_2: side_is_killed("__node", 2);
    f01_a_killed_node_is_started_again_and_the_run_ends_whole_seed_3: side_is_killed("__node", 3);
    f01_a_killed_node_is_started_again_and_the_run_ends_whole_seed_4: side_is_killed("__node", 4);
    f01_a_killed_node_is_started_again_and_the_run_ends_whole_seed_5: side_is_killed("__node", 5);
    f01_a_killed_hub_is_started_again_and_the_run_ends_whole_seed_1: side_is_killed("__hub", 6);
    f01_a_killed_hub_is_started_again_and_the_run_ends_whole_seed_2: side_is_killed("__hub", 7);
    f01_a_killed_hub_is_started_again_and_the_run_ends_whole_seed_3: side_is_killed("__hub", 8);
    f01_a_killed_command_leaves_nobody_behind_and_the_run_is_resumed_seed_1: command_is_killed(9);
    f01_a_killed_command_leaves_nobody_behind_and_the_run_is_resumed_seed_2: command_is_killed(10);
    f01_a_killed_command_leaves_nobody_behind_and_the_run_is_resumed_seed_3: command_is_killed(11);
}
