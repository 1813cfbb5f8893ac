//! The arguments of `strongroom-agent`, each with its help text.

mod events_key;
mod format;
mod keys;
mod statement;

pub(super) use events_key::{EventsKeyCommand, PublishEventsKey, SignEventsKey};
pub(super) use format::StatusFormat;
pub(super) use keys::{Keep, Kept, KeyArguments, KeysOf, NewCustodian};
pub use statement::StatementCommand;
pub(super) use statement::{DraftStatement, SignStatement};

use super::error::CliError;
use crate::balance::WITHIN_PERCENT;
use crate::config::{PeerUrl, StoreOptions};
use crate::logging::LogFormat;
use crate::store::parse_url;
use crate::usage::Month;
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use strongroom_proto::hsm::CustodianKey;
use strongroom_proto::ids::{Digest, GroupId, HsmId, RealmId, X25519Public};
use strongroom_proto::prefix::Prefix;
use url::Url;

/// The agent of one Strongroom HSM.
#[derive(Parser, Debug)]
#[command(name = "strongroom-agent", version = crate::BUILD)]
pub struct Cli {
    /// The agent's configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "agent.toml",
        env = "STRONGROOM_AGENT_CONFIG",
        global = true
    )]
    pub config: PathBuf,
    /// Ask the agent that has this peer_listen address, `https://host:port`, instead of the one in the configuration. For
    /// `realm status` and `group status` several can be given: the first that answers is asked.
    #[arg(long, value_name = "URL", global = true, requires = "identity", value_parser = peer_url)]
    pub agent: Vec<PeerUrl>,
    /// The operator's identity: the file that `admin-identity` wrote.
    #[arg(long, value_name = "FILE", global = true, requires = "agent")]
    pub identity: Option<PathBuf>,
    /// How log lines look: for people, or one JSON object each.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "STRONGROOM_LOG_FORMAT",
        hide_env_values = true,
        global = true
    )]
    pub log_format: LogFormat,
    /// What to do; `run` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Subcommand, Debug, Default)]
pub enum Command {
    /// Run the agent until it is interrupted.
    #[default]
    Run,
    /// Make a realm, or look at it.
    #[command(subcommand)]
    Realm(RealmCommand),
    /// Look at the HSM, or bring it into a realm that another HSM has.
    #[command(subcommand)]
    Hsm(HsmCommand),
    /// Make a group of HSMs, or look at it.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Divide what a group owns, or move a part of it to another group.
    #[command(subcommand)]
    Partition(PartitionCommand),
    /// Print the configuration with which clients reach this realm, with the custodians' founding in it.
    ClientConfig(ClientConfig),
    /// Make a certificate for giving these commands from another machine with --agent and --identity.
    AdminIdentity(AdminIdentity),
    /// Check everything that the store holds: chain, authenticity, roots, pages and leaves. Changes nothing of it, and
    /// does not disturb a group at work; a leader may have to keep merged files meanwhile. Fails if anything is wrong.
    Check(CheckArguments),
    /// Look at the configuration and at every file that it names, and say what is wrong with them. Connects to nothing, and
    /// writes nothing.
    ///
    /// Exits with 0 if all is well, with 1 if something needs attention, and with 2 if the agent would not start or not serve.
    Configtest(StatusFormat),
    /// Look at all that the agent depends on: configuration, keys and permissions, each right in the object store, the clock,
    /// the HSM, the certificate, the other agents and the realm; and say what to do about what is wrong. Writes a few small
    /// objects to the store, and deletes them.
    ///
    /// Exits with 0 if all is well, with 1 if something needs attention, and with 2 if somebody is not served or will not be.
    Doctor(StatusFormat),
    /// With a newer program, while the older agent runs: what this version would meet in its place. Whether it reads the
    /// configuration and what is stored, which versions the other hosts have, and whether each group goes on while this host is
    /// away. Changes nothing.
    ///
    /// Exits with 0 if nothing stands in the way, with 1 if something needs attention first, and with 2 if users would be cut off.
    UpgradeCheck(StatusFormat),
    /// Print what a shell needs to complete these commands; `source` it, or put it where the shell looks.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of these commands to a folder, which must exist.
    ManualPages {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Rebuild a group's stored tree from the segments and leaves that exist. Stop the group's agents first.
    RebuildTree(RebuildTree),
    /// Give a tenant a key, in the tenants file of the configuration, show what tenants use, or have a tenant told of its events.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Make a test token. Its bearer is a user of a tenant for ten minutes. Apps get theirs from the tenant's own server.
    Token(TokenArguments),
}

/// `check`.
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// What to check.
    #[command(flatten)]
    pub stored: Stored,
    /// How to show it.
    #[command(flatten)]
    pub format: StatusFormat,
}

