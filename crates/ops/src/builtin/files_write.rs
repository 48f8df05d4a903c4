//! `files.write`: writes a file into the run's output folder, once.
//!
//! The sink of invariant I5: what is there and what shall be there are made durable first
//! (`prepare`), then the file is written beside, synced and renamed. After a crash the target tells
//! how far that got: the intended content is done, the prior content is done again, anything else
//! is somebody else's change and a conflict.

use crate::context::{Context, OpError, member, text_member};
use crate::registry::{Body, Operation};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use tidegate_domain::ops::{Capability, CostHint, Effects, OpSpec, SiteKind};
use tidegate_domain::schema::{Field, Type};
use tidegate_domain::value::{Node, Value};

pub(crate) static OPERATION: Operation = Operation {
    spec: OpSpec {
        name: "files.write",
        version: 1,
        summary: "writes a text file into the run's output folder, whole and once",
        effects: Effects::Write,
        sites: &[SiteKind::Device],
        needs: &[Capability::Files],
        onward: &[],
        cost: CostHint { fixed_us: 1_000, ns_per_byte: 5 },
        input: &[
            Field::required("path", Type::Text, "relative to the run's output folder"),
            Field::required("text", Type::Text, "its content"),
        ],
        output: Type::Record(&[
            Field::required("path", Type::Path, "the absolute path"),
            Field::required("bytes", Type::Int { min: 0, max: i64::MAX }, "its size"),
        ]),
    },
    body: Body::Blocking(run),
};

/// Digest of a file's content, all zero where there is no file.
type Digest = [u8; 32];
const ABSENT: Digest = [0; 32];

fn run(ctx: &Context, input: &Value) -> Result<Value, OpError> {
    let name = text_member(input, "path")?;
    let source = member(input, "text")?;
    let text = ctx.text_of(source)?;
    let target = target_path(&ctx.outputs_dir, name)?;
    let intended = *blake3::hash(text.as_bytes()).as_bytes();
    let current = digest_of(&target)?;

    // What an earlier process promised to find there decides; otherwise what is there now.
    let prior = match ctx.host.prepared().and_then(|state| state.try_into().ok()).map(split) {
        Some((prior, promised)) if promised == intended => prior,
        _ => {
            ctx.host.prepare([current, intended].concat())?;
            current
        }
    };
    if ctx.host.cancelled() {
        return Err(OpError::new("E4006", "cancelled before writing"));
    }
    if current != intended {
        if current != prior || digest_of(&target)? != current {
            let message = format!("`{}` was changed by somebody else meanwhile", target.display());
            return Err(OpError::new("E5004", message));
        }
        write(&target, text.as_bytes())
            .map_err(|e| OpError::new("E5009", format!("cannot write `{}`: {e}", target.display())))?;
    }

    let label = source.joined_label();
    let mut output = Value::map([
        ("path", Value::new(Node::Text(target.display().to_string().into()), member(input, "path")?.label.clone())),
        ("bytes", Value::new(Node::Int(text.len() as i64), label.clone())),
    ]);
    output.label = label;
    Ok(output)
}

fn split(state: [u8; 64]) -> (Digest, Digest) {
    let (mut prior, mut intended) = (ABSENT, ABSENT);
    prior.copy_from_slice(&state[..32]);
    intended.copy_from_slice(&state[32..]);
    (prior, intended)
}

fn target_path(folder: &Path, name: &str) -> Result<PathBuf, OpError> {
    let relative = Path::new(name);
    let below = !name.is_empty() && relative.components().all(|c| matches!(c, Component::Normal(_)));
    if !below || name.contains('\0') {
        return Err(OpError::new("E5002", format!("`{name}` does not lie below the output folder")));
    }
    Ok(folder.join(relative))
}

