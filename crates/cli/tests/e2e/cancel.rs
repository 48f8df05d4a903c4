//! Cancelling: the run stops, what is written is whole.

use crate::documents;
use crate::harness::{Place, brief_workflow, terminate};

#[test]
fn a_cancelled_run_ends_as_cancelled_and_leaves_no_half_written_file() {
    let place = Place::new();
    let dev =
        place.start(&["dev", "--json", "--library", crate::harness::examples().join("library").to_str().unwrap()]);
    dev.line_of("dev.ready");
    let folder = documents::many(&place, "own", 300);
    let set = format!("folder={}", folder.display());
    let workflow = brief_workflow();
    let running = place.start(&["run", workflow.to_str().unwrap(), "--json", "--set", &set, "--allow-redacted"]);
    let run = running.line_of("run.started")["run"].as_str().unwrap().to_owned();

    let cancelled = place.tidegate(&["cancel", &run, "--json"]).expect_code(0).last();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let (code, lines) = running.end();
    let last = lines.last().unwrap();
    assert_eq!(code, Some(1), "{last}");
    assert_eq!((&last["type"], &last["status"]), (&"run.finished".into(), &"cancelled".into()), "{last}");
    let listed = place.tidegate(&["runs", "--json"]).expect_code(0).last();
    assert_eq!(listed["status"], "cancelled");

    let outputs = place.data().join("outputs");
    if outputs.exists() {
        let left = Place::files_below(&outputs);
        assert!(left.is_empty(), "cancelled before it wrote: {:?}", left.iter().map(|(p, _)| p).collect::<Vec<_>>());
    }
    // Cancelling what has ended changes nothing and is no error.
    let again = place.tidegate(&["cancel", &run, "--json"]).expect_code(0).last();
    assert_eq!(again["status"], "cancelled");
    terminate(dev.pid());
    assert_eq!(dev.end().0, Some(0));
    // And it stays cancelled for the next process.
    let resumed = place.tidegate(&["resume", &run, "--json"]).expect_code(1).last();
    assert_eq!(resumed["status"], "cancelled");
}
