//! `files.read`: the text of a UTF-8 file, as it stands. For documents use `text.extract`.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use crate::workspace::FileRef;
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::{Node, Value};

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "files.read",
        version: 1,
        summary: "reads a text file as it stands",
        effects: Effects::Read,
        sites: &[SiteKind::Device],
        needs: &[Capability::Files],
        onward: &[],
        cost: CostHint { fixed_us: 200, ns_per_byte: 3 },
        input: &[Field::required("file", Type::Record(super::FILE), "a file that `files.scan` lists")],
        output: Type::Record(&[
            Field::required("text", Type::Text, "its text"),
            Field::required("bytes", Type::Int { min: 0, max: i64::MAX }, "its size"),
        ]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let file = FileRef::from_value(member(input, "file")?)?;
    let workspace = ctx.workspaces.by_id(&file.workspace)?;
    let bytes = workspace.read(&file.path)?;
    let size = bytes.len() as i64;
    let text = String::from_utf8(bytes)
        .map_err(|_| OpError::new("E5005", format!("`{}` is not UTF-8 text; use `text.extract`", file.path)))?;
    let label = workspace.label_of_content(&file.path, &text);
    let mut output = Value::map([
        ("bytes", Value::new(Node::Int(size), label.clone())),
        ("text", ctx.text_value(text, label.clone())?),
    ]);
    output.label = label;
    Ok(output)
}
