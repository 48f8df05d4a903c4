use super::*;
use crate::ops::{CostHint, Effects, OpSpec, SiteKind};
use crate::schema::{Field, Type};

const FILE: Type = Type::Record(&[Field::required("path", Type::Path, "where"), Field::required("size", Type::Int { min: 0, max: i64::MAX }, "bytes")]);

const fn op(name: &'static str, input: &'static [Field], output: Type) -> OpSpec {
    let cost = CostHint { fixed_us: 1, ns_per_byte: 1 };
    OpSpec { name, version: 1, summary: "does something", effects: Effects::Pure, sites: &[SiteKind::Device], needs: &[], onward: &[], cost, input, output }
}

static OPS: &[OpSpec] = &[
    op(
        "files.scan",
        &[Field::required("folder", Type::Path, "the folder to look through")],
        Type::Record(&[Field::required("files", Type::List(&FILE), "what was found")]),
    ),
    op(
        "text.extract",
        &[Field::required("file", FILE, "the file to read")],
        Type::Record(&[Field::required("text", Type::Text, "what it says")]),
    ),
    op(
        "library.match",
        &[
            Field::required("text", Type::Text, "what to look for"),
            Field::optional("limit", Type::Int { min: 1, max: 50 }, "how many at most"),
            Field::optional("mode", Type::Enum(&["exact", "near"]), "how to compare"),
            Field::optional("tags", Type::List(&Type::Text), "only these"),
            Field::optional("exact", Type::Bool, "only whole words"),
        ],
        Type::Record(&[Field::required("matches", Type::List(&Type::Any), "what was found")]),
    ),
    op(
        "report.write",
        &[Field::required("sections", Type::List(&Type::Any), "what to write")],
        Type::Record(&[Field::required("path", Type::Path, "where it was written")]),
    ),
];

fn ops(name: &str) -> Option<&'static OpSpec> {
    OPS.iter().find(|op| op.name == name)
}

fn names() -> Vec<&'static str> {
    OPS.iter().map(|op| op.name).collect()
}

