//! Whether what a workflow refers to is there: steps, inputs, members of outputs; and whether its
//! steps can be put in an order.
//!
//! Not its job: the shape of the file, which `read` has been through before.

use super::InputType;
use super::mistake::{Mistake, quoted};
use super::read::{Draft, File};
use super::yaml::At as Spot;
use crate::expr::{Expr, Extent, RESERVED_ROOTS, Read, Segment, closest};
use crate::schema::Type;
use std::collections::BTreeMap;

/// An expression and where it stands.
pub(super) struct Use {
    pub(super) expr: Expr,
    pub(super) at: Spot,
    pub(super) role: Where,
}

/// What an expression is for; the number is the step's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    With(usize),
    Each(usize),
    When(usize),
    Output,
}

impl Where {
    fn step(self) -> Option<usize> {
        match self {
            Where::With(step) | Where::Each(step) | Where::When(step) => Some(step),
            Where::Output => None,
        }
    }
}

/// Resolves all references and fills in what each step waits for.
pub(super) fn check(file: &mut File, uses: &[Use], mistakes: &mut Vec<Mistake>) {
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    for (at, draft) in file.steps.iter().enumerate() {
        if draft.step.id.is_empty() {
            continue;
        }
        if let Some(first) = by_id.get(&draft.step.id) {
            let line = file.steps[*first].id_at.line;
            let message = format!("`{}` is the id of two steps", draft.step.id);
            mistakes
                .push(Mistake::new("E1015", &draft.id_at, message).hint(format!("the first one is in line {line}")));
        } else {
            by_id.insert(draft.step.id.clone(), at);
        }
    }
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); file.steps.len()];
    for (at, draft) in file.steps.iter().enumerate() {
        for (name, spot) in &draft.needs {
            match by_id.get(name) {
                Some(other) if *other == at => mistakes.push(itself(draft, spot)),
                Some(other) => needs[at].push(*other),
                None => {
                    let mistake = Mistake::new("E1016", spot, format!("there is no step `{name}`"));
                    mistakes.push(mistake.nearest(name, by_id.keys().map(String::as_str), ""));
                }
            }
        }
    }
    let checker = Checker { file, by_id: &by_id };
    for used in uses {
        for read in used.expr.reads() {
            if let Some(other) = checker.reference(used, read, mistakes)
                && let Some(step) = used.role.step()
            {
                needs[step].push(other);
            }
        }
        checker.each_is_a_list(used, mistakes);
    }
    for (draft, mut needed) in file.steps.iter_mut().zip(needs) {
        needed.sort_unstable();
        needed.dedup();
        draft.step.needs = needed;
    }
    cycles(&file.steps, mistakes);
}

fn itself(draft: &Draft, at: &Spot) -> Mistake {
    Mistake::new("E1017", at, format!("`{}` waits for itself", draft.step.id))
}

struct Checker<'a> {
    file: &'a File,
    by_id: &'a BTreeMap<String, usize>,
}

