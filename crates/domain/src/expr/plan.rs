//! From an expression's text to what is evaluated: the parsed tree, in which every path is a
//! variable, every loop and call passes a meter, and only pinned functions are called.
//!
//! The interpreter treats some shapes of trees in a special way (the accumulating steps of `map`,
//! `filter`, `all` and `exists`); the rewriting keeps those shapes.

use super::functions::{self, KNOWN};
use super::parse::{ACCUMULATOR, parse};
use super::{ExprError, Extent, Read, Segment, closest, convert, meters};
use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr as Tree, LiteralValue, operators};

/// Loops inside each other.
const LOOPS_MAX: usize = 3;

pub(super) struct Planned {
    pub(super) reads: Vec<Read>,
    /// `None`: a bare path.
    pub(super) program: Option<IdedExpr>,
}

pub(super) fn plan(source: &str) -> Result<Planned, ExprError> {
    let tree = parse(source)?;
    let mut planner = Planner { reads: Vec::new(), bound: Vec::new(), loops: 0 };
    if let Some((root, keys)) = planner.path(&tree) {
        return Ok(Planned { reads: vec![Read { root, keys, extent: Extent::Whole }], program: None });
    }
    let (program, _) = planner.rewrite(tree)?;
    Ok(Planned { reads: planner.reads, program: Some(program) })
}

struct Planner {
    reads: Vec<Read>,
    /// Variables of the loops around, which are not roots.
    bound: Vec<String>,
    loops: usize,
}

type Rewritten = Result<(IdedExpr, u64), ExprError>;

impl Planner {
    fn is_bound(&self, name: &str) -> bool {
        name.starts_with('@') || self.bound.iter().any(|bound| bound == name)
    }

