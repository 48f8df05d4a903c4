//! Broken workflow files: exit 2 with the place and what to do, and nothing was run.

use crate::documents;
use crate::harness::{Ended, Place};
use serde_json::Value as Json;

/// A file, and what must be said of it: line, words of the message, words of the hint.
struct Case {
    name: &'static str,
    source: &'static str,
    mistakes: &'static [(u64, &'static str, &'static str)],
}

const CASES: &[Case] = &[
    Case {
        name: "unknown operation",
        source: "name: x\nsteps:\n  - id: a\n    op: files.scna\n    with: { folder: x }\n",
        mistakes: &[(4, "files.scna", "did you mean `files.scan`?")],
    },
    Case {
        name: "missing input of an operation",
        source: "name: x\nsteps:\n  - id: a\n    op: text.summarize\n    with: { sentences: 3 }\n",
        mistakes: &[(5, "`text`", "the text")],
    },
    Case {
        name: "cycle",
        source: "name: x\nsteps:\n  - id: a\n    op: text.summarize\n    with: { text: \"${b.summary}\" }\n  \
                 - id: b\n    op: text.summarize\n    with: { text: \"${a.summary}\" }\n",
        mistakes: &[(3, "a → b → a", "")],
    },
    Case {
        name: "bad reference",
        source: "name: x\nsteps:\n  - id: first\n    op: text.summarize\n    with: { text: x }\n  \
                 - id: b\n    op: text.summarize\n    with: { text: \"${frist.summary}\" }\n",
        mistakes: &[(8, "frist", "did you mean `first`?")],
    },
    Case {
        name: "bad member",
        source: "name: x\nsteps:\n  - id: a\n    op: text.summarize\n    with: { text: x }\n  \
                 - id: b\n    op: text.summarize\n    with: { text: \"${a.sumary}\" }\n",
        mistakes: &[(8, "sumary", "summary")],
    },
    Case {
        name: "two mistakes at once",
        source: "name: x\nsteps:\n  - id: a\n    op: text.sumarize\n    with: { text: x }\n  \
                 - id: b\n    op: text.summarize\n    with: { txt: y, text: x }\n",
        mistakes: &[(4, "text.sumarize", "did you mean `text.summarize`?"), (8, "txt", "did you mean `text`?")],
    },
    Case {
        name: "syntax error",
        source: "name: x\nsteps:\n  - id: a\n    op: \"text.summarize\n    with: [ text\n",
        mistakes: &[(0, "", "")],
    },
    Case {
        name: "unknown key",
        source: "name: x\nstps:\n  - id: a\nsteps:\n  - id: a\n    op: value.set\n    with: { value: 1 }\n",
        mistakes: &[(2, "stps", "did you mean `steps`?")],
    },
    Case {
        name: "alias bomb",
        source: "name: x\na: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                 c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                 e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n\
                 g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\nh: &h [*g, *g, *g, *g, *g, *g, *g, *g, *g, *g]\n\
                 i: &i [*h, *h, *h, *h, *h, *h, *h, *h, *h, *h]\nsteps: []\n",
        mistakes: &[(0, "", "")],
    },
    Case { name: "empty", source: "", mistakes: &[(1, "empty", "")] },
];

fn error(ended: Ended) -> Json {
    let ended = ended.expect_code(2);
    let error = ended.last();
    assert_eq!(error["type"], "error", "{}", ended.all());
    assert_eq!(ended.lines().len(), 1, "nothing but the error: {}", ended.all());
    error
}

#[test]
fn broken_workflows_are_refused_with_line_and_hint() {
    let place = Place::new();
    for case in CASES {
        let file = place.write("broken.yaml", case.source);
        let error = error(place.run(&file, &[]));
        assert_eq!(error["code"], "workflow-invalid", "{}: {error}", case.name);
        let mistakes = error["mistakes"].as_array().unwrap_or_else(|| panic!("{}: {error}", case.name));
        for (line, message, hint) in case.mistakes {
            let fits = |m: &Json| {
                let text = |name: &str| m[name].as_str().unwrap_or_default().to_owned();
                // Hints may stand in the message itself.
                (*line == 0 && m["line"].as_u64() > Some(0) || m["line"] == *line)
                    && text("message").contains(message)
                    && format!("{} {}", text("message"), text("hint")).contains(hint)
                    && m["column"].as_u64() > Some(0)
                    && text("code").starts_with('E')
            };
            assert!(mistakes.iter().any(fits), "{}: line {line} `{message}` `{hint}` not in {error}", case.name);
        }
        // For people: the place as `file:line:column`, the line itself, and the hint.
        let told = place.tidegate(&["run", file.to_str().unwrap()]).expect_code(2);
        for (line, message, _) in case.mistakes {
            assert!(told.err.contains(message), "{}: {}", case.name, told.err);
            // Of an empty file there is no line to show.
            assert!(
                *line == 0 || case.source.is_empty() || told.err.contains(&format!("broken.yaml:{line}:")),
                "{}: {}",
                case.name,
                told.err
            );
        }
        assert!(told.err.contains("broken.yaml:"), "{}: {}", case.name, told.err);
        assert!(told.err.lines().count() < 60, "{}: {}", case.name, told.err);
        assert_eq!(told.out, "", "{}", case.name);
    }
    assert!(!place.data().exists(), "nothing was run");
}

#[test]
fn files_that_are_no_workflows_are_refused_at_once() {
    let place = Place::new();
    let huge = place.path("huge.yaml");
    let comment = b"# a comment that goes on and on, one of very many lines of this file\n".repeat(1 << 14);
    let mut file = std::fs::File::create(&huge).unwrap();
    while file.metadata().unwrap().len() < 100 << 20 {
        std::io::Write::write_all(&mut file, &comment).unwrap();
    }
    let noise = place.write("noise.yaml", documents::noise(200_000));
    let deep = place.write("deep.yaml", format!("name: x\nsteps: {}", "[".repeat(200_000)));
    let nul = place.write("nul.yaml", "name: x\0y\nsteps: []\n");
    for (file, words) in [(&huge, "larger than"), (&noise, "not UTF-8"), (&deep, ""), (&nul, "")] {
        let error = error(place.run(file, &[]));
        let message = format!("{error}");
        assert!(message.contains(words), "{}: {message}", file.display());
        let hinted = error["hint"].is_string() || error["mistakes"][0]["line"].is_u64();
        assert!(hinted, "{}: a hint or a line: {message}", file.display());
        assert!(message.len() < 20_000, "{}: the file is not quoted whole", file.display());
    }
}

#[test]
fn wrong_inputs_of_a_sound_workflow_are_refused() {
    let place = Place::new();
    let source = "name: x\ninputs:\n  who: { type: text }\n  many: { type: int, default: 3 }\nsteps:\n  \
                  - id: a\n    op: value.set\n    with: { value: \"${inputs.who}\" }\n";
    let file = place.write("sound.yaml", source);
    let said = |more: &[&str]| error(place.run(&file, more)).to_string();
    assert!(said(&[]).contains("who"), "an input that is not set");
    let unknown = said(&["--set", "whoo=x", "--set", "who=y"]);
    assert!(unknown.contains("whoo"), "{unknown}");
    let typed = said(&["--set", "who=y", "--set", "many=few"]);
    assert!(typed.contains("many"), "{typed}");
    assert!(said(&["--set", "who"]).contains("NAME=VALUE"));
}
