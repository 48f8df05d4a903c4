//! From a workflow file to a [`Workflow`], or to everything that is wrong with it.
//!
//! The text becomes a tree with places (`yaml`); this file reads the tree's shape; `check` follows
//! references once all steps are known. A mistake in the syntax stands alone, since what comes
//! after it means nothing; all others are collected, so that one look mends the file.

use super::check::{Use, Where};
use super::mistake::{Mistake, quoted};
use super::texts::has_expression;
use super::yaml::{At as Spot, Key, What, Yaml};
use super::{
    At, Each, Input, InputType, Offline, Place, Prefer, Retry, Step, Template, Workflow, check, literal, yaml,
};
use crate::expr::{Expr, RESERVED_ROOTS, RESERVED_WORDS};
use crate::limits;
use crate::ops::OpSpec;
use crate::schema::{Field, Type};
use crate::value::Value;
use std::collections::BTreeMap;

/// Reads a workflow file. `ops` finds an operation's declaration, `op_names` are those there are,
/// for hints.
pub fn read(
    source: &str,
    ops: &dyn Fn(&str) -> Option<&'static OpSpec>,
    op_names: &[&str],
) -> Result<Workflow, Vec<Mistake>> {
    let root = yaml::parse(source).map_err(|mistake| vec![mistake])?;
    let mut reader = Reader { source, ops, op_names, mistakes: Vec::new(), uses: Vec::new() };
    let file = reader.file(&root);
    let Reader { mut mistakes, uses, .. } = reader;
    if let Some(mut file) = file {
        check::check(&mut file, &uses, &mut mistakes);
        if mistakes.is_empty() {
            return Ok(file.finish(source));
        }
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    mistakes.truncate(MISTAKES_MAX);
    Err(mistakes)
}

/// A file whose references nobody has followed yet.
pub(super) struct File {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) inputs: BTreeMap<String, Input>,
    pub(super) steps: Vec<Draft>,
    pub(super) outputs: BTreeMap<String, Template>,
}

/// A step, what it names, and where.
pub(super) struct Draft {
    pub(super) step: Step,
    pub(super) id_at: Spot,
    pub(super) op: Option<&'static OpSpec>,
    pub(super) needs: Vec<(String, Spot)>,
}

impl File {
    fn finish(self, source: &str) -> Workflow {
        Workflow {
            name: self.name,
            description: self.description,
            inputs: self.inputs,
            steps: self.steps.into_iter().map(|draft| draft.step).collect(),
            outputs: self.outputs,
            source: source.to_owned(),
        }
    }
}

/// Walks the tree and collects mistakes and expressions.
pub(super) struct Reader<'a> {
    pub(super) source: &'a str,
    ops: &'a dyn Fn(&str) -> Option<&'static OpSpec>,
    op_names: &'a [&'a str],
    mistakes: Vec<Mistake>,
    pub(super) uses: Vec<Use>,
}

/// Nobody reads more of them at once.
const MISTAKES_MAX: usize = 200;

type Members<'y> = BTreeMap<&'y str, (&'y Key, &'y Yaml)>;

const STEP_KEYS: &[&str] = &["id", "op", "with", "needs", "each", "when", "place", "retry", "timeout"];

