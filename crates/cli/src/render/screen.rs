//! A run while it goes on: a live tree on a terminal, plain lines elsewhere, the contract's lines
//! with `--json`.

use super::{bytes, number, tables, text};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};

/// Where a run is shown.
pub struct Screen {
    mode: Mode,
    started: bool,
    bars: HashMap<String, ProgressBar>,
    tree: MultiProgress,
    /// Steps already told in plain lines, so that a reconnect does not repeat them.
    told: std::collections::HashSet<String>,
}

#[derive(PartialEq, Eq)]
enum Mode {
    Json,
    Live,
    Plain,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        let live = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|t| t != "dumb");
        let mode = if json {
            Mode::Json
        } else if live {
            Mode::Live
        } else {
            Mode::Plain
        };
        let target = if mode == Mode::Live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            mode,
            started: false,
            bars: HashMap::new(),
            tree: MultiProgress::with_draw_target(target),
            told: std::collections::HashSet::new(),
        }
    }

    /// Shows a line of the run.
    pub fn line(&mut self, line: &Json) {
        match (text(line, "type"), &self.mode) {
            ("run.started", Mode::Json) if !self.started => self.print(line),
            ("run.started", Mode::Live | Mode::Plain) if !self.started => self.begin(line),
            ("step.finished", mode) => {
                let key = format!("{} {:?}", text(line, "id"), line.get("item"));
                if self.told.insert(key) {
                    match mode {
                        Mode::Json => self.print(line),
                        Mode::Plain => plain(line),
                        Mode::Live => self.failures(line),
                    }
                }
            }
            ("run.progress", Mode::Live) => self.progress(line),
            _ => {}
        }
        if text(line, "type") == "run.started" {
            self.started = true;
        }
    }

    fn print(&self, line: &Json) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    fn begin(&mut self, line: &Json) {
        let head = format!("{} · {}", text(line, "workflow"), text(line, "run"));
        if self.mode == Mode::Plain {
            eprintln!("{head}");
            return;
        }
        let _ = self.tree.println(head);
        let style = ProgressStyle::with_template("  {spinner} {prefix:<12} {wide_msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏✓");
        for step in line.get("steps").and_then(Json::as_array).into_iter().flatten() {
            let bar = self.tree.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(text(step, "id").to_owned());
            bar.set_message("waits");
            self.bars.insert(text(step, "id").to_owned(), bar);
        }
    }

    /// A failed item costs one line above the tree.
    fn failures(&self, line: &Json) {
        if text(line, "status") == "failed" {
            let item = line.get("item").and_then(Json::as_u64).map_or_else(String::new, |i| format!("[{i}]"));
            let _ = self.tree.println(format!("  ✗ {}{item}: {}", text(line, "id"), text(line, "reason")));
        }
    }

    fn progress(&mut self, line: &Json) {
        let mut by_step: HashMap<&str, Vec<&Json>> = HashMap::new();
        for total in line.get("step_totals").and_then(Json::as_array).into_iter().flatten() {
            by_step.entry(text(total, "id")).or_default().push(total);
        }
        for (id, totals) in by_step {
            let Some(bar) = self.bars.get(id) else { continue };
            let count = |status: &str| -> u64 {
                totals.iter().filter(|t| text(t, "status") == status).map(|t| number(t, "count")).sum()
            };
            let all: u64 = totals.iter().map(|t| number(t, "count")).sum();
            let out: u64 = totals.iter().map(|t| number(t, "bytes_out")).sum();
            let mut sites: Vec<&str> = totals.iter().map(|t| text(t, "site_kind")).filter(|s| !s.is_empty()).collect();
            sites.sort_unstable();
            sites.dedup();
            let left = count("running") + count("waiting");
            let mut message = format!("{}/{all} {}", all - left, sites.join("+"));
            if out > 0 {
                message.push_str(&format!(" · {} out", bytes(out)));
            }
            for status in ["failed", "refused", "skipped", "waiting"] {
                if count(status) > 0 {
                    message.push_str(&format!(" · {} {status}", count(status)));
                }
            }
            bar.set_message(message);
            if left == 0 { bar.finish() } else { bar.tick() }
        }
    }

    /// Shows the end.
    pub fn finish(&mut self, finished: &Json) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
        let _ = self.tree.clear();
        if self.mode == Mode::Json {
            self.print(finished);
        } else {
            let _ = writeln!(std::io::stdout().lock(), "{}", tables::finished(finished));
        }
    }
}

fn plain(line: &Json) {
    let item = line.get("item").and_then(Json::as_u64).map_or_else(String::new, |i| format!("[{i}]"));
    let site = text(line, "site_kind");
    let at = if site.is_empty() { String::new() } else { format!(" on the {site}") };
    let why = if text(line, "status") == "succeeded" { String::new() } else { format!(": {}", text(line, "reason")) };
    eprintln!("  {}{item} {}{at}{why}", text(line, "id"), text(line, "status"));
}
