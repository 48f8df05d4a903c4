//! Generated work: workflows, their inputs, when each is submitted and whether it is cancelled.
//!
//! Values carry their labels from the start: a submission's inputs are labelled values, and the
//! secret ones are confidential. Steps that read them, or that run only because of them, must not
//! leave the device; some of them ask to, and must be refused. Each secret begins with a canary, a
//! text that occurs nowhere else.

use crate::random::Random;
use crate::{Broken, Plan};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tidegate_domain::label::{Label, Level};
use tidegate_domain::value::{Node, Value};

/// One run to be made.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) source: String,
    pub(crate) inputs: BTreeMap<String, Value>,
    /// When it is submitted, from the start.
    pub(crate) at_ms: u64,
    /// How long after its submission it is cancelled, if it is.
    pub(crate) cancel_after_ms: Option<u64>,
}

/// All the work of one simulation.
pub(crate) struct Workload {
    pub(crate) jobs: Vec<Job>,
}

/// Before anything happens, both sites start and meet for the first time. A device that never had
/// a hub has nowhere to send to, which is no fault.
pub(crate) const QUIET_MS: u64 = 1_000;

/// What every secret begins with and nothing else contains.
pub(crate) const CANARY: &str = "canary-of-the-device-";

pub(crate) fn generate(seed: u64, plan: &Plan) -> Workload {
    let mut random = Random::new(seed, "tidegate sim workload");
    let mut workload = Workload { jobs: Vec::new() };
    for number in 0..plan.runs {
        let secret = format!("{CANARY}{number}-secret");
        let guarded = format!("{CANARY}{number}-guarded");
        let source = Writer::new(&mut random, &guarded).workflow(number);
        let high = if plan.broken == Some(Broken::LowLabels) { Level::Internal } else { Level::Confidential };
        let text = |text: &str, level| Value::new(Node::Text(text.into()), Label::of(level));
        let list = (0..random.between(1, 12)).map(|i| Value::int(i as i64 * 3)).collect();
        let inputs = BTreeMap::from([
            ("n".to_owned(), Value::int(random.below(1_000) as i64)),
            ("text".to_owned(), text(&format!("internal-{number}"), Level::Internal)),
            ("list".to_owned(), Value::list(list)),
            ("secret".to_owned(), text(&secret, high)),
            ("flag".to_owned(), Value::new(Node::Bool(true), Label::of(high))),
        ]);
        let at_ms = QUIET_MS + random.below(plan.faults_ms.max(1));
        let cancel_after_ms = random.percent(12).then(|| random.below(5_000));
        workload.jobs.push(Job { source, inputs, at_ms, cancel_after_ms });
    }
    workload
}

/// Writes one workflow.
struct Writer<'r> {
    random: &'r mut Random,
    guarded: &'r str,
    text: String,
    /// Steps whose output is a map with `n` and `t`.
    plain: Vec<String>,
    /// Steps whose output is a list of such maps.
    lists: Vec<String>,
}

impl<'r> Writer<'r> {
    fn new(random: &'r mut Random, guarded: &'r str) -> Self {
        Self { random, guarded, text: String::new(), plain: Vec::new(), lists: Vec::new() }
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn workflow(mut self, number: u32) -> String {
        self.line(&format!("name: sim-{number}"));
        self.line("inputs:");
        for (name, ty) in [("n", "int"), ("text", "text"), ("list", "json"), ("secret", "text"), ("flag", "bool")] {
            self.line(&format!("  {name}: {{ type: {ty} }}"));
        }
        self.line("steps:");
        for step in 0..self.random.between(2, 9) {
            self.step(&format!("s{step}"));
        }
        if self.random.percent(50)
            && let Some(last) = self.plain.last().cloned()
        {
            self.line("outputs:");
            self.line(&format!("  last: \"${{{last}}}\""));
        }
        self.text
    }

    /// Where a step's numbers and texts come from: an earlier step, or the inputs.
    fn source(&mut self) -> (String, String) {
        let choices = self.plain.len() as u64;
        // Mostly the latest, which makes chains; sometimes any, which makes fans.
        let at = if self.random.percent(60) { choices } else { self.random.below(choices + 1) };
        match at.checked_sub(1).and_then(|at| self.plain.get(at as usize)) {
            Some(step) => (format!("{step}.n"), format!("{step}.t")),
            None => ("inputs.n".into(), "inputs.text".into()),
        }
    }

    fn step(&mut self, id: &str) {
        let (n, t) = self.source();
        let add = self.random.below(100);
        self.line(&format!("  - id: {id}"));
        self.line("    op: value.set");
        match self.random.below(100) {
            0..40 => {
                self.value(&format!("${{{n} + {add}}}"), &format!("${{{t}}}"));
                self.plain.push(id.into());
            }
            40..52 => {
                // Must not leave, and neither may what is made of it.
                self.value(&format!("${{{n}}}"), "${inputs.secret + '!'}");
                self.plain.push(id.into());
            }
            52..60 => {
                self.line("    when: \"${inputs.flag}\"");
                let guarded = self.guarded.to_owned();
                self.value(&add.to_string(), &guarded);
                self.plain.push(id.into());
            }
            60..68 => {
                self.line(&format!("    when: \"${{{n} % 2 == 0}}\""));
                self.value(&format!("${{{n} + {add}}}"), &format!("${{{t}}}"));
                self.plain.push(id.into());
            }
            68..90 => {
                let concurrency = self.random.between(1, 6);
                self.line(&format!("    each: {{ in: \"${{inputs.list}}\", concurrency: {concurrency} }}"));
                if self.random.percent(30) {
                    self.line("    when: \"${item % 2 == 0}\"");
                }
                self.value(&format!("${{item + {n}}}"), &format!("${{{t}}}"));
                self.lists.push(id.into());
            }
            _ => {
                let joined = self.random.pick(&(0..self.lists.len()).collect::<Vec<_>>());
                match joined.and_then(|at| self.lists.get(at).cloned()) {
                    Some(list) => self.value(&format!("${{size({list})}}"), &format!("${{{t}}}")),
                    None => self.value(&format!("${{{n} * 2}}"), &format!("${{{t}}}")),
                }
                self.plain.push(id.into());
            }
        }
        match self.random.below(100) {
            0..50 => self.line("    place: remote"),
            50..75 => self.line("    place: local"),
            _ => {}
        }
        if self.random.percent(40) {
            self.line("    retry: { attempts: 3, backoff: 200ms }");
        }
    }

    fn value(&mut self, n: &str, t: &str) {
        self.line(&format!("    with: {{ value: {{ n: \"{n}\", t: \"{t}\" }} }}"));
    }
}
