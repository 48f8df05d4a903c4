//! What expressions give, what labels they get, and that nothing an author writes breaks them.

use super::*;
use crate::label::Level;
use crate::label::tests::any_label;
use crate::value::{BlobId, BlobKind, BlobRef, Node};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct World {
    roots: BTreeMap<String, Value>,
    missing: BTreeMap<String, Label>,
    fans: BTreeMap<String, Fan>,
}

#[derive(Debug)]
struct Fan {
    label: Label,
    items: Vec<Option<Value>>,
    control: Label,
}

impl Items for Fan {
    fn count(&self) -> usize {
        self.items.len()
    }

    fn item(&self, at: usize) -> Option<Item<'_>> {
        self.items.get(at).map(|item| match item {
            Some(value) => Item::Done(value),
            None => Item::Missing { control: &self.control },
        })
    }
}

impl Scope for World {
    fn root(&self, name: &str) -> Option<Found<'_>> {
        if let Some(control) = self.missing.get(name) {
            return Some(Found::Missing { control });
        }
        if let Some(fan) = self.fans.get(name) {
            return Some(Found::Items { label: &fan.label, items: fan });
        }
        self.roots.get(name).map(Found::Whole)
    }
}

fn json(text: &str) -> Value {
    Value::from_json(text.as_bytes(), &Label::PUBLIC).unwrap()
}

fn blob() -> Value {
    Value::new(
        Node::Blob(BlobRef { id: BlobId::Keyed([7; 32]), size: 99_999, kind: BlobKind::Text }),
        Label::of(Level::Confidential),
    )
}

