//! Exit codes, named, and errors on their way to the user.

use serde_json::Value as Json;
use std::process::ExitCode;
use tidegate_domain::codes;
use tidegate_engine::contract;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every output exists.
    Success = 0,
    /// Failed.
    Failed = 1,
    /// The command line, a workflow or a policy file is wrong.
    Usage = 2,
    /// A required output was refused by a policy.
    Refused = 3,
    /// Waits: offline, approval, unknown effect.
    Waiting = 4,
    /// A state that should not be reachable.
    Internal = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A failed command: a code of the registry, and what happened.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    pub line: Json,
}

impl Failed {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let exit = match code {
            "E1000" | "E2008" => Exit::Usage,
            "E3001" => Exit::Refused,
            "E4008" => Exit::Waiting,
            "E2006" => Exit::Internal,
            _ => Exit::Failed,
        };
        Self { exit, line: contract::error(code, &message.into()) }
    }

    /// From an error line of the local API.
    pub fn from_line(line: Json) -> Self {
        let code = line.get("help").and_then(Json::as_str).unwrap_or("E2006").to_owned();
        Self { exit: Failed::new(&code, "").exit, line }
    }

    /// Whether nobody answered, so that asking again may help.
    pub fn is_absence(&self) -> bool {
        self.line.get("help").and_then(Json::as_str) == Some("E2004")
    }

    /// Tells the user: a JSON line on standard output, or words on standard error.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            println!("{}", self.line);
            return self.exit.into();
        }
        let text = |name: &str| self.line.get(name).and_then(Json::as_str).unwrap_or_default();
        eprintln!("error: {}", text("message"));
        if !text("hint").is_empty() {
            eprintln!(" hint: {}", text("hint"));
        }
        if let Some(code) = codes::find(text("help")) {
            eprintln!(" more: tidegate help {}", code.code);
        }
        self.exit.into()
    }
}

/// What a command gives.
pub type Outcome = Result<Exit, Failed>;
