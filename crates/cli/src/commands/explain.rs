//! `tidegate explain`: why each step ran where it ran.

use crate::args::Common;
use crate::exit::Outcome;
use crate::render;

pub async fn explain(run: &str, step: Option<&str>, common: Common) -> Outcome {
    let owned = super::asked(&common).await?;
    let path = match step {
        Some(step) => format!("/v1/runs/{}/explain?step={}", encode(run), encode(step)),
        None => format!("/v1/runs/{}/explain", encode(run)),
    };
    let lines = super::lines_of(&owned.client, &path).await;
    super::leave(owned).await;
    for line in lines? {
        let text = if common.json { line.to_string() } else { render::explained(&line) };
        if !super::print_line(&text) {
            break;
        }
    }
    super::done()
}

/// Percent-encodes everything but letters, digits, `-` and `_`.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b == b'-' || b == b'_' {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
