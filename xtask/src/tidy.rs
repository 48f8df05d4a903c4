//! Rules of the tree that no compiler checks. A test from day one: `cargo test -p xtask`.

use crate::docs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which crates of ours a crate may import: the rooms, top to bottom.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("cli", &["hub", "node", "engine", "ops", "transport", "gate", "store", "seams", "domain"]),
    ("hub", &["engine", "ops", "transport", "gate", "store", "seams", "domain"]),
    ("node", &["engine", "ops", "transport", "gate", "store", "seams", "domain"]),
    ("engine", &["ops", "transport", "gate", "store", "seams", "domain"]),
    ("ops", &["gate", "seams", "domain"]),
    ("transport", &["gate", "seams", "domain"]),
    ("gate", &["store", "seams", "domain"]),
    ("store", &["seams", "domain"]),
    ("seams", &[]),
    ("domain", &[]),
    ("sim", &["hub", "node", "engine", "ops", "transport", "gate", "store", "seams", "domain"]),
];

/// Lines of a source file, tests aside.
const LINES_MAX: usize = 1_000;

/// Words that stand in some rooms only: the word, and the path prefixes where it may.
const ROOMED: &[(&str, &[&str], &str)] = &[
    ("cedar", &["crates/gate/"], "the policy language is named in `gate` alone"),
    ("SystemTime::now", &["crates/seams/"], "take a `seams::Clock`"),
    ("Instant::now", &["crates/seams/", "crates/sim/"], "take a `seams::Clock`"),
    ("getrandom::", &["crates/seams/"], "take a `seams::Entropy`"),
    ("Command::new", &["crates/seams/", "xtask/"], "processes are started in `seams`"),
    ("TcpListener::bind", &["crates/transport/"], "sockets are opened in `transport`"),
    ("TcpStream::connect", &["crates/transport/"], "sockets are opened in `transport`"),
    ("UdpSocket", &[], "nothing speaks UDP"),
    ("UnixListener::bind", &["crates/transport/"], "sockets are opened in `transport`"),
];

/// Checks the tree below `root`; gives every breach.
pub fn check(root: &Path) -> Result<(), Vec<String>> {
    let mut found = Vec::new();
    dependency_rule(root, &mut found);
    let sources = sources(root);
    for path in &sources {
        source(root, path, &mut found);
    }
    architecture(root, &mut found);
    samples(root, &mut found);
    if let Err(stale) = docs::check(root) {
        found.push(stale);
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn dependency_rule(root: &Path, found: &mut Vec<String>) {
    let rule: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let Ok(crates) = std::fs::read_dir(root.join("crates")) else { return found.push("there is no crates/".into()) };
    for entry in crates.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(allowed) = rule.get(name.as_str()) else {
            found.push(format!("crates/{name} has no place in the dependency rule"));
            continue;
        };
        let text = std::fs::read_to_string(entry.path().join("Cargo.toml")).unwrap_or_default();
        let manifest: toml::Table = match text.parse() {
            Ok(manifest) => manifest,
            Err(e) => {
                found.push(format!("crates/{name}/Cargo.toml: {e}"));
                continue;
            }
        };
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for (dependency, _) in dependencies.into_iter().flatten() {
            if let Some(ours) = dependency.strip_prefix("tidegate-")
                && !allowed.contains(&ours)
            {
                found.push(format!("crates/{name} imports {ours}, which the dependency rule forbids"));
            }
        }
    }
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.join("crates"), root.join("xtask")];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn source(root: &Path, path: &Path, found: &mut Vec<String>) {
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let Ok(text) = std::fs::read_to_string(path) else { return found.push(format!("{name} cannot be read")) };
    if !text.lines().take(5).any(|line| line.starts_with("//!")) {
        found.push(format!("{name} does not open by saying its job (`//!`)"));
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
    let is_test = name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/examples/");
    if !is_test && code.lines().count() > LINES_MAX {
        found.push(format!("{name} has more than {LINES_MAX} lines"));
    }
    for word in ["common", "core", "types", "utils", "helpers"] {
        if name.ends_with(&format!("/{word}.rs")) || name.contains(&format!("/{word}/mod.rs")) {
            found.push(format!("{name}: no module is called `{word}`; say what is in it"));
        }
    }
    // Spelled apart, so that this file does not find itself.
    for word in [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore"), concat!("FIX", "ME")] {
        if text.contains(word) {
            found.push(format!("{name} holds `{word}`"));
        }
    }
    if is_test || name.starts_with("xtask/src/tidy.rs") || name.contains("/sim/") {
        return;
    }
    for (word, rooms, why) in ROOMED {
        if rooms.iter().any(|room| name.starts_with(room)) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or(line);
            if line.to_lowercase().contains(&word.to_lowercase()) {
                found.push(format!("{name}:{}: `{word}`: {why}", number + 1));
            }
        }
    }
}

/// Every path in backticks in ARCHITECTURE.md exists.
fn architecture(root: &Path, found: &mut Vec<String>) {
    let Ok(text) = std::fs::read_to_string(root.join("ARCHITECTURE.md")) else {
        return found.push("there is no ARCHITECTURE.md".into());
    };
    for (number, line) in text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let path = quoted.split_once(':').map_or(quoted, |(path, _)| path);
            let is_path = ["crates/", "xtask/", "docs/", "examples/", ".ci/"].iter().any(|p| path.starts_with(p));
            if is_path && !path.contains(['*', '{', ' ', '<']) && !root.join(path).exists() {
                found.push(format!("ARCHITECTURE.md:{}: `{path}` does not exist", number + 1));
            }
        }
    }
}

/// The list of shipped samples is the folder's.
fn samples(root: &Path, found: &mut Vec<String>) {
    let listed = std::fs::read_to_string(root.join(SAMPLES)).unwrap_or_default();
    if sample_lines(root).map(|lines| lines.concat()) != Ok(listed) {
        found.push(format!("{SAMPLES} is not the list of examples/brief/documents: run `cargo xtask docs`"));
    }
}

/// Where the operations read it.
const SAMPLES: &str = "crates/ops/src/samples.blake3";

/// Writes the list that [`samples`] checks.
pub fn write_samples(root: &Path) -> Result<(), String> {
    std::fs::write(root.join(SAMPLES), sample_lines(root)?.concat()).map_err(|e| e.to_string())
}

/// Digest and size of each shipped document, sorted.
fn sample_lines(root: &Path) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.join("examples/brief/documents")];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                lines.push(format!("{} {}\n", blake3::hash(&bytes).to_hex(), bytes.len()));
            }
        }
    }
    lines.sort();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        if let Err(found) = super::check(&crate::shell::root()) {
            panic!("{}", found.join("\n"));
        }
    }
}
