//! The shipped workflow on the shipped samples: what a newcomer runs first.

use crate::harness::{Place, brief_workflow, of_type};
use crate::oracle::planted;
use serde_json::Value as Json;

#[test]
fn brief_of_the_samples_is_written_with_its_private_values_put_back() {
    let place = Place::new();
    let ended = place.run(&brief_workflow(), &[]).expect_code(0);
    let lines = ended.lines();
    assert_eq!(lines[0]["type"], "run.started", "{}", ended.all());
    let finished = ended.last();
    assert_eq!(finished["type"], "run.finished");
    assert_eq!(finished["status"], "succeeded");
    assert_eq!(finished["workflow"], "brief");
    assert_eq!(finished["run"], lines[0]["run"]);
    assert!(finished["seconds"].is_number());
    assert!(finished["error"].is_null());
    for name in ["count", "bytes_out", "bytes_in", "denied"] {
        assert!(finished["transfers"][name].is_u64(), "transfers.{name}");
    }
    assert!(finished["transfers"]["bytes_out"].as_u64() > Some(0), "matching takes the hub's library");
    assert_eq!(finished["transfers"]["denied"], 0, "the samples may go, redacted");

    let path = finished["outputs"]["brief"]["path"].as_str().unwrap();
    assert!(path.starts_with(place.data().join("outputs").to_str().unwrap()), "{path}");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("# Brief"), "{text}");
    assert!(text.contains("see also: "), "the hub's library was matched: {text}");
    let back: Vec<String> =
        planted().into_iter().map(|(canary, _)| canary.value).filter(|v| text.contains(v)).collect();
    assert!(back.iter().any(|v| v.contains('@')), "an e-mail address was put back: {back:?}");
    for category in ["EMAIL", "PHONE", "ADDRESS", "IBAN", "CARD", "PASSWORD"] {
        let left: Vec<&str> = text.lines().filter(|line| line.contains(&format!("[{category}_"))).collect();
        assert!(left.is_empty(), "a placeholder was left: {left:#?}");
    }

    let steps = finished["steps"].as_array().unwrap();
    assert_eq!(steps.len(), of_type(&lines, "step.finished").len(), "a line for each step's end");
    for step in steps {
        step_keeps_the_contract(step);
        let op = step["op"].as_str().unwrap();
        if step["status"] == "succeeded" {
            match op {
                "library.match" => assert_eq!(step["site_kind"], "hub", "{step}"),
                "files.scan" | "text.extract" | "privacy.redact" | "privacy.restore" | "files.write" => {
                    assert_eq!(step["site_kind"], "device", "{step}");
                }
                _ => {}
            }
        }
    }
    let unreadable = steps.iter().filter(|s| s["op"] == "text.extract" && s["status"] == "failed").count();
    assert_eq!(unreadable, 2, "the two files of `archive/` that nobody can read");
}

fn step_keeps_the_contract(step: &Json) {
    assert!(step["id"].is_string() && step["op"].is_string(), "{step}");
    assert!(step["item"].is_null() || step["item"].is_u64(), "{step}");
    assert!(
        step["site_kind"].is_null() || ["device", "hub", "worker"].iter().any(|k| step["site_kind"] == *k),
        "{step}"
    );
    let statuses = ["succeeded", "failed", "skipped", "refused", "cancelled", "waiting", "unknown"];
    assert!(statuses.iter().any(|s| step["status"] == *s), "{step}");
    assert!(step["attempts"].is_u64() && step["seconds"].is_number(), "{step}");
    assert!(step["bytes_out"].is_u64() && step["bytes_in"].is_u64(), "{step}");
    let label = &step["label"];
    assert!(label["level"].is_string() && label["categories"].is_array() && label["integrity"].is_string(), "{step}");
    assert!(step["reason"].is_string(), "{step}");
}

#[test]
fn a_run_can_be_looked_at_after_its_processes_have_ended() {
    let place = Place::new();
    let finished = place.run(&brief_workflow(), &[]).expect_code(0).last();
    let run = finished["run"].as_str().unwrap();

    let listed = place.tidegate(&["runs", "--json"]).expect_code(0).lines();
    assert_eq!(listed.len(), 1);
    for (name, value) in [("run", run), ("workflow", "brief"), ("status", "succeeded")] {
        assert_eq!(listed[0][name], value);
    }
    let started = listed[0]["started"].as_str().unwrap();
    assert!(started.ends_with('Z') && started.contains('T'), "{started}");
    assert!(listed[0].as_object().unwrap().contains_key("waiting_for") && listed[0]["seconds"].is_number());

    let shown = place.tidegate(&["show", run, "--json"]).expect_code(0).last();
    for name in ["run", "status", "outputs", "steps", "transfers"] {
        assert_eq!(shown[name], finished[name], "{name}, replayed from the journal");
    }
    let explained = place.tidegate(&["explain", run, "match", "--json"]).expect_code(0).lines();
    assert!(!explained.is_empty());
    for line in explained.iter().filter(|line| !line["chosen"].is_null()) {
        assert!(
            line["rule"].is_string() && line["snapshot_version"].is_u64() && line["observed"].is_object(),
            "{line}"
        );
        for candidate in line["candidates"].as_array().unwrap() {
            assert!(candidate["site"].is_string() && candidate["feasible"].is_boolean(), "{candidate}");
            let predicted = &candidate["predicted"];
            for name in ["queue_s", "transfer_s", "compute_s", "total_s"] {
                assert!(predicted.is_null() || predicted[name].is_number(), "{candidate}");
            }
        }
    }
    let resumed = place.tidegate(&["resume", run, "--json"]).expect_code(0).last();
    assert_eq!(resumed["status"], "succeeded", "resuming what has ended tells how it ended");
}
