use super::*;
use crate::label::Level;
use crate::value::Node;
use std::collections::BTreeMap;

pub(crate) struct Fixed {
    pub(crate) roots: BTreeMap<String, Value>,
    pub(crate) missing: BTreeMap<String, Label>,
    pub(crate) fans: BTreeMap<String, Fan>,
}

pub(crate) struct Fan {
    pub(crate) label: Label,
    pub(crate) items: Vec<Option<Value>>,
    pub(crate) control: Label,
}

impl Items for Fan {
    fn count(&self) -> usize {
        self.items.len()
    }
    fn item(&self, at: usize) -> Option<Item<'_>> {
        self.items.get(at).map(|v| match v {
            Some(v) => Item::Done(v),
            None => Item::Missing { control: &self.control },
        })
    }
}

impl Scope for Fixed {
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

fn scope() -> Fixed {
    let roots = [
        ("inputs", r#"{"n": 3, "x": 1.5, "name": "Ada", "none": null, "flag": true, "big": "9007199254740993"}"#),
        ("scan", r#"{"files": [{"path": "b.txt", "size": 20}, {"path": "a.txt", "size": 10}, {"path": "a.txt", "size": 30}], "odd-name": 7}"#),
        ("index", "1"),
        ("item", r#"{"path": "a.txt"}"#),
    ];
    Fixed {
        roots: roots.into_iter().map(|(k, v)| (k.to_owned(), json(v))).collect(),
        missing: [("gone".to_owned(), Label::of(Level::Internal))].into(),
        fans: [(
            "extract".to_owned(),
            Fan {
                label: Label::PUBLIC,
                items: vec![Some(json(r#"{"text": "one"}"#)), Some(json(r#"{"text": "two"}"#)), None],
                control: Label::of(Level::Confidential),
            },
        )]
        .into(),
    }
}

fn run(source: &str) -> String {
    match Expr::parse(source) {
        Err(e) => format!("parse: {e}"),
        Ok(expr) => match expr.eval(&scope()) {
            Err(e) => format!("error: {e}"),
            Ok(value) => value.to_json(),
        },
    }
}

#[test]
fn try_out() {
    for source in [
        "scan.files", "scan.files[1].path", "scan['odd-name']", "extract[index].text", "extract[2].text", "extract[7].text", "? extract[2].text", "extract", "size(extract)",
        "extract.map(e, e == null ? 'none' : e.text)", "scan.files.map(f, f.path)", "scan.files.filter(f, f.size > 10).map(f, f.size)",
        "scan.files.all(f, f.size > 5)", "scan.files.exists(f, f.size == 30)", "scan.files.exists_one(f, f.path == 'b.txt')",
        "size(scan.files) > 0", "scan.files.size()", "has(scan.files)", "has(scan.nothing)", "has(scan.nothing.more)", "has(inputs.name) && inputs.name == 'Ada'",
        "inputs.nothing == 1 || true", "inputs.nothing", "inputs.nothing == 1", "gone.x", "? gone.x", "? gone.x + 1", "gone.x + 1",
        "inputs.n + 1", "inputs.n * 1.5", "double(inputs.n) * 1.5", "inputs.x / 0.0", "1 / 0", "9007199254740993", "9223372036854775807 + 1",
        "inputs.name + 1", "inputs.name.lower().upper()", "trim('  x ')", "'a,b'.split(',')", "'aXbX'.replace('X', '--')", "join(scan.files.map(f, f.path), ', ')",
        "distinct(scan.files.map(f, f.path))", "sort(scan.files.map(f, f.path))", "sort([3, 1.5, 2])", "first([])", "last([1, 2])", "get(inputs, 'nope', 5)", "inputs.get('name', '')",
        "min(3, 1, 2)", "max([1, 2.5])", "min([])", "'abc'.matches('^a.c$')", "matches('x', '(')", "scan.files[inputs.n - 3].path", "extract[index - 1].text", "[1,2,3].map(index, index * 2)",
        "{'a': inputs.n, 'b': [true, null]}", "{'b': 1, 'a': 2}.map(k, k)", "inputs.map(k, k)", "{1: 'x', '1': 'y'}", "inputs.n in [1, 2, 3]", "'n' in inputs", "1 == 1.0", "scan.files == scan.files",
        "string(inputs.n) + 'x'", "int('12')", "int('a')", "bool('true')", "timestamp('2023-01-01T00:00:00Z')", "now()", "duration('1s')", "type(1)", "dyn(1)", "optional.of(1)", "a.?b", "b'abc'", "1u", "lowr('X')", "Foo{a: 1}", ".inputs.n",
        "inputs.n ? 1 : 2", "!inputs.n", "-inputs.n", "", "  ", "1 +", "(1", "x = 1", "'abc", "a ~ b", "has(1)", "item.path", "index", "scan.files.map(a, scan.files.map(b, scan.files.map(c, scan.files.map(d, 1))))", "scan.files.foo", "scan.files[0][1]", "extract.text",
        "? inputs.n", "size(inputs.n)", "size(inputs.name)", "contains(inputs.name, 'd')", "inputs.name.contains('d')", "index + 1", "cel.bind(x, 1, x)", "@meter(1)", "size()", "join()", "'\\u0041'", "r'\\d'", "[1,2][5]", "string([1])", "null", "true",
        "if.x", "scan.if",
    ] {
        println!("{source:60} => {}", run(source));
    }
}

#[test]
fn deep() {
    let run = || {
        for source in ["(".repeat(4096), "!".repeat(4096), "[".repeat(4096), format!("{}1{}", "[".repeat(45), "]".repeat(45)), format!("{}1{}", "(".repeat(90), ")".repeat(90)),
            format!("{}true", "!".repeat(95)), format!("{}1", "-".repeat(95)), vec!["1"; 96].join("+"), vec!["true"; 96].join("&&"), format!("a{}", ".a".repeat(95)),
            vec!["1"; 2000].join("+"), format!("{}1{}", "true?".repeat(48), ":2".repeat(48)), format!("{}1{}", "{1:".repeat(45), "}".repeat(45)), format!("{}1{}", "size(".repeat(45), ")".repeat(45)),
            format!("[1]{}", ".map(x,x)".repeat(30)), format!("{}1{}", "[1].map(x,".repeat(3), ")".repeat(3)), format!("{}1{}", "[1].map(x,".repeat(20), ")".repeat(20))] {
            let start = std::time::Instant::now();
            let out = super::tests::run(&source);
            println!("{:20} {:?} => {}", &source[..source.len().min(20)], start.elapsed(), &out[..out.len().min(100)]);
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    let _ = Node::Null;
}
