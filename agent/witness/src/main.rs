//! The command `strongroom-witness`.

use clap::{Parser, Subcommand};
use std::error::Error;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;
use strongroom_tlog::KeyName;
use strongroom_witness::config::Config;
use strongroom_witness::key_file;
use strongroom_witness::serve::{Limits, serve};
use strongroom_witness::state::StateFolder;
use strongroom_witness::witness::Witness;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const AFTER: &str = "\
To run a witness:
  1. strongroom-witness new-key example.com/my-witness --out witness.key
     It prints the public key: give that to those who are to trust the witness.
  2. Write witness.toml:
       listen = \"127.0.0.1:8760\"     # behind something that does TLS, if it is to be reached from elsewhere
       key    = \"witness.key\"
       state  = \"state\"              # on a disk of its own life: never restored from a copy
       [logs]
       \"strongroom/REALM/GROUP\" = \"strongroom/REALM/GROUP+ID+KEY\"
  3. strongroom-witness run --config witness.toml --new-state
     The first time only. From then on: strongroom-witness run --config witness.toml

RUST_LOG sets how much is logged: error, warn, info (the default), debug.";

/// A witness: cosigns the checkpoints of logs that only grow (C2SP tlog-witness).
#[derive(Parser)]
#[command(version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a key file with mode 0600, and prints the public key.
    NewKey {
        /// The name of the witness: an address of yours without https://, such as example.com/my-witness.
        name: String,
        /// The file to make. It must not exist.
        #[arg(long, default_value = "witness.key")]
        out: PathBuf,
    },
    /// Runs the witness until SIGTERM or SIGINT.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Makes the state folder. For the first time that a witness runs with its key, and no other.
        #[arg(long)]
        new_state: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::NewKey { name, out } => new_key(name, out),
        Command::Run { config, new_state } => run(config, *new_state),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There may be no reader; the exit code says it too.
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn new_key(name: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let key = key_file::create(out, KeyName::new(name)?)?;
    writeln!(stdout(), "{}", key.verifier())?;
    Ok(())
}

#[tokio::main]
async fn run(config: &Path, new_state: bool) -> Result<(), Box<dyn Error>> {
    start_logging()?;
    let config = Config::open(config)?;
    let key = key_file::read(&config.key)?;
    let public = key.verifier().clone();
    let logs = config.logs()?;
    let open = if new_state { StateFolder::create } else { StateFolder::open };
    let state = open(&config.state, &public)?;
    let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let witness =
        Witness::open(key, logs, state, Box::new(clock)).map_err(|error| error as Box<dyn Error>)?;
    for (origin, size) in witness.sizes() {
        tracing::info!(origin, size, "watches");
    }
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| format!("{}: {error}", config.listen))?;
    tracing::info!(listen = %listener.local_addr()?, key = %public, "runs");
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("stops");
    };
    serve(listener, Arc::new(witness), Limits::default(), stop).await;
    Ok(())
}

fn start_logging() -> Result<(), Box<dyn Error>> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    let level: tracing::Level = level.parse().map_err(|_| "RUST_LOG: use error, warn, info or debug")?;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    Ok(())
}
