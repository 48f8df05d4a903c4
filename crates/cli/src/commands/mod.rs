//! The commands, one file each.

mod audit;
mod check;
mod dev;
mod doctor;
mod explain;
mod help;
mod ops;
mod resume;
mod run;
mod runs;
mod scan;
mod service;

use crate::args::{Args, Command};
use crate::client::Client;
use crate::exit::{Exit, Failed, Outcome};
use crate::owner::{self, Owned};
use crate::supervisor::Plan;
use crate::{args, folders};
use std::path::Path;
use std::process::ExitCode;

/// Runs the command and reports how it ended.
pub async fn dispatch(args: Args) -> ExitCode {
    let json = wants_json(&args.command);
    let outcome = match args.command {
        Command::Run { workflow, set, allow_redacted, record, library, verbose, common } => {
            run::run(run::Wanted { workflow, set, allow_redacted, record, library, verbose, common }).await
        }
        Command::Dev { port, record, library, verbose, common } => {
            dev::dev(port, record, library, verbose, common).await
        }
        Command::Resume { run, common } => resume::resume(&run, common).await,
        Command::Runs { common } => runs::list(common).await,
        Command::Show { run, common } => runs::show(&run, common).await,
        Command::Cancel { run, common } => runs::cancel(&run, common).await,
        Command::Explain { run, step, common } => explain::explain(&run, step.as_deref(), common).await,
        Command::Audit { what, run, side, common } => audit::audit(what.is_some(), run.as_deref(), side, common).await,
        Command::Scan { folder, show_text, common } => scan::scan(&folder, show_text.as_deref(), common).await,
        Command::Check { workflow, common } => check::check(&workflow, common),
        Command::Ops { operation, common } => ops::ops(operation.as_deref(), common),
        Command::Doctor { common } => doctor::doctor(common).await,
        Command::Schema => ops::schema(),
        Command::Completions { shell } => help::completions(shell),
        Command::Help { code } => help::help(code.as_deref()),
        Command::Hub { dir, address, library, record } => return service::hub(dir, address, library, record).await,
        Command::Node { dir, outputs, port } => return service::node(dir, outputs, port).await,
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failed) => failed.report(json),
    }
}

fn wants_json(command: &Command) -> bool {
    match command {
        Command::Run { common, .. }
        | Command::Dev { common, .. }
        | Command::Resume { common, .. }
        | Command::Runs { common }
        | Command::Show { common, .. }
        | Command::Cancel { common, .. }
        | Command::Explain { common, .. }
        | Command::Audit { common, .. }
        | Command::Scan { common, .. }
        | Command::Check { common, .. }
        | Command::Ops { common, .. }
        | Command::Doctor { common } => common.json,
        _ => false,
    }
}

/// A node to ask about a data folder: the one that owns it, or one started for the question.
async fn asked(common: &args::Common) -> Result<Owned, Failed> {
    let data = folders::data(common.data.as_deref())?;
    if let Some(client) = owner::find(&data).await {
        return Ok(Owned { client, supervisor: None });
    }
    if !folders::device(&data).join("journal.db").exists() {
        return Err(Failed::new("E2007", format!("nothing has run in `{}` yet", data.display())));
    }
    owner::find_or_start(Plan { data, library: None, record: None, port: None, verbose: false }).await
}

/// Ends a pair that was started for a question.
async fn leave(owned: Owned) {
    if let Some(supervisor) = owned.supervisor {
        supervisor.stop().await;
    }
}

/// Prints lines as they come, raw or drawn.
fn print_line(line: &str) -> bool {
    use std::io::Write;
    // A reader that has gone away is the end of the work, not an error.
    writeln!(std::io::stdout().lock(), "{line}").is_ok()
}

fn read_file(path: &Path, limit: usize, what: &str) -> Result<String, Failed> {
    use std::io::Read;
    let cannot =
        |e: &dyn std::fmt::Display| Failed::new("E2007", format!("cannot read {what} `{}`: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| cannot(&e))?;
    if file.metadata().map_err(|e| cannot(&e))?.is_dir() {
        return Err(cannot(&"it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| cannot(&e))?;
    if bytes.len() > limit {
        return Err(Failed::new("E2008", format!("{what} `{}` is larger than {limit} bytes", path.display())));
    }
    String::from_utf8(bytes).map_err(|_| Failed::new("E2008", format!("{what} `{}` is not UTF-8 text", path.display())))
}

/// Used by commands whose work is done by a node.
async fn lines_of(client: &Client, path: &str) -> Result<Vec<serde_json::Value>, Failed> {
    let mut lines = client.lines(path).await?;
    let mut all = Vec::new();
    while let Some(line) = lines.next().await? {
        all.push(line);
    }
    Ok(all)
}

fn done() -> Outcome {
    Ok(Exit::Success)
}
