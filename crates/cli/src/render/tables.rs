//! Tables and sentences from the contract's JSON. One source for people and for scripts: what is
//! drawn here is what `--json` prints.

use super::{bytes, number, seconds, text};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use tidegate_domain::ops::OpSpec;

fn float(line: &Json, name: &str) -> f64 {
    line.get(name).and_then(Json::as_f64).unwrap_or_default()
}

fn list<'j>(line: &'j Json, name: &str) -> &'j [Json] {
    line.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    if table.width().is_none() {
        table.set_width(160);
    }
    table
}

fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A label in words.
fn label(label: Option<&Json>) -> String {
    let Some(label) = label else { return String::new() };
    let categories: Vec<&str> = list(label, "categories").iter().filter_map(Json::as_str).collect();
    let level = text(label, "level");
    if categories.is_empty() { level.to_owned() } else { format!("{level} ({})", categories.join(", ")) }
}

/// The end of a run: steps, what left, what stayed, what is not covered.
pub fn finished(run: &Json) -> String {
    let mut steps = table(&["step", "items", "site", "status", "time", "out", "in", "why"]);
    right(&mut steps, &[1, 4, 5, 6]);
    for total in list(run, "step_totals") {
        let count = number(total, "count");
        let mean = float(total, "seconds") / count.max(1) as f64;
        let time = if count > 1 { format!("{} each", seconds(mean)) } else { seconds(mean) };
        steps.add_row(vec![
            text(total, "id").to_owned(),
            count.to_string(),
            text(total, "site_kind").to_owned(),
            text(total, "status").to_owned(),
            time,
            bytes(number(total, "bytes_out")),
            bytes(number(total, "bytes_in")),
            text(total, "reason").to_owned(),
        ]);
    }
    let mut out = format!("{steps}\n\n");
    let transfers = run.get("transfers").unwrap_or(&Json::Null);
    let sent = number(transfers, "count");
    out.push_str(&match sent {
        0 => "left      nothing left this device\n".to_owned(),
        _ => format!(
            "left      {} in {sent} transfers, each judged and in the audit log: tidegate audit --run {}\n",
            bytes(number(transfers, "bytes_out")),
            text(run, "run")
        ),
    });
    let denied = number(transfers, "denied");
    out.push_str(&match denied {
        0 => "stayed    everything else; nothing was denied\n".to_owned(),
        _ => format!(
            "stayed    everything else; {denied} transfers were denied: tidegate explain {}\n",
            text(run, "run")
        ),
    });
    let missing: Vec<&str> = list(run, "not_covered").iter().filter_map(Json::as_str).collect();
    out.push_str(&format!("unseen    no detector covers {}\n", missing.join("; ")));
    if let Some(outputs) = run.get("outputs").and_then(Json::as_object) {
        for (name, value) in outputs {
            let shown = value.get("path").unwrap_or(value);
            let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
            out.push_str(&format!("output    {name}: {shown}\n"));
        }
    }
    if let Some(error) = run.get("error").filter(|e| !e.is_null()) {
        out.push_str(&format!("error     {}\n", text(error, "message")));
        out.push_str(&format!("hint      {}\n", text(error, "hint")));
    }
    if !text(run, "waiting_for").is_empty() {
        out.push_str(&format!("waiting   {}\n", text(run, "waiting_for")));
    }
    out.push_str(&format!("{} {} in {}", text(run, "run"), text(run, "status"), seconds(float(run, "seconds"))));
    out
}

/// A list of runs.
pub fn runs(lines: &[Json]) -> String {
    if lines.is_empty() {
        return "no runs yet".into();
    }
    let mut rows = table(&["run", "workflow", "status", "started", "time", "waiting for"]);
    for line in lines {
        rows.add_row(vec![
            text(line, "run").to_owned(),
            text(line, "workflow").to_owned(),
            text(line, "status").to_owned(),
            text(line, "started").to_owned(),
            seconds(float(line, "seconds")),
            text(line, "waiting_for").to_owned(),
        ]);
    }
    rows.to_string()
}

