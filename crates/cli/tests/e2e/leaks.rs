//! I1 with the oracle: what is private does not reach the hub's side, in whatever disguise.

use crate::documents;
use crate::harness::{Place, brief_workflow};
use crate::oracle::{self, Canary, Leak, Record};
use std::collections::BTreeSet;

#[track_caller]
fn expect_none(leaks: &[Leak]) {
    let distinct: BTreeSet<(&str, &str)> = leaks.iter().map(|l| (l.category.as_str(), l.value.as_str())).collect();
    assert!(
        leaks.is_empty(),
        "{} planted values were found on the hub's side: {distinct:#?}\n{leaks:#?}",
        distinct.len()
    );
}

#[test]
fn i01_no_planted_value_of_the_samples_reaches_the_hub() {
    let place = Place::new();
    let record = place.path("record");
    place.run(&brief_workflow(), &["--record", record.to_str().unwrap()]).expect_code(0);
    let canaries: Vec<Canary> = oracle::planted().into_iter().map(|(canary, _)| canary).collect();
    assert!(canaries.len() > 200);
    expect_none(&oracle::search(&canaries, &oracle::hub_side(&place, &record)));
}

#[test]
fn i01_no_planted_value_of_an_unseen_folder_reaches_the_hub_with_leave() {
    let place = Place::new();
    let (folder, planted) = documents::planted_folder(&place, "own-zq9vexillary");
    let record = place.path("record");
    let set = format!("folder={}", folder.display());
    let more = ["--set", &set, "--allow-redacted", "--record", record.to_str().unwrap()];
    let ended = place.run(&brief_workflow(), &more).expect_code(0);
    assert!(ended.err.contains("recording everything"), "a recording is announced: {}", ended.err);
    let finished = ended.last();
    assert_eq!(finished["transfers"]["denied"], 0, "{finished}");
    assert!(finished["transfers"]["count"].as_u64() >= Some(10), "one match for each file: {finished}");

    let mut canaries: Vec<Canary> = planted.into_iter().map(|(canary, _)| canary).collect();
    // The path and the files' names are the owner's too.
    canaries.push(Canary::new("path", folder.to_str().unwrap()));
    canaries.push(Canary::new("path", "zq9vexillary"));
    canaries.extend(["letter.docx", "drawing.pdf", "quoted.eml"].map(|name| Canary::new("file name", name)));
    expect_none(&oracle::search(&canaries, &oracle::hub_side(&place, &record)));
    // Nothing on the way is compressed, so that searching sees all.
    assert!(Record::read(&record).headers.iter().all(|h| !h.contains("grpc-encoding")), "no compression on the wire");
}

#[test]
fn i01_without_leave_nothing_of_an_own_folder_leaves_and_the_brief_is_written() {
    let place = Place::new();
    let (folder, planted) = documents::planted_folder(&place, "own");
    place.write("own/zanzibar-merger-plan.txt", "The zanzibar merger is planned. Its codename is Vexillology-Umbra.\n");
    let record = place.path("record");
    let set = format!("folder={}", folder.display());
    let ended = place.run(&brief_workflow(), &["--set", &set, "--record", record.to_str().unwrap()]).expect_code(0);
    let finished = ended.last();
    assert_eq!(finished["status"], "succeeded");
    assert!(finished["transfers"]["denied"].as_u64() > Some(0), "{finished}");
    assert_eq!(finished["transfers"]["bytes_out"], 0, "{finished}");
    let refused = finished["steps"].as_array().unwrap().iter().filter(|s| s["status"] == "refused");
    assert!(refused.clone().count() > 0 && refused.clone().all(|s| s["op"] == "library.match"), "{finished}");
    for step in refused {
        assert_eq!(step["error"]["code"], "refused", "{step}");
        assert!(step["reason"].as_str().unwrap().contains('/'), "the rule is named: {step}");
    }
    let text = std::fs::read_to_string(finished["outputs"]["brief"]["path"].as_str().unwrap()).unwrap();
    assert!(text.contains("zanzibar-merger-plan"), "{text}");

    let mut canaries: Vec<Canary> = planted.into_iter().map(|(canary, _)| canary).collect();
    canaries.extend(
        ["zanzibar", "Vexillology-Umbra", "letter.docx", "drawing.pdf", "Evergreen", "caretaker"]
            .map(|word| Canary::new("word", word)),
    );
    expect_none(&oracle::search(&canaries, &oracle::hub_side(&place, &record)));
    assert_eq!(Record::read(&record).payloads().len(), 0, "not one payload");
}

