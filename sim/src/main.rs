//! The `strongroom-sim` command.

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use strongroom_agent::token::Purpose;
use strongroom_client::Configuration;
use strongroom_sim::app::{App, AppListener};
use strongroom_sim::cluster::Journal;
use strongroom_sim::local::{LocalRealm, Setting, token};
use strongroom_sim::model::explore::{Bounds, explore};
use strongroom_sim::model::{Action, Explored, Rule};
use strongroom_sim::{
    Error, bench, board, cases, chaos, demo, groups, hostile, model, page, replay_bench, run, slow_bench,
    tree_bench,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Whole Strongroom realms in one process, with software HSMs that protect nothing.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Check {
    /// Compare what a board and the software HSM answer, byte by byte: to recorded clients, and to a hostile host.
    Same {
        /// The image. Without it, the one that `hsm/firmware/build.sh` makes.
        #[arg(long, value_name = "FILE.elf")]
        image: Option<PathBuf>,
        /// The seed of the hostile host.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many messages the hostile host sends.
        #[arg(long, default_value_t = 10_000)]
        messages: usize,
    },
    /// Kill the emulator at each write to the flash; the board must start from the state before or after it.
    Cut {
        /// The image. Without it, the one that `hsm/firmware/build.sh` makes.
        #[arg(long, value_name = "FILE.elf")]
        image: Option<PathBuf>,
        /// Kill it only at every Nth write.
        #[arg(long, default_value_t = 1)]
        every: usize,
    },
    /// Print how fast captures wear out the board's flash. Needs no emulator.
    Wear {
        /// How many captures to count.
        #[arg(long, default_value_t = 20_000)]
        captures: u32,
    },
    /// Fill a board to its bounds, and print how much of its memory was in use.
    Bounds {
        /// An image for measuring, made by `hsm/firmware/build.sh --marks`.
        #[arg(long, value_name = "FILE.elf", default_value = "target/firmware/strongroom-hsm-marks.elf")]
        image: PathBuf,
    },
    /// Count the work of a guess on records of every kind: it must not differ between them.
    Work {
        /// An image for measuring, made by `hsm/firmware/build.sh --marks`.
        #[arg(long, value_name = "FILE.elf", default_value = "target/firmware/strongroom-hsm-marks.elf")]
        image: PathBuf,
    },
}

#[derive(Subcommand)]
enum Command {
    /// Make a realm, use it, break it, and describe what happens. Fails if anything is not as described.
    Demo {
        /// Leave the realm in this folder, for `serve`. Without it, nothing is left.
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
        /// How many of the three HSMs are emulated boards that run the firmware of `hsm/firmware/build.sh`; without a
        /// number, all. Prints how many recoveries per second they serve, and how long each kind of message takes.
        #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3", default_value_t = 0,
              value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=3))]
        firmware: usize,
    },
    /// Run a local realm for app developers until Ctrl-C, SIGTERM or SIGHUP. Makes it first if the folder holds none.
    Serve {
        /// The folder that holds the realm.
        #[arg(long, value_name = "DIR")]
        keep: PathBuf,
        /// Where clients connect. Port 0 picks a free one.
        #[arg(long, default_value = "127.0.0.1:8700")]
        listen: SocketAddr,
        /// The user to print a token for.
        #[arg(long, default_value = "user-1")]
        user: String,
    },
    /// Run five small realms for the cases of `client/cases`, and the control that has them misbehave, until SIGTERM.
    CasesRealm {
        /// Where the control is reached. Port 0 picks a free one.
        #[arg(long, default_value = "127.0.0.1:8710")]
        listen: SocketAddr,
        /// End when standard input ends, too: whoever started this is gone.
        #[arg(long)]
        until_eof: bool,
    },
    /// Run a local realm of five hosts and two groups under load, print where its status page is, and go on until told to end.
    /// For `.ci/page`, which looks at it in a browser.
    Page(page::Options),
    /// Measure what Strongroom costs on this machine, in time and money. Build it with --release.
    ///
    /// Runs three agents and three software HSMs as processes. Takes a few minutes, and says how long.
    Bench(bench::Options),
    /// The store of `bench` and `slow-store`: one bucket in memory, as S3 serves it. It checks no signature.
    #[command(hide = true)]
    Bucket {
        #[arg(long)]
        listen: SocketAddr,
        #[command(flatten)]
        serving: bench::Serving,
    },
    /// Write a log, lose every process, and print how long the next leader takes to read it all.
    Replay {
        /// How many segments.
        #[arg(long, default_value_t = 1_000)]
        segments: u64,
    },
    /// Start three agents where the log is long and the store is slow, then have one of them catch up under load, and
    /// print how long each takes.
    SlowStore {
        /// How many segments the log has.
        #[arg(long, default_value_t = 16_000)]
        segments: u64,
        /// How many milliseconds each request takes.
        #[arg(long, default_value_t = 150, value_name = "MS")]
        request_ms: u64,
        /// How many milliseconds each page of a listing takes.
        #[arg(long, default_value_t = 1_000, value_name = "MS")]
        page_ms: u64,
        /// How many seconds a member is down.
        #[arg(long, default_value_t = 60, value_name = "N")]
        away: u64,
        /// A folder that keeps the log, which takes a while to write. Without it, nothing is left.
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Build a stored tree as a leading agent does, read from it, and print the cost.
    Tree {
        /// How many records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// An empty folder for the tree, which stays there. Without it, nothing is left.
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// How long to go on with few changes before the disk is measured. Housekeeping takes some minutes.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        settle: u64,
    },
    /// Run an honest cluster while everything around its HSMs goes wrong, then heal a majority and demand progress.
    ///
    /// Prints what happened and, last, a hash over every event: the same seed gives the same one on any machine.
    Run {
        /// The seed of the run.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds to run, from `seed` on; if more than one, each is printed in one line.
        #[arg(long, default_value_t = 1, value_name = "N")]
        seeds: u64,
        /// Several groups on the same hosts, between which prefixes move, and which retire.
        #[arg(long)]
        groups: bool,
        /// Draw the last run as a page to open in a browser.
        #[arg(long, value_name = "FILE.html")]
        timeline: Option<PathBuf>,
        /// Write down what happened in the last run, one line for each event.
        #[arg(long, value_name = "FILE")]
        events: Option<PathBuf>,
    },
    /// Run three hosts as real processes, kill, stop and cut them off under load, and check the history of what users were
    /// told.
    ///
    /// Who does what and what goes wrong is drawn from the seed; when it happens is not. Ctrl-C heals everything and
    /// checks what there is.
    Chaos {
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long things go wrong.
        #[arg(long, default_value_t = 2.0, value_name = "N", value_parser = minutes)]
        minutes: f64,
        /// The object store. The S3 server is the one that `.ci/stores` installs.
        #[arg(long, value_enum, default_value = "folder")]
        store: chaos::Kind,
        /// How many users there are at a time.
        #[arg(long, default_value_t = 8, value_name = "N")]
        users: usize,
        /// Five hosts and two groups: prefixes move all the time, and an HSM is replaced in the end.
        #[arg(long)]
        moves: bool,
        /// Keep logs and history, as a failed run always does.
        #[arg(long)]
        keep: bool,
    },
    /// Take away the leader of three hosts, run as processes, in each possible way, and print how long clients waited.
    Failover {
        /// How often in each way.
        #[arg(long, default_value_t = 15, value_name = "N")]
        trials: usize,
        /// The object store.
        #[arg(long, value_enum, default_value = "folder")]
        store: chaos::Kind,
    },
    /// Restart three hosts, run as processes, one after another, and check what clients meet meanwhile.
    Rolling {
        /// Kill the processes instead, and check that this is noticed.
        #[arg(long)]
        killed: bool,
    },
    /// Visit everything that can happen in a small group under the rules of the protocol, and with each rule left out.
    ///
    /// With three members and three entries this takes minutes and gigabytes.
    Model {
        /// Members of the group.
        #[arg(long, default_value_t = 3)]
        members: usize,
        /// Entries that are ever made.
        #[arg(long, default_value_t = 2)]
        entries: usize,
        /// Guesses that may be charged.
        #[arg(long, default_value_t = 1)]
        guesses: usize,
        /// Let one read without a write happen too, and leave out the rules about reads: that takes minutes.
        #[arg(long)]
        reads: bool,
        /// Explore transfers between groups and retirement instead, in groups that the program chooses: that takes minutes.
        #[arg(long, conflicts_with_all = ["members", "entries", "guesses", "reads"])]
        transfers: bool,
        /// Number of states after which to stop.
        #[arg(long, default_value_t = 5_000_000)]
        states: usize,
    },
    /// Let a hostile host loose on HSM cores, and fail if it gets anything that no host may get.
    Hostile {
        /// The seed of the run.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many steps, over all threads.
        #[arg(long, default_value_t = 100_000)]
        steps: u64,
        /// How many threads, each with a seed of its own from `seed` on.
        #[arg(long, default_value_t = 1)]
        cores: u32,
        /// Run this trace instead of searching.
        #[arg(long, value_name = "FILE")]
        replay: Option<PathBuf>,
        /// Where the trace of a broken rule is written.
        #[arg(long, value_name = "FILE", default_value = "hostile-trace.txt")]
        trace: PathBuf,
        /// Plant every bug there is, one by one, and fail if one is not found.
        #[arg(long)]
        planted_bugs: bool,
    },
    /// Check the firmware of `hsm/firmware` on an emulated board. An emulated board protects nothing.
    Firmware {
        #[command(subcommand)]
        check: Check,
    },
    /// Print a fresh token for a user of a realm that `serve` runs. Tokens live for ten minutes.
    Token {
        /// The folder that holds the realm.
        #[arg(long, value_name = "DIR")]
        keep: PathBuf,
        /// The user.
        #[arg(long, default_value = "user-1")]
        user: String,
        /// A token of the tenant's server, of scope `audit`: for reading events, and nothing else.
        #[arg(long)]
        audit: bool,
    },
}