impl Checker<'_> {
    /// Follows one read; the step that it names, if it does.
    fn reference(&self, used: &Use, read: &Read, mistakes: &mut Vec<Mistake>) -> Option<usize> {
        let fan_out =
            used.role.step().and_then(|at| self.file.steps.get(at)).is_some_and(|draft| draft.step.each.is_some());
        if read.is_per_item() && (!fan_out || matches!(used.role, Where::Each(_) | Where::Output)) {
            let name = if read.root == "item" { "item" } else { "index" };
            let mistake =
                Mistake::new("E1018", &used.at, format!("`{name}` means nothing outside of a step with `each`"));
            mistakes.push(match used.role {
                Where::Each(_) => mistake.hint("the list itself is made before there is an item"),
                _ => mistake,
            });
            return None;
        }
        match read.root.as_str() {
            "inputs" => self.input(used, read, mistakes),
            "run" => match read.keys.first() {
                None | Some(Segment::Dynamic) => {}
                Some(Segment::Name(name)) if name == "id" || name == "outputs" => {}
                Some(_) => {
                    let mistake = Mistake::new("E1016", &used.at, format!("`{read}`: a run has no such member"));
                    mistakes.push(mistake.hint("there are `run.id` and `run.outputs`, the folder for what it writes"));
                }
            },
            "item" | "index" => {}
            root => return self.step(used, read, root, mistakes),
        }
        None
    }

    fn input(&self, used: &Use, read: &Read, mistakes: &mut Vec<Mistake>) {
        let Some(Segment::Name(name)) = read.keys.first() else { return };
        if self.file.inputs.contains_key(name) || read.extent == Extent::Presence {
            return;
        }
        let mistake = Mistake::new("E1016", &used.at, format!("there is no input `{name}`"));
        let names = || self.file.inputs.keys().map(String::as_str);
        let otherwise = if self.file.inputs.is_empty() {
            "declare it under `inputs`".to_owned()
        } else {
            format!("there are {}", quoted(names()))
        };
        mistakes.push(mistake.nearest(name, names(), otherwise));
    }

    fn step(&self, used: &Use, read: &Read, root: &str, mistakes: &mut Vec<Mistake>) -> Option<usize> {
        let Some(&at) = self.by_id.get(root) else {
            mistakes.push(self.unknown_root(used, root));
            return None;
        };
        if used.role.step() == Some(at) {
            mistakes.push(itself(&self.file.steps[at], &used.at));
            return None;
        }
        if let Err(misread) = self.shape(at, read) {
            let mistake = Mistake::new("E1020", &used.at, format!("`{read}`: {}", misread.message));
            mistakes.push(match misread.hint {
                Some(hint) => mistake.hint(hint),
                None => mistake,
            });
        }
        Some(at)
    }

    fn unknown_root(&self, used: &Use, root: &str) -> Mistake {
        let mistake = Mistake::new("E1016", &used.at, format!("there is no step `{root}`"));
        let prefix = format!("{root}-");
        if let Some(dashed) = self.by_id.keys().find(|id| id.starts_with(&prefix)) {
            let better = dashed.replace('-', "_");
            return mistake
                .hint(format!("`-` means minus in an expression: call the step `{better}` instead of `{dashed}`"));
        }
        if self.file.inputs.contains_key(root) {
            return mistake.hint(format!("did you mean `inputs.{root}`?"));
        }
        match closest(root, self.by_id.keys().map(String::as_str).chain(RESERVED_ROOTS.iter().copied())) {
            Some(close) => mistake.hint(format!("did you mean `{close}`?")),
            None => mistake,
        }
    }

    /// The type of what a read of a step's output names, as far as it is declared.
    fn shape(&self, at: usize, read: &Read) -> Result<Shape, Misread> {
        let Some(draft) = self.file.steps.get(at) else { return Ok(Shape::Unknown) };
        let mut keys = read.keys.as_slice();
        // What `has` asks about may well not be there.
        if read.extent == Extent::Presence {
            keys = keys.split_last().map_or(keys, |(_, above)| above);
        }
        if draft.step.each.is_some() {
            match keys.split_first() {
                None => return Ok(Shape::List),
                Some((Segment::Dynamic, _)) => return Ok(Shape::Unknown),
                Some((Segment::Name(name), _)) => {
                    return Err(Misread {
                        message: format!("`{}` runs once for each item, so that its output is a list", draft.step.id),
                        hint: Some(format!(
                            "`{0}[index].{name}` is the current item's, `{0}.map(x, x.{name})` all of them",
                            draft.step.id
                        )),
                    });
                }
                Some((_, rest)) => keys = rest,
            }
        }
        let Some(op) = draft.op else { return Ok(Shape::Unknown) };
        follow(op.output, keys)
    }

    /// `each` over a bare path whose type is declared and is no list.
    fn each_is_a_list(&self, used: &Use, mistakes: &mut Vec<Mistake>) {
        let (Where::Each(_), true, [read]) = (used.role, used.expr.is_bare_path(), used.expr.reads()) else { return };
        let shape = match self.by_id.get(&read.root) {
            Some(at) => self.shape(*at, read).unwrap_or(Shape::Unknown),
            None => match (read.root.as_str(), read.keys.as_slice()) {
                ("inputs", [Segment::Name(name)]) => match self.file.inputs.get(name) {
                    Some(input) if input.ty != InputType::Json => Shape::Other(input.ty.value_type().describe()),
                    _ => Shape::Unknown,
                },
                _ => Shape::Unknown,
            },
        };
        if let Shape::Other(what) = shape {
            mistakes.push(Mistake::new("E1009", &used.at, format!("`each` goes over a list, and `{read}` is {what}")));
        }
    }
}

