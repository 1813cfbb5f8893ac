//! Asking before something that cannot be taken back.

use super::error::CliError;
use std::io::{self, IsTerminal, Write};

/// Goes on after a yes, from a person at a terminal or as an argument.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::Unasked(question.into()));
    }
    let mut screen = io::stderr().lock();
    write!(screen, "{question}. Type yes: ")?;
    screen.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(CliError::Unconfirmed) }
}
