//! `library.match`: which documents of the hub's library a text is about.
//!
//! The index is the hub's and does not leave it, so the text has to go there; the gate decides
//! whether it may.

use crate::context::{Context, OpError, int_member, member};
use crate::registry::{Body, Operation};
use tidegate_domain::label::Categories;
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::{Node, Value};
use tidegate_gate::DowngradeKind;

const MATCH: &[Field] = &[
    Field::required("title", Type::Text, "the document's title"),
    Field::required("topics", Type::Text, "its topics"),
    Field::required("score", Type::Number, "larger is better"),
    Field::required("shared", Type::List(&Type::Text), "the most telling words both hold"),
];

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "library.match",
        version: 1,
        summary: "finds documents of the hub's library that a text is about",
        effects: Effects::Read,
        sites: &[SiteKind::Hub],
        needs: &[Capability::Library],
        onward: &[],
        cost: CostHint { fixed_us: 100, ns_per_byte: 150 },
        input: &[
            Field::required("text", Type::Text, "the text"),
            Field::optional("limit", Type::Int { min: 1, max: 20 }, "how many matches, 3 unless said"),
        ],
        output: Type::Record(&[Field::required("matches", Type::List(&Type::Record(MATCH)), "best first")]),
    },
    body: Body::Blocking(run),
};

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let library = ctx.tools.library.as_ref().filter(|library| !library.is_empty());
    let library = library.ok_or_else(|| OpError::new("E5011", "this hub has no document library"))?;
    let source = member(input, "text")?;
    let text = ctx.text_of(source)?;
    let limit = int_member(input, "limit", 3)?.clamp(1, 20) as usize;

    let matches = library.find(&text, limit).into_iter().map(|found| {
        Value::map([
            ("title", Value::text(found.title)),
            ("topics", Value::text(found.topics)),
            ("score", Value::new(Node::Float(found.score), tidegate_domain::label::Label::PUBLIC)),
            ("shared", Value::list(found.shared.into_iter().map(Value::text).collect())),
        ])
    });
    let output = Value::map([("matches", Value::list(matches.collect()))]);
    // Titles and scores come from the confidential index: the hub's policy lets just these be told.
    let told = ctx.host.downgrade(DowngradeKind::Extract, &library.label(), Categories::NONE);
    Ok(output.raised(&told.join(&source.joined_label())))
}
