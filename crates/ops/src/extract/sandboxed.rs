//! Where an extraction runs.
//!
//! Job: simple formats in this process, the others in a sandboxed child that
//! serves one label only; and the child's side of that.
//!
//! Not its job: the pool (the caller's), the label key (the caller's: equal
//! keys may share a child, so it must hold the whole joined label and whose run
//! it is).

use tidegate_seams::sandbox::{ChildError, ChildPool};

use super::{ExtractError, ExtractLimits, Extracted, Format, extract, wire};

/// In-process work beyond this moves off the runtime's own threads.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// The child's handler: `kind` is a format's name, `bytes` what
/// [`extract_sandboxed`] sent. `main` hands it to the sandbox's entry.
pub fn handle_child(kind: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let outcome = match (Format::from_name(kind), wire::decode_request(&bytes)) {
        (Some(format), Some((limits, file))) => extract(format, file, &limits),
        _ => Err(ExtractError::Unsupported),
    };
    outcome.map(|result| wire::encode_result(&result)).map_err(|error| wire::encode_error(&error))
}

/// Extracts the text of `bytes`, in a child of `label_key` where the format asks
/// for one. What is too large is refused before any child hears of it.
pub async fn extract_sandboxed(
    pool: &ChildPool,
    label_key: &str,
    format: Format,
    bytes: Vec<u8>,
    limits: ExtractLimits,
) -> Result<Extracted, ExtractError> {
    let size = bytes.len() as u64;
    if size > limits.input_bytes_max {
        return Err(ExtractError::InputTooLarge { bytes: size, bytes_max: limits.input_bytes_max });
    }
    if format.needs_sandbox() {
        let payload = wire::encode_request(&bytes, &limits);
        drop(bytes);
        return match pool.request(label_key, format.name(), &payload, limits.deadline).await {
            Ok(body) => wire::decode_result(body, &limits),
            Err(ChildError::Failed(detail)) => Err(wire::decode_error(detail.as_str(), format)),
            Err(ChildError::Panicked) => Err(ExtractError::ParserFailed { format }),
            Err(error) => Err(ExtractError::Sandbox(error)),
        };
    }
    if bytes.len() <= INLINE_BYTES_MAX {
        return extract(format, &bytes, &limits);
    }
    tokio::task::spawn_blocking(move || extract(format, &bytes, &limits))
        .await
        .unwrap_or(Err(ExtractError::ParserFailed { format }))
}
