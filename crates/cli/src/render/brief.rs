//! Words to and from a person: broken workflows with their places, and the one question that a
//! run may ask.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::io::{BufRead, IsTerminal, Write};
use tidegate_domain::workflow::Mistake;

/// All mistakes of a workflow, each with its place, cause and hint.
pub fn mistakes(path: &str, source: &str, mistakes: &[Mistake]) -> String {
    let renderer = if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for mistake in mistakes {
        let title = Level::ERROR.primary_title(&mistake.message).id(mistake.code);
        let mut group = match mistake.span.clone().filter(|span| span.end <= source.len()) {
            Some(span) => {
                let place = AnnotationKind::Primary.span(span);
                title.element(Snippet::source(source).path(path).annotation(place))
            }
            None => Group::with_title(title),
        };
        if let Some(hint) = &mistake.hint {
            group = group.element(Level::HELP.message(hint));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    let count = mistakes.len();
    out.push_str(&format!("{path}: {count} mistake{}, nothing was run\n", if count == 1 { "" } else { "s" }));
    out
}

/// "May redacted text of this folder leave?"
pub struct Question {
    folders: String,
}

impl Question {
    pub fn about(folders: &[&str]) -> Self {
        Self { folders: folders.join(", ") }
    }

    /// Asks on a terminal. Anywhere else, and on anything but a clear yes, the answer is no.
    pub fn ask(&self) -> bool {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            eprintln!(
                "note: nothing of {} leaves this device; --allow-redacted lets redacted text go to the hub",
                self.folders
            );
            return false;
        }
        eprintln!("This workflow wants to send redacted text of {} to the hub.", self.folders);
        eprintln!("E-mail addresses, phone numbers, cards, IBANs, keys, tokens and passwords are replaced first.");
        eprintln!("Names, places and anything else that no detector knows would go with it.");
        eprint!("May it, for this run? [y/N] ");
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }
}
