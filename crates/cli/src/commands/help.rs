//! `tidegate help` and `tidegate completions`.

use crate::args::Args;
use crate::exit::{Failed, Outcome};
use clap::CommandFactory;
use tidegate_domain::codes;

pub fn help(code: Option<&str>) -> Outcome {
    let Some(code) = code else {
        super::print_line(&Args::command().render_help().to_string());
        return super::done();
    };
    let mut command = Args::command();
    if let Some(sub) = command.find_subcommand_mut(code) {
        super::print_line(&sub.render_long_help().to_string());
        return super::done();
    }
    let found =
        codes::find(code).ok_or_else(|| Failed::new("E2007", format!("there is no error code or command `{code}`")))?;
    super::print_line(&format!(
        "{} {}\n\n{}.\n\nWhat to do: {}.",
        found.code,
        found.word,
        capital(found.meaning),
        found.remedy
    ));
    super::done()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

pub fn completions(shell: clap_complete::Shell) -> Outcome {
    clap_complete::generate(shell, &mut Args::command(), "tidegate", &mut std::io::stdout());
    super::done()
}
