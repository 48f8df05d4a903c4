//! `value.set`: gives back its input. With expressions in `with`, this is how a workflow computes.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use tidegate_domain::ops::{CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::Value;

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "value.set",
        version: 1,
        summary: "gives back its input; compute it with expressions",
        effects: Effects::Pure,
        sites: &[SiteKind::Device, SiteKind::Hub, SiteKind::Worker],
        needs: &[],
        onward: &[],
        cost: CostHint { fixed_us: 2, ns_per_byte: 0 },
        input: &[Field::required("value", Type::Any, "the value")],
        output: Type::Any,
    },
    body: Body::Inline(run),
};

fn run(_: &Context, input: &Value) -> Result<Value, OpError> {
    match input.get("value") {
        Some(value) => Ok(value.clone()),
        None => member(input, "value").cloned(),
    }
}
