//! The command line.

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Run one workflow across your device and a hub; what must not leave the device does not.
#[derive(Parser, Debug)]
#[command(name = "tidegate", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

/// Options of most commands.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// The data folder [default: $XDG_DATA_HOME/tidegate]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Print JSON lines on standard output
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a workflow to its end, starting a hub and a node for it where none is running
    Run {
        /// The workflow file
        workflow: PathBuf,
        /// Set an input of the workflow
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Let redacted text of the workflow's folders go to internal destinations, for this run
        #[arg(long)]
        allow_redacted: bool,
        /// Record everything the hub's side receives, decrypted
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        /// The documents of the hub's library [default: `library` beside the workflow]
        #[arg(long, value_name = "DIR")]
        library: Option<PathBuf>,
        /// Show what the hub and the node print
        #[arg(long)]
        verbose: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Keep a hub and a node running, with a local API
    Dev {
        /// The node's loopback port, 0 for any
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Record everything the hub's side receives, decrypted
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        /// The documents of the hub's library
        #[arg(long, value_name = "DIR")]
        library: Option<PathBuf>,
        /// Show what the hub and the node print
        #[arg(long)]
        verbose: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Go on with a run, or watch one that goes on
    Resume {
        /// The run
        run: String,
        #[command(flatten)]
        common: Common,
    },
    /// List runs
    Runs {
        #[command(flatten)]
        common: Common,
    },
    /// Show a run as it stands
    Show {
        /// The run
        run: String,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a run to stop; what it has done stays done
    Cancel {
        /// The run
        run: String,
        #[command(flatten)]
        common: Common,
    },
    /// Why each step ran where it ran
    Explain {
        /// The run
        run: String,
        /// One step alone
        step: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// What left, what came back, and under which rule
    Audit {
        #[command(subcommand)]
        what: Option<AuditCommand>,
        /// Of one run alone
        #[arg(long)]
        run: Option<String>,
        /// Whose log
        #[arg(long, value_enum, default_value_t = Side::Device, global = true)]
        side: Side,
        #[command(flatten)]
        common: Common,
    },
    /// What private data a folder holds, and what of it could leave, before anything runs
    Scan {
        /// The folder
        folder: PathBuf,
        /// Print the text extracted from one file instead
        #[arg(long, value_name = "FILE")]
        show_text: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Which labels a workflow could send where, proved before it runs
    Check {
        /// The workflow file
        workflow: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// The operations of this program
    Ops {
        /// One operation, in full
        operation: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Look whether everything is in place
    Doctor {
        #[command(flatten)]
        common: Common,
    },
    /// Print the JSON Schema of workflow files, for editors
    Schema,
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// What an error code means, or this overview
    Help {
        /// An error code, `E3001`, or its word, `refused`
        code: Option<String>,
    },
    /// A hub as a process
    #[command(name = "__hub", hide = true)]
    Hub {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        library: Option<PathBuf>,
        #[arg(long)]
        record: Option<PathBuf>,
    },
    /// A node as a process
    #[command(name = "__node", hide = true)]
    Node {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        outputs: PathBuf,
        #[arg(long)]
        port: Option<u16>,
    },
}

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Walk the chains and compare them with their head outside
    Verify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    Device,
    Hub,
}