    /// The path that a tree spells, if it is one that does not depend on anything computed.
    fn path(&self, tree: &IdedExpr) -> Option<(String, Vec<Segment>)> {
        match &tree.expr {
            Tree::Ident(name) if !self.is_bound(name) => Some((name.clone(), Vec::new())),
            Tree::Select(select) if !select.test => {
                let (root, mut keys) = self.path(&select.operand)?;
                keys.push(Segment::Name(select.field.clone()));
                Some((root, keys))
            }
            Tree::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
                let [operand, key] = call.args.as_slice() else { return None };
                let key = self.segment(key)?;
                let (root, mut keys) = self.path(operand)?;
                keys.push(key);
                Some((root, keys))
            }
            _ => None,
        }
    }

    fn segment(&self, key: &IdedExpr) -> Option<Segment> {
        match &key.expr {
            Tree::Literal(LiteralValue::String(name)) => Some(Segment::Name(name.inner().to_owned())),
            Tree::Literal(LiteralValue::Int(at)) => u64::try_from(*at.inner()).ok().map(Segment::Index),
            Tree::Ident(name) if name == "index" && !self.is_bound(name) => Some(Segment::LoopIndex),
            _ => None,
        }
    }

    /// The variable that stands for a read.
    fn read(&mut self, tree: &IdedExpr, root: String, keys: Vec<Segment>, extent: Extent) -> Rewritten {
        let read = Read { root, keys, extent };
        let n = match self.reads.iter().position(|known| *known == read) {
            Some(n) => n,
            None => {
                self.reads.push(read);
                self.reads.len() - 1
            }
        };
        Ok((IdedExpr { id: tree.id, expr: Tree::Ident(convert::variable(n)) }, 1))
    }

    /// The tree to evaluate, and what one evaluation of it costs, the bodies of its loops not
    /// counted.
    fn rewrite(&mut self, tree: IdedExpr) -> Rewritten {
        if let Some((root, keys)) = self.path(&tree) {
            return self.read(&tree, root, keys, Extent::Whole);
        }
        let id = tree.id;
        let offset = id as usize;
        let (expr, cost) = match tree.expr {
            Tree::Ident(name) => (Tree::Ident(name), 1),
            Tree::Literal(LiteralValue::Bytes(_)) => {
                return Err(ExprError::new("bytes have no place in an expression", offset));
            }
            Tree::Literal(literal) => (Tree::Literal(literal), 1),
            Tree::Select(mut select) => {
                if select.test
                    && let Some((root, mut keys)) = self.path(&select.operand)
                {
                    keys.push(Segment::Name(select.field));
                    return self.read(&select.operand, root, keys, Extent::Presence);
                }
                let (operand, cost) = self.rewrite(*select.operand)?;
                select.operand = Box::new(operand);
                (Tree::Select(select), cost + 1)
            }
            Tree::Call(call) => return self.call(id, offset, call),
            Tree::List(mut list) => {
                let mut cost = 1;
                for element in &mut list.elements {
                    let (rewritten, more) = self.rewrite(std::mem::take(element))?;
                    *element = through(meters::METER, rewritten);
                    cost += more + 1;
                }
                (Tree::List(list), cost)
            }
            Tree::Map(mut map) => {
                let mut cost = 1;
                for entry in &mut map.entries {
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                        return Err(ExprError::new("a map is written `{\"name\": value}`", offset));
                    };
                    let (key, more) = self.rewrite(std::mem::take(&mut entry.key))?;
                    entry.key = through(meters::USE, key);
                    let (value, most) = self.rewrite(std::mem::take(&mut entry.value))?;
                    entry.value = through(meters::METER, value);
                    cost += more + most + 2;
                }
                (Tree::Map(map), cost)
            }
            Tree::Comprehension(mut loops) => {
                if self.loops == LOOPS_MAX {
                    return Err(ExprError::new(format!("more than {LOOPS_MAX} loops inside each other"), offset));
                }
                let (range, cost) = self.rewrite(loops.iter_range)?;
                let (init, more) = self.rewrite(loops.accu_init)?;
                loops.accu_init = init;
                self.loops += 1;
                self.bound.push(loops.iter_var.clone());
                self.bound.extend(loops.iter_var2.clone());
                let bound = self.bound.len();
                let (condition, a) = self.rewrite(loops.loop_cond)?;
                let (step, b) = self.rewrite(loops.loop_step)?;
                let (result, c) = self.rewrite(loops.result)?;
                (loops.loop_cond, loops.loop_step, loops.result) = (condition, step, result);
                self.bound.truncate(bound - 1 - usize::from(loops.iter_var2.is_some()));
                self.loops -= 1;
                let body = i64::try_from(a + b).unwrap_or(i64::MAX);
                let body = IdedExpr { id, expr: Tree::Literal(LiteralValue::Int(body.into())) };
                loops.iter_range = metered(meters::ENTER, id, vec![range, body]);
                (Tree::Comprehension(loops), cost + more + c + 2)
            }
            Tree::Struct(_) => {
                return Err(ExprError::new("only maps can be written here: `{\"name\": value}`", offset));
            }
            Tree::Unspecified => return Err(ExprError::new("not an expression", offset)),
        };
        Ok((IdedExpr { id, expr }, cost))
    }

    fn call(&mut self, id: u64, offset: usize, mut call: CallExpr) -> Rewritten {
        // `size(path)` reads the shape alone.
        if call.func_name == "size" {
            let only = match (&call.target, call.args.as_slice()) {
                (None, [only]) => Some(only),
                (Some(target), []) => Some(&**target),
                _ => None,
            };
            if let Some(only) = only
                && let Some((root, keys)) = self.path(only)
            {
                return self.read(only, root, keys, Extent::Size);
            }
        }
        if call.func_name == operators::INDEX
            && call.target.is_none()
            && let [operand, key] = call.args.as_mut_slice()
            && let Some((root, mut keys)) = self.path(operand)
        {
            keys.push(Segment::Dynamic);
            let (place, _) = self.read(operand, root, keys, Extent::Whole)?;
            let (key, cost) = self.rewrite(std::mem::take(key))?;
            call.args = vec![place, through(meters::USE, key)];
            return Ok((IdedExpr { id, expr: Tree::Call(call) }, cost + 2));
        }
        let mut cost = 1;
        let mut args = Vec::with_capacity(call.args.len() + 1);
        for arg in call.target.map(|target| *target).into_iter().chain(call.args) {
            let (arg, more) = self.rewrite(arg)?;
            args.push(arg);
            cost += more + 1;
        }
        let operator = |name: &str, args| IdedExpr {
            id,
            expr: Tree::Call(CallExpr { func_name: name.to_owned(), target: None, args }),
        };
        let used = |args: Vec<IdedExpr>| args.into_iter().map(|arg| through(meters::USE, arg)).collect::<Vec<_>>();
        let name = call.func_name.as_str();
        let rewritten = match name {
            operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::INDEX
            // These take numbers alone, which cost nothing to look at.
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE => operator(name, args),
            operators::EQUALS => metered(meters::SAME, id, args),
            operators::NOT_EQUALS => operator(operators::LOGICAL_NOT, vec![metered(meters::SAME, id, args)]),
            operators::IN => metered(meters::WITHIN, id, args),
            // The interpreter knows what a loop accumulates by the shape of its own `+`.
            operators::ADD if accumulates(&args) => operator(name, args),
            operators::ADD => metered(meters::PLUS, id, args),
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => operator(name, used(args)),
            _ => {
                let known = KNOWN.iter().find(|known| known.name == name).ok_or_else(|| unknown_function(name, offset))?;
                if args.len() < known.args_min || args.len() > known.args_max {
                    let wanted = match (known.args_min, known.args_max) {
                        (min, max) if min == max => format!("{min}"),
                        (min, max) => format!("{min} to {max}"),
                    };
                    let message = format!("`{name}` takes {wanted} arguments (the one before the dot counted), not {}", args.len());
                    return Err(ExprError::new(message, offset));
                }
                if known.standard {
                    // CEL has some of them in one of the two forms only; here both mean the same.
                    let mut args = used(args);
                    let target = (known.args_min == 2).then(|| Box::new(args.remove(0)));
                    IdedExpr { id, expr: Tree::Call(CallExpr { func_name: name.to_owned(), target, args }) }
                } else if matches!(name, "first" | "last" | "get" | "distinct") {
                    metered(&format!("@{name}"), id, args)
                } else {
                    metered(&format!("@{name}"), id, used(args))
                }
            }
        };
        Ok((rewritten, cost))
    }
}

