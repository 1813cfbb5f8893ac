//! `realm rehearse`: the whole ceremony with software HSMs and throw-away keys, through the same commands as the real one,
//! in a folder that is deleted afterwards.
//!
//! What is left is the transcript. Its first entry says that it is a rehearsal's, and so does every custodian's signature.

use super::arguments::{KeysOf, Rehearse, VerifyTranscript};
use super::error::CliError;
use super::marker::mark;
use super::reach::write_secret;
use super::record::now;
use super::transcript::verify;
use crate::transcript::TranscriptFile;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use strongroom_proto::enrolment::CustodianKey;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// What the console of an HSM shows of a realm that was made in it, in the order in which `realm sign` asks.
const REALM: [&str; 7] = ["keys", "HSM id", "build", "realm", "public key", "policy", "checkpoint key"];
/// What it shows of itself, in the order in which `hsm approve` asks.
const DEVICE: [&str; 3] = ["HSM id", "device key", "build"];
/// How long an agent may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(200);

/// The arguments that name a custodian's private key, and the public key.
type Custodian = (Vec<String>, String);

pub(super) async fn execute(arguments: &Rehearse) -> Result<(), CliError> {
    let threshold = arguments.threshold.unwrap_or(arguments.custodians / 2 + 1);
    if threshold > arguments.custodians {
        return Err(CliError::Arguments(
            "the threshold is at most the number of custodians; correct the arguments",
        ));
    }
    if arguments.transcript.exists() {
        return Err(CliError::Usage(format!(
            "{} exists, and a rehearsal has a transcript of its own; choose another name with `--transcript FILE`",
            arguments.transcript.display()
        )));
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut place = Place::make(arguments)?;
    let stopped = || Err(CliError::Rehearsal("it was interrupted".into()));
    let done = tokio::select! {
        done = rehearse(&mut place, arguments, threshold) => done,
        _ = interrupt.recv() => stopped(),
        _ = terminate.recv() => stopped(),
        _ = hang_up.recv() => stopped(),
    };
    // However it ended.
    let cleared = place.clear().await;
    if cleared.is_ok() {
        hintln!("The HSMs, the realm and the custodians' keys of the rehearsal are deleted.");
    } else if let Err(error) = &done {
        hintln!("{error}");
    }
    let custodians = cleared.and(done)?;
    hintln!("Its transcript:");
    let file = arguments.transcript.clone();
    let custodians = custodians.iter().filter_map(|(_, public)| public.parse().ok().map(CustodianKey));
    verify(&VerifyTranscript {
        file,
        realm: None,
        public_key: None,
        custodians: custodians.collect(),
        threshold: Some(threshold),
        head: None,
        closed: false,
    })
}

/// The whole ceremony. Returns its custodians.
async fn rehearse(
    place: &mut Place,
    arguments: &Rehearse,
    threshold: u8,
) -> Result<Vec<Custodian>, CliError> {
    place.start(arguments.hsms).await?;
    drop(TranscriptFile::open(&arguments.transcript, true, now())?);
    let custodians = place.custodians(arguments.custodians, arguments.keys).await?;
    let founding = place.found(&custodians, threshold).await?;
    for host in 1..place.hosts.len() {
        place.enrol(host, &custodians[..usize::from(threshold)], &founding).await?;
    }
    for (key, _) in &custodians {
        place.record(None, &with(&["realm", "transcript", "sign"], key, &[]), &[]).await?;
    }
    Ok(custodians)
}

/// Where it takes place. What [`Place::clear`] does not reach, when this program panics, ends by being dropped.
struct Place {
    /// The command that runs, if one does.
    command: Option<Child>,
    /// The HSMs and agents, as they were started.
    processes: Vec<Child>,
    hosts: Vec<Host>,
    folder: TempDir,
    program: PathBuf,
    hsm_program: PathBuf,
    transcript: PathBuf,
    by_hand: bool,
}

/// An HSM and its agent.
struct Host {
    config: PathBuf,
    console: PathBuf,
}

impl Place {
    /// A folder, in which nothing runs yet.
    fn make(arguments: &Rehearse) -> Result<Self, CliError> {
        let program = std::env::current_exe()?;
        let hsm_program = hsm_program(&program, arguments.hsm_program.as_deref())?;
        let mut folder = tempfile::Builder::new();
        folder.prefix("strongroom-rehearsal-").permissions(Permissions::from_mode(0o700));
        let folder = folder.tempdir()?;
        // Custodians' keys lie in it.
        mark(folder.path())?;
        std::fs::create_dir(folder.path().join("store"))?;
        std::fs::write(folder.path().join("tenants.toml"), "")?;
        let (transcript, by_hand) = (std::path::absolute(&arguments.transcript)?, arguments.by_hand);
        let (command, processes, hosts) = (None, Vec::new(), Vec::new());
        Ok(Self { command, processes, hosts, folder, program, hsm_program, transcript, by_hand })
    }

    /// Starts the HSMs and agents, and waits until each answers.
    async fn start(&mut self, hsms: u8) -> Result<(), CliError> {
        for i in 1..=hsms {
            let programs = (self.program.as_path(), self.hsm_program.as_path());
            let host = Host::start(self.folder.path(), i, programs, &mut self.processes)?;
            self.hosts.push(host);
        }
        for host in 0..self.hosts.len() {
            let since = Instant::now();
            while let Err(error) = self.run(Some(host), &["hsm", "status"], "", true).await {
                if since.elapsed() > PATIENCE {
                    return Err(error);
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// Custodians' keys, kept like this.
    async fn custodians(&mut self, count: u8, keys: KeysOf) -> Result<Vec<Custodian>, CliError> {
        let named = |name: &str| self.folder.path().join(name).display().to_string();
        let (passphrase, stems) =
            (named("passphrase"), (1..=count).map(|i| named(&format!("custodian{i}.key"))));
        let stems: Vec<String> = stems.collect();
        if keys == KeysOf::Age {
            write_secret(Path::new(&passphrase), "this passphrase is for a rehearsal\n")?;
        }
        let (mut all, text) = (Vec::new(), |words: &[&str]| words.iter().map(ToString::to_string).collect());
        for stem in &stems {
            let how: &[&str] = match keys {
                KeysOf::Files => &[],
                KeysOf::Age => &["--age", "--new-passphrase-file", &passphrase],
                KeysOf::Cards => &["--cards", "2-of-3"],
            };
            let new = [&["realm", "custodian", "--out", stem.as_str()][..], how].concat();
            let public = self.run(None, &new, "", false).await?;
            let (first, last) = (format!("{stem}.card1"), format!("{stem}.card3"));
            let key: Vec<String> = match keys {
                KeysOf::Files => text(&["--key", stem]),
                KeysOf::Age => text(&["--key", stem, "--passphrase-file", &passphrase]),
                KeysOf::Cards => text(&["--card", &first, "--card", &last]),
            };
            all.push((key, public));
        }
        Ok(all)
    }

    async fn found(&mut self, custodians: &[Custodian], threshold: u8) -> Result<String, CliError> {
        let (threshold, smallest) = (threshold.to_string(), self.hosts.len().min(3).to_string());
        let mut create = vec!["realm", "create", "--threshold", &threshold, "--smallest-group", &smallest];
        custodians.iter().for_each(|(_, public)| create.extend(["--custodian", public]));
        let founding = self.record(Some(0), &create, &[]).await?;
        let mut signed = Vec::new();
        for (key, _) in custodians {
            let words = self.console(0, &REALM)?;
            signed.push(self.record(None, &with(&["realm", "sign"], key, &[&founding]), &words).await?);
        }
        let mut found = vec!["realm", "found", &founding];
        found.extend(signed.iter().map(String::as_str));
        self.record(Some(0), &found, &[]).await
    }

    async fn enrol(&mut self, host: usize, custodians: &[Custodian], founding: &str) -> Result<(), CliError> {
        let request = self.record(Some(host), &["hsm", "request"], &[]).await?;
        let approval = self.record(Some(0), &["hsm", "offer", &request], &[]).await?;
        let mut signed = Vec::new();
        for (key, _) in custodians {
            let words = self.console(host, &DEVICE)?;
            let approve = with(&["hsm", "approve"], key, &["--founding", founding, &approval]);
            signed.push(self.record(None, &approve, &words).await?);
        }
        let mut export = vec!["hsm", "export", &approval];
        export.extend(signed.iter().map(String::as_str));
        let sealed = self.record(Some(0), &export, &[]).await?;
        self.record(Some(host), &["hsm", "enrol", &sealed], &[]).await?;
        Ok(())
    }

    /// Runs a step that is recorded. Shows what the console says, or types it.
    async fn record(
        &mut self,
        host: Option<usize>,
        arguments: &[&str],
        words: &[String],
    ) -> Result<String, CliError> {
        let transcript = self.transcript.display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--rehearsal", "--transcript", &transcript]);
        if self.by_hand && !words.is_empty() {
            hintln!("On the console of that HSM you would read, in this order:");
            words.iter().for_each(|line| hintln!("  console: {line}"));
        }
        let typed: String = words.iter().map(|line| format!("{line}\n")).collect();
        self.run(host, &all, &typed, false).await
    }

    /// Runs a command as a person would, and returns the line that it printed.
    async fn run(
        &mut self,
        host: Option<usize>,
        arguments: &[&str],
        typed: &str,
        is_quiet: bool,
    ) -> Result<String, CliError> {
        let by_hand = self.by_hand && !typed.is_empty();
        if !is_quiet {
            let at = host.map_or("a custodian".into(), |host| format!("host {}", host.saturating_add(1)));
            hintln!("{at}: strongroom-agent {}", shown(arguments));
        }
        let mut command = Command::new(&self.program);
        if let Some(host) = host.and_then(|host| self.hosts.get(host)) {
            command.arg("--config").arg(&host.config);
        }
        command.args(arguments).env_remove("STRONGROOM_TRANSCRIPT").env_remove("STRONGROOM_AGENT_CONFIG");
        command.current_dir(self.folder.path()).stdout(Stdio::piped()).kill_on_drop(true);
        if by_hand {
            command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
        } else {
            command.stdin(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // Where it is ended, and waited for, if this is interrupted.
        let child = self.command.insert(child);
        if let Some(mut stdin) = stdin {
            // A command that asks for nothing may have ended already.
            let _ = stdin.write_all(typed.as_bytes()).await;
        }
        let (printed, said) = tokio::try_join!(all_of(stdout), all_of(stderr))?;
        let status = child.wait().await?;
        self.command = None;
        if status.success() {
            return Ok(printed);
        }
        Err(CliError::Rehearsal(format!("`{}` failed: {said}", shown(arguments))))
    }

    /// What the console of an HSM shows under these names, as a person types it.
    fn console(&self, host: usize, names: &[&str]) -> Result<Vec<String>, CliError> {
        let Some(host) = self.hosts.get(host) else { return Ok(Vec::new()) };
        let shown = std::fs::read_to_string(&host.console)?;
        let line = |name: &&str| {
            let lines = shown.lines().rev().filter_map(|line| line.strip_prefix("console:"));
            let words = lines.filter_map(|line| line.trim_start().strip_prefix(name)).next();
            words.map(|words| words.trim().to_owned())
        };
        let words = names.iter().map(line).collect::<Option<Vec<_>>>();
        words.ok_or_else(|| {
            CliError::Rehearsal("the console of the HSM does not show what is asked for".into())
        })
    }

    /// Ends the processes, waits until they have ended, since they write into the folder until then, and deletes it.
    async fn clear(self) -> Result<(), CliError> {
        let Self { command, processes, folder, .. } = self;
        let mut all: Vec<Child> = command.into_iter().chain(processes.into_iter().rev()).collect();
        for process in &mut all {
            // It may have ended by itself.
            let _ = process.start_kill();
        }
        let mut ended = Ok(());
        for mut process in all {
            ended = ended.and(process.wait().await.map(drop));
        }
        let path = folder.path().to_path_buf();
        let deleted = folder.close();
        ended.and(deleted).map_err(|source| CliError::NotCleared { path, source })
    }
}

impl Host {
    /// Starts both programs, the agent's and the HSM's.
    fn start(
        folder: &Path,
        i: u8,
        (agent, hsm): (&Path, &Path),
        processes: &mut Vec<Child>,
    ) -> Result<Self, CliError> {
        let own = folder.join(format!("host{i}"));
        std::fs::create_dir(&own)?;
        mark(&own)?;
        let (config, console) = (own.join("agent.toml"), own.join("hsm.log"));
        // Any free ports: nobody is served here.
        let text = format!(
            "listen = \"127.0.0.1:0\"\npeer_listen = \"127.0.0.1:0\"\ndiscover = false\nhsm = \"unix:hsm.sock\"\nstore = \"file://{}\"\n\
             tenants = \"../tenants.toml\"\n",
            folder.join("store").display()
        );
        std::fs::write(&config, text)?;
        let start = |program: &Path, arguments: &[OsString], log: &Path| -> io::Result<Child> {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(&own).stdin(Stdio::null()).stdout(Stdio::null());
            command.env_remove("STRONGROOM_AGENT_CONFIG").stderr(std::fs::File::create(log)?);
            command.kill_on_drop(true).spawn()
        };
        let hsm_arguments = ["--nvram", "hsm.nvram", "--listen", "unix:hsm.sock"].map(OsString::from);
        let agent_arguments = ["--config".into(), config.clone().into_os_string()];
        processes.push(start(hsm, &hsm_arguments, &console)?);
        processes.push(start(agent, &agent_arguments, &own.join("agent.log"))?);
        Ok(Self { config, console })
    }
}

/// The software HSM: as named, or beside this program, or where the shell would find it.
fn hsm_program(own: &Path, named: Option<&Path>) -> Result<PathBuf, CliError> {
    const NAME: &str = "strongroom-hsm";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || std::env::split_paths(&path).map(|folder| folder.join(NAME));
    let beside = own.parent().map(|folder| folder.join(NAME));
    let mut all: Vec<PathBuf> = match named {
        Some(named) => vec![std::path::absolute(named)?],
        None => beside.into_iter().chain(in_path()).collect(),
    };
    all.retain(|file| file.is_file());
    all.into_iter().next().ok_or(CliError::Arguments(
        "a rehearsal runs on software HSMs, and `strongroom-hsm` is neither beside this program nor in PATH; name it with \
         `--hsm-program FILE`",
    ))
}

/// A custodian's command, with their key.
fn with<'a>(command: &[&'a str], key: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    command.iter().copied().chain(key.iter().map(String::as_str)).chain(more.iter().copied()).collect()
}

/// All that a process writes there.
async fn all_of(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// A command for people: what is long is cut off.
fn shown(arguments: &[&str]) -> String {
    let short = |word: &&str| match word.char_indices().nth(40) {
        Some((at, _)) if word.starts_with("strongroom-") => {
            format!("{}…", word.get(..at).unwrap_or_default())
        }
        _ => (*word).to_owned(),
    };
    arguments.iter().map(short).collect::<Vec<_>>().join(" ")
}
