//! `text.extract`: the text of a document, labelled with what the detectors find in it.

use crate::context::{Context, OpError, member};
use crate::extract::{self, ExtractError, ExtractLimits, Format};
use crate::registry::{Answer, Body, Operation};
use crate::workspace::FileRef;
use std::sync::Arc;
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::{Node, Value};

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "text.extract",
        version: 1,
        summary: "the text of a txt, md, html, csv, json, eml, pdf or docx file",
        effects: Effects::Read,
        sites: &[SiteKind::Device],
        needs: &[Capability::Files, Capability::Sandbox],
        onward: &[],
        cost: CostHint { fixed_us: 500, ns_per_byte: 20 },
        input: &[Field::required("file", Type::Record(super::FILE), "a file that `files.scan` lists")],
        output: Type::Record(&[
            Field::required("name", Type::Text, "the file's path below the folder"),
            Field::required("format", Type::Text, "what it was read as"),
            Field::required("title", Type::Text, "its title, or its name"),
            Field::required("text", Type::Text, "its text"),
            Field::required("bytes", Type::Int { min: 0, max: i64::MAX }, "the file's size"),
            Field::required("truncated", Type::Bool, "whether text was left out because of a limit"),
        ]),
    },
    body: Body::Waiting(|ctx, input| -> Answer<'_> { Box::pin(run(ctx, input)) }),
};

async fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let file = FileRef::from_value(member(input, "file")?)?;
    let workspace = ctx.workspaces.by_id(&file.workspace)?;
    let reading = Arc::clone(&workspace);
    let path = file.path.clone();
    let bytes = blocking(move || reading.read(&path)).await?;
    let size = bytes.len();
    let name = file.path.rsplit('/').next().unwrap_or(&file.path);
    let head = &bytes[..bytes.len().min(4096)];
    let format = Format::detect(name, head)
        .ok_or_else(|| OpError::new("E5005", format!("`{}` is of no kind that can be read", file.path)))?;

    let pool = ctx.tools.sandbox.clone().ok_or_else(|| OpError::new("E5007", "this site has no confined children"))?;
    // One child is never shared across labels: what one document does to it must not reach another
    // folder's text.
    let key = workspace.id().to_string();
    let extracted = extract::extract_sandboxed(&pool, &key, format, bytes, ExtractLimits::default())
        .await
        .map_err(|error| OpError::new(code_of(&error), format!("`{}`: {error}", file.path)))?;

    let ctx = ctx.clone();
    blocking(move || {
        let label = workspace.label_of_content(&file.path, &extracted.text);
        let names = workspace.label_of_name(&file.path);
        let title = extracted.title.unwrap_or_else(|| file.path.rsplit('/').next().unwrap_or(&file.path).to_owned());
        let title_label = workspace.label_of_content(&file.path, &title).join(&names);
        let mut output = Value::map([
            ("name", Value::new(Node::Text(file.path.as_str().into()), names.clone())),
            ("format", Value::new(Node::Text(format.name().into()), names.clone())),
            ("title", Value::new(Node::Text(title.into()), title_label)),
            ("bytes", Value::new(Node::Int(size as i64), names.clone())),
            ("truncated", Value::new(Node::Bool(extracted.truncated), names.clone())),
            ("text", ctx.text_value(extracted.text, label)?),
        ]);
        output.label = names;
        Ok(output)
    })
    .await
}

/// The registry's code for a reason why a file gave no text.
pub fn code_of(error: &ExtractError) -> &'static str {
    match error {
        ExtractError::Unsupported => "E5005",
        ExtractError::InputTooLarge { .. } | ExtractError::LimitPassed { .. } => "E5008",
        ExtractError::Sandbox(_) | ExtractError::BadAnswer => "E5007",
        _ => "E5006",
    }
}

/// Runs file or CPU work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, OpError> + Send + 'static) -> Result<T, OpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(OpError::new("E5010", "reading a document stopped unexpectedly")),
    }
}