/// `rebuild-tree`.
#[derive(Args, Debug)]
pub struct RebuildTree {
    /// What to rebuild.
    #[command(flatten)]
    pub stored: Stored,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// Tenants.
#[derive(Subcommand, Debug)]
pub enum TenantCommand {
    /// Add a tenant, or another key to one that exists. The agent uses it within five seconds; other hosts need the same file.
    Add {
        /// The tenant's name: letters and digits, beginning with `test-` if it is for tests.
        name: String,
        /// The tenant's public key, RSA or Ed25519, in PEM. Without it, a secret is made; give that to the tenant's server.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Give a tenant its next key. Tokens under its older keys stay good until `tenant remove`: first hand the key to the tenant's
    /// server, then remove the older one.
    Rotate {
        /// The tenant.
        name: String,
        /// The tenant's next public key, RSA or Ed25519, in PEM. Without it, a secret is made; give that to the tenant's server.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Take a key from a tenant: tokens under it are refused within five seconds. Without its last key, the tenant's users are
    /// not let in.
    Remove {
        /// The key, as `tenant add` and `tenant rotate` print it: NAME:VERSION.
        #[arg(value_name = "NAME:VERSION")]
        key: String,
        /// Also the last key of the tenant.
        #[arg(long)]
        last: bool,
    },
    /// Show how many users of each tenant were active in a month, and how often they asked for what: the sum of what all agents
    /// of the realm wrote to the store, up to ten minutes ago. Changes nothing.
    Usage(UsageArguments),
    /// The key to which a tenant's events are sealed: have custodians sign it, publish it, look at it.
    #[command(subcommand)]
    EventsKey(EventsKeyCommand),
}

/// `tenant usage`.
#[derive(Args, Debug)]
pub struct UsageArguments {
    /// The month, in UTC; by default the one that it is.
    #[arg(long, value_name = "YYYY-MM")]
    pub month: Option<Month>,
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The realm; may be left out if the store holds one.
    #[arg(long, value_name = "REALMID")]
    pub realm: Option<RealmId>,
    /// How to show it.
    #[command(flatten)]
    pub format: StatusFormat,
}

/// `token`.
#[derive(Args, Debug)]
pub struct TokenArguments {
    /// The user, as the tenant names them.
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// A token of scope `audit`: for reading the tenant's events, and nothing else.
    #[arg(long)]
    pub audit: bool,
    /// The tenant. May be left out if only one has a secret.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The realm; by default that of this agent's HSM.
    #[arg(long, value_name = "REALMID")]
    pub realm: Option<RealmId>,
}

/// What to look at.
#[derive(Args, Debug)]
pub struct Stored {
    /// The object store; by default the one in the configuration.
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub store: Option<Url>,
    /// An option of that store, such as an endpoint, named as in `store_options`.
    #[arg(long = "store-option", value_name = "NAME=VALUE", value_parser = store_option, requires = "store")]
    pub options: Vec<NameAndValue>,
    /// Only this group.
    #[arg(long, value_name = "GROUPID")]
    pub group: Option<GroupId>,
}

/// `admin-identity`.
#[derive(Args, Debug)]
pub struct AdminIdentity {
    /// For how many hours it is valid. It cannot be revoked before that.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub hours: u32,
    /// Where to write the certificate and its private key. The file must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

fn peer_url(text: &str) -> Result<PeerUrl, &'static str> {
    PeerUrl::try_from(text.to_owned())
}

/// An option of a store. That it must contain a `=` is checked later, not by the parser, whose message would show what
/// may be a credential.
#[derive(Clone)]
pub struct NameAndValue(Option<(String, String)>);

impl std::fmt::Debug for NameAndValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NameAndValue").field(&self.0.as_ref().map(|(name, _)| name)).finish()
    }
}

fn store_option(text: &str) -> Result<NameAndValue, Infallible> {
    Ok(NameAndValue(text.split_once('=').map(|(name, value)| (name.into(), value.into()))))
}

impl Stored {
    /// The options by name.
    pub(super) fn options(&self) -> Result<StoreOptions, CliError> {
        let options = self.options.iter().map(|option| option.0.clone());
        let options: Option<BTreeMap<_, _>> = options.collect();
        options
            .map(StoreOptions)
            .ok_or(CliError::Arguments("--store-option takes NAME=VALUE, with a `=` in between"))
    }
}

/// `client-config`.
#[derive(Args, Debug)]
pub struct ClientConfig {
    /// Where clients reach an agent, or a load balancer in front of all.
    #[arg(long, value_name = "URL")]
    pub address: Url,
}

/// Realms.
#[derive(Subcommand, Debug)]
pub enum RealmCommand {
    /// Make a custodian's key. Needs no agent: do it on the custodian's own machine, and keep the file there, or the key on cards.
    Custodian(NewCustodian),
    /// Keep a custodian's key in another way, without an agent: divide it onto cards, join cards to a key, put it under a
    /// passphrase, or take it from there. Prints its public key; without --out, that is all: a check that the file, the passphrase
    /// or the cards are still good.
    Keep(Keep),
    /// Make a realm in this agent's HSM. Its custodians are fixed forever. Prints its founding, for custodians to sign.
    Create(CreateRealm),
    /// For each custodian, without an agent: compare the founding with the console of the HSM, and sign it. Prints a
    /// signature.
    Sign {
        /// The custodian's private key.
        #[command(flatten)]
        key: KeyArguments,
        /// What `realm create` printed.
        founding: String,
        /// Where it is recorded.
        #[command(flatten)]
        record: TranscriptArguments,
    },
    /// Store the founding with the custodians' signatures beside the log, where `realm status`, `client-config` and
    /// `check` find it. Prints it.
    Found {
        /// What `realm create` printed.
        founding: String,
        /// What each `realm sign` printed.
        #[arg(required = true, num_args = 1..=9)]
        signatures: Vec<String>,
        /// Where it is recorded.
        #[command(flatten)]
        record: TranscriptArguments,
    },
    /// The statement of the realm: its keys, policy, builds and witnesses, signed by custodians, for clients and auditors to pin.
    #[command(subcommand)]
    Statement(StatementCommand),
    /// Rehearse the whole ceremony with software HSMs and throw-away keys, through the same commands. Everything but the
    /// transcript is deleted afterwards, and that says that it is a rehearsal's. Needs no agent, and touches none.
    Rehearse(Rehearse),
    /// The transcript of the ceremony: have custodians sign it, or check it. Needs no agent.
    #[command(subcommand)]
    Transcript(TranscriptCommand),
    /// Show the whole realm: hosts, HSMs, groups, who owns and serves what, load, moves under way; what is the matter and
    /// what to do next; and whether custodians signed its founding, and which statement of it.
    ///
    /// Exits with 0 if all is well, with 1 if something needs attention while every user is served, and with 2 if somebody is
    /// not served, something is damaged, or no agent can be asked.
    Status(StatusFormat),
    /// Move prefixes so that all groups have about the same to do: shows the plan, asks, and carries it out. If it is
    /// interrupted, give it again.
    Rebalance(Rebalance),
}

/// `realm create`.
#[derive(Args, Debug)]
pub struct CreateRealm {
    /// A custodian's public key, 64 hexadecimal digits; once for each custodian, up to nine.
    #[arg(long = "custodian", value_name = "PUBKEY", value_parser = custodian)]
    pub custodians: Vec<CustodianKey>,
    /// How many custodians must approve before another HSM gets the realm. By default, more than half of them.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=9), requires = "custodians")]
    pub threshold: Option<u8>,
    /// The fewest HSMs that a group of this realm may have, for ever. A promise rests on more than half of the HSMs of a
    /// group not being taken back to an older state: in a group of one, that is one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9), default_value_t = 3)]
    pub smallest_group: u8,
    /// No custodians: no other HSM ever gets the realm. If this one is lost, so are all its users' secrets.
    #[arg(long, conflicts_with_all = ["custodians", "threshold", "smallest_group"])]
    pub closed: bool,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: TranscriptArguments,
}

/// Where a step of the ceremony is recorded.
#[derive(Args, Debug, Clone)]
pub struct TranscriptArguments {
    /// The transcript of the ceremony, to which this step is added. Carry one file from machine to machine. Where there is none,
    /// one is begun.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "ceremony.jsonl",
        env = "STRONGROOM_TRANSCRIPT",
        hide_env_values = true
    )]
    pub transcript: PathBuf,
    /// The transcript is that of a rehearsal, as `realm rehearse` says to the agents and custodians that it makes. Refused at
    /// any other.
    #[arg(long, hide = true)]
    pub rehearsal: bool,
}

