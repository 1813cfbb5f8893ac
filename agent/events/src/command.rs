//! The command line of `strongroom-events`.

use crate::http::{HttpError, HttpSource};
use crate::key_file::{self, KeyFileError};
use crate::line;
use crate::offsets::{NoOffset, Offset, Offsets, OffsetsError, System};
use crate::reader::{Begin, Consumer, ReadError, Source};
use crate::store::{OpenError, StoreSource};
use crate::tail::{KEPT_EVERY, Keeper, Style, TailError, tail};
use crate::tenant::Tenant;
use crate::token::TokenSource;
use chrono::DateTime;
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use strongroom_proto::ids::{Ed25519Public, GroupId, RealmId};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// What happened to the records of a tenant's users.
#[derive(Parser, Debug)]
#[command(name = "strongroom-events", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a tenant's secret, in a file for its owner alone, and print its public key, which the realm's custodians sign.
    NewKey {
        /// Where to write the secret. The file must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print a tenant's events, one on each line.
    Tail(Box<Tail>),
}

#[derive(Args, Debug)]
struct Tail {
    /// The object store, as in the `store` of the agents.
    #[arg(long, value_name = "URL", required_unless_present = "urls", conflicts_with = "urls")]
    store: Option<Url>,
    /// An agent, as apps have its address, in the place of the object store: it is shown a token. Once for each; any will do.
    #[arg(long = "url", value_name = "URL", requires = "tokens")]
    urls: Vec<Url>,
    /// The file with the tenant's token of scope `audit`, which is read anew for each use: replace it before the token expires.
    #[arg(long, value_name = "FILE", group = "tokens", requires = "urls")]
    token_file: Option<PathBuf>,
    /// A command for `sh` that prints such a token. It runs for each use.
    #[arg(long, value_name = "COMMAND", group = "tokens", requires = "urls")]
    token_command: Option<String>,
    /// The authorities that signed the agents' certificates, as PEM; by default those of this machine.
    #[arg(long, value_name = "FILE", requires = "urls")]
    ca: Option<PathBuf>,
    /// An option of that store, such as an endpoint, named as in `store_options`.
    #[arg(long = "store-option", value_name = "NAME=VALUE", value_parser = store_option)]
    options: Vec<NameAndValue>,
    /// The realm.
    #[arg(long, value_name = "REALMID")]
    realm: RealmId,
    /// The realm's checkpoint key, with which its HSMs sign what they tell: 64 hexadecimal digits. It is in the founding, and in the statement
    /// that custodians sign. Do not take it from the store.
    #[arg(long, value_name = "HEX")]
    checkpoint_key: Ed25519Public,
    /// The tenant.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// The tenant's secret: the file that `new-key` wrote.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Keep in this file what was printed, and go on there the next time. It belongs to one consumer; have one for each.
    #[arg(long, value_name = "FILE")]
    offsets: Option<PathBuf>,
    /// Where to begin: `start`, with the oldest page that is kept (the default); `now`; a time, such as 2026-11-30T20:15:00Z, or up to a minute before;
    /// or GROUP:PAGE, GROUP:PAGE:SEQUENCE or GROUP::SEQUENCE, once for each group. Where the file of --offsets exists, it goes before the first three, and
    /// GROUP:… before it.
    #[arg(long, value_name = "WHERE")]
    from: Vec<From>,
    /// Wait for more, until SIGTERM or SIGINT.
    #[arg(long)]
    follow: bool,
    /// Print a JSON object on each line.
    #[arg(long)]
    json: bool,
    /// Also print events in which nothing happened: requests that were refused, or sent once more.
    #[arg(long)]
    all: bool,
}

/// An option of a store. That it must contain a `=` is checked later, not by the parser, whose message would show what may be a
/// credential.
#[derive(Clone)]
struct NameAndValue(Option<(String, String)>);

impl std::fmt::Debug for NameAndValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NameAndValue").field(&self.0.as_ref().map(|(name, _)| name)).finish()
    }
}

