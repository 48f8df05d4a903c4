//! A good file, broken ones, hostile ones.

mod broken;

use super::*;
use crate::expr::{Found, Scope};
use crate::label::{Label, Level};
use crate::ops::{CostHint, Effects, OpSpec, SiteKind};
use crate::schema::{Field, Type};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const FILE: Type = Type::Record(&[
    Field::required("path", Type::Path, "where"),
    Field::required("size", Type::Int { min: 0, max: i64::MAX }, "bytes"),
]);

const fn op(name: &'static str, input: &'static [Field], output: Type) -> OpSpec {
    let cost = CostHint { fixed_us: 1, ns_per_byte: 1 };
    OpSpec {
        name,
        version: 1,
        summary: "does something",
        effects: Effects::Pure,
        sites: &[SiteKind::Device],
        needs: &[],
        onward: &[],
        cost,
        input,
        output,
    }
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
fn a_good_file_becomes_a_workflow() {
    let workflow = read(GOOD, &ops, &names()).unwrap();
    assert_eq!((workflow.name.as_str(), workflow.description.as_str()), ("brief", "what is new in a folder"));
    assert_eq!(workflow.source, GOOD);
    assert_eq!(workflow.inputs["folder"].default, Some(Value::text("brief/documents")));
    assert_eq!(workflow.inputs["title"].default, None);
    let needs: Vec<_> = workflow.steps.iter().map(|step| (step.id.as_str(), step.needs.clone())).collect();
    assert_eq!(needs, [("scan", vec![]), ("extract", vec![0]), ("match", vec![0, 1]), ("write", vec![2])]);
    let step = &workflow.steps[2];
    let place = Place { at: At::Remote, prefer: Prefer::Private, deadline_ms: Some(2_000), offline: Offline::Wait };
    assert_eq!((step.place, step.retry, step.timeout_ms), (place, Retry { attempts: 3, backoff_ms: 250 }, 300_000));
    assert_eq!(step.each.as_ref().map(|each| each.concurrency), Some(8));
    assert!(step.when.as_ref().unwrap().is_per_item() && step.with.is_per_item());
    assert_eq!(workflow.steps[3].place.at, At::Local);
    assert_eq!(
        workflow.steps[1].each.as_ref().map(|each| each.concurrency),
        Some(crate::limits::EACH_CONCURRENCY_DEFAULT)
    );
    assert_eq!(workflow.steps[1].timeout_ms, crate::limits::ATTEMPT_TIMEOUT_MS_DEFAULT);
    assert_eq!(workflow.outputs.keys().collect::<Vec<_>>(), ["brief", "count"]);
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    for (file, expected) in broken::BROKEN {
        assert_eq!(shown(file), *expected, "\n{file}");
    }
}

#[test]
fn mistakes_point_at_bytes_of_the_file() {
    let file = "name: x\nsteps:\n  - id: a\n    op: files.scan\n    with: { folder: \"über ${ lowr(run.id) }\" }\n";
    let mistakes = read(file, &ops, &names()).unwrap_err();
    assert_eq!((mistakes.len(), mistakes[0].code, mistakes[0].line, mistakes[0].column), (1, "E1014", 5, 30));
    assert!(file[mistakes[0].span.clone().unwrap()].starts_with("lowr(run.id)"));
}

struct World(BTreeMap<&'static str, Value>);

impl Scope for World {
    fn root(&self, name: &str) -> Option<Found<'_>> {
        self.0.get(name).map(Found::Whole)
    }
}

#[test]
fn templates_are_filled_in() {
    let confidential = Label::of(Level::Confidential);
    let file =
        Value::from_json(br#"{"path": "a.txt", "size": 3, "tags": ["x", "y"], "none": null, "x": 1.5}"#, &confidential)
            .unwrap();
    let world = World([("item", file), ("index", Value::int(4))].into());
    let fill = |text: &str| {
        let file = format!(
            "name: x\nsteps:\n  - id: a\n    op: report.write\n    each: [1]\n    with: {{ sections: {text} }}"
        );
        let workflow = read(&file, &ops, &names()).unwrap_or_else(|mistakes| panic!("{text}: {}", mistakes[0]));
        let Template::Map(with) = &workflow.steps[0].with else { panic!("{text}") };
        let value = with["sections"].eval(&world);
        value.map(|value| (value.to_json(), value.label.level, value.joined_label().level))
    };
    let ok = |json: &str, own: Level, all: Level| Ok((json.to_owned(), own, all));
    // Alone an expression keeps type and labels; in a list its neighbours keep theirs.
    assert_eq!(fill(r#"["${item.size}", "x"]"#), ok(r#"[3,"x"]"#, Level::Public, Level::Confidential));
    let text = r#"["${index}: ${item.path} ${item.size} ${item.x} ${item.tags} ${item.none} $${item}"]"#;
    assert_eq!(fill(text), ok(r#"["4: a.txt 3 1.5 x, y  ${item}"]"#, Level::Public, Level::Confidential));
    assert_eq!(fill(r#"[{ deep: ["n${index}"] }]"#), ok(r#"[{"deep":["n4"]}]"#, Level::Public, Level::Public));
    assert_eq!(
        fill(r#"["a ${item}"]"#).unwrap_err().to_string(),
        "`item`: a map of values cannot stand inside of a text"
    );
}

#[test]
fn a_request_sets_inputs_by_their_types() {
    let workflow = read(GOOD, &ops, &names()).unwrap();
    let bind = |pairs: &[(&str, &str)]| {
        let set = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        match workflow.bind_inputs(&set) {
            Ok(values) => Value::map(values).to_json(),
            Err(mistakes) => mistakes
                .iter()
                .map(|m| format!("{} {} [{}]", m.code, m.message, m.hint.clone().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join("\n"),
        }
    };
    assert_eq!(bind(&[("title", "5")]), r#"{"folder":"brief/documents","limit":5,"title":"5"}"#);
    assert_eq!(bind(&[("title", ""), ("limit", "7"), ("folder", "../x")]), r#"{"folder":"../x","limit":7,"title":""}"#);
    assert_eq!(
        bind(&[("titel", "x"), ("limit", "many"), ("zzz", "1")]),
        "E1021 there is no input `titel` [did you mean `title`?]\n\
         E1021 there is no input `zzz` [there are `folder`, `limit`, `title`]\n\
         E1023 the input `limit` should be an integer of at most 53 bits []\n\
         E1022 the input `title` has no value [give it one with `--set title=…` (text)]"
    );
    let file = "name: x\ninputs: { n: { type: number }, b: { type: bool }, j: { type: json }, p: { type: path } }\nsteps: [{ id: a, op: files.scan, with: { folder: x } }]";
    let workflow = read(file, &ops, &names()).unwrap();
    let set = |n: &str, b: &str, j: &str, p: &str| {
        let set =
            [("n", n), ("b", b), ("j", j), ("p", p)].map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        workflow.bind_inputs(&set).map(|values| Value::map(values).to_json()).map_err(|mistakes| mistakes.len())
    };
    assert_eq!(set("1.5", "true", r#"{"a": [1]}"#, "x"), Ok(r#"{"b":true,"j":{"a":[1]},"n":1.5,"p":"x"}"#.to_owned()));
    assert_eq!(set("inf", "yes", "{", ""), Err(4));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
fn hostile_files_are_refused_soon() {
    for (name, file) in hostile() {
        let start = Instant::now();
        let outcome = shown(&file);
        assert_ne!(outcome, "sound", "{name}");
        // A release build takes less than 100 ms for each; a debug build on a busy machine ten times that.
        assert!(start.elapsed() < Duration::from_secs(10), "{name} took {:?}", start.elapsed());
        assert!(outcome.lines().count() <= 400, "{name}");
    }
}

#[test]
fn nesting_does_not_overflow_a_small_stack() {
    let run =
        || hostile().into_iter().filter(|(name, _)| name.starts_with("deep")).for_each(|(_, file)| drop(shown(&file)));
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn limits_of_counts_are_told() {
    let steps = |count: usize| {
        let steps: String =
            (0..count).map(|n| format!("  - {{ id: s{n}, op: files.scan, with: {{ folder: x }} }}\n")).collect();
        shown(&format!("name: x\nsteps:\n{steps}"))
    };
    assert_eq!(steps(crate::limits::STEPS_MAX), "sound");
    assert_eq!(
        steps(crate::limits::STEPS_MAX + 1),
        "3:3 E1012: 257 steps are more than 256 [use `each` for what is done many times]"
    );
    let items = |count: usize| {
        shown(&format!(
            "name: x\nsteps: [{{ id: a, op: files.scan, with: {{ folder: x }}, each: [{}] }}]",
            "1,".repeat(count)
        ))
    };
    assert_eq!(items(crate::limits::ITEMS_MAX), "sound");
    assert_eq!(items(crate::limits::ITEMS_MAX + 1), "2:61 E1012: 100001 items are more than 100000");
}

#[test]
fn the_schema_of_files_names_every_operation_and_its_inputs() {
    let schema = json_schema(OPS);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let step = &schema["$defs"]["step"];
    let known: Vec<_> =
        step["properties"]["op"]["oneOf"].as_array().unwrap().iter().map(|op| op["const"].as_str().unwrap()).collect();
    assert_eq!(known, ["files.scan", "library.match", "report.write", "text.extract"]);
    let with = &step["allOf"][1]["then"]["properties"]["with"]["anyOf"][0];
    assert_eq!(with["required"], serde_json::json!(["text"]));
    assert_eq!(with["properties"]["limit"]["anyOf"][0]["maximum"], 50);
    assert_eq!(step["properties"]["place"]["anyOf"][0]["enum"], serde_json::json!(["local", "remote", "auto"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_panics(text in ".{0,300}") {
        let _ = read(&text, &ops, &names());
    }

    #[test]
    fn no_damage_to_a_good_file_panics(cuts in proptest::collection::vec((0usize..GOOD.len(), 0usize..12, "[ -~\n]{0,4}"), 1..5)) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, length, put) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(mistakes) = read(&text, &ops, &names()) {
            prop_assert!(!mistakes.is_empty());
            for mistake in mistakes {
                prop_assert!(mistake.line >= 1 && mistake.line <= text.lines().count() + 1, "{mistake}");
                if let Some(span) = mistake.span {
                    prop_assert!(text.get(span).is_some(), "{}", mistake.message);
                }
            }
        }
    }

    #[test]
    fn durations_are_what_they_say(number in 0u64..100_000, unit in 0usize..4) {
        let (unit, factor) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)][unit];
        let expected = Some(number * factor).filter(|ms| *ms <= 366 * 24 * 3_600_000);
        prop_assert_eq!(literal::duration_ms(&format!("{number}{unit}")), expected);
    }
}

fn hostile() -> Vec<(&'static str, String)> {
    let mut bomb = "name: x\nsteps:\n".to_owned();
    bomb.push_str("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    let mut shallow = "big: &big [".to_owned() + &"x, ".repeat(10_000) + "]\nuses: [";
    shallow.push_str(&"*big, ".repeat(900));
    shallow.push(']');
    let noise: String = (0..200_000u32)
        .map(|n| char::from_u32(n.wrapping_mul(2_654_435_761) >> 12 & 0xffff).unwrap_or('\u{1}'))
        .collect();
    let printable: String =
        (0..200_000u32).map(|n| char::from(32 + (n.wrapping_mul(2_654_435_761) >> 16) as u8 % 95)).collect();
    vec![
        ("alias bomb", bomb),
        ("many aliases", shallow),
        ("100 MB", "x".repeat(100 << 20)),
        ("deep flow", "[".repeat(1 << 20)),
        ("deep maps", "{a: ".repeat(200_000)),
        ("deep block", (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("deep dashes", "- ".repeat(500_000)),
        ("noise", noise),
        ("printable noise", printable),
        ("long line", format!("name: {}", "x".repeat((1 << 20) - 10))),
        ("many keys", (0..60_000).map(|n| format!("k{n}: 1\n")).collect()),
        ("many steps", format!("name: x\nsteps:\n{}", "  - id: a\n    op: b\n".repeat(40_000))),
        (
            "many mistakes",
            format!(
                "name: x\nsteps:\n{}",
                "  - id: a\n    op: bxxx\n    with: { folder: \"${aaa.b + ccc.d}\", limit: \"${zzz.y}\" }\n"
                    .repeat(256)
            ),
        ),
        ("quotes", "\"".repeat(1 << 20)),
        ("colons", ": ".repeat(500_000)),
        ("question marks", "? ".repeat(500_000)),
        (
            "many expressions",
            format!(
                "name: x\nsteps:\n  - id: a\n    op: files.scan\n    with: {{ folder: \"{}\" }}",
                "${run.id} ".repeat(90_000)
            ),
        ),
        (
            "open expressions",
            format!(
                "name: x\nsteps:\n  - id: a\n    op: files.scan\n    with: {{ folder: \"{}\" }}",
                "${{a".repeat(200_000)
            ),
        ),
        ("anchors", "&a ".repeat(300_000)),
        ("tags", "!!str ".repeat(150_000)),
        ("comments", "#".repeat(1 << 20)),
        ("blanks", " ".repeat(1 << 20)),
        ("breaks", "\n".repeat(1 << 20)),
    ]
}
