//! Pages that are made from tables in the code, so that they cannot drift from it.

use std::fmt::Write;
use std::path::Path;
use tidegate_domain::codes::CODES;

const ERRORS: &str = "docs/errors.md";

/// Writes them.
pub fn write(root: &Path) -> Result<(), String> {
    crate::tidy::write_samples(root)?;
    std::fs::write(root.join(ERRORS), errors()).map_err(|e| format!("{ERRORS}: {e}"))
}

/// Whether they are up to date.
pub fn check(root: &Path) -> Result<(), String> {
    let stored = std::fs::read_to_string(root.join(ERRORS)).unwrap_or_default();
    if stored == errors() { Ok(()) } else { Err(format!("{ERRORS} is stale: run `cargo xtask docs`")) }
}

fn errors() -> String {
    let mut out = String::from(
        "# Error codes\n\nMade from the registry in the code by `cargo xtask docs`; `tidegate help CODE` prints the same.\n\
         In JSON, `error.code` is the word and `error.help` the code.\n\n| code | word | meaning | what to do |\n| --- | --- | --- | --- |\n",
    );
    for code in CODES {
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} |",
            code.code,
            code.word,
            code.meaning,
            code.remedy.replace('|', "\\|")
        );
    }
    out
}
