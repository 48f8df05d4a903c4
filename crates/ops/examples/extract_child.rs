//! A program that is nothing but the sandboxed child of text extraction, for
//! its tests and for measuring it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_seams::sandbox::enter_child_if_asked(tidegate_ops::extract::handle_child).unwrap_or(ExitCode::FAILURE)
}