/// `realm rehearse`.
#[derive(Args, Debug)]
pub struct Rehearse {
    /// How many custodians.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9), default_value_t = 3)]
    pub custodians: u8,
    /// How many of them approve each further HSM. By default, more than half of them.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub threshold: Option<u8>,
    /// How many HSMs get the realm.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9), default_value_t = 3)]
    pub hsms: u8,
    /// How custodians keep their keys.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub keys: KeysOf,
    /// Type yourself what the consoles show.
    #[arg(long)]
    pub by_hand: bool,
    /// Where the transcript is written. The file must not exist.
    #[arg(long, value_name = "FILE", default_value = "rehearsal.jsonl")]
    pub transcript: PathBuf,
    /// The program of the software HSM; by default `strongroom-hsm`, beside this program or in PATH.
    #[arg(long, value_name = "FILE")]
    pub hsm_program: Option<PathBuf>,
}

/// Transcripts.
#[derive(Subcommand, Debug)]
pub enum TranscriptCommand {
    /// For each custodian who took part, at the end: have the transcript end here, and sign all of it. Shows what it says first,
    /// and prints its head, to be written down.
    Sign(SignTranscript),
    /// Check a transcript, without an agent: that nothing in it was changed, left out, added or moved, that each signature
    /// counts, and that enough custodians signed it to its end. Shows what it says, and `OK`, or what is wrong and where.
    Verify(VerifyTranscript),
}