/// Why a step ran where it ran.
pub fn explained(line: &Json) -> String {
    let item = line.get("item").and_then(Json::as_u64).map_or_else(String::new, |i| format!("[{i}]"));
    let mut out = format!(
        "{}{item}  {}  {}  {}\n",
        text(line, "id"),
        text(line, "op"),
        text(line, "status"),
        label(line.get("label"))
    );
    let chosen = text(line, "chosen");
    for candidate in list(line, "candidates") {
        let mark = if text(candidate, "site") == chosen && !chosen.is_empty() { "→" } else { " " };
        let predicted = candidate.get("predicted").unwrap_or(&Json::Null);
        let what = match candidate.get("excluded_by").and_then(Json::as_str) {
            Some(excluded) => {
                let why = text(candidate, "why");
                if why.is_empty() { excluded.to_owned() } else { format!("{excluded}: {why}") }
            }
            None => format!(
                "{} predicted (queue {}, transfer {}, compute {})",
                seconds(float(predicted, "total_s")),
                seconds(float(predicted, "queue_s")),
                seconds(float(predicted, "transfer_s")),
                seconds(float(predicted, "compute_s"))
            ),
        };
        out.push_str(&format!("  {mark} {:<6} {what}\n", text(candidate, "site_kind")));
    }
    let observed = line.get("observed").unwrap_or(&Json::Null);
    if float(observed, "total_s") > 0.0 {
        out.push_str(&format!(
            "    took   {} (computing {}), {} out, {} in\n",
            seconds(float(observed, "total_s")),
            seconds(float(observed, "compute_s")),
            bytes(number(observed, "bytes_out")),
            bytes(number(observed, "bytes_in"))
        ));
    }
    out.push_str(&format!("    because {}\n", text(line, "reason")));
    out
}

/// A summary of audit entries while they are read page by page.
#[derive(Default)]
pub struct AuditTable {
    rows: Vec<Vec<String>>,
    transfers: u64,
    bytes_out: u64,
    denied: u64,
}

/// Rows drawn one by one; the sums cover all.
const AUDIT_ROWS_MAX: usize = 200;

impl AuditTable {
    /// Takes one entry.
    pub fn add(&mut self, line: &Json) {
        let outgoing = text(line, "kind") == "transfer" && text(line, "direction") == "out";
        let state = text(line, "state");
        if outgoing && state != "sent" && text(line, "verdict") != "deny" {
            self.transfers += 1;
            self.bytes_out += number(line, "bytes");
        }
        self.denied += u64::from(text(line, "verdict") == "deny");
        // `sent` confirms an entry that is drawn already.
        if self.rows.len() < AUDIT_ROWS_MAX && !(outgoing && state == "sent") {
            let item = line.get("item").and_then(Json::as_u64).map_or_else(String::new, |i| format!("[{i}]"));
            self.rows.push(vec![
                number(line, "seq").to_string(),
                text(line, "time").to_owned(),
                format!("{} {}", text(line, "kind"), text(line, "direction")),
                format!("{}{item}", text(line, "step")),
                label(line.get("label")),
                bytes(number(line, "bytes")),
                text(line, "verdict").to_owned(),
                text(line, "rule").to_owned(),
            ]);
        }
    }

    /// The table and the sums.
    pub fn draw(&self) -> String {
        let mut rows = table(&["seq", "time", "kind", "step", "label", "bytes", "verdict", "rule"]);
        right(&mut rows, &[0, 5]);
        for row in &self.rows {
            rows.add_row(row.clone());
        }
        let more = if self.rows.len() == AUDIT_ROWS_MAX { "\n(more with --json)" } else { "" };
        format!(
            "{rows}{more}\n\n{} transfers out, {}, {} verdicts denied",
            self.transfers,
            bytes(self.bytes_out),
            self.denied
        )
    }
}

/// The chains are whole.
pub fn verified(line: &Json) -> String {
    format!(
        "{} audit entries and {} journal rows, chains whole, head {}",
        number(line, "entries"),
        number(line, "journal_rows"),
        text(line, "head")
    )
}

