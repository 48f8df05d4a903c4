//! `--record`: everything the hub's side receives, decrypted, one JSON line for each message.
//!
//! It exists so that anybody can search what left a device for what must not. Off by default.

use crate::HubError;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_domain::ids::SiteId;
use tidegate_seams::Clock;
use tidegate_transport::Recorder;

pub(crate) struct FileRecorder {
    file: Mutex<File>,
    clock: Arc<dyn Clock>,
}

impl FileRecorder {
    pub(crate) fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn Recorder>, HubError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|e| HubError::Record(path.to_owned(), e.to_string()))?;
        Ok(Arc::new(Self { file: Mutex::new(file), clock }))
    }

    fn write(&self, mut line: serde_json::Value) {
        if let Some(members) = line.as_object_mut() {
            members.insert("v".into(), 1.into());
            members.insert("time_ms".into(), self.clock.wall_ms().into());
        }
        let text = format!("{line}\n");
        // A recording that cannot be written must not stop the hub; its reader sees it end.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}

impl Recorder for FileRecorder {
    fn headers(&self, peer: SiteId, path: &str, headers: &http::HeaderMap) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        self.write(serde_json::json!({"type": "headers", "from": peer.to_string(), "path": path, "headers": headers}));
    }

    fn message(&self, peer: SiteId, bytes: &[u8]) {
        self.write(serde_json::json!({
            "type": "message",
            "from": peer.to_string(),
            "bytes": bytes.len(),
            "body_base64": base64(bytes),
        }));
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = u32::from(chunk[0]) << 16
            | u32::from(chunk.get(1).copied().unwrap_or(0)) << 8
            | u32::from(chunk.get(2).copied().unwrap_or(0));
        for i in 0..4 {
            let known = i <= chunk.len();
            out.push(if known { ALPHABET[(group >> (18 - 6 * i) & 63) as usize] as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_matches_the_rfc() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(super::base64(plain.as_bytes()), encoded);
        }
    }
}
