//! Peak memory and time of the brief on many files, and memory of an idle hub and node.
//!
//! `cargo xtask bench memory`. It writes 5,000 files of 100 kB (500 MB) into a temporary folder,
//! runs the release binary on them, and reads the kernel's high-water marks of both processes.
//! `TIDEGATE_BENCH_FILES` and `TIDEGATE_BENCH_BYTES` change the corpus.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark starts the program, reads the clock and stops at any failure"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WORDS: &[&str] = &[
    "roof", "survey", "damp", "invoice", "tenant", "wall", "report", "deposit", "repair", "window", "garden",
    "meeting", "the", "of", "and", "was", "with", "after", "before", "river", "site", "letter", "payment", "notice",
];

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn corpus(dir: &Path, files: usize, bytes: usize) {
    let mut state = 7u64;
    let mut draw = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for i in 0..files {
        let folder = dir.join(format!("d{}", i % 50));
        std::fs::create_dir_all(&folder).unwrap();
        let mut text = String::with_capacity(bytes + 200);
        while text.len() < bytes {
            for _ in 0..8 + draw(10) {
                text.push_str(WORDS[draw(WORDS.len())]);
                text.push(' ');
            }
            if draw(40) == 0 {
                let _ = write!(text, "write to person{i}.{}@example.org ", draw(5));
            }
            text.push_str(if draw(5) == 0 { ".\n\n" } else { ". " });
        }
        let extension = ["txt", "md", "html", "csv", "json"][i % 5];
        let text = match extension {
            "html" => format!("<html><body><p>{}</p></body></html>", text.replace("\n\n", "</p><p>")),
            "json" => format!("{{\"text\": {}}}", serde_json::Value::from(text)),
            _ => text,
        };
        std::fs::write(folder.join(format!("doc{i}.{extension}")), text).unwrap();
    }
}

/// High-water marks of resident memory, in kB, of the processes whose command line holds `mark`.
fn peaks(mark: &str, into: &mut HashMap<String, u64>) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let kind = ["__hub", "__node"].into_iter().find(|k| line.contains(k) && line.contains(mark));
        let Some(kind) = kind else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .and_then(|v| v.trim().split(' ').next()?.parse().ok());
        let known = into.entry(kind.to_owned()).or_default();
        *known = (*known).max(peak.unwrap_or(0));
    }
}

fn start(program: &Path, arguments: &[&str]) -> Child {
    Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn main() {
    let examples = std::env::current_exe().unwrap();
    let program: PathBuf = examples.parent().and_then(Path::parent).unwrap().join("tidegate");
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/brief.yaml");
    let dir = tempfile::tempdir().unwrap();
    let (files, bytes) = (number("TIDEGATE_BENCH_FILES", 5_000), number("TIDEGATE_BENCH_BYTES", 100_000));

    let idle = dir.path().join("idle");
    let mut dev = start(&program, &["dev", "--data", idle.to_str().unwrap()]);
    std::thread::sleep(Duration::from_secs(5));
    let mut marks = HashMap::new();
    peaks(idle.to_str().unwrap(), &mut marks);
    let _ = Command::new("kill").arg(dev.id().to_string()).status();
    let _ = dev.wait();
    for (kind, kb) in &marks {
        println!(
            "{}",
            serde_json::json!({"name": format!("memory.idle{}", kind.trim_start_matches('_').replace("hub", "_hub").replace("node", "_node")), "unit": "MB", "value": *kb as f64 / 1e3, "goal": 40})
        );
    }

    let documents = dir.path().join("documents");
    corpus(&documents, files, bytes);
    let data = dir.path().join("data");
    let started = Instant::now();
    let mut run = start(
        &program,
        &[
            "run",
            workflow.to_str().unwrap(),
            "--set",
            &format!("folder={}", documents.display()),
            "--allow-redacted",
            "--data",
            data.to_str().unwrap(),
        ],
    );
    let mut marks = HashMap::new();
    let status = loop {
        peaks(data.to_str().unwrap(), &mut marks);
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let seconds = started.elapsed().as_secs_f64();
    let total: u64 = marks.values().sum();
    println!(
        "{}",
        serde_json::json!({"name": "memory.brief_peak_both", "unit": "MB", "value": total as f64 / 1e3, "goal": 300, "files": files,
            "bytes": files * bytes, "node_mb": marks.get("__node").map(|kb| *kb as f64 / 1e3), "hub_mb": marks.get("__hub").map(|kb| *kb as f64 / 1e3)})
    );
    println!(
        "{}",
        serde_json::json!({"name": "memory.brief_time", "unit": "s", "value": seconds, "exit": status.code(),
            "mb_per_s": (files * bytes) as f64 / 1e6 / seconds})
    );
    let binary = std::fs::metadata(&program).unwrap().len();
    println!(
        "{}",
        serde_json::json!({"name": "memory.release_binary", "unit": "MB", "value": binary as f64 / 1e6, "goal": 40})
    );
}
