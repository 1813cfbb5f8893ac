//! The command `strongroom-agent`.

use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use strongroom_agent::cli::Cli;
use strongroom_agent::memory::use_one_arena;
use strongroom_agent::tls::install_provider;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    use_one_arena();
    install_provider();
    // What the tree's database logs by itself speaks of its inside, and calls every closing an error.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,slatedb=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
