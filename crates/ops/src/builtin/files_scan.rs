//! `files.scan`: lists the files of a folder, each with the label that the folder's rules give it.

use crate::context::{Context, OpError, int_member, text_member};
use crate::registry::{Body, Operation};
use std::path::Path;
use tidegate_domain::label::{Categories, Label};
use tidegate_domain::limits;
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::{Node, Value};
use tidegate_gate::DowngradeKind;

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "files.scan",
        version: 1,
        summary: "lists the files of a folder; links and hidden files are passed over",
        effects: Effects::Read,
        sites: &[SiteKind::Device],
        needs: &[Capability::Files],
        onward: &[],
        cost: CostHint { fixed_us: 5_000, ns_per_byte: 0 },
        input: &[
            Field::required("folder", Type::Path, "the folder"),
            Field::optional(
                "limit",
                Type::Int { min: 1, max: limits::ITEMS_MAX as i64 },
                "refuse a folder with more files",
            ),
        ],
        output: Type::Record(&[
            Field::required("files", Type::List(&Type::Record(super::FILE)), "sorted by path"),
            Field::required("count", Type::Int { min: 0, max: i64::MAX }, "how many"),
            Field::required("bytes", Type::Int { min: 0, max: i64::MAX }, "their sizes added up"),
            Field::required(
                "passed_over",
                Type::Int { min: 0, max: i64::MAX },
                "links, special files and hidden files",
            ),
        ]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let folder = text_member(input, "folder")?;
    let limit = int_member(input, "limit", limits::ITEMS_MAX as i64)?.clamp(1, limits::ITEMS_MAX as i64) as usize;
    let workspace = ctx.workspaces.find(Path::new(folder))?;
    let listing = workspace.list(limit, &|| ctx.host.cancelled())?;

    let mut bytes = 0u64;
    let folder_label = workspace.default_label();
    let id = workspace.id().to_string();
    // How many files there are tells something of the folder, and every fan-out over them tells it
    // to whoever gets an item: it may go exactly where redacted text of the folder may.
    let shape = ctx.host.downgrade(DowngradeKind::Redact, &workspace.shape_label(&listing), Categories::NONE);
    let files = listing.files.iter().map(|file| {
        bytes += file.bytes;
        let label = workspace.label_of_name(&file.path);
        let text = |text: &str| Value::new(Node::Text(text.into()), label.clone());
        let int =
            |number: u64| Value::new(Node::Int(number.min(limits::SAFE_INTEGER_MAX as u64) as i64), label.clone());
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        let format = crate::extract::Format::detect(name, &[]).map_or("", |format| format.name());
        let mut record = Value::map([
            ("workspace", text(&id)),
            ("path", text(&file.path)),
            ("name", text(name)),
            ("bytes", int(file.bytes)),
            ("format", text(format)),
            ("modified_ms", int(file.modified_ms)),
        ]);
        record.label = label.clone();
        record
    });
    let files: Vec<Value> = files.collect();
    let count = files.len() as i64;
    let number = |n: i64, label: &Label| Value::new(Node::Int(n), label.clone());
    let mut output = Value::map([
        ("files", Value::new(Node::List(files), shape.clone())),
        ("count", number(count, &shape)),
        ("bytes", number(bytes.min(limits::SAFE_INTEGER_MAX as u64) as i64, &folder_label)),
        ("passed_over", number(listing.passed_over as i64, &folder_label)),
    ]);
    output.label = shape.clone();
    Ok(output)
}
