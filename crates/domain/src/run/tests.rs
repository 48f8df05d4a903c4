//! The run machine by scripts: a workflow, a driver that plays the engine with a seeded order and
//! seeded crashes, and the laws that must hold whatever it does.

use super::*;
use crate::ids::Realm;
use crate::ops::CostHint;
use crate::placement::{Because, Candidate};
use crate::schema::Type;
use crate::value::Node;
use proptest::prelude::*;
use std::collections::HashMap;

const ANYTHING: &[crate::schema::Field] = &[
    crate::schema::Field::optional("items", Type::Any, ""),
    crate::schema::Field::optional("n", Type::Any, ""),
    crate::schema::Field::optional("v", Type::Any, ""),
    crate::schema::Field::optional("x", Type::Any, ""),
    crate::schema::Field::optional("y", Type::Any, ""),
];

const fn op(name: &'static str, effects: Effects) -> OpSpec {
    OpSpec {
        name,
        version: 1,
        summary: "",
        effects,
        sites: &[SiteKind::Device],
        needs: &[],
        onward: &[],
        cost: CostHint { fixed_us: 1, ns_per_byte: 0 },
        input: ANYTHING,
        output: Type::Any,
    }
}
static OPS: [OpSpec; 4] = [
    op("t.echo", Effects::Pure),
    op("t.fail", Effects::Pure),
    op("t.refuse", Effects::Pure),
    op("t.mail", Effects::External),
];

fn lookup(name: &str) -> Option<&'static OpSpec> {
    OPS.iter().find(|o| o.name == name)
}

fn workflow(yaml: &str) -> Arc<Workflow> {
    let lenient = |name: &str| {
        // The checker wants declared inputs; here any `with` is fine.
        lookup(name)
    };
    let names: Vec<&str> = OPS.iter().map(|o| o.name).collect();
    match crate::workflow::read(yaml, &lenient, &names) {
        Ok(workflow) => Arc::new(workflow),
        Err(mistakes) => panic!("{:?}", mistakes.iter().map(|m| m.message.clone()).collect::<Vec<_>>()),
    }
}

fn fresh(workflow: &Arc<Workflow>) -> Run {
    let start =
        Start { source: workflow.source.clone(), inputs: BTreeMap::new(), outputs_dir: "/o".into(), started_ms: 0 };
    Run::new(RunId::mint(Realm::LOCAL, 1, [0; 10]), Arc::clone(workflow), Arc::new(start), &lookup).unwrap()
}

/// Plays the engine: answers in an order drawn from a seed, loses unsynced rows at crashes.
struct Player {
    workflow: Arc<Workflow>,
    run: Run,
    journal: Vec<Record>,
    synced: usize,
    queue: Vec<Action>,
    random: u64,
    attempts: u64,
    /// Effects of `t.mail`, by unit.
    mails: HashMap<Unit, u32>,
    finished: Option<Status>,
}

