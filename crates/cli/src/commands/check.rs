//! `tidegate check`: which labels a workflow could send where, proved before it runs.
//!
//! For every step it bounds the label of the input from below and from above, from what the
//! operations declare, and asks a gate with today's default policies about both. A step that must
//! go elsewhere is refused whatever the content if already the lower bound may not go.

use super::read_file;
use crate::args::Common;
use crate::exit::{Exit, Failed, Outcome};
use crate::render;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::Path;
use tidegate_domain::expr::Extent;
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_domain::label::{Categories, Category, Integrity, Label, Level};
use tidegate_domain::limits;
use tidegate_domain::ops::{OpSpec, SiteKind};
use tidegate_domain::workflow::{At, Step, Workflow, read};
use tidegate_engine::contract;
use tidegate_gate::{Destination, Downgrade, DowngradeKind, Gate, Question, SAMPLES, Side, Verdict};
use tidegate_ops::registry;
use tidegate_seams::Seams;

/// The least and the highest label a value can have.
#[derive(Clone)]
struct Bounds {
    low: Label,
    high: Label,
}

impl Bounds {
    const PUBLIC: Bounds = Bounds { low: Label::PUBLIC, high: Label::PUBLIC };

    fn raise(&mut self, other: &Bounds) {
        self.low.raise(&other.low);
        self.high.raise(&other.high);
    }
}

/// What is known of a step's output: of its content, and of how many elements it has.
struct Known {
    content: Bounds,
    shape: Bounds,
}

pub fn check(workflow: &Path, common: Common) -> Outcome {
    let source = read_file(workflow, limits::WORKFLOW_FILE_BYTES_MAX, "workflow")?;
    let sound = read(&source, &registry::spec, &registry::names())
        .map_err(|mistakes| super::run::broken(workflow, &source, &mistakes, common.json))?;
    let seams = Seams::system();
    let site = SiteId::mint(Realm::LOCAL, seams.clock.wall_ms(), [0; 10]);
    let gate = Gate::in_memory(Side::Device, site, seams).map_err(|e| Failed::new("E3002", e.to_string()))?;
    let lines = prove(&sound, &gate, site);
    let refused = lines.iter().any(|line| line.get("verdict").and_then(Json::as_str) == Some("will_refuse"));
    for line in &lines {
        super::print_line(&if common.json { line.to_string() } else { render::checked(line) });
    }
    if !common.json && lines.is_empty() {
        super::print_line("nothing could leave: every step runs on the device");
    }
    Ok(if refused { Exit::Refused } else { Exit::Success })
}

fn prove(workflow: &Workflow, gate: &Gate, site: SiteId) -> Vec<Json> {
    let mut outputs: HashMap<&str, Known> = HashMap::new();
    let mut lines = Vec::new();
    for step in in_order(workflow) {
        let Some(spec) = registry::spec(&step.op) else { continue };
        let shape = shape_bounds(step, &outputs);
        let mut input = input_bounds(step, &outputs);
        input.raise(&shape);
        let could_leave = spec.sites.iter().any(|kind| *kind != SiteKind::Device) && step.place.at != At::Local;
        if could_leave {
            lines.push(line(step, spec, &input, gate, site));
        }
        outputs.insert(&step.id, output_bounds(spec, input, shape, gate));
    }
    lines
}

/// Steps, each after what it needs. The reader has refused cycles.
fn in_order(workflow: &Workflow) -> Vec<&Step> {
    let mut ordered: Vec<usize> = Vec::new();
    while ordered.len() < workflow.steps.len() {
        let ready =
            |at: &usize| !ordered.contains(at) && workflow.steps[*at].needs.iter().all(|need| ordered.contains(need));
        let Some(next) = (0..workflow.steps.len()).find(ready) else { break };
        ordered.push(next);
    }
    ordered.into_iter().map(|at| &workflow.steps[at]).collect()
}

