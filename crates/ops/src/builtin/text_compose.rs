//! `text.compose`: a Markdown document out of a title, an introduction and sections.

use crate::context::{Context, OpError, member};
use crate::registry::{Body, Operation};
use tidegate_domain::ops::{CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::Value;

const SECTION: &[Field] = &[
    Field::required("heading", Type::Text, "its heading"),
    Field::optional("text", Type::Optional(&Type::Text), "its text"),
    Field::optional("points", Type::Optional(&Type::List(&Type::Any)), "a list under the text"),
];

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "text.compose",
        version: 1,
        summary: "a Markdown document out of sections",
        effects: Effects::Pure,
        sites: &[SiteKind::Device, SiteKind::Hub, SiteKind::Worker],
        needs: &[],
        onward: &[],
        cost: CostHint { fixed_us: 50, ns_per_byte: 5 },
        input: &[
            Field::required("title", Type::Text, "the document's title"),
            Field::optional("intro", Type::Optional(&Type::Text), "text under the title"),
            Field::required(
                "sections",
                Type::List(&Type::Optional(&Type::Record(SECTION))),
                "in order; one that is missing is passed over",
            ),
        ],
        output: Type::Record(&[Field::required("text", Type::Text, "the document")]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let text = |value: Option<&Value>| match value {
        Some(value) if !value.is_null() => ctx.text_of(value).map(|t| t.into_owned()),
        _ => Ok(String::new()),
    };
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = format!("# {}\n", one_line(text(input.get("title"))?));
    let intro = text(input.get("intro"))?;
    if !intro.is_empty() {
        out.push_str(&format!("\n{intro}\n"));
    }
    let sections = member(input, "sections")?;
    let list = sections.as_list().ok_or_else(|| OpError::invalid("`sections` must be a list"))?;
    for section in list.iter().filter(|s| !s.is_null()) {
        out.push_str(&format!("\n## {}\n", one_line(text(section.get("heading"))?)));
        let body = text(section.get("text"))?;
        if !body.is_empty() {
            out.push_str(&format!("\n{body}\n"));
        }
        let points = section.get("points").and_then(Value::as_list).unwrap_or_default();
        if !points.is_empty() {
            out.push('\n');
        }
        for point in points {
            let words = if point.as_text().is_some() { text(Some(point))? } else { point.to_json() };
            out.push_str(&format!("- {}\n", one_line(words)));
        }
    }
    let label = input.joined_label();
    let mut output = Value::map([("text", ctx.text_value(out, label.clone())?)]);
    output.label = label;
    Ok(output)
}