/// `realm transcript sign`.
#[derive(Args, Debug)]
pub struct SignTranscript {
    /// The custodian's private key.
    #[command(flatten)]
    pub key: KeyArguments,
    /// What is signed.
    #[command(flatten)]
    pub record: TranscriptArguments,
}

/// `realm transcript verify`.
#[derive(Args, Debug)]
pub struct VerifyTranscript {
    /// The transcript.
    pub file: PathBuf,
    /// The realm that it must be about. This alone says nothing about who wrote it: whoever makes keys can write a transcript
    /// about any realm.
    #[arg(long, value_name = "REALMID")]
    pub realm: Option<RealmId>,
    /// The realm's public key, 64 hexadecimal digits. Nor does this, which is no secret.
    #[arg(long, value_name = "HEX")]
    pub public_key: Option<X25519Public>,
    /// A custodian's public key, as that custodian wrote it down, 64 hexadecimal digits; once for each custodian of the realm.
    /// With them, only who has enough of their private keys can have written it.
    #[arg(long = "custodian", value_name = "HEX", value_parser = custodian, conflicts_with = "closed")]
    pub custodians: Vec<CustodianKey>,
    /// How many of them were agreed to be enough. By default, more than half of them.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=9), requires = "custodians")]
    pub threshold: Option<u8>,
    /// The head that was written down at the ceremony, in words or in hexadecimal: a transcript that ends earlier or later is
    /// named as that.
    #[arg(long, value_name = "HEAD")]
    pub head: Option<String>,
    /// The realm is expected to be closed. Nobody signs the transcript of such a realm.
    #[arg(long)]
    pub closed: bool,
}

/// `realm rebalance`.
#[derive(Args, Debug)]
pub struct Rebalance {
    /// Show the plan, and do nothing.
    #[arg(long)]
    pub plan: bool,
    /// How much more the busiest group may have to do than the least busy, in hundredths of an even share.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(5..=1000), default_value_t = WITHIN_PERCENT)]
    pub within: u32,
    /// How long to wait between two moves, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub pause: u32,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// How to show the plan.
    #[command(flatten)]
    pub format: StatusFormat,
}