fn shown(source: &str) -> String {
    match read(source, &ops, &names()) {
        Ok(_) => "sound".to_owned(),
        Err(mistakes) => {
            let lines = mistakes.iter().map(|m| match &m.hint {
                Some(hint) => format!("{m} [{hint}]"),
                None => m.to_string(),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

const GOOD: &str = r#"
name: brief
description: what is new in a folder
inputs:
  folder: { type: path, default: brief/documents, description: where to look }
  limit: { type: int, default: 5 }
  title: { type: text }
steps:
  - id: scan
    op: files.scan
    with: { folder: "${inputs.folder}" }
  - id: extract
    op: text.extract
    each: "${scan.files}"
    with: { file: "${item}" }
  - id: match
    op: library.match
    needs: [scan]
    each: { in: "${scan.files}", concurrency: 8 }
    when: "${size(scan.files) > 0 && index < 10}"
    with:
      text: "about ${inputs.title}: ${extract[index].text} costs 5$ or $${what}"
      limit: "${inputs.limit}"
      tags: [a, "${inputs.title}"]
    place: { at: remote, prefer: private, deadline: 2s, offline: wait }
    retry: { attempts: 3, backoff: 250ms }
    timeout: 5m
  - id: write
    op: report.write
    with: { sections: "${match.map(m, m == null ? [] : m.matches)}" }
    place: local
outputs:
  brief: "${write.path}"
  count: "${size(scan.files)}"
"#;

#[test]
fn try_out() {
    println!("{}", shown(GOOD));
    let wf = read(GOOD, &ops, &names()).unwrap();
    println!("{:#?}", wf.steps.iter().map(|s| (&s.id, &s.needs, &s.with, &s.place, s.retry, s.timeout_ms)).collect::<Vec<_>>());
    for bad in BAD {
        println!("=== {bad}\n--- \n{}\n", shown(bad));
    }
}

const BAD: &[&str] = &[
    "",
    "just text",
    "- a\n- b",
    "name: x\nname: y",
    "name: [x",
    "name: x\n---\nname: y",
    "nam: x\nsteps: []\ncolour: red",
    "name: x\nsteps:\n  - id: a\n    op: file.scan\n    with: { folder: x }\n  - id: b\n    op: zzz\n  - op: files.scan\n  - id: d",
    "name: x\nsteps:\n  - id: a\n    op: files.scan\n  - id: b\n    op: library.match\n    with: { txt: x, limit: 99, mode: nea, tags: [1, a], exact: yes, zzz: 1 }",
    "name: x\nsteps:\n  - id: Bad Id\n    op: files.scan\n    with: { folder: x }\n  - id: item\n    op: files.scan\n    with: { folder: x }\n  - id: item\n    op: files.scan\n    with: { folder: x }\n  - id: in\n    op: files.scan\n    with: { folder: x }",
    "name: x\ninputs:\n  folder: { type: path }\nsteps:\n  - id: scan\n    op: files.scan\n    with: { folder: \"${inputs.foldr}\" }\n  - id: extract\n    op: text.extract\n    needs: [scn]\n    each: \"${scan.file}\"\n    with: { file: \"${itm}\" }\n  - id: match\n    op: library.match\n    with: { text: \"${extract.text} ${item} ${folder}\" }\noutputs:\n  brief: \"${writ.path}\"\n  other: \"${extract[index]}\"",
    "name: x\nsteps:\n  - id: a\n    op: files.scan\n    with: { folder: \"${c.files[0].path}\" }\n  - id: b\n    op: files.scan\n    with: { folder: \"${a.files[0].path}\" }\n  - id: c\n    op: files.scan\n    needs: [b]\n    with: { folder: x }\n  - id: d\n    op: files.scan\n    needs: d\n    with: { folder: \"${d.files}\" }",
    "name: x\nsteps:\n  - id: a\n    op: files.scan\n    with:\n      folder: \"${ 1 + }\"\n  - id: b\n    op: library.match\n    with:\n      text: |\n        first line\n        second ${lowr('x')} and ${'open\n  - id: c\n    op: library.match\n    with: { text: 'it''s ${a ~ b}' }\n    when: size(a.files) > 0\n  - id: d\n    op: library.match\n    with: { text: x, limit: \"n ${a.files}\" }\n    each: \"x ${a.files}\"",
    "name: x\nsteps:\n  - id: a\n    op: files.scan\n    with: { folder: x }\n    place: moon\n    timeout: 5\n    retry: { attempts: 99, backoff: 1 day }\n  - id: b\n    op: files.scan\n    with: { folder: x }\n    place: { at: remot, prefer: speed, deadline: 0s, offline: wait, why: x }\n    each: { in: [1, 2], concurrency: 1000 }\n  - id: c\n    op: files.scan\n    with: { folder: x }\n    each: { concurrency: 3 }\n  - id: d\n    op: files.scan\n    with: { folder: x }\n    each: 5",
    "name: x\nsteps:\n  - id: fetch-mail\n    op: files.scan\n    with: { folder: x }\n  - id: b\n    op: files.scan\n    with: { folder: \"${fetch-mail.files[0].path}\" }\n    each: \"${run.folder}\"",
    "name: x\ninputs:\n  a: { type: integer }\n  b: { type: int, default: x }\n  C: { type: int, default: \"${item}\" }\n  d: 5\n  e: { default: 1 }\n  f: { type: int, default: 1.5 }\nsteps:\n  - id: s\n    op: files.scan\n    with: { folder: x }\n    each: \"${inputs.b}\"",
    "name: x\nsteps:\n  - id: s\n    op: files.scan\n    with: [1]\n  - id: t\n    op: files.scan\n    with: \"${s}\"\n  - 5",
    "name: 5\nsteps: {}",
    "name: x\nsteps:\n  - id: s\n    op: text.extract\n    with: { file: { path: 1, siz: 3 } }\n",
    "name: x\nsteps: &a [*a]",
    "name: x\nsteps: *b",
    "name: x\nsteps:\n\t- id: a",
    "name: \"x\u{1}y\"",
];