impl Reader<'_> {
    pub(super) fn wrong(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake);
        }
    }

    /// The members of a map that may have `known` ones.
    fn members<'y>(&mut self, node: &'y Yaml, what: &str, known: &[&str]) -> Option<Members<'y>> {
        let What::Map(members) = &node.what else {
            self.wrong(Mistake::new("E1005", &node.at, format!("{what} should be a map, not {}", node.kind_name())));
            return None;
        };
        for (key, _) in members {
            if !known.contains(&key.name.as_str()) && self.mistakes.len() < MISTAKES_MAX {
                let message = format!("unknown key `{}` in {what}", key.name);
                let known_list = format!("it can have {}", quoted(known.iter().copied()));
                self.wrong(Mistake::new("E1003", &key.at, message).nearest(
                    &key.name,
                    known.iter().copied(),
                    known_list,
                ));
            }
        }
        Some(members.iter().map(|(key, value)| (key.name.as_str(), (key, value))).collect())
    }

    fn text<'y>(&mut self, node: &'y Yaml, what: &str) -> Option<&'y str> {
        match &node.what {
            What::Text(text) => Some(text),
            _ => {
                self.wrong(Mistake::new("E1005", &node.at, format!("{what} should be text, not {}", node.kind_name())));
                None
            }
        }
    }

    fn missing(&mut self, at: &Spot, what: &str, key: &str) {
        self.wrong(Mistake::new("E1004", at, format!("{what} has no `{key}`")));
    }

    fn file(&mut self, root: &Yaml) -> Option<File> {
        if matches!(root.what, What::Null) {
            let top = Spot { line: 1, column: 1, span: None };
            self.wrong(Mistake::new("E1005", &top, "the file is empty"));
            return None;
        }
        let members = self.members(root, "a workflow", &["name", "description", "inputs", "steps", "outputs"])?;
        let name = match members.get("name") {
            Some((_, node)) => self.text(node, "`name`").map(str::to_owned),
            None => {
                self.missing(&root.at, "the workflow", "name");
                None
            }
        };
        let description = members
            .get("description")
            .and_then(|(_, node)| self.text(node, "`description`"))
            .unwrap_or_default()
            .to_owned();
        let inputs = members.get("inputs").map(|(_, node)| self.inputs(node)).unwrap_or_default();
        let steps = match members.get("steps") {
            Some((_, node)) => self.steps(node),
            None => {
                self.missing(&root.at, "the workflow", "steps");
                Vec::new()
            }
        };
        let outputs = members.get("outputs").map(|(_, node)| self.outputs(node)).unwrap_or_default();
        Some(File { name: name.unwrap_or_default(), description, inputs, steps, outputs })
    }

    fn inputs(&mut self, node: &Yaml) -> BTreeMap<String, Input> {
        let mut inputs = BTreeMap::new();
        let What::Map(members) = &node.what else {
            self.wrong(Mistake::new("E1005", &node.at, format!("`inputs` should be a map, not {}", node.kind_name())));
            return inputs;
        };
        for (key, node) in members {
            self.good_name(&key.name, &key.at, "an input's name");
            if let Some(input) = self.input(&key.name, node) {
                inputs.insert(key.name.clone(), input);
            }
        }
        inputs
    }

    fn input(&mut self, name: &str, node: &Yaml) -> Option<Input> {
        let what = format!("the input `{name}`");
        let members = self.members(node, &what, &["type", "default", "description"])?;
        let Some((_, ty_node)) = members.get("type") else {
            self.missing(&node.at, &what, "type");
            return None;
        };
        let ty = self.word(ty_node, "`type`", InputType::WORDS)?;
        let default = match members.get("default") {
            Some((_, default)) => self.default(name, ty, default),
            None => None,
        };
        let doc = members.get("description").and_then(|(_, node)| self.text(node, "`description`")).unwrap_or_default();
        Some(Input { ty, default, doc: doc.to_owned() })
    }

    fn default(&mut self, name: &str, ty: InputType, node: &Yaml) -> Option<Value> {
        if has_expression(node) {
            let message = format!("the default of `{name}` has an expression inside; nothing could be read there yet");
            self.wrong(Mistake::new("E1009", &node.at, message));
            return None;
        }
        self.literal_fits(node, &ty.value_type(), &format!("the default of `{name}`"));
        literal::value(node)
    }

    fn steps(&mut self, node: &Yaml) -> Vec<Draft> {
        let What::List(items) = &node.what else {
            self.wrong(Mistake::new("E1005", &node.at, format!("`steps` should be a list, not {}", node.kind_name())));
            return Vec::new();
        };
        if items.is_empty() {
            self.wrong(Mistake::new("E1004", &node.at, "the workflow has no steps"));
        }
        if items.len() > limits::STEPS_MAX {
            let message = format!("{} steps are more than {}", items.len(), limits::STEPS_MAX);
            self.wrong(Mistake::new("E1012", &node.at, message).hint("use `each` for what is done many times"));
            return Vec::new();
        }
        items.iter().enumerate().filter_map(|(n, item)| self.step(n, item)).collect()
    }

    fn step(&mut self, n: usize, node: &Yaml) -> Option<Draft> {
        let members = self.members(node, "a step", STEP_KEYS);
        let members = members?;
        let number = format!("step {}", n + 1);
        let (id, id_at) = match members.get("id") {
            Some((_, node)) => (self.text(node, "`id`").unwrap_or_default().to_owned(), node.at.clone()),
            None => {
                self.missing(&node.at, &number, "id");
                (String::new(), node.at.clone())
            }
        };
        if !id.is_empty() {
            self.step_id(&id, &id_at);
        }
        let what = if id.is_empty() { number } else { format!("`{id}`") };
        let (op_name, op) = self.op(&members, node, &what);
        let at = n;
        let with = match members.get("with") {
            Some((_, with)) => self.with(with, op, &what, at),
            None => Template::Map(BTreeMap::new()),
        };
        if let Some(op) = op {
            let with_node = members.get("with").map(|(_, with)| *with);
            let place = members.get("with").map_or(&node.at, |(key, _)| &key.at);
            self.required_members(op, with_node, place, &what);
        }
        let needs = members.get("needs").map(|(_, node)| self.needs(node)).unwrap_or_default();
        let each = members.get("each").and_then(|(_, node)| self.each(node, at));
        let when = members.get("when").and_then(|(_, node)| self.when(node, at));
        let place = members.get("place").map(|(_, node)| self.place(node)).unwrap_or_default();
        let retry = members.get("retry").map(|(_, node)| self.retry(node)).unwrap_or_default();
        let timeout_ms = members
            .get("timeout")
            .and_then(|(_, node)| self.duration(node, "`timeout`", 1))
            .unwrap_or(limits::ATTEMPT_TIMEOUT_MS_DEFAULT);
        let step = Step { id, op: op_name, with, needs: Vec::new(), each, when, place, retry, timeout_ms };
        Some(Draft { step, id_at, op, needs })
    }

    fn op(&mut self, members: &Members<'_>, step: &Yaml, what: &str) -> (String, Option<&'static OpSpec>) {
        let Some((_, node)) = members.get("op") else {
            self.missing(&step.at, what, "op");
            return (String::new(), None);
        };
        let Some(name) = self.text(node, "`op`") else { return (String::new(), None) };
        let op = (self.ops)(name);
        if op.is_none() {
            let mistake = Mistake::new("E1006", &node.at, format!("unknown operation `{name}`"));
            self.wrong(mistake.nearest(name, self.op_names.iter().copied(), "`tidegate ops` lists what there is"));
        }
        (name.to_owned(), op)
    }

    fn good_name(&mut self, name: &str, at: &Spot, what: &str) {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if !first || !rest || name.len() > 40 {
            let hint = "a small letter, then at most 39 small letters, digits, `_` and `-`";
            self.wrong(Mistake::new("E1010", at, format!("`{name}` cannot be {what}")).hint(hint));
        }
    }

    fn step_id(&mut self, id: &str, at: &Spot) {
        if RESERVED_ROOTS.contains(&id) {
            let hint = format!("{} have a meaning of their own in expressions", quoted(RESERVED_ROOTS.iter().copied()));
            self.wrong(Mistake::new("E1010", at, format!("`{id}` cannot be a step's id")).hint(hint));
        } else if RESERVED_WORDS.contains(&id) {
            let hint = "expressions keep this word for themselves";
            self.wrong(Mistake::new("E1010", at, format!("`{id}` cannot be a step's id")).hint(hint));
        } else {
            self.good_name(id, at, "a step's id");
        }
    }

    fn with(&mut self, node: &Yaml, op: Option<&'static OpSpec>, what: &str, step: usize) -> Template {
        match &node.what {
            What::Map(members) => {
                for (key, member) in members {
                    let Some(op) = op else { continue };
                    match op.input.iter().find(|field| field.name == key.name) {
                        Some(field) => self.literal_fits(member, &field.ty, &format!("`{}` of {what}", key.name)),
                        None => {
                            let names = || op.input.iter().map(|field| field.name);
                            let all = if op.input.is_empty() {
                                "it takes nothing".to_owned()
                            } else {
                                format!("it takes {}", quoted(names()))
                            };
                            let message = format!("`{}` has no input `{}`", op.name, key.name);
                            self.wrong(Mistake::new("E1008", &key.at, message).nearest(&key.name, names(), all));
                        }
                    }
                }
            }
            What::Text(text) if text.trim().starts_with("${") => {}
            What::Null => return Template::Map(BTreeMap::new()),
            _ => {
                let message = format!("`with` should be a map, not {}", node.kind_name());
                self.wrong(Mistake::new("E1005", &node.at, message));
            }
        }
        self.template(node, Where::With(step))
    }

    fn required_members(&mut self, op: &OpSpec, with: Option<&Yaml>, place: &Spot, what: &str) {
        let given: Vec<&str> = match with.map(|with| &with.what) {
            Some(What::Map(members)) => members.iter().map(|(key, _)| key.name.as_str()).collect(),
            // An expression gives all of it; anything else was refused already.
            Some(What::Text(_) | What::Bool(_) | What::Int(_) | What::Float(_) | What::List(_)) => return,
            Some(What::Null) | None => Vec::new(),
        };
        for Field { name, ty, required, doc } in op.input {
            if *required && !given.contains(name) {
                let message = format!("{what} lacks `{name}`, which `{}` needs: {}", op.name, ty.describe());
                self.wrong(Mistake::new("E1007", place, message).hint(*doc));
            }
        }
    }

    fn needs(&mut self, node: &Yaml) -> Vec<(String, Spot)> {
        let nodes: Vec<&Yaml> = match &node.what {
            What::List(items) => items.iter().collect(),
            What::Text(_) => vec![node],
            _ => {
                let message = format!("`needs` should be a list of step ids, not {}", node.kind_name());
                self.wrong(Mistake::new("E1005", &node.at, message));
                Vec::new()
            }
        };
        nodes.into_iter().filter_map(|node| Some((self.text(node, "a step id")?.to_owned(), node.at.clone()))).collect()
    }

    fn each(&mut self, node: &Yaml, step: usize) -> Option<Each> {
        let (list, concurrency) = match &node.what {
            What::Map(_) => {
                let members = self.members(node, "`each`", &["in", "concurrency"])?;
                let concurrency = members
                    .get("concurrency")
                    .and_then(|(_, node)| self.number(node, "`concurrency`", 1, limits::EACH_CONCURRENCY_MAX));
                let Some((_, list)) = members.get("in") else {
                    self.missing(&node.at, "`each`", "in");
                    return None;
                };
                (*list, concurrency)
            }
            _ => (node, None),
        };
        match &list.what {
            What::List(items) if items.len() > limits::ITEMS_MAX => {
                let message = format!("{} items are more than {}", items.len(), limits::ITEMS_MAX);
                self.wrong(Mistake::new("E1012", &list.at, message));
                return None;
            }
            What::List(_) | What::Text(_) => {}
            _ => {
                let message =
                    format!("`each` should be a list or an expression that gives one, not {}", list.kind_name());
                self.wrong(Mistake::new("E1005", &list.at, message));
                return None;
            }
        }
        let over = self.template(list, Where::Each(step));
        if matches!(over, Template::Text(_))
            || (matches!(over, Template::Literal(_)) && matches!(list.what, What::Text(_)))
        {
            let mistake =
                Mistake::new("E1005", &list.at, "`each` should be a list or an expression that gives one, not text");
            self.wrong(mistake.hint("write `each: \"${step.list}\"`"));
            return None;
        }
        Some(Each { over, concurrency: concurrency.unwrap_or(limits::EACH_CONCURRENCY_DEFAULT) })
    }

    fn when(&mut self, node: &Yaml, step: usize) -> Option<Expr> {
        let hint = "write `when: \"${size(step.list) > 0}\"`";
        match &node.what {
            What::Bool(truth) => return Expr::parse(if *truth { "true" } else { "false" }).ok(),
            What::Text(text) if text.contains("${") => {}
            _ => {
                self.wrong(Mistake::new("E1005", &node.at, "`when` should be one expression").hint(hint));
                return None;
            }
        }
        let mistakes = self.mistakes.len();
        match self.template(node, Where::When(step)) {
            Template::Expr(expr) => Some(expr),
            _ => {
                if self.mistakes.len() == mistakes {
                    self.wrong(Mistake::new("E1005", &node.at, "`when` should be one expression").hint(hint));
                }
                None
            }
        }
    }

    fn place(&mut self, node: &Yaml) -> Place {
        let mut place = Place::default();
        if matches!(node.what, What::Text(_)) {
            place.at = self.word(node, "`place`", At::WORDS).unwrap_or_default();
            return place;
        }
        let Some(members) = self.members(node, "`place`", &["at", "prefer", "deadline", "offline"]) else {
            return place;
        };
        if let Some((_, node)) = members.get("at") {
            place.at = self.word(node, "`at`", At::WORDS).unwrap_or_default();
        }
        if let Some((_, node)) = members.get("prefer") {
            place.prefer = self.word(node, "`prefer`", Prefer::WORDS).unwrap_or_default();
        }
        if let Some((_, node)) = members.get("offline") {
            place.offline = self.word(node, "`offline`", Offline::WORDS).unwrap_or_default();
        }
        place.deadline_ms = members.get("deadline").and_then(|(_, node)| self.duration(node, "`deadline`", 1));
        place
    }

    fn retry(&mut self, node: &Yaml) -> Retry {
        let mut retry = Retry::default();
        let Some(members) = self.members(node, "`retry`", &["attempts", "backoff"]) else { return retry };
        if let Some(attempts) =
            members.get("attempts").and_then(|(_, node)| self.number(node, "`attempts`", 1, limits::ATTEMPTS_MAX))
        {
            retry.attempts = attempts;
        }
        if let Some(backoff) = members.get("backoff").and_then(|(_, node)| self.duration(node, "`backoff`", 0)) {
            retry.backoff_ms = backoff;
        }
        retry
    }

    fn outputs(&mut self, node: &Yaml) -> BTreeMap<String, Template> {
        let mut outputs = BTreeMap::new();
        let What::Map(members) = &node.what else {
            self.wrong(Mistake::new("E1005", &node.at, format!("`outputs` should be a map, not {}", node.kind_name())));
            return outputs;
        };
        for (key, node) in members {
            self.good_name(&key.name, &key.at, "an output's name");
            let template = self.template(node, Where::Output);
            outputs.insert(key.name.clone(), template);
        }
        outputs
    }

    fn word<T: Copy>(&mut self, node: &Yaml, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let names = || words.iter().map(|(word, _)| *word);
            let mistake = Mistake::new("E1011", &node.at, format!("{what} cannot be `{text}`"));
            self.wrong(mistake.nearest(text, names(), format!("it can be {}", quoted(names()))));
        }
        found
    }

    fn number(&mut self, node: &Yaml, what: &str, min: u32, max: u32) -> Option<u32> {
        let number = match &node.what {
            What::Int(number) => u32::try_from(*number).ok().filter(|number| (min..=max).contains(number)),
            _ => None,
        };
        if number.is_none() {
            self.wrong(Mistake::new("E1012", &node.at, format!("{what} should be an integer from {min} to {max}")));
        }
        number
    }

    fn duration(&mut self, node: &Yaml, what: &str, min_ms: u64) -> Option<u64> {
        let ms = match &node.what {
            What::Text(text) => literal::duration_ms(text),
            _ => None,
        };
        match ms {
            Some(ms) if ms >= min_ms => Some(ms),
            _ => {
                let message = format!("{what} should be a time like `250ms`, `2s`, `5m` or `1h`");
                let more =
                    if ms.is_some() { "longer than nothing" } else { "a whole number and its unit, at most a year" };
                self.wrong(Mistake::new("E1013", &node.at, message).hint(more));
                None
            }
        }
    }

    /// Compares what is written with the type it goes to, as far as it is written.
    fn literal_fits(&mut self, node: &Yaml, ty: &Type, what: &str) {
        for misfit in literal::misfits(node, ty) {
            let place = if misfit.path.is_empty() { what.to_owned() } else { format!("`{}` in {what}", misfit.path) };
            let message = format!("{place} should be {}, not {}", misfit.expected, misfit.found);
            let mistake = Mistake::new("E1009", &misfit.at, message);
            self.wrong(match misfit.hint {
                Some(hint) => mistake.hint(hint),
                None => mistake,
            });
        }
    }
}
