//! `strongroom-hsm`: a software HSM as a process.

use clap::Parser;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use sha2::{Digest, Sha256};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_hsm::Config;
use strongroom_hsm_software::{Address, Console, Options, Server, start};
use strongroom_proto::ids::BuildDigest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
#[command(version, after_help = format!("SIGTERM and SIGINT end it; SIGHUP changes nothing.\n\n{WARNING}"))]
struct Arguments {
    /// The NVRAM file, made when there is none. Never copy, restore or snapshot it.
    #[arg(long, env = "STRONGROOM_HSM_NVRAM", value_name = "FILE")]
    nvram: PathBuf,
    /// Where the agent connects: unix:PATH or tcp:HOST:PORT.
    #[arg(long, env = "STRONGROOM_HSM_LISTEN", value_name = "ADDRESS")]
    listen: Address,
    /// How log lines look: for people, or one JSON object each. What stands in for the device's console is not among them.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, env = "STRONGROOM_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match arguments.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().boxed(),
    };
    match filter(&std::env::var("RUST_LOG").unwrap_or_default()) {
        Ok(filter) => tracing_subscriber::registry().with(lines.with_filter(filter)).init(),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    eprintln!("{WARNING}");
    // Secret: a core dump would write the realm seed to disk.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        eprintln!("error: core dumps cannot be switched off ({error}): run this with `ulimit -c 0`");
        return ExitCode::FAILURE;
    }
    let Arguments { nvram, listen, .. } = arguments;
    let build = match own_digest() {
        Ok(build) => build,
        Err(error) => {
            eprintln!("error: cannot read this program's own file ({error}): start it by its full path");
            return ExitCode::FAILURE;
        }
    };
    // Where cores go to a program, the limit alone does not hold.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("error: core dumps cannot be switched off ({error})");
        return ExitCode::FAILURE;
    }
    // Secret: what is locked is never written to swap. With a limit, memory that is asked for later would be refused.
    let may_lock = getrlimit(Resource::Memlock).current.is_none();
    if may_lock && let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        tracing::info!(%error, "memory is not locked: swap may hold the realm's keys");
    } else if !may_lock {
        tracing::info!(
            "memory is not locked, because there is a limit on that (`LimitMEMLOCK=` in systemd): swap may hold the realm's keys"
        );
    }
    // Not through the log: this stands in for the device's own console, whatever RUST_LOG says.
    let console = Console::new(|line| eprintln!("console: {line}"));
    let config = Config { build, ..Config::software() };
    let serve = async {
        // First, since as the first process of a container it has only the signals that are asked for.
        let signals = Signals::new().map_err(|error| format!("cannot listen for signals: {error}"))?;
        let server = start(Options { nvram: nvram.clone(), listen, config, console });
        let server = server.map_err(|error| error.to_string())?;
        tracing::info!(nvram = %nvram.display(), listen = %server.address(), "ready for the agent");
        serve(server, signals).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(serve)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What `RUST_LOG` says, or what matters if that says nothing. What it cannot mean is an error, as of an agent.
fn filter(said: &str) -> Result<Targets, String> {
    let parts: Vec<&str> = said.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Ok(Targets::new().with_default(LevelFilter::INFO));
    }
    // One word is a level here: as the name of a module, a mistyped level would silence all.
    let unclear = parts.iter().find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err());
    let read = match unclear {
        Some(word) => Err(format!("`{word}` is not a level")),
        None => parts.join(",").parse::<Targets>().map_err(|error| error.to_string()),
    };
    read.map_err(|why| {
        format!("RUST_LOG: {why}; say a level such as `info` or `debug`, or `NAME=LEVEL` with commas between")
    })
}

/// The signals that are not left to the system.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Serves until it is told to stop, or cannot go on. What the core works on is finished first, and the socket file is
/// removed.
async fn serve(server: Server, mut signals: Signals) -> Result<ExitCode, String> {
    let stopper = server.stopper().map_err(|error| error.to_string())?;
    let mut ended = tokio::task::spawn_blocking(move || server.wait());
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(ExitCode::FAILURE),
            _ = signals.hang_up.recv() => tracing::info!("there is nothing to read again; the HSM goes on"),
            _ = signals.interrupt.recv() => break,
            _ = signals.terminate.recv() => break,
        }
    }
    tracing::info!("the HSM stops");
    stopper.stop();
    // A panic of the server has been said by then.
    Ok(if ended.await.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// SHA-256 of this program's file, as `sha256sum` prints it: what custodians compare before they approve.
fn own_digest() -> std::io::Result<BuildDigest> {
    let program = std::fs::read(std::env::current_exe()?)?;
    Ok(BuildDigest(Sha256::digest(program).into()))
}
