//! `strongroom-hsm`: a software HSM as a process.

use clap::Parser;
use rustix::process::{Resource, Rlimit, setrlimit};
use sha2::{Digest, Sha256};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_hsm::Config;
use strongroom_hsm_software::{Address, Console, Options, start};
use strongroom_proto::ids::BuildDigest;

const WARNING: &str = "\
*******************************************************************************
*  THIS IS A SIMULATION OF AN HSM AND PROTECTS NOTHING.                       *
*  Whoever controls this machine has the keys and all the guesses.            *
*  NEVER copy, restore or snapshot the NVRAM file: each copy undoes guesses.  *
*******************************************************************************";

/// A software HSM: a simulation for development, which protects nothing.
///
/// For example: strongroom-hsm --nvram hsm.nvram --listen unix:hsm.sock
#[derive(Parser)]
#[command(version, after_help = WARNING)]
struct Arguments {
    /// The NVRAM file, made when there is none. Never copy, restore or snapshot it.
    #[arg(long, env = "STRONGROOM_HSM_NVRAM", value_name = "FILE")]
    nvram: PathBuf,
    /// Where the agent connects: unix:PATH or tcp:HOST:PORT.
    #[arg(long, env = "STRONGROOM_HSM_LISTEN", value_name = "ADDRESS")]
    listen: Address,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .init();
    eprintln!("{WARNING}");
    // Secret: a core dump would write the realm seed to disk.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        eprintln!("error: core dumps cannot be switched off ({error}): run this with `ulimit -c 0`");
        return ExitCode::FAILURE;
    }
    let Arguments { nvram, listen } = arguments;
    let build = match own_digest() {
        Ok(build) => build,
        Err(error) => {
            eprintln!("error: cannot read this program's own file ({error}): start it by its full path");
            return ExitCode::FAILURE;
        }
    };
    // Not through the log: this stands in for the device's own console, whatever RUST_LOG says.
    let console = Console::new(|line| eprintln!("console: {line}"));
    let config = Config { build, ..Config::software() };
    match start(Options { nvram: nvram.clone(), listen, config, console }) {
        Ok(server) => {
            tracing::info!(nvram = %nvram.display(), listen = %server.address(), "ready for the agent");
            server.wait();
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// SHA-256 of this program's file, as `sha256sum` prints it: what custodians compare before they approve.
fn own_digest() -> std::io::Result<BuildDigest> {
    let program = std::fs::read(std::env::current_exe()?)?;
    Ok(BuildDigest(Sha256::digest(program).into()))
}