/// What is known of a place in an output.
enum Shape {
    Unknown,
    List,
    /// Something else, for people.
    Other(String),
}

struct Misread {
    message: String,
    hint: Option<String>,
}

fn follow(mut ty: Type, keys: &[Segment]) -> Result<Shape, Misread> {
    for key in keys {
        while let Type::Optional(inner) = ty {
            ty = *inner;
        }
        ty = match (ty, key) {
            (Type::Any, _) | (_, Segment::Dynamic) => return Ok(Shape::Unknown),
            (Type::Record(fields), Segment::Name(name)) => match fields.iter().find(|field| field.name == name) {
                Some(field) => field.ty,
                None => {
                    let names = || fields.iter().map(|field| field.name);
                    let hint = match closest(name, names()) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => format!("there are {}", quoted(names())),
                    };
                    return Err(Misread { message: format!("there is no `{name}` in this output"), hint: Some(hint) });
                }
            },
            (Type::List(inner), Segment::Index(_) | Segment::LoopIndex) => *inner,
            (Type::List(_), Segment::Name(_)) => {
                return Err(Misread {
                    message: "this is a list".to_owned(),
                    hint: Some("take one element with `[0]`, or all with `.map(x, …)`".to_owned()),
                });
            }
            (other, _) => {
                return Err(Misread {
                    message: format!("this is {}, with nothing inside", other.describe()),
                    hint: None,
                });
            }
        };
    }
    while let Type::Optional(inner) = ty {
        ty = *inner;
    }
    Ok(match ty {
        Type::Any => Shape::Unknown,
        Type::List(_) => Shape::List,
        other => Shape::Other(other.describe()),
    })
}

/// Names each circle once, by the way around it.
fn cycles(steps: &[Draft], mistakes: &mut Vec<Mistake>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let mut seen = vec![Seen::No; steps.len()];
    for start in 0..steps.len() {
        // Depth first without recursion: each entry is a step and how many of its needs were followed.
        let mut way: Vec<(usize, usize)> = Vec::new();
        if seen[start] == Seen::No {
            seen[start] = Seen::Open;
            way.push((start, 0));
        }
        while let Some((at, followed)) = way.last_mut() {
            let (at, next) = (*at, steps[*at].step.needs.get(*followed).copied());
            *followed += 1;
            match next {
                None => {
                    seen[at] = Seen::Done;
                    way.pop();
                }
                Some(next) if seen[next] == Seen::No => {
                    seen[next] = Seen::Open;
                    way.push((next, 0));
                }
                Some(next) if seen[next] == Seen::Open => {
                    let from = way.iter().position(|(step, _)| *step == next).unwrap_or(0);
                    let mut names: Vec<&str> =
                        way[from..].iter().map(|(step, _)| steps[*step].step.id.as_str()).collect();
                    names.push(&steps[next].step.id);
                    let message = format!("these steps wait for each other: {}", names.join(" → "));
                    mistakes.push(Mistake::new("E1019", &steps[next].id_at, message));
                }
                Some(_) => {}
            }
        }
    }
}