/// What the number of attempts tells: the shape of the list that `each` goes over, and `when`.
fn shape_bounds(step: &Step, outputs: &HashMap<&str, Known>) -> Bounds {
    let mut bounds = Bounds::PUBLIC;
    for read in step.each.iter().flat_map(|each| each.over.reads()) {
        if let Some(known) = outputs.get(read.root.as_str()) {
            bounds.raise(&known.shape);
        }
    }
    for read in step.when.iter().flat_map(|when| when.reads()) {
        if let Some(known) = outputs.get(read.root.as_str()) {
            bounds.raise(&known.content);
        }
    }
    bounds
}

fn input_bounds(step: &Step, outputs: &HashMap<&str, Known>) -> Bounds {
    let mut bounds = Bounds::PUBLIC;
    for read in step.with.reads() {
        let lists = step.each.iter().flat_map(|each| each.over.reads()).map(|over| over.root.as_str());
        let roots: Vec<&str> = if read.root == "item" { lists.collect() } else { vec![read.root.as_str()] };
        for known in roots.into_iter().filter_map(|root| outputs.get(root)) {
            bounds.raise(if read.extent == Extent::Whole { &known.content } else { &known.shape });
        }
    }
    bounds
}

fn output_bounds(spec: &OpSpec, input: Bounds, shape: Bounds, gate: &Gate) -> Known {
    let found = [Category::Pii, Category::Financial, Category::Credential];
    let all = found.into_iter().fold(Categories::NONE, Categories::with);
    // The shipped samples are the least that a folder can hold; a folder's own rules may raise any
    // file to the highest level.
    let least = Label {
        level: Level::Confidential,
        integrity: Integrity::Untrusted,
        workspaces: vec![SAMPLES],
        categories: Categories::NONE,
    };
    let most = Label { level: Level::Restricted, categories: all, ..least.clone() };
    let redacted = |from: &Label| {
        let question = Downgrade {
            kind: DowngradeKind::Redact,
            op: spec.name,
            from,
            run: None,
            step: "",
            item: None,
            residue: Categories::NONE,
        };
        gate.would_downgrade(&question).label
    };
    let content = match spec.name {
        "files.scan" | "files.read" | "text.extract" => {
            Bounds { low: input.low.join(&least), high: input.high.join(&most) }
        }
        "privacy.redact" => Bounds { low: redacted(&input.low), high: redacted(&input.high) },
        "privacy.restore" => {
            let values = Label { level: Level::Confidential, workspaces: Vec::new(), ..most };
            Bounds { low: input.low, high: input.high.join(&values) }
        }
        _ => input,
    };
    let shape = match spec.name {
        "files.scan" => Bounds { low: redacted(&least), high: least.clone() },
        _ => shape,
    };
    Known { content, shape }
}

fn line(step: &Step, spec: &OpSpec, input: &Bounds, gate: &Gate, site: SiteId) -> Json {
    let onward = spec.onward.iter().map(|o| (*o).to_owned()).collect();
    let destination = Destination { site, kind: SiteKind::Hub, onward };
    let ask = |label: &Label| -> Verdict {
        gate.would_transfer(&Question {
            label,
            destination: &destination,
            purpose: spec.name,
            speculative: false,
            origin: None,
        })
    };
    let must_leave = !spec.sites.contains(&SiteKind::Device) || step.place.at == At::Remote;
    let (low, high) = (ask(&input.low), ask(&input.high));
    let (verdict, deciding) = match (low.is_allowed(), high.is_allowed()) {
        (true, true) => ("allowed", &high),
        (true, false) if must_leave => ("may_refuse", &high),
        (false, _) if must_leave => ("will_refuse", &low),
        // It can stay, and does whatever may not leave.
        (true, false) => ("may_stay", &high),
        (false, _) => ("will_stay", &low),
    };
    contract::line(
        "check.transfer",
        json!({
            "step": step.id,
            "op": spec.name,
            "destination": "hub",
            "must_leave": must_leave,
            // The highest label that could leave; none where nothing may.
            "label": match (low.is_allowed(), high.is_allowed()) {
                (_, true) => Some(contract::label(&input.high)),
                (true, false) => Some(contract::label(&input.low)),
                (false, false) => None,
            },
            "input_label": contract::label(&input.high),
            "verdict": verdict,
            "rule": deciding.rule().as_str(),
            "why": deciding.words(),
        }),
    )
}
