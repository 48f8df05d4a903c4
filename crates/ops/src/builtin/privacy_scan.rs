//! `privacy.scan`: where the detectors find private data in a text; never the data itself.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use tidegate_domain::detect::{Category, Detectors};
use tidegate_domain::ops::{CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::Value;

/// Findings listed one by one; all are counted.
const LISTED_MAX: usize = 1_000;

const FINDING: &[Field] = &[
    Field::required("category", Type::Text, "what kind of data"),
    Field::required("rule", Type::Text, "the rule that found it"),
    Field::required("start", Type::Int { min: 0, max: i64::MAX }, "first byte in the text"),
    Field::required("end", Type::Int { min: 0, max: i64::MAX }, "byte behind the last"),
];

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "privacy.scan",
        version: 1,
        summary: "finds personal data, payment data and credentials in a text",
        effects: Effects::Pure,
        sites: &[SiteKind::Device, SiteKind::Hub, SiteKind::Worker],
        needs: &[],
        onward: &[],
        cost: CostHint { fixed_us: 50, ns_per_byte: 5 },
        input: &[Field::required("text", Type::Text, "the text")],
        output: Type::Record(&[
            Field::required("count", Type::Int { min: 0, max: i64::MAX }, "findings in all"),
            Field::required("by_category", Type::Any, "how many of each category"),
            Field::required("findings", Type::List(&Type::Record(FINDING)), "the first 1,000"),
        ]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let source = member(input, "text")?;
    let text = ctx.text_of(source)?;
    let findings = Detectors::builtin().scan(&text);
    let by_category = Category::ALL.into_iter().filter_map(|category| {
        let count = findings.iter().filter(|f| f.category == category).count();
        (count > 0).then(|| (category.as_str(), Value::int(count as i64)))
    });
    let listed = findings.iter().take(LISTED_MAX).map(|f| {
        Value::map([
            ("category", Value::text(f.category.as_str())),
            ("rule", Value::text(f.rule.as_ref())),
            ("start", Value::int(f.start as i64)),
            ("end", Value::int(f.end as i64)),
        ])
    });
    let output = Value::map([
        ("count", Value::int(findings.len() as i64)),
        ("by_category", Value::map(by_category)),
        ("findings", Value::list(listed.collect())),
    ]);
    // Where a secret stands in a text says something about the text.
    Ok(output.raised(&source.joined_label()))
}
