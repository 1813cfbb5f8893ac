//! `completions` and `manual-pages`: both come from the definitions of the arguments, so neither can say something else.

use super::arguments::Cli;
use super::error::CliError;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

pub(super) fn completions(shell: Shell) -> Result<(), CliError> {
    let (mut script, mut command) = (Vec::new(), Cli::command());
    clap_complete::generate(shell, &mut command, "strongroom-agent", &mut script);
    out!("{}", String::from_utf8_lossy(&script));
    Ok(())
}

pub(super) fn pages(folder: &Path) -> Result<(), CliError> {
    if !folder.is_dir() {
        return Err(CliError::Usage(format!("{} is no folder; make it, or name another", folder.display())));
    }
    clap_mangen::generate_to(Cli::command(), folder)?;
    hintln!("The pages are in {}; read one with `man -l`.", folder.display());
    Ok(())
}
