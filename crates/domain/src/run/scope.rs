//! What a step's expressions can read: inputs, the run, other steps' outputs, and in a fan-out the
//! current item and its number.

use super::{Run, StepState, Unit};
use crate::expr::{Expr, Found, Item, Items, Scope};
use crate::value::{Node, Value};
use crate::workflow::Step;
use std::collections::BTreeSet;

pub(super) struct RunScope<'a> {
    run: &'a Run,
    /// The current item and its number, labelled like the list's shape.
    item: Option<(&'a Value, Value)>,
}

impl<'a> RunScope<'a> {
    /// The scope of a unit, or of what is outside of any item.
    pub(super) fn of(run: &'a Run, unit: Option<Unit>) -> Self {
        let item = unit.and_then(|unit| {
            let number = unit.item?;
            let list = run.steps.get(unit.step as usize)?.items.as_deref()?;
            let item = list.as_list()?.get(number as usize)?;
            Some((item, Value::new(Node::Int(i64::from(number)), list.label.clone())))
        });
        Self { run, item }
    }
}

impl Scope for RunScope<'_> {
    fn root(&self, name: &str) -> Option<Found<'_>> {
        match name {
            "inputs" => Some(Found::Whole(&self.run.inputs_value)),
            "run" => Some(Found::Whole(&self.run.run_value)),
            "item" => self.item.as_ref().map(|(item, _)| Found::Whole(item)),
            "index" => self.item.as_ref().map(|(_, index)| Found::Whole(index)),
            _ => {
                let at = self.run.workflow.steps.iter().position(|step| step.id == name)?;
                let step = self.run.steps.get(at)?;
                if step.ended.is_some() {
                    return Some(Found::Missing { control: &step.control });
                }
                if step.fan_out {
                    return Some(Found::Items { label: &step.control, items: step });
                }
                match step.units.first().and_then(|unit| unit.output.as_deref()) {
                    Some(output) => Some(Found::Whole(output)),
                    None => Some(Found::Missing { control: &step.control }),
                }
            }
        }
    }
}

impl Items for StepState {
    fn count(&self) -> usize {
        self.units.len()
    }

    fn item(&self, at: usize) -> Option<Item<'_>> {
        self.units.get(at).map(|unit| match unit.output.as_deref() {
            Some(output) => Item::Done(output),
            None => Item::Missing { control: &self.control },
        })
    }
}

/// Whether an expression speaks of the current item, so that it is evaluated once for each.
pub(super) fn reads_item(expr: &Expr) -> bool {
    expr.reads().iter().any(|read| {
        matches!(read.root.as_str(), "item" | "index")
            || read.keys.iter().any(|key| matches!(key, crate::expr::Segment::LoopIndex))
    })
}

/// The roots that a step reads.
pub(super) fn roots_read(step: &Step) -> BTreeSet<String> {
    let mut roots: BTreeSet<String> = step.with.reads().into_iter().map(|read| read.root.clone()).collect();
    if let Some(each) = &step.each {
        roots.extend(each.over.reads().into_iter().map(|read| read.root.clone()));
    }
    if let Some(when) = &step.when {
        roots.extend(when.reads().iter().map(|read| read.root.clone()));
    }
    roots
}
