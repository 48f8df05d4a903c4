//! The project's only task tool: `cargo xtask test | tidy | bench [NAME] | docs`.
//!
//! `test` finds what the tests need or says what to install, runs them all, and checks that the
//! tree is tidy. `bench` builds the benchmarks in release and runs them on a quiet machine. `docs`
//! writes the pages that are made from tables in the code.

mod bench;
mod docs;
mod shell;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", rest @ ..] => test(rest),
        ["tidy"] => tidy::check(&shell::root()).map_err(|found| found.join("\n")),
        ["bench", rest @ ..] => bench::run(rest),
        ["docs"] => docs::write(&shell::root()),
        _ => Err("usage: cargo xtask test [FILTER] | tidy | bench [NAME] [--json] | docs".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every test of the workspace. The tests start confined children and services of their own,
/// so binaries and examples are built first.
fn test(filter: &[&str]) -> Result<(), String> {
    needs()?;
    shell::cargo(&["build", "--workspace", "--bins", "--examples"])?;
    let mut arguments = vec!["test", "--workspace"];
    arguments.extend(filter);
    shell::cargo(&arguments)?;
    tidy::check(&shell::root()).map_err(|found| found.join("\n"))?;
    println!("\nall tests passed and the tree is tidy");
    Ok(())
}

/// What must be on the machine before anything builds. Services that tests talk to will be found
/// or explained here, too; today's tests need none.
fn needs() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("the tests need Linux: confinement is built on Landlock, seccomp and namespaces".into());
    }
    if !shell::succeeds("cc", &["--version"]) {
        return Err("a C compiler is missing (Debian: apt-get install gcc libc6-dev)".into());
    }
    Ok(())
}
