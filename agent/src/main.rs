//! The command `strongroom-agent`.

use clap::Parser;
use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;
use strongroom_agent::cli::Cli;
use strongroom_agent::logging::{filter, start};
use strongroom_agent::memory::use_one_arena;
use strongroom_agent::tls::install_provider;

fn main() -> ExitCode {
    use_one_arena();
    install_provider();
    let cli = Cli::parse();
    let variable = std::env::var_os("RUST_LOG");
    let filter = match filter(variable.as_deref().map(OsStr::to_string_lossy).as_deref()) {
        Ok(filter) => filter,
        Err(error) => return failed(&error),
    };
    start(filter, cli.log_format);
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failed(&error);
            ExitCode::from(error.code())
        }
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    // There may be no reader; the exit code says it too.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::FAILURE
}