impl Player {
    fn new(yaml: &str, seed: u64) -> Self {
        let workflow = workflow(yaml);
        let mut run = fresh(&workflow);
        let queue = run.handle(Event::Begin);
        Self {
            workflow,
            run,
            journal: vec![],
            synced: 0,
            queue,
            random: seed | 1,
            attempts: 0,
            mails: HashMap::new(),
            finished: None,
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    fn step(&mut self) {
        // Rows first and in order, the rest in any order.
        let at = match self.queue.iter().position(|a| matches!(a, Action::Append(_))) {
            Some(at) => at,
            None => self.draw(self.queue.len()),
        };
        match self.queue.remove(at) {
            Action::Append(record) => self.journal.push(record),
            Action::Place(request) => {
                let event = if request.op.name == "t.refuse" {
                    let failure = Failure::new(Status::Refused, "E3001", "no");
                    Event::NotPlaced { unit: request.unit, failure, decision: decision() }
                } else {
                    self.attempts += 1;
                    let attempt = AttemptId { realm: Realm::LOCAL, bits: u128::from(self.attempts) };
                    Event::Placed {
                        unit: request.unit,
                        attempt,
                        decision: decision(),
                        input: request.input,
                        label: request.label,
                    }
                };
                let more = self.run.handle(event);
                self.queue.extend(more);
            }
            Action::Perform(attempt) => {
                if attempt.op.effects == Effects::External {
                    self.synced = self.journal.len();
                    *self.mails.entry(attempt.unit).or_default() += 1;
                }
                let result = if attempt.op.name == "t.fail" {
                    Err(Failure::new(Status::Failed, "E5001", "bad").retryable())
                } else {
                    Ok(Arc::new((*attempt.input).clone()))
                };
                let outcome = Outcome { result, total_us: 1, compute_us: 1, bytes_out: 0, bytes_in: 0, denied: 0 };
                let more = self.run.handle(Event::Ended { unit: attempt.unit, attempt: attempt.attempt, outcome });
                self.queue.extend(more);
            }
            Action::Later { unit, .. } => {
                let more = self.run.handle(Event::Due { unit });
                self.queue.extend(more);
            }
            Action::Finish(status) => {
                self.synced = self.journal.len();
                self.finished = Some(status);
            }
            Action::Abort { .. } | Action::Notify(_) => {}
        }
    }

    /// The process dies: rows after the last sync may be lost, the queue is.
    fn crash(&mut self) {
        let kept = self.synced + self.draw(self.journal.len() - self.synced + 1);
        self.journal.truncate(kept);
        self.synced = kept;
        self.run = fresh(&self.workflow);
        self.run.replay(self.journal.iter().cloned()).unwrap();
        self.queue = self.run.handle(Event::Begin);
        if let Some(status) = self.run.finished() {
            self.finished = Some(status);
        }
    }

    fn play(&mut self, crash_one_in: usize) -> Status {
        for _ in 0..100_000 {
            if let Some(status) = self.finished {
                return status;
            }
            if crash_one_in > 0 && self.draw(crash_one_in) == 0 {
                self.crash();
            } else {
                assert!(!self.queue.is_empty(), "the run neither ended nor says what it waits for");
                self.step();
            }
        }
        panic!("the run does not end");
    }

    fn output(&self, name: &str) -> String {
        let outputs = self.run.outputs().unwrap();
        outputs.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_json()).unwrap()
    }
}

fn decision() -> Arc<Decision> {
    let site = SiteId { realm: Realm::LOCAL, bits: 1 };
    let candidate =
        Candidate { site, kind: SiteKind::Device, excluded_by: None, queue_us: 0, transfer_us: 0, compute_us: 1 };
    Arc::new(Decision {
        chosen: Some(0),
        candidates: vec![candidate],
        because: Because::OnlyPossible,
        snapshot_version: 1,
    })
}

const FAN: &str = r#"
name: fan
steps:
  - { id: list, op: t.echo, with: { items: ["a", "b", "c", "d", "e"] } }
  - { id: each, op: t.echo, each: { in: "${list.items}", concurrency: 2 }, with: { v: "${item}", n: "${index}" } }
  - { id: again, op: t.echo, each: "${list.items}", with: { v: "${each[index].v + item}" } }
outputs:
  all: "${again}"
"#;

#[test]
fn a_fan_out_runs_every_item_once_in_order_of_the_list() {
    let mut player = Player::new(FAN, 7);
    assert_eq!(player.play(0), Status::Succeeded);
    assert_eq!(player.output("all"), r#"[{"v":"aa"},{"v":"bb"},{"v":"cc"},{"v":"dd"},{"v":"ee"}]"#);
}

#[test]
fn no_more_items_run_at_once_than_asked_for() {
    let mut player = Player::new(FAN, 3);
    while player.finished.is_none() {
        player.step();
        let running = player.run.steps[1]
            .units
            .iter()
            .filter(|u| matches!(u.phase, UnitPhase::Running | UnitPhase::Placing))
            .count();
        assert!(running <= 2);
    }
}

const MIXED: &str = r#"
name: mixed
steps:
  - { id: bad, op: t.fail, with: {}, retry: { attempts: 3, backoff: 10ms } }
  - { id: no, op: t.refuse, with: {} }
  - { id: after, op: t.echo, with: { x: "${bad.y}" } }
  - { id: anyway, op: t.echo, with: { x: "${? no.y }", y: 1 } }
  - { id: skip, op: t.echo, when: "${anyway.y > 1}", with: {} }
outputs:
  it: "${anyway}"
"#;

#[test]
fn failures_refusals_and_conditions_end_each_in_their_own_way() {
    let mut player = Player::new(MIXED, 5);
    assert_eq!(player.play(0), Status::Succeeded);
    let statuses: Vec<(String, Status, u32)> = player
        .run
        .all_units()
        .into_iter()
        .map(|u| player.run.report_unit(u).map(|r| (r.id, r.status, r.attempts)).unwrap())
        .collect();
    let expected = [
        ("bad", Status::Failed, 3),
        ("no", Status::Refused, 0),
        ("after", Status::Skipped, 0),
        ("anyway", Status::Succeeded, 1),
        ("skip", Status::Skipped, 0),
    ];
    assert_eq!(statuses, expected.map(|(id, status, n)| (id.to_owned(), status, n)));
    assert_eq!(player.output("it"), r#"{"x":null,"y":1}"#);
}

#[test]
fn a_refused_output_is_told_with_the_refusal() {
    let yaml = "name: r\nsteps:\n  - { id: no, op: t.refuse, with: {} }\n  - { id: next, op: t.echo, with: { x: \"${no.y}\" } }\noutputs:\n  it: \"${next.x}\"\n";
    let mut player = Player::new(yaml, 5);
    assert_eq!(player.play(0), Status::Failed);
    let error = player.run.report().error.unwrap();
    assert_eq!((error.status, error.code.as_str()), (Status::Refused, "E3001"));
}

#[test]
fn cancelling_ends_what_waits_and_aborts_what_runs() {
    let mut player = Player::new(FAN, 1);
    for _ in 0..6 {
        player.step();
    }
    let more = player.run.handle(Event::Cancel);
    player.queue.extend(more);
    assert_eq!(player.play(0), Status::Cancelled);
}

#[test]
fn control_flow_labels_what_it_guards() {
    let yaml = "name: c\ninputs:\n  secret: { type: bool }\nsteps:\n  - { id: one, op: t.echo, when: \"${inputs.secret}\", with: { x: 1 } }\n";
    let workflow = workflow(yaml);
    let secret = Value::new(Node::Bool(true), Label::of(crate::label::Level::Restricted));
    let start = Start {
        source: String::new(),
        inputs: [("secret".to_owned(), secret)].into(),
        outputs_dir: String::new(),
        started_ms: 0,
    };
    let mut run = Run::new(RunId::mint(Realm::LOCAL, 1, [0; 10]), workflow, Arc::new(start), &lookup).unwrap();
    let actions = run.handle(Event::Begin);
    let Some(Action::Place(request)) = actions.into_iter().find(|a| matches!(a, Action::Place(_))) else { panic!() };
    assert_eq!(request.label.level, crate::label::Level::Restricted);
}

const MAIL: &str = r#"
name: mail
steps:
  - { id: a, op: t.echo, with: { x: 1 } }
  - { id: send, op: t.mail, with: { x: "${a.x}" } }
  - { id: b, op: t.echo, with: { x: "${send.x}" } }
outputs:
  it: "${b.x}"
"#;

proptest! {
    /// Whatever the order of answers and wherever it crashes, a run ends with the same outputs.
    #[test]
    fn crashes_change_nothing(seed: u64, crash_one_in in 2usize..40) {
        for (yaml, name) in [(FAN, "all"), (MIXED, "it")] {
            let mut calm = Player::new(yaml, 1);
            calm.play(0);
            let mut player = Player::new(yaml, seed);
            prop_assert_eq!(player.play(crash_one_in), Status::Succeeded);
            prop_assert_eq!(player.output(name), calm.output(name));
        }
    }

    /// An external effect happens at most once; if nobody can know, the run stops and names it.
    #[test]
    fn an_external_effect_is_never_repeated(seed: u64, crash_one_in in 2usize..20) {
        let mut player = Player::new(MAIL, seed);
        let status = player.play(crash_one_in);
        prop_assert!(player.mails.values().all(|n| *n <= 1));
        match status {
            Status::Succeeded => prop_assert_eq!(player.mails.len(), 1),
            Status::Waiting => prop_assert_eq!(player.run.report().error.map(|f| f.code), Some("E4005".to_owned())),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// A run replayed from its rows is the run that wrote them.
    #[test]
    fn replay_gives_the_same_report(seed: u64) {
        let mut player = Player::new(MIXED, seed);
        player.play(0);
        let mut again = fresh(&player.workflow);
        again.replay(player.journal.iter().cloned()).unwrap();
        let tell = |run: &Run| run.all_units().into_iter().filter_map(|u| run.report_unit(u)).map(|r| (r.id, r.status, r.attempts, r.reason)).collect::<Vec<_>>();
        prop_assert_eq!(tell(&again), tell(&player.run));
    }
}
