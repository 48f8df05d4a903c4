//! Exit codes and error codes, as scripts rely on them.

use crate::harness::Place;

#[test]
fn usage_errors_end_with_2() {
    let place = Place::new();
    for arguments in
        [&["run"][..], &["no-such-command"], &["run", "x.yaml", "--no-such-flag"], &["audit", "--side", "moon"]]
    {
        let ended = place.plain(arguments).expect_code(2);
        assert!(ended.err.contains("--help"), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}

#[test]
fn a_run_that_is_not_there_ends_with_1_and_not_found() {
    let place = Place::new();
    let workflow = place.write(
        "w.yaml",
        "name: w\nsteps:\n  - id: a\n    op: value.set\n    with: { value: 1 }\noutputs:\n  a: \"${a}\"\n",
    );
    // In a folder in which nothing has run, and in one in which something has.
    for ran in [false, true] {
        if ran {
            place.run(&workflow, &[]).expect_code(0);
        }
        for command in ["resume", "show", "cancel", "explain"] {
            let ended = place.tidegate(&[command, "run-01m7y1hbvr7z991yh5kdfvbyvc", "--json"]).expect_code(1);
            assert_eq!(ended.last()["type"], "error", "{}", ended.all());
            assert_eq!(ended.last()["code"], "not-found", "{command}: {}", ended.all());
            // What cannot even be a run's name is an error as well.
            let ended = place.tidegate(&[command, "no/run?at=all", "--json"]);
            assert!(matches!(ended.code, Some(1 | 2)) && ended.last()["type"] == "error", "{command}: {}", ended.all());
        }
        let ended = place.plain(&["run", "/nowhere/w.yaml", "--json"]).expect_code(1);
        assert_eq!(ended.last()["code"], "not-found");
    }
    place.wait_until_nobody_lives();
}

#[test]
fn help_tells_what_a_code_means_and_what_to_do() {
    let place = Place::new();
    for code in ["E3001", "refused"] {
        let ended = place.plain(&["help", code]).expect_code(0);
        assert!(ended.out.contains("E3001") && ended.out.contains("refused"), "{}", ended.out);
        assert!(ended.out.contains("What to do"), "{}", ended.out);
    }
    let ended = place.plain(&["help"]).expect_code(0);
    assert!(ended.out.contains("run") && ended.out.contains("audit"), "{}", ended.out);
    place.plain(&["help", "E9999"]).expect_code(1);
}

#[test]
fn a_workflow_without_files_runs_and_gives_its_values() {
    let place = Place::new();
    let source = "name: sum\ninputs:\n  many: { type: int, default: 3 }\nsteps:\n  - id: a\n    op: value.set\n    \
                  with: { value: \"${inputs.many * 2}\" }\noutputs:\n  doubled: \"${a}\"\n";
    let workflow = place.write("sum.yaml", source);
    assert_eq!(place.run(&workflow, &[]).expect_code(0).last()["outputs"]["doubled"], 6);
    assert_eq!(place.run(&workflow, &["--set", "many=21"]).expect_code(0).last()["outputs"]["doubled"], 42);
    let listed = place.tidegate(&["runs", "--json"]).expect_code(0).lines();
    assert_eq!(listed.len(), 2);
}
