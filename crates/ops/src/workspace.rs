//! The folders a run was given: what may be opened in them, and which labels their files get.
//!
//! A file is opened by a path relative to its folder, with the kernel told to stay below it
//! (`openat2`, `RESOLVE_BENEATH`): `..`, absolute paths, links that lead out and magic links fail,
//! and no race between check and use exists. Only regular files are read.
//!
//! Out of the box everything in a folder is `confidential`. The folder's `.tidegate/workspace.toml`
//! may raise that for some files, by globs; it is part of the data and can never lower anything.
//!
//! Not here: what may leave (`gate`).

use crate::context::OpError;
use globset::{Glob, GlobSet, GlobSetBuilder};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tidegate_domain::detect::Detectors;
use tidegate_domain::ids::{Realm, WorkspaceId};
use tidegate_domain::label::{Categories, Category, Integrity, Label, Level};
use tidegate_domain::limits;
use tidegate_domain::value::Value;
use tidegate_gate::SAMPLES;

/// The rules file, relative to the folder.
pub const RULES_FILE: &str = ".tidegate/workspace.toml";
/// A larger rules file is refused.
const RULES_BYTES_MAX: u64 = 64 << 10;
/// Deeper folders are passed over.
const DEPTH_MAX: usize = 64;

/// Digests and sizes of the documents that ship with the program, one a line: their redacted text
/// may go to the hub under the owner's default rule, whoever holds them, because everybody does.
const SAMPLES_LIST: &str = include_str!("samples.blake3");

fn samples() -> &'static HashMap<&'static str, u64> {
    static KNOWN: OnceLock<HashMap<&'static str, u64>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let entry = |line: &'static str| {
            let (digest, size) = line.split_once(' ')?;
            Some((digest, size.parse().ok()?))
        };
        SAMPLES_LIST.lines().filter_map(entry).collect()
    })
}

/// A file that an operation was given.
pub(crate) struct FileRef {
    /// The folder it was found in, by its opaque id.
    pub workspace: String,
    /// Its path below that folder.
    pub path: String,
}

impl FileRef {
    pub(crate) fn from_value(value: &Value) -> Result<Self, OpError> {
        let text = |name: &str| {
            let found = value.get(name).and_then(Value::as_text);
            found
                .map(str::to_owned)
                .ok_or_else(|| OpError::invalid(format!("`file` has no `{name}`; take it from `files.scan`")))
        };
        Ok(Self { workspace: text("workspace")?, path: text("path")? })
    }
}

/// The folders of one run.
#[derive(Default)]
pub struct Workspaces {
    roots: Vec<Arc<Workspace>>,
}

impl Workspaces {
    /// Opens the folders that a run names among its inputs. A path that is no folder is passed
    /// over; using it later says so.
    pub fn open(folders: &[PathBuf], key: &[u8; 32]) -> Self {
        Self { roots: folders.iter().filter_map(|f| Workspace::open(f, key).ok()).map(Arc::new).collect() }
    }

    /// The workspace with this id, as `files.scan` gives it.
    pub(crate) fn by_id(&self, id: &str) -> Result<Arc<Workspace>, OpError> {
        let found = self.roots.iter().find(|w| w.id.to_string() == id).cloned();
        found.ok_or_else(|| OpError::new("E5002", "the file lies in a folder that this run was not given"))
    }

    /// The workspace that is exactly this folder.
    pub fn find(&self, folder: &Path) -> Result<Arc<Workspace>, OpError> {
        if let Some(found) = self.roots.iter().find(|w| w.root == folder) {
            return Ok(Arc::clone(found));
        }
        if !folder.is_dir() {
            return Err(OpError::new("E5003", format!("`{}` is not a folder that can be read", folder.display())));
        }
        Err(OpError::new("E5002", format!("`{}` is not a folder that this run was given", folder.display())))
    }
}

/// One folder.
pub struct Workspace {
    root: PathBuf,
    handle: OwnedFd,
    id: WorkspaceId,
    rules: Vec<(GlobSet, Level)>,
}

/// A regular file in a folder.
pub struct Listed {
    /// Its path below the folder, `/` between parts.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last changed.
    pub modified_ms: u64,
}

/// What a folder holds.
pub struct Listing {
    /// Regular files, sorted by path.
    pub files: Vec<Listed>,
    /// Links, special files, hidden files, names that are not UTF-8.
    pub passed_over: u64,
}