fn world() -> World {
    let roots = [
        ("inputs", r#"{"n": 3, "x": 1.5, "name": "Ada", "none": null, "flag": true}"#),
        (
            "scan",
            r#"{"files": [{"path": "b.txt", "size": 20}, {"path": "a.txt", "size": 10}, {"path": "a.txt", "size": 30}], "odd-name": 7}"#,
        ),
        ("index", "1"),
        ("item", r#"{"path": "a.txt"}"#),
    ];
    let roots = roots.into_iter().map(|(name, text)| (name.to_owned(), json(text))).collect();
    let mut world = World { roots, ..World::default() };
    world.roots.insert("read".to_owned(), Value::map([("text", blob()), ("title", Value::text("short"))]));
    world.missing.insert("gone".to_owned(), Label::of(Level::Internal));
    let items = vec![Some(json(r#"{"text": "one"}"#)), Some(json(r#"{"text": "two"}"#)), None];
    world
        .fans
        .insert("extract".to_owned(), Fan { label: Label::PUBLIC, items, control: Label::of(Level::Confidential) });
    world
}

fn outcome(source: &str, scope: &dyn Scope) -> String {
    match Expr::parse(source) {
        Err(e) => format!("no expression: {e}{}", e.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default()),
        Ok(expr) => match expr.eval(scope) {
            Err(e) => format!("no value: {e}"),
            Ok(value) => value.to_json(),
        },
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let world = world();
    for (source, expected) in cases {
        assert_eq!(outcome(source, &world), *expected, "{source}");
    }
}

#[test]
fn paths() {
    check(&[
        ("scan.files[1]", r#"{"path":"a.txt","size":10}"#),
        ("scan['odd-name']", "7"),
        ("extract[index].text", r#""two""#),
        ("extract[0].text", r#""one""#),
        ("extract", r#"[{"text":"one"},{"text":"two"},null]"#),
        ("item.path", r#""a.txt""#),
        ("index", "1"),
        ("extract[2].text", "no value: `extract` has no output here"),
        ("? extract[2].text", "null"),
        ("extract[7].text", "no value: `extract[7].text` is not there"),
        ("gone.x", "no value: `gone` has no output here"),
        ("?gone.x", "null"),
        ("scan.files.path", "no value: `scan.files.path` is not there"),
        ("? scan.nothing", "no value: `scan.nothing` is not there"),
        ("nobody.x", "no value: `nobody` means nothing here"),
    ]);
    for (source, bare) in
        [("a", true), ("a.b[0]['c'][index].d", true), ("(a.b)", true), ("a[b]", false), ("a + 1", false), ("1", false)]
    {
        assert_eq!(Expr::parse(source).unwrap().is_bare_path(), bare, "{source}");
    }
}

#[test]
fn reads_are_told_and_variables_of_loops_are_not() {
    let reads = |source: &str| {
        let expr = Expr::parse(source).unwrap();
        expr.reads().iter().map(|read| format!("{read} {:?}", read.extent)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(reads("a.b + a.b + c[index].d"), "a.b Whole, c[index].d Whole");
    assert_eq!(reads("a[b.c].d"), "a[…] Whole, b.c Whole");
    assert_eq!(reads("a.map(x, x.b + y.c)"), "a Whole, y.c Whole");
    assert_eq!(reads("a.map(index, b[index])"), "a Whole, b[…] Whole");
    assert_eq!(reads("size(a.b) + a.c.size()"), "a.b Size, a.c Size");
    assert_eq!(reads("has(a.b.c)"), "a.b.c Presence");
    assert!(Expr::parse("c[index].d").unwrap().is_per_item());
    assert!(!Expr::parse("c[0].map(index, index)").unwrap().is_per_item());
}

#[test]
fn operators() {
    check(&[
        ("inputs.n + 1", "4"),
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-(-2) - -3", "5"),
        ("inputs.name + '!'", r#""Ada!""#),
        ("[1] + [2, 3]", "[1,2,3]"),
        ("[1] + {'a': 1}", "no value: `[1] + {'a': 1}`: `+` does not take (list, map)"),
        ("1 < 2 && 'a' < 'b' && 2.5 >= 1", "true"),
        ("1 == 1.0 && {'a': [1]} == {'a': [1.0]}", "true"),
        ("!inputs.flag || inputs.n != 3", "false"),
        ("inputs.n in [1, 2, 3]", "true"),
        ("'n' in inputs", "true"),
        ("inputs.n > 2 ? 'big' : 'small'", r#""big""#),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("scan.files[inputs.n - 3].path", r#""b.txt""#),
        ("extract[index - 1].text", r#""one""#),
        ("{'a': inputs.n, 'b': [true, null]}", r#"{"a":3,"b":[true,null]}"#),
        ("inputs.nothing == 1 || true", "true"),
        ("inputs.nothing == 1", "no value: `inputs.nothing` is not there"),
        ("inputs.none == null", "true"),
        ("0x1F + 1e1 == 1", "no value: `0x1F + 1e1 == 1`: `+` does not take (int, double)"),
        ("r'\\d' + '\\u0041\\n' + \"'\" + '''a'b'''", r#""\\dA\n'a'b""#),
        ("1 // the rest is said to people", "1"),
    ]);
}

#[test]
fn loops() {
    check(&[
        ("scan.files.map(f, f.path)", r#"["b.txt","a.txt","a.txt"]"#),
        ("scan.files.map(f, f.size > 10, f.size)", "[20,30]"),
        ("scan.files.filter(f, f.size > 10).map(f, f.size)", "[20,30]"),
        ("scan.files.all(f, f.size > 5)", "true"),
        ("scan.files.exists(f, f.size == 30)", "true"),
        ("scan.files.exists_one(f, f.path == 'a.txt')", "false"),
        ("[1, 2].map(a, [10, 20].map(b, a * b))", "[[10,20],[20,40]]"),
        ("extract.map(e, e == null ? 'none' : e.text)", r#"["one","two","none"]"#),
        ("{'b': 1, 'a': 2, 'c': 3}.map(k, k)", r#"["a","b","c"]"#),
        ("inputs.filter(k, k.startsWith('n'))", r#"["n","name","none"]"#),
        ("[1].map(a, [1].map(b, [1].map(c, [1].map(d, 1))))", "no expression: more than 3 loops inside each other"),
        ("5.map(x, x)", "no value: `5.map(x, x)`: `a loop` takes a list or a map"),
        ("inputs.n.map(x, x)", "no value: `inputs.n.map(x, x)`: `a loop` takes a list or a map"),
        ("[1].map(x.y, 1)", "no expression: the first argument of `map` is the name of a variable"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("size(scan.files) + size(inputs.name) + size(inputs) + size([1])", "12"),
        ("size(extract)", "3"),
        ("has(inputs.name) && !has(inputs.nothing)", "true"),
        ("has(inputs.nothing.more)", "no value: `inputs.nothing.more` is not there"),
        ("scan.files.map(f, has(f.path))", "[true,true,true]"),
        ("contains(inputs.name, 'd') && inputs.name.startsWith('A') && inputs.name.endsWith('a')", "true"),
        ("'report-7.pdf'.matches('^report-[0-9]+[.]pdf$')", "true"),
        ("string(inputs.n) + string(1.5) + string(true)", r#""31.5true""#),
        ("[int('12'), int(2.9), double(1)]", "[12,2,1]"),
        ("bool('true')", "true"),
        ("[min(3, 1, 2), max([1, 2.5]), min('b', 'a')]", r#"[1,2.5,"a"]"#),
        ("join(scan.files.map(f, f.path), ', ')", r#""b.txt, a.txt, a.txt""#),
        ("[1, true, 'x'].join('-')", r#""1-true-x""#),
        ("trim('  Ab ').lower() + 'c'.upper()", r#""abC""#),
        ("'a,b'.split(',')", r#"["a","b"]"#),
        ("'aXbX'.replace('X', '--')", r#""a--b--""#),
        ("distinct([1, 1.0, '1', [1], [1], null, null])", r#"[1,"1",[1],null]"#),
        ("sort(scan.files.map(f, f.path)) + sort(['b', 'a'])", r#"["a.txt","a.txt","b.txt","a","b"]"#),
        ("sort([3, 1.5, -2])", "[-2,1.5,3]"),
        (
            "[first([]), last([1, 2]), get(inputs, 'nope', 5), inputs.get('name', ''), get([1], 9, 0), get(null, 'a', 1)]",
            r#"[null,2,5,"Ada",0,1]"#,
        ),
    ]);
}

#[test]
fn nothing_that_is_not_pinned_can_be_called() {
    for name in [
        "timestamp",
        "duration",
        "now",
        "type",
        "dyn",
        "uint",
        "bytes",
        "optional.of",
        "cel.bind",
        "rand",
        "getFullYear",
    ] {
        let source = format!("{name}('1')");
        let error = Expr::parse(&source).unwrap_err();
        assert!(error.message.starts_with("unknown function"), "{source}: {error}");
    }
    check(&[
        ("lowr('X')", "no expression: unknown function `lowr` (did you mean `lower`?)"),
        ("@meter(1)", "no expression: unexpected character `@`"),
        ("b'abc'", "no expression: `b` in front of a text means nothing here"),
        ("a.?b", "no expression: expected a name, found `?`"),
        ("Foo{a: 1}", "no expression: expected an operator or the end, found `{`"),
        ("size()", "no expression: `size` takes 1 arguments (the one before the dot counted), not 0"),
        // Names of types are no values here.
        ("int", "no value: `int` means nothing here"),
    ]);
}

#[test]
fn numbers_stay_within_what_a_value_holds() {
    check(&[
        ("9007199254740991", "9007199254740991"),
        ("9007199254740992", r#""9007199254740992""#),
        ("-9223372036854775808", r#""-9223372036854775808""#),
        ("9223372036854775807 + 1", "no value: `9223372036854775807 + 1`: integer overflow"),
        ("-(-9223372036854775808)", "no value: `-(-9223372036854775808)`: integer overflow"),
        ("1 / 0", "no value: `1 / 0`: division by zero"),
        ("1 % 0", "no value: `1 % 0`: division by zero"),
        ("1.0 / 0.0", "no value: `1.0 / 0.0`: the result is not a finite number"),
        ("4.0 / 2.0", "2"),
        ("99999999999999999999", "no expression: a number larger than 64 bits"),
    ]);
}

#[test]
fn errors_name_kinds_and_never_values() {
    let mut world = world();
    world.roots.insert("secret".to_owned(), json(r#"{"word": "xyzzy", "list": ["xyzzy"], "number": 424242}"#));
    for source in [
        "secret.word + 1",
        "secret.word < 1",
        "secret.list[secret.number]",
        "secret[secret.word]",
        "secret.word ? 1 : 2",
        "int(secret.word)",
        "secret.word.matches('(')",
        "secret.number / 0",
        "secret.number * 9223372036854775807",
        "-secret.word",
        "!secret.word",
        "{secret.word: 1, 'xyz' + 'zy': 2}",
        "sort([secret.word, 1])",
        "join([secret.list])",
        "secret.word.map(x, x)",
        "secret.word.foo",
        "1 in secret.word",
        "min([secret.word, secret.number])",
        "get(secret.word, 1, 2)",
        "double(secret.word)",
        "bool(secret.word)",
    ] {
        let text = Expr::parse(source).unwrap().eval(&world).unwrap_err().to_string();
        assert!(!text.contains("xyzzy") && !text.contains("424242"), "{source}: {text}");
        assert!(text.contains(source) || text.contains("is not there"), "{source}: {text}");
    }
}

#[test]
fn blobs_are_passed_on_and_never_read() {
    let world = world();
    for source in [
        "read.text",
        "[read.text][0]",
        "first([read.text])",
        "true ? read.text : ''",
        "[read].map(r, r.text)[0]",
        "{'t': read.text}.t",
    ] {
        let value = Expr::parse(source).unwrap().eval(&world).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!((value.kind_name(), value.label.level), ("text", Level::Confidential), "{source}");
    }
    for source in [
        "read.text + 'x'",
        "size(read.text)",
        "read.text == 'x'",
        "'x' == read.text",
        "read.text != read.text",
        "[read.text] == ['x']",
        "read.text in ['x']",
        "'x' in [read.text]",
        "read.text.contains('x')",
        "join([read.text])",
        "read.text.upper()",
        "read.text < 'x'",
        "distinct([read.text])",
        "read.text == 'x' || true",
        "string(read.text)",
    ] {
        let error = Expr::parse(source).unwrap().eval(&world);
        assert_eq!(error, Err(EvalError::Blob { expression: source.to_owned() }), "{source}");
    }
    check(&[("read.text != null", "true"), ("read.title.upper()", r#""SHORT""#)]);
}

#[test]
fn a_missing_read_makes_an_optional_expression_null_with_the_label_of_its_absence() {
    let world = world();
    let value = Expr::parse("? gone.x + extract[2].text").unwrap().eval(&world).unwrap();
    assert_eq!((value.is_null(), value.label.level), (true, Level::Confidential));
    let value = Expr::parse("?gone").unwrap().eval(&world).unwrap();
    assert_eq!(value, Value::new(Node::Null, Label::of(Level::Internal)));
    // In a whole list a missing item is null, and its absence counts.
    assert_eq!(Expr::parse("extract.map(e, 1)").unwrap().eval(&world).unwrap().label.level, Level::Confidential);
}

#[test]
fn shapes_are_read_without_what_is_inside() {
    let mut world = World::default();
    let secret = json("[1, 2, 3]").raised(&Label::of(Level::Restricted));
    world.roots.insert("a".to_owned(), Value::map([("list", Value::list(vec![secret]))]));
    for (source, level) in [
        ("size(a.list) > 0", Level::Public),
        ("has(a.list)", Level::Public),
        ("has(a.list) && size(a.list) == 1", Level::Public),
        ("a.list == []", Level::Restricted),
        ("size(a.list[0]) == 3", Level::Restricted),
        // What is in a branch that is not taken counts too: not to take it tells something.
        ("true ? 1 : a.list[0][1]", Level::Restricted),
    ] {
        assert_eq!(Expr::parse(source).unwrap().eval(&world).unwrap().label.level, level, "{source}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
fn work_and_growth_are_bounded() {
    let mut world = World::default();
    world.roots.insert("l".to_owned(), Value::list((0..500).map(Value::int).collect()));
    world.roots.insert("t".to_owned(), Value::text("x".repeat(16 << 10)));
    for source in [
        "l.all(a, l.all(b, l.all(c, true)))",
        "l.map(a, l)",
        "l.map(a, t + t + t + t)",
        "l.exists(a, l.exists(b, a + b < 0)) || true",
        "t.replace('x', t)",
        "l.map(a, l.map(b, t)).map(x, x.join(t))",
        "l.map(a, sort(l))",
        "l.map(a, a in l)",
        "l.map(a, l == l)",
        "[l, l, l, l, l].map(a, [l, l, l, l, l].map(b, [l, l, l, l, l, a, b]))",
        "l.map(n, t.matches('(a|b|c)*' + string(n)))",
        "l.map(n, t.split('x'))",
        "l.map(n, distinct(l))",
        "l.map(n, {'a': l, 'b': l})",
        "l.filter(n, t + t < t)",
        "l.map(n, max(l))",
    ] {
        let expr = Expr::parse(source).unwrap();
        assert_eq!(
            expr.eval_within(&world, 20_000),
            Err(EvalError::Steps { expression: source.to_owned() }),
            "{source}"
        );
    }
    assert!(Expr::parse("l.filter(a, a % 2 == 0).map(a, a * a).all(a, a >= 0)").unwrap().eval(&world).is_ok());
    // The whole of the limit, once; a debug build on a busy machine takes its time.
    let start = Instant::now();
    let source = "l.all(a, l.all(b, l.all(c, a + b + c >= 0)))";
    assert_eq!(Expr::parse(source).unwrap().eval(&world), Err(EvalError::Steps { expression: source.to_owned() }));
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
fn hostile_texts_neither_overflow_the_stack_nor_take_long() {
    let run = || {
        let world = world();
        let nested = |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
        let mut texts: Vec<String> =
            ["(", "[", "{", "!", "-", "a.", "a[", "size(", "1+", "true?", "'", "{1:", "a.map(x,", "\"\\", "//", "r'"]
                .iter()
                .map(|piece| piece.repeat(limits::EXPRESSION_BYTES_MAX / piece.len()))
                .collect();
        for times in [1, 8, 16, 17, 18, 19, 23, 24, 25, 32, 100] {
            for (open, close) in [
                ("(", ")"),
                ("[", "]"),
                ("{1:", "}"),
                ("size(", ")"),
                ("upper(", ")"),
                ("!", ""),
                ("-", ""),
                ("true ? 1 : ", ""),
                ("[[0]][", "][0]"),
                ("[1].map(x,", ")"),
            ] {
                texts.push(nested(open, close, times));
            }
            texts.push(vec!["1"; times].join("+"));
            texts.push(vec!["index == 1"; times].join("&&"));
            texts.push(format!("scan{}", ".files".repeat(times)));
            texts.push(format!("[scan].map(x, x{})", "[0]".repeat(times)));
            texts.push(format!("[scan].map(x, x{})", ".a".repeat(times)));
            texts.push(format!("[1]{}", ".map(x, x)".repeat(times)));
            texts.push(format!("[1]{}", ".filter(x, x > 0).map(x, [x])".repeat(times)));
        }
        for text in texts {
            let start = Instant::now();
            outcome(&text, &world);
            assert!(
                start.elapsed() < Duration::from_millis(500),
                "{}… took {:?}",
                &text[..text.len().min(40)],
                start.elapsed()
            );
        }
    };
    // The smallest stack that a thread of ours has.
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    assert!(Expr::parse(&"a".repeat(limits::EXPRESSION_BYTES_MAX + 1)).is_err());
}

#[test]
fn the_end_is_found_behind_texts_and_maps() {
    for (text, end) in [("a}", 1), ("{'}': 1}['}'] } rest", 14), ("'\\'}' }", 6), ("r'\\'}", 4), ("'''}'''}", 7)] {
        assert_eq!(Expr::end_in(text, 0), Ok(end), "{text}");
    }
    assert!(Expr::end_in("{a", 0).is_err());
}

/// Trees of known shape with any labels: `a.x`, `a.y.z`, `a.l[…]`, `b`.
fn any_world() -> impl Strategy<Value = World> {
    let labels = proptest::collection::vec(any_label(), 9);
    (labels, -5i64..5, "[ab]{0,3}").prop_map(|(labels, number, text)| {
        let mut labels = labels.into_iter();
        let mut put = |node: Node| Value::new(node, labels.next().unwrap_or_default());
        let items = vec![put(Node::Int(number)), put(Node::Int(1)), put(Node::Int(2))];
        let list = put(Node::List(items));
        let z = put(Node::Text(text.into()));
        let y = put(Node::Map([("z".to_owned(), z)].into()));
        let x = put(Node::Int(number));
        let a = put(Node::Map([("x".to_owned(), x), ("y".to_owned(), y), ("l".to_owned(), list)].into()));
        let b = put(Node::Bool(number > 0));
        World { roots: [("a".to_owned(), a), ("b".to_owned(), b)].into(), ..World::default() }
    })
}

/// Expressions over [`any_world`] that mostly have a value.
fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a.x".to_owned()),
        Just("a.y.z".to_owned()),
        Just("a.l[1]".to_owned()),
        Just("a.l".to_owned()),
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("size(a.l)".to_owned()),
        Just("has(a.y.z)".to_owned()),
        Just("1".to_owned()),
        Just("'t'".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} == {r})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} + {r})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, l, r)| format!("({c} == 1 ? {l} : {r})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("[{l}, {r}]")),
            inner.clone().prop_map(|v| format!("{{'k': {v}}}")),
            inner.clone().prop_map(|v| format!("a.l.map(i, {v})")),
            inner.clone().prop_map(|v| format!("a.l.exists(i, i == {v})")),
            (inner.clone(), inner).prop_map(|(l, r)| format!("({l} != 1 || {r} == 1)")),
        ]
    })
}

/// What a read covers, found in another way than the evaluator's.
fn covered(world: &World, read: &Read) -> Label {
    let mut here = &world.roots[&read.root];
    let mut above = here;
    for key in &read.keys {
        above = here;
        let next = match key {
            Segment::Name(name) => here.get(name),
            Segment::Index(at) => here.as_list().and_then(|items| items.get(*at as usize)),
            Segment::LoopIndex | Segment::Dynamic => None,
        };
        match next {
            Some(next) => here = next,
            None => break,
        }
    }
    match read.extent {
        Extent::Whole => here.joined_label(),
        Extent::Size => here.label.clone(),
        Extent::Presence => above.label.clone(),
    }
}

/// Tokens that make many sound and many broken expressions.
const TOKENS: &[&str] = &[
    "a",
    "b",
    "a.x",
    "a.l",
    "index",
    "extract",
    "scan",
    "gone",
    "1",
    "0",
    "-1",
    "2.5",
    "9223372036854775807",
    "'t'",
    "''",
    "null",
    "true",
    "false",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "in",
    ".map(x, ",
    ".filter(x, ",
    ".exists(x, ",
    "size(",
    "has(",
    "sort(",
    "join(",
    "get(",
    "min(",
    "matches(",
    ".contains(",
    "string(",
    "int(",
    "double(",
    "x",
    "//",
    "\\",
    "'",
    "@",
    "$",
    "é",
];

proptest! {
    #[test]
    fn a_result_covers_everything_that_was_read(world in any_world(), source in any_expression()) {
        let Ok(expr) = Expr::parse(&source) else { return Ok(()) };
        let Ok(value) = expr.eval(&world) else { return Ok(()) };
        if expr.is_bare_path() {
            // Judged by the law for bare paths.
            return Ok(());
        }
        let mut nodes = Vec::new();
        value.visit(&mut |node| nodes.push(node.label.clone()));
        for read in expr.reads() {
            let label = covered(&world, read);
            for node in &nodes {
                prop_assert!(node.covers(&label), "{source}: {read} is {label}, a node is {node}");
            }
        }
    }

    #[test]
    fn a_bare_path_copies_the_subtree_as_it_is(world in any_world()) {
        for (source, found) in [
            ("a", &world.roots["a"]),
            ("a.y", world.roots["a"].get("y").unwrap()),
            ("a['y'].z", world.roots["a"].get("y").and_then(|y| y.get("z")).unwrap()),
            ("a.l[2]", &world.roots["a"].get("l").and_then(Value::as_list).unwrap()[2]),
            ("(b)", &world.roots["b"]),
        ] {
            prop_assert_eq!(&Expr::parse(source).unwrap().eval(&world).unwrap(), found, "{}", source);
        }
    }

    #[test]
    fn evaluation_is_the_same_each_time(world in any_world(), source in any_expression()) {
        let Ok(expr) = Expr::parse(&source) else { return Ok(()) };
        let first = expr.eval(&world).map(|value| value.to_json());
        prop_assert_eq!(first, Expr::parse(&source).unwrap().eval(&world).map(|value| value.to_json()));
    }

    #[test]
    fn no_sequence_of_tokens_panics(tokens in proptest::collection::vec(0..TOKENS.len(), 0..24), spaced: bool) {
        let text: Vec<&str> = tokens.into_iter().map(|at| TOKENS[at]).collect();
        let mut world = world();
        world.roots.insert("a".to_owned(), json(r#"{"x": 1, "l": [3, "s", null, 1.5]}"#));
        world.roots.insert("b".to_owned(), json("true"));
        outcome(&text.join(if spaced { " " } else { "" }), &world);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}", at in 0usize..200) {
        let _ = Expr::parse(&text);
        if text.is_char_boundary(at) && at <= text.len() {
            let _ = Expr::end_in(&text, at);
        }
    }
}