fn accumulates(args: &[IdedExpr]) -> bool {
    matches!(args.first(), Some(IdedExpr { expr: Tree::Ident(name), .. }) if name == ACCUMULATOR)
}

fn unknown_function(name: &str, offset: usize) -> ExprError {
    let error = ExprError::new(format!("unknown function `{name}`"), offset);
    match closest(name, functions::NAMES.iter().copied()) {
        Some(close) => error.with_hint(format!("did you mean `{close}`?")),
        None => error.with_hint(format!("there are {}", functions::NAMES.join(", "))),
    }
}

/// A call of one of our functions: the meter comes first.
fn metered(function: &str, id: u64, args: Vec<IdedExpr>) -> IdedExpr {
    let budget = IdedExpr { id, expr: Tree::Ident(functions::BUDGET.to_owned()) };
    let args = std::iter::once(budget).chain(args).collect();
    IdedExpr { id, expr: Tree::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
}

/// `tree` with a meter around it, unless nothing in it can be large or its parts are
/// metered themselves. What a loop accumulates stays
/// bare: the interpreter knows its loops by that shape.
fn through(function: &str, tree: IdedExpr) -> IdedExpr {
    match &tree.expr {
        Tree::Literal(_) | Tree::List(_) | Tree::Map(_) => tree,
        Tree::Ident(name) if name == ACCUMULATOR => tree,
        Tree::Call(call) if is_counted(&call.func_name) => tree,
        _ => metered(function, tree.id, vec![tree]),
    }
}

/// What these operators give was counted when their operands were. That the sum of a chain is copied
/// once more for each link is bounded by the chain's length.
fn is_counted(name: &str) -> bool {
    match name {
        operators::CONDITIONAL | operators::INDEX => false,
        meters::SAME | meters::WITHIN | meters::PLUS => true,
        _ => name.starts_with(['_', '-', '!']),
    }
}