impl Workspace {
    /// Opens a folder and reads its rules.
    pub fn open(folder: &Path, key: &[u8; 32]) -> Result<Self, OpError> {
        let unreadable = |e: &dyn std::fmt::Display| {
            OpError::new("E5003", format!("cannot open folder `{}`: {e}", folder.display()))
        };
        let handle = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| unreadable(&e))?;
        let real = folder.canonicalize().map_err(|e| unreadable(&e))?;
        let digest = blake3::keyed_hash(key, real.as_os_str().as_encoded_bytes());
        let mut bits = [0; 16];
        bits.copy_from_slice(&digest.as_bytes()[..16]);
        let mut workspace = Self {
            root: folder.to_owned(),
            handle,
            id: WorkspaceId::from_bytes(Realm::LOCAL, bits),
            rules: Vec::new(),
        };
        workspace.rules = workspace.read_rules()?;
        Ok(workspace)
    }

    /// Who it is, without telling its path.
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    fn read_rules(&self) -> Result<Vec<(GlobSet, Level)>, OpError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rules {
            #[serde(default)]
            rule: Vec<Rule>,
        }
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rule {
            files: Vec<String>,
            level: String,
        }
        let Ok(mut file) = self.open_file(RULES_FILE) else { return Ok(Vec::new()) };
        let bad = |why: String| OpError::new("E5001", format!("`{RULES_FILE}` of the folder: {why}"));
        let mut text = String::new();
        file.by_ref().take(RULES_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| bad(e.to_string()))?;
        if text.len() as u64 > RULES_BYTES_MAX {
            return Err(bad(format!("larger than {RULES_BYTES_MAX} bytes")));
        }
        let rules: Rules = toml::from_str(&text).map_err(|e| bad(e.message().to_owned()))?;
        rules
            .rule
            .into_iter()
            .map(|rule| {
                let mut set = GlobSetBuilder::new();
                for pattern in &rule.files {
                    set.add(Glob::new(pattern).map_err(|e| bad(e.to_string()))?);
                }
                Ok((set.build().map_err(|e| bad(e.to_string()))?, Level::from_name(&rule.level)))
            })
            .collect()
    }

    /// What anything in this folder is, before rules and detectors have looked.
    pub fn default_label(&self) -> Label {
        Label {
            level: Level::Confidential,
            categories: Categories::NONE,
            integrity: Integrity::Untrusted,
            workspaces: vec![self.id],
        }
    }

    /// The label of what a listing's length tells. A folder that holds nothing but shipped samples
    /// tells nothing new.
    pub fn shape_label(&self, listing: &Listing) -> Label {
        let all_known = !listing.files.is_empty()
            && listing.files.len() <= samples().len()
            && listing.files.iter().all(|file| self.is_sample(&file.path));
        let workspace = if all_known { SAMPLES } else { self.id };
        Label { workspaces: vec![workspace], ..self.default_label() }
    }

    fn label_of(&self, path: &str, content: &str, workspace: WorkspaceId) -> Label {
        let mut label = Label { workspaces: vec![workspace], ..self.default_label() };
        for (files, level) in &self.rules {
            if files.is_match(path) {
                label.level = label.level.max(*level);
            }
        }
        for finding in Detectors::builtin().scan(content) {
            label.categories = label.categories.with(Category::from(finding.category));
        }
        label
    }

    /// The label of a file's name, size and time.
    pub fn label_of_name(&self, path: &str) -> Label {
        self.label_of(path, path, self.origin(path))
    }

    /// The label of text that was read from a file: the folder's rules, and what the detectors find.
    pub fn label_of_content(&self, path: &str, text: &str) -> Label {
        self.label_of(path, text, self.origin(path))
    }

    /// Whose rules a file is under: this folder's, or those for the shipped samples.
    fn origin(&self, path: &str) -> WorkspaceId {
        if self.is_sample(path) { SAMPLES } else { self.id }
    }

    /// Whether a file is, byte for byte, a document that ships with the program. Files of another
    /// size are not read for this.
    fn is_sample(&self, path: &str) -> bool {
        let Ok(file) = self.open_file(path) else { return false };
        let Ok(size) = file.metadata().map(|meta| meta.len()) else { return false };
        if !samples().values().any(|known| *known == size) {
            return false;
        }
        let mut bytes = Vec::new();
        // One byte more than expected shows a file that grew meanwhile.
        file.take(size + 1).read_to_end(&mut bytes).is_ok()
            && samples().get(blake3::hash(&bytes).to_hex().as_str()) == Some(&(bytes.len() as u64))
    }

    fn open_file(&self, path: &str) -> Result<File, OpError> {
        let refused = || OpError::new("E5002", format!("`{path}` does not lie below its folder"));
        let relative = Path::new(path);
        if path.contains('\0') || !relative.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(refused());
        }
        // NONBLOCK: opening a FIFO must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let file = rustix::fs::openat2(&self.handle, relative, flags, Mode::empty(), stay).map_err(|e| match e {
            rustix::io::Errno::XDEV | rustix::io::Errno::LOOP => refused(),
            other => OpError::new("E5003", format!("cannot open `{path}`: {other}")),
        })?;
        let file = File::from(file);
        match file.metadata() {
            Ok(meta) if meta.is_file() => Ok(file),
            _ => Err(OpError::new("E5003", format!("`{path}` is not a regular file"))),
        }
    }

    /// Reads a file, at most [`limits::BLOB_BYTES_MAX`] bytes.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, OpError> {
        let file = self.open_file(path)?;
        let size = file.metadata().map(|m| m.len()).unwrap_or_default();
        let limit = limits::BLOB_BYTES_MAX;
        let too_large = || OpError::new("E5008", format!("`{path}` is larger than {limit} bytes"));
        if size > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(size as usize + 1);
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| OpError::new("E5003", format!("cannot read `{path}`: {e}")))?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
    }

    /// Lists the folder's regular files, at most `limit`; more are an error.
    pub fn list(&self, limit: usize, cancelled: &dyn Fn() -> bool) -> Result<Listing, OpError> {
        let mut listing = Listing { files: Vec::new(), passed_over: 0 };
        let mut pending = vec![(self.root.clone(), String::new(), 0usize)];
        while let Some((folder, prefix, depth)) = pending.pop() {
            if cancelled() {
                return Err(OpError::new("E4006", "cancelled"));
            }
            let Ok(entries) = std::fs::read_dir(&folder) else {
                listing.passed_over += 1;
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let (Some(name), Ok(kind)) = (name.to_str(), entry.file_type()) else {
                    listing.passed_over += 1;
                    continue;
                };
                if name.starts_with('.') || kind.is_symlink() {
                    listing.passed_over += 1;
                    continue;
                }
                let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
                if kind.is_dir() && depth < DEPTH_MAX {
                    pending.push((entry.path(), path, depth + 1));
                } else if let (true, Ok(meta)) = (kind.is_file(), entry.metadata()) {
                    if listing.files.len() == limit {
                        return Err(OpError::new("E5008", format!("the folder has more than {limit} files")));
                    }
                    let modified = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
                    listing.files.push(Listed {
                        path,
                        bytes: meta.len(),
                        modified_ms: modified.map_or(0, |d| d.as_millis() as u64),
                    });
                } else {
                    listing.passed_over += 1;
                }
            }
        }
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn workspace(dir: &Path) -> Workspace {
        Workspace::open(dir, &[7; 32]).unwrap()
    }

    #[test]
    fn nothing_outside_can_be_opened() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("w");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        std::fs::write(dir.join("ok.txt"), "fine").unwrap();
        symlink("../secret", dir.join("out")).unwrap();
        symlink("ok.txt", dir.join("in")).unwrap();
        symlink("/", dir.join("root")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let w = workspace(&dir);
        assert_eq!(w.read("ok.txt").unwrap(), b"fine");
        for path in [
            "../secret",
            "sub/../../secret",
            "/etc/passwd",
            "out",
            "in",
            "root/etc/passwd",
            "fifo",
            "sub",
            "",
            ".",
            "a\0b",
        ] {
            assert!(w.read(path).is_err(), "{path:?} was opened");
        }
    }

    #[test]
    fn listing_passes_over_links_hidden_and_special_files_and_is_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a/c.md", ".hidden"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        symlink("b.txt", dir.path().join("link")).unwrap();
        let listing = workspace(dir.path()).list(10, &|| false).unwrap();
        let paths: Vec<&str> = listing.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!((paths, listing.passed_over), (vec!["a/c.md", "b.txt"], 2));
        assert_eq!(workspace(dir.path()).list(1, &|| false).err().map(|e| e.code), Some("E5008"));
    }

    #[test]
    fn rules_raise_and_never_lower() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".tidegate")).unwrap();
        let rules = "[[rule]]\nfiles = [\"hr/**\", \"*.key\"]\nlevel = \"restricted\"\n[[rule]]\nfiles = [\"**\"]\nlevel = \"public\"\n";
        std::fs::write(dir.path().join(RULES_FILE), rules).unwrap();
        let w = workspace(dir.path());
        assert_eq!(w.label_of_name("hr/pay.txt").level, Level::Restricted);
        assert_eq!(w.label_of_name("notes.txt").level, Level::Confidential);
        std::fs::write(dir.path().join(RULES_FILE), "[[rule]]\nfile = 1").unwrap();
        assert_eq!(Workspace::open(dir.path(), &[7; 32]).err().map(|e| e.code), Some("E5001"));
    }

    #[test]
    fn content_is_labelled_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "x").unwrap();
        let w = workspace(dir.path());
        let label = w.label_of_content("a.txt", "write to ada.smith@example.org today");
        assert!(label.categories.contains(Category::Pii));
        assert_eq!(label.workspaces, vec![w.id()]);
        assert!(w.label_of_content("a.txt", "nothing here").categories.is_empty());
    }

    #[test]
    fn two_devices_name_the_same_folder_differently() {
        let dir = tempfile::tempdir().unwrap();
        let other = Workspace::open(dir.path(), &[8; 32]).unwrap();
        assert_ne!(workspace(dir.path()).id(), other.id());
    }
}