/// HSMs. In order: `request` at the new HSM's agent, `offer` at one that has the realm, `approve` for each custodian,
/// `export` at the same agent as `offer`, `enrol` at the new one.
#[derive(Subcommand, Debug)]
pub enum HsmCommand {
    /// Show what the HSM says about itself.
    Status(StatusFormat),
    /// Step 1, at the new HSM's agent: ask to join a realm. Prints a request.
    Request(TranscriptArguments),
    /// Step 2, at the agent of an HSM that has the realm: accept the request. Prints an approval for custodians to
    /// sign.
    Offer {
        /// What `hsm request` printed.
        request: String,
        /// Where it is recorded.
        #[command(flatten)]
        record: TranscriptArguments,
    },
    /// Step 3, for each custodian, without an agent: compare the approval with the console of the new HSM, and sign it.
    /// Prints a signature.
    Approve {
        /// The custodian's private key.
        #[command(flatten)]
        key: KeyArguments,
        /// What `realm found` printed: the realm that the approval must be for.
        #[arg(long)]
        founding: String,
        /// What `hsm offer` printed.
        approval: String,
        /// Where it is recorded.
        #[command(flatten)]
        record: TranscriptArguments,
    },
    /// Step 4, at the agent where `hsm offer` ran: export the realm. Prints it, sealed to the new HSM.
    Export {
        /// What `hsm offer` printed.
        approval: String,
        /// What each `hsm approve` printed.
        #[arg(required = true, num_args = 1..=9)]
        signatures: Vec<String>,
        /// Where it is recorded.
        #[command(flatten)]
        record: TranscriptArguments,
    },
    /// Replace an HSM that is lost by one that has the realm already: in each group of this agent's HSM that had the lost
    /// one, a new group with the new HSM gets all that the old one owns, and the old one retires. If it is interrupted,
    /// give it again: it goes on where it was.
    Replace {
        /// The HSM that is lost.
        lost: HsmId,
        /// The HSM that takes its place; `hsm request` and what follows brought it into the realm.
        #[arg(long, value_name = "HSMID")]
        with: HsmId,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Step 5, at the new HSM's agent: import the realm.
    Enrol {
        /// What `hsm export` printed.
        sealed: String,
        /// Where it is recorded.
        #[command(flatten)]
        record: TranscriptArguments,
    },
}

/// Groups.
#[derive(Subcommand, Debug)]
pub enum GroupCommand {
    /// Make a group, and have every member join it. Its members are fixed forever.
    Create {
        /// Ids of the HSMs, including this agent's; `hsm status` shows them. Use an odd number: 3 go on when one is
        /// lost, 5 when two are.
        #[arg(long, value_name = "HSMID,…", num_args = 1.., required = true, value_parser = members)]
        members: Vec<Members>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Have this agent's HSM join a group, if `group create` could not reach it.
    Join {
        /// What `group create` printed.
        statement: String,
    },
    /// Retire a group that owns nothing any more: its members leave it, for good, and have room for another.
    Retire {
        /// The group. It owns nothing: move everything to another group first, with `--into` or `partition move`.
        group: GroupId,
        /// Move all that it owns to this group first. If it is interrupted, give it again.
        #[arg(long, value_name = "GROUPID")]
        into: Option<GroupId>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show the groups, as each member's agent sees them.
    Status(StatusFormat),
    /// Show the key of each group's checkpoints, which outsiders need, and the newest one in the store, verified.
    Checkpoints(StatusFormat),
}

/// Partitions: which records a group owns, by the leading bits of their ids.
#[derive(Subcommand, Debug)]
pub enum PartitionCommand {
    /// Have a group own a prefix as its two halves, so that one of them can be moved.
    Split {
        /// The prefix: leading bits such as 01, or `all`. `group status` shows what each group owns.
        #[arg(value_parser = prefix)]
        prefix: Prefix,
        /// The group.
        #[arg(long, value_name = "GROUPID")]
        group: GroupId,
    },
    /// Have a group own the two halves of a prefix as one.
    Merge {
        /// What the halves become: leading bits such as 01, or `all`.
        #[arg(value_parser = prefix)]
        prefix: Prefix,
        /// The group.
        #[arg(long, value_name = "GROUPID")]
        group: GroupId,
    },
    /// Move the records of a prefix to another group, while their users go on. If it is interrupted, give it again: it goes
    /// on where it was.
    Move {
        /// The prefix: leading bits such as 01, or `all`. The group must own exactly that: see `partition split`.
        #[arg(value_parser = prefix)]
        prefix: Prefix,
        /// The group that is to own them.
        #[arg(long, value_name = "GROUPID")]
        to: GroupId,
        /// The group that owns them. May be left out if this agent's HSM is in it.
        #[arg(long, value_name = "GROUPID")]
        from: Option<GroupId>,
    },
}

fn prefix(text: &str) -> Result<Prefix, String> {
    if text == "all" {
        return Ok(Prefix::WHOLE);
    }
    let side = |prefix: Option<Prefix>, bit: char| {
        let (left, right) = prefix?.children()?;
        match bit {
            '0' => Some(left),
            '1' => Some(right),
            _ => None,
        }
    };
    let prefix = text.chars().fold(Some(Prefix::WHOLE), side).filter(|_| !text.is_empty());
    prefix.ok_or_else(|| format!("`{text}` is not a prefix: up to 256 zeros and ones, or `all`"))
}

/// Ids of HSMs separated by commas, as many as the shell passed in one argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members(pub Vec<HsmId>);

fn members(text: &str) -> Result<Members, String> {
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    let id = |id: &str| {
        id.parse()
            .map_err(|_| format!("`{id}` is not an HSM's id: 32 hexadecimal digits, as `hsm status` shows"))
    };
    ids.map(id).collect::<Result<_, _>>().map(Members)
}

fn custodian(text: &str) -> Result<CustodianKey, String> {
    let key: Digest =
        text.parse().map_err(|_| "a public key is 64 hexadecimal digits; `realm custodian` prints one")?;
    Ok(CustodianKey(key))
}