fn store_option(text: &str) -> Result<NameAndValue, Infallible> {
    Ok(NameAndValue(text.split_once('=').map(|(name, value)| (name.into(), value.into()))))
}

/// Where to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    All(Begin),
    Group(GroupId, Offset),
    Sequence(GroupId, u64),
}

/// Not a place to begin.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "begin at `start`, `now`, a time such as 2026-11-30T20:15:00Z, GROUP:PAGE, GROUP:PAGE:SEQUENCE or GROUP::SEQUENCE"
)]
struct NoPlace;

impl FromStr for From {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        match text {
            "start" => Ok(Self::All(Begin::Start)),
            "now" => Ok(Self::All(Begin::Now)),
            _ => {
                if let Ok(time) = DateTime::parse_from_rfc3339(text) {
                    let ms = u64::try_from(time.timestamp_millis()).map_err(|_| NoPlace)?;
                    return Ok(Self::All(Begin::Time(ms)));
                }
                let (group, offset) = text.split_once(':').ok_or(NoPlace)?;
                let group = group.parse().map_err(|_| NoPlace)?;
                if let Some(sequence) = offset.strip_prefix(':') {
                    return Ok(Self::Sequence(group, sequence.parse().map_err(|_| NoPlace)?));
                }
                Ok(Self::Group(group, offset.parse().map_err(|_: NoOffset| NoPlace)?))
            }
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The agents.
    #[error(transparent)]
    Agents(#[from] HttpError),
    /// The offsets.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The stream, or what reads the lines.
    #[error(transparent)]
    Tail(TailError),
    /// The arguments do not go together.
    #[error("{0}")]
    Arguments(&'static str),
    /// Another consumer has the file.
    #[error("{} belongs to a consumer that runs; name another file", .0.display())]
    Taken(PathBuf),
    /// The system refused threads, signals or output.
    #[error("cannot go on: {0}")]
    System(#[from] io::Error),
}

impl std::convert::From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        Self::Tail(error.into())
    }
}

/// A reader that goes away is no error: it has read what it wanted.
impl std::convert::From<TailError> for CommandError {
    fn from(error: TailError) -> Self {
        Self::Tail(error)
    }
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// [`CommandError`], to be shown to the person.
    pub fn execute(self) -> Result<(), CommandError> {
        match self.command {
            Command::NewKey { out } => new_key(&out),
            Command::Tail(arguments) => {
                // A provider that was installed before is just as good.
                let _ = rustls::crypto::ring::default_provider().install_default();
                tokio::runtime::Runtime::new()?.block_on(arguments.execute())
            }
        }
    }
}

fn new_key(out: &Path) -> Result<(), CommandError> {
    let public = key_file::create(out)?.public();
    writeln!(stdout(), "{public}")?;
    // The reader of this may be gone.
    let _ = writeln!(
        stderr(),
        "The line above is the public key. The secret is in {}: whoever has it is told what happens to this tenant's\n\
         users, and without it nobody can read what was sealed to it. Next, by each custodian of the realm, who asks you for that line:\n\
         strongroom-agent tenant events-key sign --key FILE --realm REALMID --tenant NAME {public}",
        out.display()
    );
    Ok(())
}

impl Tail {
    async fn execute(&self) -> Result<(), CommandError> {
        match (&self.store, &self.token_file, &self.token_command) {
            (Some(store), _, _) => self.read(self.in_store(store)?).await,
            (None, Some(file), _) => self.read(self.at_agents(TokenSource::File(file.clone()))?).await,
            (None, None, Some(command)) => {
                self.read(self.at_agents(TokenSource::Command(command.clone()))?).await
            }
            (None, None, None) => Err(CommandError::Arguments("--url takes --token-file or --token-command")),
        }
    }

    fn at_agents(&self, tokens: TokenSource) -> Result<HttpSource, CommandError> {
        Ok(HttpSource::open(&self.urls, self.ca.as_deref(), tokens)?)
    }

