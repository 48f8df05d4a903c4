//! `tidegate ops` and `tidegate schema`: what workflows can use.

use crate::args::Common;
use crate::exit::{Failed, Outcome};
use crate::render;
use tidegate_domain::workflow::json_schema;
use tidegate_engine::contract;
use tidegate_ops::registry;

pub fn ops(operation: Option<&str>, common: Common) -> Outcome {
    let wanted: Vec<_> = registry::specs().filter(|spec| operation.is_none_or(|name| name == spec.name)).collect();
    if let (true, Some(name)) = (wanted.is_empty(), operation) {
        return Err(Failed::new("E2007", format!("there is no operation `{name}`")));
    }
    if common.json {
        for spec in wanted {
            super::print_line(&contract::operation(spec).to_string());
        }
    } else if operation.is_some() {
        for spec in wanted {
            super::print_line(&render::operation(spec));
        }
    } else {
        super::print_line(&render::operations(&wanted));
    }
    super::done()
}

pub fn schema() -> Outcome {
    let specs: Vec<_> = registry::specs().copied().collect();
    let text = serde_json::to_string_pretty(&json_schema(&specs)).map_err(|e| Failed::new("E2006", e.to_string()))?;
    super::print_line(&text);
    super::done()
}