/// What a scan found.
pub fn scanned(by_file: &[(String, BTreeMap<&'static str, u64>)], last: &Json) -> String {
    let mut rows = table(&["file", "findings"]);
    for (path, counts) in by_file {
        let found: Vec<String> = counts.iter().map(|(category, n)| format!("{n} {category}")).collect();
        rows.add_row(vec![path.clone(), found.join(", ")]);
    }
    let would = last.get("would_leave").unwrap_or(&Json::Null);
    let missing: Vec<&str> = list(last, "not_covered").iter().filter_map(Json::as_str).collect();
    format!(
        "{rows}\n\n{} files ({} unreadable), {}, {} findings in {}\n\
         would leave  {} files as they are, {} redacted, {} redacted with --allow-redacted\n\
         unseen       no detector covers {}",
        number(last, "files"),
        number(last, "unreadable"),
        bytes(number(last, "bytes")),
        number(last, "findings"),
        seconds(float(last, "seconds")),
        number(would, "as_it_is"),
        number(would, "redacted"),
        number(would, "redacted_with_leave"),
        missing.join("; ")
    )
}

/// One possible transfer of a workflow.
pub fn checked(line: &Json) -> String {
    let words = match text(line, "verdict") {
        "allowed" => "may go",
        "may_refuse" => "goes if its content allows, else is refused",
        "will_refuse" => "will be refused whatever the content",
        "may_stay" => "goes if its content allows and that is faster, else stays",
        _ => "stays on the device",
    };
    let why = text(line, "why");
    let why = if why.is_empty() { String::new() } else { format!("\n    {}: {why}", text(line, "rule")) };
    let leaves = line.get("label").filter(|l| !l.is_null());
    let leaves = leaves.map_or_else(String::new, |l| format!("; at most {} leaves", label(Some(l))));
    format!("{} ({}) → {}: {words}{leaves}{why}", text(line, "step"), text(line, "op"), text(line, "destination"))
}

/// All operations.
pub fn operations(specs: &[&OpSpec]) -> String {
    let mut rows = table(&["operation", "effects", "sites", "what it does"]);
    for spec in specs {
        let sites: Vec<&str> = spec.sites.iter().map(|s| s.as_str()).collect();
        rows.add_row(vec![spec.name, spec.effects.as_str(), &sites.join(", "), spec.summary]);
    }
    format!("{rows}\n\nmore: tidegate ops NAME")
}

/// One operation in full.
pub fn operation(spec: &OpSpec) -> String {
    let sites: Vec<&str> = spec.sites.iter().map(|s| s.as_str()).collect();
    let needs: Vec<&str> = spec.needs.iter().map(|n| n.as_str()).collect();
    let mut out = format!("{} (version {})\n{}\n\n", spec.name, spec.version, spec.summary);
    out.push_str(&format!("effects  {}\nsites    {}\n", spec.effects.as_str(), sites.join(", ")));
    if !needs.is_empty() {
        out.push_str(&format!("needs    {}\n", needs.join(", ")));
    }
    out.push_str("input\n");
    for field in spec.input {
        let optional = if field.required { "" } else { " (optional)" };
        out.push_str(&format!("  {:<12} {}{optional}: {}\n", field.name, field.ty.describe(), field.doc));
    }
    out.push_str(&format!("output   {}", spec.output.describe()));
    if let tidegate_domain::schema::Type::Record(fields) = spec.output {
        for field in fields {
            out.push_str(&format!("\n  {:<12} {}: {}", field.name, field.ty.describe(), field.doc));
        }
    }
    out
}

/// What the doctor found.
pub fn finding(line: &Json) -> String {
    let mark = match text(line, "state") {
        "ok" => "ok  ",
        "warn" => "warn",
        _ => "BAD ",
    };
    let remedy = text(line, "remedy");
    let remedy = if remedy.is_empty() { String::new() } else { format!("\n       → {remedy}") };
    format!("{mark}  {}: {}{remedy}", text(line, "what"), text(line, "detail"))
}