fn digest_of(path: &Path) -> Result<Digest, OpError> {
    // A link in the target's place would be replaced, not followed; what it points at is not ours.
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(ABSENT),
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err(OpError::new("E5004", format!("`{}` is not a regular file", path.display()))),
        Err(e) => return Err(OpError::new("E5009", format!("cannot look at `{}`: {e}", path.display()))),
    }
    let mut hasher = blake3::Hasher::new();
    let read = std::fs::File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.map_err(|e| OpError::new("E5009", format!("cannot read `{}`: {e}", path.display())))?;
    Ok(*hasher.finalize().as_bytes())
}

fn write(target: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
        tidegate_seams::files::sync_parent(parent)?;
    }
    tidegate_seams::files::replace(target, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Host;
    use std::sync::{Arc, Mutex};
    use tidegate_domain::ids::{Realm, RunId};
    use tidegate_domain::label::{Categories, Label};
    use tidegate_domain::value::{BlobKind, BlobRef};
    use tidegate_gate::DowngradeKind;

    #[derive(Default)]
    struct Journal {
        before: Option<Vec<u8>>,
        prepared: Mutex<Vec<Vec<u8>>>,
    }

    impl Host for Journal {
        fn blob(&self, _: &BlobRef) -> Result<Vec<u8>, OpError> {
            Err(OpError::invalid("no blobs here"))
        }
        fn keep(&self, _: &[u8], _: BlobKind) -> Result<BlobRef, OpError> {
            Err(OpError::invalid("no blobs here"))
        }
        fn downgrade(&self, _: DowngradeKind, from: &Label, _: Categories) -> Label {
            from.clone()
        }
        fn prepare(&self, state: Vec<u8>) -> Result<(), OpError> {
            self.prepared.lock().unwrap().push(state);
            Ok(())
        }
        fn prepared(&self) -> Option<&[u8]> {
            self.before.as_deref()
        }
        fn cancelled(&self) -> bool {
            false
        }
    }

    fn context(dir: &Path, host: Journal) -> (Context, Arc<Journal>) {
        let host = Arc::new(host);
        let ctx = Context {
            run: RunId::mint(Realm::LOCAL, 1, [0; 10]),
            host: host.clone(),
            tools: crate::context::SiteTools::default(),
            workspaces: Arc::default(),
            outputs_dir: dir.to_owned(),
            vault: None,
        };
        (ctx, host)
    }

    fn input(path: &str, text: &str) -> Value {
        Value::map([("path", Value::text(path)), ("text", Value::text(text))])
    }

    fn state(prior: &[u8], intended: &[u8]) -> Vec<u8> {
        let digest = |b: &[u8]| if b.is_empty() { ABSENT } else { *blake3::hash(b).as_bytes() };
        [digest(prior), digest(intended)].concat()
    }

    #[test]
    fn writes_whole_and_prepares_first() {
        let dir = tempfile::tempdir().unwrap();
        let (ctx, host) = context(dir.path(), Journal::default());
        run(&ctx, &input("a/b.md", "new")).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a/b.md")).unwrap(), b"new");
        assert_eq!(*host.prepared.lock().unwrap(), vec![state(b"", b"new")]);
    }

    #[test]
    fn after_a_crash_it_goes_on_from_either_content_and_refuses_a_third() {
        for (found, ok) in [("new", true), ("old", true), ("theirs", false)] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("f"), found).unwrap();
            let journal = Journal { before: Some(state(b"old", b"new")), ..Journal::default() };
            let (ctx, host) = context(dir.path(), journal);
            let result = run(&ctx, &input("f", "new"));
            assert_eq!(result.is_ok(), ok, "{found}");
            assert!(host.prepared.lock().unwrap().is_empty());
            let left = std::fs::read_to_string(dir.path().join("f")).unwrap();
            assert_eq!(left, if ok { "new" } else { "theirs" });
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (ctx, _) = context(dir.path(), Journal::default());
        for path in ["../x", "/x", "a/../../x", "", ".", "a\0"] {
            assert_eq!(run(&ctx, &input(path, "x")).err().map(|e| e.code), Some("E5002"), "{path:?}");
        }
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link")).unwrap();
        assert_eq!(run(&ctx, &input("link", "x")).err().map(|e| e.code), Some("E5004"));
    }
}
