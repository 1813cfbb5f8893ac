//! Arguments about custodians' keys.

use crate::custodian::card::Split;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// A custodian's private key, however it is kept.
#[derive(Args, Debug)]
pub struct KeyArguments {
    /// The custodian's private key: the file that `realm custodian` or `realm keep` wrote, or one that age encrypted with a
    /// passphrase.
    #[arg(long, value_name = "FILE", required_unless_present = "given", conflicts_with = "given")]
    pub key: Option<PathBuf>,
    /// Instead of the file, a card of the key, once for each card: a file with its words, or `-` for standard input.
    #[arg(long = "card", id = "given", value_name = "FILE")]
    pub cards: Vec<PathBuf>,
    /// A file with the passphrase of the key, in one line. By default, the systemd credential `strongroom-passphrase`, or the
    /// terminal.
    #[arg(long, value_name = "FILE", conflicts_with = "given")]
    pub passphrase_file: Option<PathBuf>,
}

impl KeyArguments {
    /// Where the key is.
    pub(in crate::cli) fn files(&self) -> &[PathBuf] {
        self.key.as_ref().map_or(&self.cards, std::slice::from_ref)
    }
}

/// In what a custodian's key is kept; by default, a file in PEM.
#[derive(Args, Debug)]
pub struct Kept {
    /// Encrypt the file with a passphrase, in the format of age: `age -d` opens it, too.
    #[arg(long, requires = "out")]
    pub age: bool,
    /// Write no key, but N cards with 32 words each, of which any K make the key: FILE.card1, FILE.card2, …
    #[arg(long = "cards", id = "split", value_name = "K-of-N", conflicts_with = "age", requires = "out")]
    pub split: Option<Split>,
    /// A file with the new passphrase, in one line, instead of the terminal.
    #[arg(long, value_name = "FILE", requires = "age")]
    pub new_passphrase_file: Option<PathBuf>,
}

/// `realm custodian`.
#[derive(Args, Debug)]
pub struct NewCustodian {
    /// Where to write the private key. The file must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// In what.
    #[command(flatten)]
    pub kept: Kept,
}

/// `realm keep`.
#[derive(Args, Debug)]
pub struct Keep {
    /// What there is.
    #[command(flatten)]
    pub key: KeyArguments,
    /// Where to write it. The file must not exist. Without, nothing is written.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// In what.
    #[command(flatten)]
    pub kept: Kept,
}

/// How the custodians of a rehearsal keep their keys.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeysOf {
    /// In files.
    #[default]
    Files,
    /// In files under a passphrase.
    Age,
    /// Each on three cards, of which two are enough.
    Cards,
}
