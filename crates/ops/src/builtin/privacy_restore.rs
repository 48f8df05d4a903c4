//! `privacy.restore`: puts the values from the run's vault back in place of their placeholders.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::Value;

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "privacy.restore",
        version: 1,
        summary: "puts back what `privacy.redact` took out; on the device only",
        effects: Effects::Read,
        sites: &[SiteKind::Device],
        needs: &[Capability::Vault],
        onward: &[],
        cost: CostHint { fixed_us: 20, ns_per_byte: 3 },
        input: &[Field::required("text", Type::Text, "a text with placeholders")],
        output: Type::Record(&[Field::required("text", Type::Text, "the text with the values")]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let source = member(input, "text")?;
    let text = ctx.text_of(source)?;
    let vault = ctx.vault.as_ref().ok_or_else(|| OpError::new("E5001", "this site has no redaction vault"))?;
    let (restored, values_label) = vault.restore(&text);
    let label = source.joined_label().join(&values_label);
    let mut output = Value::map([("text", ctx.text_value(restored, label.clone())?)]);
    output.label = label;
    Ok(output)
}