/// For how many days a realm that is served keeps events.
const EVENTS_KEEP_DAYS: NonZeroU16 = NonZeroU16::new(30).expect("not 0");

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| minutes.is_finite() && *minutes > 0.0);
    minutes.ok_or_else(|| "a number of minutes above 0, such as 2 or 0.5".into())
}

fn main() -> ExitCode {
    on_panic(false);
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::Tree { .. }) {
        // As the agent does, because this measures the agent's memory.
        strongroom_agent::memory::use_one_arena();
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(execute(arguments)),
        Err(error) => {
            eprintln!("strongroom-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(arguments: Arguments) -> ExitCode {
    strongroom_agent::tls::install_provider();
    if let Err(error) = start_logging() {
        eprintln!("strongroom-sim: {error}");
        return ExitCode::FAILURE;
    }
    let done = match arguments.command {
        Command::Demo { keep, firmware } => until_told(run_demo(keep, firmware)).await,
        Command::Serve { keep, listen, user } => serve(&keep, listen, &user).await,
        Command::CasesRealm { listen, until_eof } => serve_cases(listen, until_eof).await,
        Command::Tree { records, folder, settle } => {
            until_told(bench_tree(records, folder, Duration::from_secs(settle))).await
        }
        Command::Page(options) => until_told(page::run(options)).await,
        Command::Bench(options) => until_told(bench::run(&options)).await,
        Command::Bucket { listen, serving } => bench::serve(listen, serving).await,
        Command::Replay { segments } => until_told(replay(segments)).await,
        Command::SlowStore { segments, request_ms, page_ms, away, folder } => {
            let away = Duration::from_secs(away);
            let options = slow_bench::Options { segments, request_ms, page_ms, away };
            until_told(bench_slow_store(options, folder)).await
        }
        Command::Run { seed, seeds, groups, timeline, events } => {
            let (timeline, events) = (timeline.as_deref(), events.as_deref());
            if groups {
                run_groups(seed, seeds, timeline, events)
            } else {
                run_clusters(seed, seeds, timeline, events)
            }
        }
        Command::Chaos { seed, minutes, store, users, moves, keep } => {
            chaos::run(&chaos::Options { seed, minutes, store, users, moves, keep }).await
        }
        Command::Failover { trials, store } => chaos::failover(trials, store).await,
        Command::Rolling { killed } => chaos::rolling::check(killed).await,
        Command::Model { transfers: true, states, .. } => {
            model::transfers::table::print(states).map_err(Into::into)
        }
        Command::Model { members, entries, guesses, reads, states, .. } => {
            explore_model(&Bounds { members, entries, guesses, reads, states })
        }
        Command::Hostile { planted_bugs: true, .. } => hunt_planted_bugs(),
        Command::Hostile { replay: Some(file), .. } => replay_trace(&file),
        Command::Hostile { seed, steps, cores, trace, .. } => run_hostile(seed, steps, cores, &trace),
        Command::Firmware { check } => check_firmware(check),
        Command::Token { keep, user, audit } => {
            print_token(&keep, &user, if audit { Purpose::Audit } else { Purpose::User })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strongroom-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Logs what `RUST_LOG` says; nothing if it is not set.
fn start_logging() -> Result<(), Error> {
    let variable = std::env::var("RUST_LOG").unwrap_or_default();
    let text = if variable.trim().is_empty() { "off" } else { &variable };
    let filter = strongroom_agent::logging::filter(Some(text))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}

/// Ends the program silently when its output is no longer read, as `head` does; other panics are printed, unless
/// `quiet`.
fn on_panic(quiet: bool) {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        if !quiet {
            tell(panic);
        }
    }));
}

/// Writes a file; the error names it.
fn write_file(file: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    std::fs::write(file, content)
        .map_err(|error| format!("{} cannot be written: {error}", file.display()).into())
}

fn check_firmware(check: Check) -> Result<(), Error> {
    match check {
        Check::Same { image, seed, messages } => board::same(image.as_deref(), seed, messages),
        Check::Bounds { image } => board::bounds(&image),
        Check::Work { image } => board::work(&image),
        Check::Cut { image, every } => board::cut(image.as_deref(), every),
        Check::Wear { captures } => board::wear(captures),
    }
}

async fn run_demo(keep: Option<PathBuf>, boards: usize) -> Result<(), Error> {
    let Some(dir) = keep else {
        let dir = tempfile::Builder::new().prefix("strongroom-demo-").tempdir()?;
        return demo::run(dir.path(), boards).await;
    };
    demo::run(&dir, boards).await?;
    println!("The realm is kept; run it with: {} serve --keep {}", program(), dir.display());
    Ok(())
}

fn run_clusters(seed: u64, seeds: u64, timeline: Option<&Path>, events: Option<&Path>) -> Result<(), Error> {
    // A check that fails panics; the run catches that and repeats its message.
    on_panic(true);
    for seed in (seed..).take(usize::try_from(seeds.max(1))?) {
        let run = run::Run::new(seed);
        let caption = run.caption();
        let (journal, report) = run.finish();
        let outcome = report.as_ref().map(run::Report::outcome);
        write_down(&journal, &caption, outcome, timeline, events)?;
        let again = |failure| format!("{failure}\nto see it: run --seed {seed} --timeline run.html");
        let report = report.map_err(again)?;
        if seeds > 1 { println!("{}", report.line()) } else { print!("{report}") }
    }
    Ok(())
}

fn run_groups(seed: u64, seeds: u64, timeline: Option<&Path>, events: Option<&Path>) -> Result<(), Error> {
    on_panic(true);
    for seed in (seed..).take(usize::try_from(seeds.max(1))?) {
        let run = groups::Run::new(seed);
        let caption = run.caption();
        let (journal, report) = run.finish();
        let outcome = report.as_ref().map(groups::Report::outcome);
        write_down(&journal, &caption, outcome, timeline, events)?;
        let again = |failure| format!("{failure}\nto see it: run --groups --seed {seed} --timeline run.html");
        let report = report.map_err(again)?;
        if seeds > 1 { println!("{}", report.line()) } else { print!("{report}") }
    }
    Ok(())
}

/// Writes down what happened in a run, where that is wanted.
fn write_down(
    journal: &Journal,
    caption: &run::Caption,
    outcome: Result<String, &run::Failure>,
    timeline: Option<&Path>,
    events: Option<&Path>,
) -> Result<(), Error> {
    if let Some(file) = events {
        write_file(file, journal.to_string())?;
    }
    if let Some(file) = timeline {
        let failed = outcome.is_err();
        let outcome = outcome.unwrap_or_else(ToString::to_string);
        write_file(file, caption.page(journal, &outcome, failed))?;
    }
    Ok(())
}

fn explore_model(bounds: &Bounds) -> Result<(), Error> {
    if !(1..=9).contains(&bounds.members) {
        return Err("a group has 1 to 9 members".into());
    }
    let Explored { states, exhausted, broken, .. } = explore(bounds, None);
    let reach = if exhausted { "all there are" } else { "then stopped" };
    println!("all rules: {states} states, {reach}");
    if let Some((way, promise)) = broken {
        return Err(format!("{promise}, with all rules: {}", in_words(&way)).into());
    }
    println!("every promise holds\n\nwithout a rule, in a group as small as it takes:");
    for rule in Rule::ALL {
        let smallest = Bounds::for_rule(rule);
        if smallest.is_some_and(|smallest| smallest.reads && !bounds.reads) {
            continue;
        }
        let found = smallest.map(|smallest| explore(&smallest, Some(rule)).broken);
        match found {
            None => println!("\n{rule:?}: nothing breaks"),
            Some(None) => return Err(format!("nothing breaks without {rule:?}").into()),
            Some(Some((way, promise))) => println!("\n{rule:?}: {promise}\n{}", in_words(&way)),
        }
    }
    Ok(())
}

fn in_words(way: &[Action]) -> String {
    way.iter().map(|action| format!("  {action}\n")).collect()
}

fn run_hostile(seed: u64, steps: u64, cores: u32, file: &Path) -> Result<(), Error> {
    let Some((trace, violation)) = hostile::run(seed, steps, cores) else { return Ok(()) };
    println!("\nBroken, {violation}\n{} steps lead there:\n{}", trace.len(), trace.readable());
    println!("The same as a file for `hostile --replay`:\n{trace}");
    write_file(file, trace.to_string())?;
    Err(format!("a rule is broken; `hostile --replay {}` runs it again", file.display()).into())
}

fn replay_trace(file: &Path) -> Result<(), Error> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    let trace = hostile::Trace::parse(&text).map_err(|error| named(&error))?;
    print!("{}", trace.readable());
    match trace.replay() {
        None => {
            println!("no rule is broken");
            Ok(())
        }
        Some(violation) => Err(format!("broken, {violation}").into()),
    }
}

#[cfg(feature = "planted-bugs")]
fn hunt_planted_bugs() -> Result<(), Error> {
    match hostile::print_table() {
        0 => Ok(()),
        missed => Err(format!("{missed} planted bugs were not found").into()),
    }
}

#[cfg(not(feature = "planted-bugs"))]
fn hunt_planted_bugs() -> Result<(), Error> {
    Err("this build can plant no bugs; build it with `--features planted-bugs`".into())
}

async fn replay(segments: u64) -> Result<(), Error> {
    let dir = tempfile::Builder::new().prefix("strongroom-replay-").tempdir()?;
    replay_bench::run(dir.path(), segments).await.map(drop)
}

async fn bench_slow_store(options: slow_bench::Options, folder: Option<PathBuf>) -> Result<(), Error> {
    let Some(folder) = folder else {
        let folder = tempfile::Builder::new().prefix("strongroom-slow-").tempdir()?;
        return slow_bench::run(folder.path(), &options).await;
    };
    slow_bench::run(&folder, &options).await
}

async fn bench_tree(records: u64, folder: Option<PathBuf>, settle: Duration) -> Result<(), Error> {
    let Some(folder) = folder else {
        let folder = tempfile::Builder::new().prefix("strongroom-tree-").tempdir()?;
        return tree_bench::run(records, folder.path(), settle).await.map(drop);
    };
    tree_bench::run(records, &folder, settle).await.map(drop)
}

/// The signals that end long runs. As the first process of a container, it gets only those that it asks for.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        // The end of the terminal is a reason to end, too.
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hang_up] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hang_up?]))
    }

    /// Completes when one of them comes.
    async fn told(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// Works until it is done or told to end; its temporary folders are removed either way.
async fn until_told(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    tokio::select! {
        done = work => done,
        () = signals.told() => Err("ended before it was done".into()),
    }
}

async fn serve(dir: &Path, listen: SocketAddr, user: &str) -> Result<(), Error> {
    if user.is_empty() {
        return Err("the name of the user is empty; give one with --user".into());
    }
    let mut signals = Signals::new()?;
    let page = AppListener::bind().await?;
    let setting = Setting { pages: true, events: Some(EVENTS_KEEP_DAYS), ..Setting::default() };
    let mut local = LocalRealm::start_with(dir, listen, setting)?;
    let announced = tokio::select! {
        announced = announce(&local, dir, listen, user, &page) => announced.map(Some),
        () = signals.told() => Ok(None),
    };
    let served = match announced {
        Ok(Some(app)) => tokio::select! {
            () = signals.told() => Ok(()),
            ended = local.ended() => Err(ended.into()),
            served = page.serve(app) => served,
        },
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    tokio::select! {
        () = local.shutdown() => {}
        () = signals.told() => {}
    }
    served
}

async fn serve_cases(listen: SocketAddr, until_eof: bool) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let stage = tokio::select! {
        stage = cases::Stage::start(listen) => stage?,
        () = signals.told() => return Ok(()),
    };
    println!("control {}", stage.url());
    let (there, gone) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own, which nobody waits for.
    std::thread::spawn(move || {
        if until_eof {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        } else {
            std::thread::park();
        }
        drop(there);
    });
    tokio::select! {
        () = signals.told() => Ok(()),
        _ = gone => Ok(()),
        served = stage.serve() => served,
    }
}

async fn announce(
    local: &LocalRealm,
    dir: &Path,
    listen: SocketAddr,
    user: &str,
    page: &AppListener,
) -> Result<App, Error> {
    let realm = match local.realm_id().await? {
        Some(realm) => realm,
        None => local.make_realm().await?,
    };
    // Before there is a group, whose leader looks for it once in a while.
    let tenant = local.tenant(realm).await?;
    local.make_whole().await?;
    local.leader(None).await?;
    let token = local.token(&realm, user)?;
    let path = dir.join("configuration.json");
    let configuration = local.configuration(0).await?;
    write_file(&path, format!("{configuration}\n"))?;
    println!(
        "A local realm. Its HSMs are simulated and protect nothing; never copy or restore {}.",
        dir.display()
    );
    println!("\nClient configuration, also in {}:\n{configuration}", path.display());
    if listen.ip().is_unspecified() {
        println!(
            "\nOther machines use an address of this one instead, and clients that allow plain http (`--allow-http`)."
        );
    }
    println!("\nToken for {user}, for ten minutes:\n{token}");
    println!("\nAnother: {} token --keep {} --user {user}", program(), dir.display());
    println!(
        "\nWhat happens to users, as their tenant's server is told it within seconds:\n{}\n",
        tenant.command(&program())
    );
    if let Some(status) = local.page(0) {
        println!("Status page: {status}");
    }
    println!("An app to try it with: {}", page.url()?);
    println!("Ctrl-C ends it.");
    // The realm may listen beyond this machine; nothing is sent to it from here.
    let front = Configuration::from_json_allowing_http(&configuration)?.realms()[0].request_url().clone();
    Ok(App { dir: dir.to_owned(), realm, configuration, front })
}

fn print_token(dir: &Path, user: &str, purpose: Purpose) -> Result<(), Error> {
    let path = dir.join("configuration.json");
    let configuration = std::fs::read_to_string(&path).map_err(|e| {
        format!("{}: {e}; run `{} serve --keep {}` first", path.display(), program(), dir.display())
    })?;
    // The realm may listen beyond this machine; nothing is sent to it from here.
    let configuration = Configuration::from_json_allowing_http(&configuration)?;
    let realm = configuration.realms().first().ok_or("the configuration names no realm")?;
    println!("{}", token(dir, &realm.id(), user, purpose)?);
    Ok(())
}

/// This program, as it was invoked.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "strongroom-sim".into())
}
