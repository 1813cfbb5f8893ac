//! The command `strongroom-events`.

use clap::Parser;
use std::io::{Write as _, stderr};
use std::process::ExitCode;
use strongroom_events::command::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There may be no reader; the exit code says it too.
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
