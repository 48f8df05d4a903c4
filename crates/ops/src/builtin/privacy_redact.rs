//! `privacy.redact`: replaces what the detectors find by stable placeholders and asks the gate for
//! a lower label. The values stay in the run's vault on the device.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use tidegate_domain::detect::{Category, Detectors};
use tidegate_domain::label::{Categories, Category as Labelled};
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::Value;
use tidegate_gate::DowngradeKind;

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "privacy.redact",
        version: 1,
        summary: "replaces private data by placeholders that `privacy.restore` can undo",
        effects: Effects::Read,
        sites: &[SiteKind::Device],
        needs: &[Capability::Vault],
        onward: &[],
        cost: CostHint { fixed_us: 100, ns_per_byte: 15 },
        input: &[Field::required("text", Type::Text, "the text")],
        output: Type::Record(&[
            Field::required("text", Type::Text, "the text with placeholders"),
            Field::required("replaced", Type::Int { min: 0, max: i64::MAX }, "how many values were replaced"),
            Field::required("by_category", Type::Any, "how many of each category"),
        ]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let source = member(input, "text")?;
    let text = ctx.text_of(source)?;
    let vault = ctx.vault.as_ref().ok_or_else(|| OpError::new("E5001", "this site has no redaction vault"))?;
    let detectors = Detectors::builtin();
    let findings = detectors.scan(&text);
    let from = source.joined_label();
    let redacted = vault.redact(&text, &findings, &from)?;

    // Looking again at the result: a value that a replacement brought together from two halves
    // would otherwise go unseen. Placeholders themselves are not findings.
    let residue = detectors
        .scan(&redacted)
        .iter()
        .fold(Categories::NONE, |set, finding| set.with(Labelled::from(finding.category)));
    let label = ctx.host.downgrade(DowngradeKind::Redact, &from, residue);

    let by_category = Category::ALL.into_iter().filter_map(|category| {
        let count = findings.iter().filter(|f| f.category == category).count();
        (count > 0).then(|| (category.as_str(), Value::int(count as i64)))
    });
    let mut output = Value::map([
        ("text", ctx.text_value(redacted, label.clone())?),
        // Counts tell of the original and keep its label.
        ("replaced", Value::int(findings.len() as i64).raised(&from)),
        ("by_category", Value::map(by_category).raised(&from)),
    ]);
    output.label = label;
    Ok(output)
}
