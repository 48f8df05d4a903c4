//! Values between this site and another: blobs travel with the value, under plain digests.

use std::collections::HashMap;
use std::sync::Arc;
use tidegate_domain::label::Label;
use tidegate_domain::sensitive::Sensitive;
use tidegate_domain::value::codec::{self, Scope};
use tidegate_domain::value::{BlobId, BlobKind, BlobRef, Node, Value};
use tidegate_ops::OpError;
use tidegate_store::blobs::Blobs;
use tidegate_transport::message::Blob;

/// A value as it travels.
pub(crate) struct Packed {
    /// The value's bytes.
    pub bytes: Sensitive<bytes::Bytes>,
    /// The blobs it refers to, once each.
    pub blobs: Vec<Blob>,
}

/// Packs a value: reads its blobs and renames them by their plain digests, which is where those
/// are minted.
pub(crate) fn pack(value: &Value, blobs: &Blobs) -> Result<Packed, OpError> {
    let mut value = value.clone();
    let mut names: HashMap<BlobId, [u8; 32]> = HashMap::new();
    let mut packed = Vec::new();
    each_blob(&mut value, &mut |blob| {
        let digest = match names.get(&blob.id) {
            Some(known) => *known,
            None => {
                let content = blobs.get(blob).map_err(|e| OpError::new("E2003", e.to_string()))?;
                let digest = *blake3::hash(&content).as_bytes();
                names.insert(blob.id, digest);
                packed.push(Blob { digest, content: Sensitive::new(content.into()) });
                digest
            }
        };
        blob.id = BlobId::Digest(digest);
        Ok(())
    })?;
    Ok(Packed { bytes: Sensitive::new(codec::encode(&value, Scope::Wire).into()), blobs: packed })
}

/// Unpacks a value that arrived: keeps its blobs here and renames them by this site's names. Gives
/// the blobs it kept, too.
pub(crate) fn unpack(
    bytes: &Sensitive<bytes::Bytes>,
    arrived: &[Blob],
    blobs: &Blobs,
) -> Result<(Value, Vec<BlobRef>), OpError> {
    let mut value =
        codec::decode(bytes.expose()).map_err(|e| OpError::invalid(format!("a value that arrived: {e}")))?;
    let contents: HashMap<[u8; 32], &Blob> = arrived.iter().map(|b| (b.digest, b)).collect();
    let mut kept = Vec::new();
    each_blob(&mut value, &mut |blob| {
        let found = contents.get(blob.id.bytes()).filter(|_| matches!(blob.id, BlobId::Digest(_)));
        let content = found.ok_or_else(|| OpError::invalid("a value that arrived refers to a blob that did not"))?;
        let bytes = content.content.expose();
        if blob.kind == BlobKind::Text && std::str::from_utf8(bytes).is_err() {
            return Err(OpError::invalid("a text that arrived is not UTF-8"));
        }
        *blob = blobs.put(bytes, blob.kind).map_err(|e| OpError::new("E2002", e.to_string()))?;
        kept.push(*blob);
        Ok(())
    })?;
    Ok((value, kept))
}

fn each_blob(value: &mut Value, see: &mut dyn FnMut(&mut BlobRef) -> Result<(), OpError>) -> Result<(), OpError> {
    match &mut value.node {
        Node::Blob(blob) => see(blob),
        Node::List(items) => items.iter_mut().try_for_each(|v| each_blob(v, see)),
        Node::Map(members) => members.values_mut().try_for_each(|v| each_blob(v, see)),
        _ => Ok(()),
    }
}

/// Puts the labels of what was sent under what came back: the other side may raise a label and
/// never lower it below what the device's own gate had decided about the input (I8). What the
/// device alone knows (the workspaces) is joined in again here.
pub(crate) fn restore_label(value: Value, sent: &Label) -> Arc<Value> {
    Arc::new(value.raised(sent))
}
