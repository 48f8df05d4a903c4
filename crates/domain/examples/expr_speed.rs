//! How long expressions take: `cargo run --release -p tidegate-domain --example expr_speed`.
//!
//! Prints one line a figure. The bare path is what a step's inputs mostly are, once for each item
//! of a fan-out; it should cost well under a microsecond.

use std::hint::black_box;
use std::time::{Duration, Instant};
use tidegate_domain::expr::{Expr, Found, Item, Items, Scope};
use tidegate_domain::value::Value;

struct World {
    scan: Value,
    index: Value,
    extract: Vec<Value>,
}

impl Items for World {
    fn count(&self) -> usize {
        self.extract.len()
    }

    fn item(&self, at: usize) -> Option<Item<'_>> {
        self.extract.get(at).map(Item::Done)
    }
}

impl Scope for World {
    fn root(&self, name: &str) -> Option<Found<'_>> {
        match name {
            "scan" => Some(Found::Whole(&self.scan)),
            "index" => Some(Found::Whole(&self.index)),
            "extract" => Some(Found::Items { label: &self.scan.label, items: self }),
            _ => None,
        }
    }
}

/// The time of one call, from as many as fit into a quarter of a second.
#[expect(clippy::disallowed_methods, reason = "a program that measures needs a clock")]
fn time(mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < Duration::from_millis(250) {
        for _ in 0..16 {
            call();
        }
        calls += 16;
    }
    start.elapsed() / calls
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = |n: i64| {
        Value::map([
            ("path", Value::text(format!("folder/file-{n}.txt"))),
            ("size", Value::int(n)),
            ("kind", Value::text("text")),
        ])
    };
    let world = World {
        scan: Value::map([
            ("files", Value::list((0..10_000).map(file).collect())),
            ("folder", Value::text("brief/documents")),
        ]),
        index: Value::int(77_777),
        extract: (0..100_000).map(|n| Value::map([("text", Value::text(format!("text {n}")))])).collect(),
    };
    for source in [
        "extract[index].text",
        "scan.folder",
        "size(scan.files) > 0",
        "scan.folder + '/x'",
        "extract[index].text.upper()",
        "scan.files.filter(f, f.size > 5000)",
        "scan.files.map(f, f.path).join(', ')",
        "extract.exists(e, e.text == 'text 99999')",
        "scan.files.all(a, scan.files.all(b, a.size + b.size >= 0))",
    ] {
        let expr = Expr::parse(source)?;
        let outcome = if expr.eval(&world).is_ok() { "ok" } else { "refused" };
        let took = time(|| {
            let _ = black_box(expr.eval(black_box(&world)));
        });
        println!("{took:>12.1?}  {outcome:<8} {source}");
    }
    let source = "size(scan.files) > 0 && scan.files.exists(f, f.path.endsWith('.pdf'))";
    println!("{:>12.1?}  parse    {source}", time(|| drop(black_box(Expr::parse(black_box(source))))));
    Ok(())
}
