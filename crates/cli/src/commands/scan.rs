//! `tidegate scan`: what private data a folder holds and what of it today's policy would let out,
//! before anything runs. Works in this process; nothing is stored.

use crate::args::Common;
use crate::exit::{Failed, Outcome};
use crate::{folders, render};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tidegate_domain::detect::{Category, Detectors, Finding};
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_domain::label::{Categories, Label};
use tidegate_domain::limits;
use tidegate_domain::ops::SiteKind;
use tidegate_engine::contract;
use tidegate_gate::{Destination, Downgrade, DowngradeKind, Gate, Question, Side};
use tidegate_ops::OpError;
use tidegate_ops::extract::{self, ExtractLimits, Extracted, Format};
use tidegate_ops::workspace::Workspace;
use tidegate_seams::sandbox::{ChildPool, PoolConfig};
use tidegate_seams::{Seams, entropy};
use tokio::task::JoinSet;

/// Files looked at at once.
const AT_ONCE: usize = 2;

struct Found {
    path: String,
    bytes: u64,
    result: Result<(Vec<Finding>, Label, bool), OpError>,
}

pub async fn scan(folder: &Path, show_text: Option<&Path>, common: Common) -> Outcome {
    let seams = Seams::system();
    let started_us = seams.clock.boot_us();
    let root = folder.canonicalize().map_err(|e| Failed::new("E2007", format!("`{}`: {e}", folder.display())))?;
    let key = entropy::bytes(seams.entropy.as_ref());
    let failed = |e: OpError| Failed::new(e.code, e.message);
    let workspace = Arc::new(Workspace::open(&root, &key).map_err(failed)?);
    let pool = ChildPool::new(PoolConfig::default());
    if let Some(file) = show_text {
        let absolute = folders::absolute(file)?;
        let relative = absolute.strip_prefix(&root).unwrap_or(file);
        let name = relative.to_str().ok_or_else(|| Failed::new("E2008", "the file's name is not UTF-8"))?;
        let extracted = read(&workspace, &pool, name).await.map_err(failed)?;
        print!("{}", extracted.text);
        return super::done();
    }

    let listing = workspace.list(limits::ITEMS_MAX, &|| false).map_err(failed)?;
    let gate = Gate::in_memory(Side::Device, own_site(&seams), seams.clone())
        .map_err(|e| Failed::new("E3002", e.to_string()))?;
    let mut totals = Totals::default();
    let mut by_file: Vec<(String, BTreeMap<&'static str, u64>)> = Vec::new();
    let mut work = JoinSet::new();
    let mut waiting = listing.files.into_iter();
    loop {
        while work.len() < AT_ONCE {
            let Some(file) = waiting.next() else { break };
            let (workspace, pool) = (Arc::clone(&workspace), pool.clone());
            work.spawn(async move { look(workspace, pool, file.path, file.bytes).await });
        }
        let Some(done) = work.join_next().await else { break };
        let Ok(found) = done else {
            totals.unreadable += 1;
            continue;
        };
        totals.take(&found, &gate, &seams);
        match &found.result {
            Ok((findings, ..)) => {
                let mut counts = BTreeMap::new();
                for finding in findings {
                    *counts.entry(finding.category.as_str()).or_default() += 1;
                    if common.json && !super::print_line(&line(&found.path, finding)) {
                        return super::done();
                    }
                }
                if !counts.is_empty() {
                    by_file.push((found.path.clone(), counts));
                }
            }
            Err(error) if common.json => {
                let unreadable = json!({"path": found.path, "code": error.code, "message": error.message});
                super::print_line(&contract::line("scan.unreadable", unreadable).to_string());
            }
            Err(error) => eprintln!("unreadable: {}", error.message),
        }
    }
    let seconds = seams.clock.boot_us().saturating_sub(started_us) as f64 / 1e6;
    let last = contract::line(
        "scan.finished",
        json!({
            "files": totals.files,
            "unreadable": totals.unreadable,
            "bytes": totals.bytes,
            "seconds": seconds,
            "findings": totals.findings,
            "by_category": totals.by_category,
            "truncated": totals.truncated,
            "would_leave": {
                "as_it_is": totals.as_it_is,
                "redacted": totals.redacted,
                "redacted_with_leave": totals.redacted_with_leave,
            },
            "not_covered": contract::NOT_COVERED,
        }),
    );
    if common.json {
        super::print_line(&last.to_string());
    } else {
        by_file.sort();
        super::print_line(&render::scanned(&by_file, &last));
    }
    super::done()
}

#[derive(Default)]
struct Totals {
    files: u64,
    unreadable: u64,
    truncated: u64,
    bytes: u64,
    findings: u64,
    by_category: BTreeMap<&'static str, u64>,
    as_it_is: u64,
    redacted: u64,
    redacted_with_leave: u64,
}

impl Totals {
    fn take(&mut self, found: &Found, gate: &Gate, seams: &Seams) {
        self.files += 1;
        self.bytes += found.bytes;
        let Ok((findings, label, truncated)) = &found.result else {
            self.unreadable += 1;
            return;
        };
        self.truncated += u64::from(*truncated);
        self.findings += findings.len() as u64;
        for category in Category::ALL {
            let count = findings.iter().filter(|f| f.category == category).count() as u64;
            if count > 0 {
                *self.by_category.entry(category.as_str()).or_default() += count;
            }
        }
        let to_hub = Destination { site: own_site(seams), kind: SiteKind::Hub, onward: Vec::new() };
        let may = |label: &Label| {
            let question =
                Question { label, destination: &to_hub, purpose: "library.match", speculative: false, origin: None };
            gate.would_transfer(&question).is_allowed()
        };
        let redacted = gate.would_downgrade(&Downgrade {
            kind: DowngradeKind::Redact,
            op: "privacy.redact",
            from: label,
            run: None,
            step: "",
            item: None,
            residue: Categories::NONE,
        });
        let as_it_is = may(label);
        let lowered = may(&redacted.label);
        self.as_it_is += u64::from(as_it_is);
        self.redacted += u64::from(as_it_is || lowered);
        // What an owner's leave would change is exactly what the gate would ask about.
        self.redacted_with_leave += u64::from(as_it_is || lowered || redacted.ask.is_some());
    }
}

fn own_site(seams: &Seams) -> SiteId {
    SiteId::mint(Realm::LOCAL, seams.clock.wall_ms(), [0; 10])
}

async fn look(workspace: Arc<Workspace>, pool: ChildPool, path: String, bytes: u64) -> Found {
    let result = match read(&workspace, &pool, &path).await {
        Err(error) => Err(error),
        Ok(extracted) => {
            let path = path.clone();
            let scanned = tokio::task::spawn_blocking(move || {
                let findings = Detectors::builtin().scan(&extracted.text);
                let label = workspace.label_of_content(&path, &extracted.text);
                (findings, label, extracted.truncated)
            });
            scanned.await.map_err(|_| OpError::new("E5010", "scanning stopped unexpectedly"))
        }
    };
    Found { path, bytes, result }
}

async fn read(workspace: &Arc<Workspace>, pool: &ChildPool, path: &str) -> Result<Extracted, OpError> {
    let (reading, name) = (Arc::clone(workspace), path.to_owned());
    let bytes = tokio::task::spawn_blocking(move || reading.read(&name))
        .await
        .map_err(|_| OpError::new("E5010", "reading stopped unexpectedly"))??;
    let name = path.rsplit('/').next().unwrap_or(path);
    let format = Format::detect(name, &bytes[..bytes.len().min(4096)])
        .ok_or_else(|| OpError::new("E5005", format!("`{path}` is of no kind that can be read")))?;
    let key = workspace.id().to_string();
    extract::extract_sandboxed(pool, &key, format, bytes, ExtractLimits::default()).await.map_err(|error| {
        OpError::new(tidegate_ops::builtin::text_extract::code_of(&error), format!("`{path}`: {error}"))
    })
}

fn line(path: &str, finding: &Finding) -> String {
    contract::line(
        "finding",
        json!({
            "path": path,
            "category": finding.category.as_str(),
            "rule": finding.rule.as_ref(),
            "confidence": finding.confidence,
            "start": finding.start,
            "end": finding.end,
        }),
    )
    .to_string()
}
