//! Arguments about the statement of a realm.

use super::format::StatusFormat;
use super::keys::KeyArguments;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use strongroom_proto::ids::BuildDigest;
use strongroom_tlog::VerifierKey;

/// The statement of a realm. In order: `draft` at an agent, `sign` for each custodian, `publish` at an agent.
#[derive(Subcommand, Debug)]
pub enum StatementCommand {
    /// Step 1, at an agent: write the text of the realm's next statement, for custodians to sign. Its keys and policy are those that
    /// the HSM states, its builds those that the agents of the realm say their HSMs run.
    Draft(DraftStatement),
    /// Step 2, for each custodian, without an agent: compare the text with the console of an HSM of the realm, or with the signed
    /// founding, and sign it. Prints a signature line.
    Sign(SignStatement),
    /// Step 3, at an agent: store the statement with the custodians' signatures beside the log, where `realm status`, `check` and
    /// `realm statement show` find it. Prints it. Takes the place of one with a lower version, and of nothing else.
    Publish {
        /// What `realm statement draft` wrote, or a statement with signatures under it.
        text: PathBuf,
        /// What each `realm statement sign` printed, in quotes: each is one line with spaces in it.
        #[arg(value_name = "SIGNATURE", num_args = 0..=9)]
        signatures: Vec<String>,
    },
    /// Show the statement in the store, if enough custodians signed it and it says what the HSM does; or that in a file, which needs
    /// no agent, and then says nothing about whose realm it is. Fails if it does not count.
    Show {
        /// The file of a signed statement, instead of the store.
        file: Option<PathBuf>,
        /// Write the statement as it was signed to this file, for clients and auditors. The file must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How to show it.
        #[command(flatten)]
        format: StatusFormat,
    },
}

/// `realm statement draft`.
#[derive(Args, Debug)]
pub struct DraftStatement {
    /// The digest of a build that HSMs of the realm may run, 64 hexadecimal digits; once for each, beside those that HSMs run now.
    #[arg(long = "build", value_name = "HEX")]
    pub builds: Vec<BuildDigest>,
    /// The public key of a witness that is asked to cosign checkpoints, as it prints it; once for each witness. None is taken over
    /// from an earlier statement.
    #[arg(long = "witness", value_name = "NAME+ID+KEY")]
    pub witnesses: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned a checkpoint. By default, more than half of them.
    #[arg(long, value_name = "N", requires = "witnesses")]
    pub cosignatures: Option<u8>,
    /// Its version. By default, one more than that of the statement in the store, or 1.
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
    /// Write the text to this file instead of standard output. The file must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `realm statement sign`.
#[derive(Args, Debug)]
pub struct SignStatement {
    /// The custodian's private key.
    #[command(flatten)]
    pub key: KeyArguments,
    /// The signed founding of the realm, as `realm found` printed it and the custodian holds it. If realm, public key, policy and
    /// checkpoint key are those of it, no console is asked for.
    #[arg(long)]
    pub founding: Option<String>,
    /// The statement that the realm had before, as custodians signed it: what has changed since is shown.
    #[arg(long, value_name = "FILE")]
    pub earlier: Option<PathBuf>,
    /// What `realm statement draft` wrote.
    pub text: PathBuf,
}