    fn in_store(&self, store: &Url) -> Result<StoreSource, CommandError> {
        let options: Option<BTreeMap<String, String>> =
            self.options.iter().map(|option| option.0.clone()).collect();
        let options = options.ok_or(CommandError::Arguments("--store-option takes NAME=VALUE"))?;
        Ok(StoreSource::open(store, &options, self.realm, &self.tenant)?)
    }

    async fn read<S: Source + Clone>(&self, source: S) -> Result<(), CommandError> {
        let tenant = Tenant::new(&self.tenant, key_file::read(&self.key)?, self.checkpoint_key);
        let _lock = self.offsets.as_deref().map(lock).transpose()?;
        let (begin, groups) = self.places(&source).await?;
        let kept = match &self.offsets {
            Some(file) => Offsets::open(file, self.realm, &self.tenant)?,
            None => None,
        };
        let mut offsets = match kept {
            Some(kept) => kept,
            None => {
                let none = Offsets::none(self.realm, &self.tenant);
                Consumer::begin(source.clone(), tenant.clone(), none, begin).await?.offsets().clone()
            }
        };
        offsets.groups.extend(groups);
        let mut consumer = Consumer::resume(source, tenant, offsets);
        let line = if self.json { line::json } else { line::text };
        let style = Style { line, all: self.all, follow: self.follow, kept_every: KEPT_EVERY };
        let mut keeper = Keeper::new(System, self.offsets.as_deref());
        let (mut terminated, mut interrupted) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        let mut out = BufWriter::new(stdout().lock());
        match tail(&mut consumer, &mut out, &mut keeper, style, stop).await {
            // It has read what it wanted. What it has not is not acknowledged.
            Err(TailError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                // Without writing what is in the buffer: it would fail once more.
                drop(out.into_parts());
                Ok(())
            }
            ended => Ok(ended?),
        }
    }

    async fn places<S: Source>(
        &self,
        source: &S,
    ) -> Result<(Begin, BTreeMap<GroupId, Offset>), CommandError> {
        let (mut begin, mut groups) = (None, BTreeMap::new());
        for from in &self.from {
            let again = match *from {
                From::All(all) => begin.replace(all).is_some(),
                From::Group(group, offset) => groups.insert(group, offset).is_some(),
                From::Sequence(group, sequence) => {
                    groups.insert(group, Consumer::at(source, group, sequence).await?).is_some()
                }
            };
            if again {
                return Err(CommandError::Arguments("--from says twice where to begin; say it once"));
            }
        }
        Ok((begin.unwrap_or(Begin::Start), groups))
    }
}

/// Keeps other consumers from these offsets while the file that it returns is open.
fn lock(offsets: &Path) -> Result<File, CommandError> {
    let mut path = offsets.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |source| OffsetsError::Write { path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CommandError::Taken(offsets.into())),
        Err(TryLockError::Error(error)) => Err(failed(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense_and_shows_no_credential() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let option = store_option("aws_secret_access_key=hunter2").unwrap();
        assert!(!format!("{option:?}").contains("hunter2"));
    }

    #[test]
    fn a_place_to_begin_is_written_in_one_of_six_ways() {
        let group = GroupId([7; 16]);
        let offset = |sequence| Offset { page: 5, sequence, follows: None };
        for (text, expected) in [
            ("start".to_owned(), From::All(Begin::Start)),
            ("now".to_owned(), From::All(Begin::Now)),
            ("2026-11-30T20:15:03.120Z".to_owned(), From::All(Begin::Time(1_796_069_703_120))),
            ("2026-11-30T21:15:03.120+01:00".to_owned(), From::All(Begin::Time(1_796_069_703_120))),
            (format!("{group}::17"), From::Sequence(group, 17)),
            (format!("{group}:5"), From::Group(group, offset(None))),
            (format!("{group}:5:17"), From::Group(group, offset(Some(17)))),
        ] {
            assert_eq!(text.parse::<From>().unwrap(), expected, "{text}");
        }
        for wrong in [
            "",
            "end",
            "5:17",
            &format!("{group}"),
            &format!("{group}:5:17:1"),
            &format!("{group}:"),
            &format!("{group}::"),
            "1960-11-30T20:15:03Z",
        ] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }
}