#[test]
fn i01_the_oracle_fires_on_a_deliberate_leak_in_every_disguise() {
    let place = Place::new();
    let record = place.path("record");
    place.run(&brief_workflow(), &["--record", record.to_str().unwrap()]).expect_code(0);
    let canary = Canary::new("word", "Hollyhock planted 4711");
    let clean = oracle::hub_side(&place, &record);
    expect_none(&oracle::search(std::slice::from_ref(&canary), &clean));
    let text = std::fs::read_to_string(&record).unwrap();
    for (disguise, form) in oracle::disguises(&canary.value) {
        // As a body of the recording …
        let frame = [b"\x0a\x03abc", form.as_slice(), b"zz"].concat();
        let frame = [&[0x22, frame.len() as u8], frame.as_slice()].concat();
        let line = serde_json::json!({
            "v": 1, "type": "message", "from": "site", "bytes": frame.len(), "body_base64": oracle::encode_base64(&frame),
        });
        let copy = place.write("leaking", format!("{text}{line}\n"));
        let found = oracle::search(std::slice::from_ref(&canary), &oracle::hub_side(&place, &copy));
        assert!(found.iter().any(|leak| leak.place.starts_with("recording: frame")), "{disguise} was missed");
        // … and in a file of the hub's.
        let kept = place.hub().join("stray.log");
        std::fs::write(&kept, [b"log: ", form.as_slice(), b"\n"].concat()).unwrap();
        let found = oracle::search(std::slice::from_ref(&canary), &oracle::hub_side(&place, &record));
        assert!(found.iter().any(|leak| leak.place.ends_with("stray.log")), "{disguise} was missed in a file");
        std::fs::remove_file(kept).unwrap();
    }
}

#[test]
fn a_required_output_that_is_refused_ends_with_3() {
    let place = Place::new();
    place.write("own/one.txt", "A plain text about damp walls in the old town.\n");
    let workflow = place.write(
        "needs.yaml",
        "name: needs\ninputs:\n  folder: { type: path, default: own }\nsteps:\n  \
         - id: scan\n    op: files.scan\n    with: { folder: \"${inputs.folder}\" }\n  \
         - id: extract\n    op: text.extract\n    with: { file: \"${scan.files[0]}\" }\n  \
         - id: match\n    op: library.match\n    with: { text: \"${extract.text}\" }\n\
         outputs:\n  found: \"${match.matches}\"\n",
    );
    let set = format!("folder={}", place.path("own").display());
    let library = crate::harness::examples().join("library");
    let ended = place.run(&workflow, &["--set", &set, "--library", library.to_str().unwrap()]).expect_code(3);
    let finished = ended.last();
    assert_eq!(finished["type"], "run.finished");
    assert_eq!(finished["status"], "failed");
    assert_eq!(finished["error"]["code"], "refused", "{finished}");
    assert!(finished["error"]["hint"].as_str().is_some_and(|hint| hint.contains("explain")), "{finished}");
    assert!(finished["transfers"]["denied"].as_u64() > Some(0));
    let run = finished["run"].as_str().unwrap();
    let why = place.tidegate(&["explain", run, "match", "--json"]).expect_code(0).all();
    assert!(why.contains("above-internal-stays") || why.contains("organisation/"), "the rule is named: {why}");
}
