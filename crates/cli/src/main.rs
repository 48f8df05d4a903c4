//! `tidegate`: one workflow across the machine where the data lives and the servers where the
//! compute is.
//!
//! This crate is a shell: arguments in, lines out, one file per command under `commands/`. Hub and
//! node are processes that [`supervisor`] starts; everything about runs is asked of the node's
//! local API ([`client`]).

mod args;
mod client;
mod commands;
mod exit;
mod folders;
mod owner;
mod render;
mod supervisor;

use clap::Parser;
use std::process::ExitCode;
use tidegate_ops::extract;
use tidegate_seams::sandbox;

fn main() -> ExitCode {
    // A confined child is entered before any thread exists.
    if let Some(code) = sandbox::enter_child_if_asked(extract::handle_child) {
        return code;
    }
    let args = args::Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Operations that compute share few threads: each costs memory, and there are few cores.
        .max_blocking_threads(8)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidegate: cannot start its threads: {error}");
            return exit::Exit::Internal.into();
        }
    };
    let code = runtime.block_on(commands::dispatch(args));
    // Standard input may still be being read on a thread that cannot be interrupted.
    runtime.shutdown_background();
    code
}
