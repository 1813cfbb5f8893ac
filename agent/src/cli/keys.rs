//! Custodians' keys: made, kept in a file, in a file under a passphrase or on cards, and read again.

use super::arguments::{Keep, Kept, KeyArguments, NewCustodian};
use super::error::CliError;
use super::marker::TYPED;
use super::passphrase::{existing_passphrase, new_passphrase};
use super::reach::{read_secret, without, write_encrypted, write_secret};
use crate::admin::custodian_key;
use crate::custodian::age::{self, LOG_N};
use crate::custodian::card::{Card, Drawn, Split, WORDS};
use crate::memory::no_core_dumps;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No card is longer, as it is typed.
const MAX_CARD_BYTES: usize = 4096;

/// `realm custodian`.
pub(super) fn new(arguments: &NewCustodian) -> Result<(), CliError> {
    let NewCustodian { out, kept } = arguments;
    no_core_dumps();
    let key = SigningKey::from_bytes(&*drawn::<32>(out)?);
    write(&key, out, kept)?;
    outln!("{}", custodian_key(&key).0);
    hintln!("The line above is the public key. Keep the private one off the realm's machines.");
    hintln!("Next: give that line to the maker of the realm, who names all custodians at once:");
    hintln!("strongroom-agent realm create --custodian KEY --custodian KEY --custodian KEY --threshold K");
    Ok(())
}

/// `realm keep`.
pub(super) fn keep(arguments: &Keep) -> Result<(), CliError> {
    let key = read_key(&arguments.key)?;
    if let Some(out) = &arguments.out {
        write(&key, out, &arguments.kept)?;
    }
    outln!("{}", custodian_key(&key).0);
    hintln!(
        "The line above is the public key of what was read: compare it with the one that the realm names."
    );
    Ok(())
}

/// Reads a custodian's key.
pub(super) fn read_key(arguments: &KeyArguments) -> Result<SigningKey, CliError> {
    no_core_dumps();
    let Some(path) = &arguments.key else {
        return joined(&arguments.cards);
    };
    let failed = |message: String| CliError::Key { path: path.clone(), message };
    let mut secret = read_secret(path)?;
    if age::is_age(&secret.bytes) {
        // Before anybody types a passphrase.
        age::check(&secret.bytes).map_err(|error| failed(error.to_string()))?;
        let passphrase = existing_passphrase(arguments.passphrase_file.as_deref(), path)?;
        secret.bytes = age::decrypt(&secret.bytes, &passphrase).map_err(|error| failed(error.to_string()))?;
    } else {
        secret.private(path)?;
        if arguments.passphrase_file.is_some() {
            return Err(failed(
                "this key is not encrypted; leave `--passphrase-file` out, or give the file that is".into(),
            ));
        }
    }
    let text = std::str::from_utf8(&secret.bytes).unwrap_or_default();
    SigningKey::from_pkcs8_pem(text).map_err(|_| {
        failed(
            "not an Ed25519 private key in PEM; give the file that `realm custodian` or `realm keep` wrote, also if it is encrypted with \
             a passphrase; name cards with `--card FILE`"
                .into(),
        )
    })
}

fn write(key: &SigningKey, out: &Path, kept: &Kept) -> Result<(), CliError> {
    let failed = |message: String| CliError::Key { path: out.into(), message };
    if let Some(split) = kept.split {
        return write_cards(key, out, split);
    }
    // Secret: version 1 of the form, without the public key, is the form that other programs read.
    let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let pem =
        bytes.to_pkcs8_pem(LineEnding::LF).map_err(|_| failed("the key could not be encoded".into()))?;
    if !kept.age {
        write_secret(out, &pem)?;
        hintln!("The private key is in {}. Anyone with it can approve as this custodian.", out.display());
        return Ok(());
    }
    // Before anybody types a passphrase.
    none_exists(&[out.into()])?;
    let passphrase = new_passphrase(kept.new_passphrase_file.as_deref(), out)?;
    let sealed = age::encrypt(pem.as_bytes(), &passphrase, LOG_N, &*drawn::<48>(out)?);
    write_encrypted(out, &sealed.map_err(|error| failed(error.to_string()))?)?;
    hintln!(
        "The private key is in {}, under the passphrase. Anyone with both can approve as this",
        out.display()
    );
    hintln!("custodian; without the passphrase, the file is of no use to anybody.");
    Ok(())
}

fn write_cards(key: &SigningKey, out: &Path, split: Split) -> Result<(), CliError> {
    let failed = |message: String| CliError::Key { path: out.into(), message };
    if out.is_dir() || out.as_os_str().as_bytes().ends_with(b"/") {
        return Err(failed(
            "names a folder; name what the names of the cards begin with, such as `dave`".into(),
        ));
    }
    let drawn = Drawn::draw(split, getrandom::fill);
    let drawn = drawn.map_err(|error| failed(format!("no randomness to make cards: {error}")))?;
    let cards = Card::divide(key, split, &drawn);
    let names: Vec<PathBuf> = cards.iter().map(|card| card_name(out, card.index())).collect();
    none_exists(&names)?;
    for (i, (card, name)) in cards.iter().zip(&names).enumerate() {
        if let Err(error) = write_secret(name, &card.text(&custodian_key(key))) {
            // Too few cards are none: what there is of them is only a secret more.
            return Err(without(names.get(..i).unwrap_or_default(), error));
        }
        hintln!("Card {} is in {}.", card.index(), name.display());
    }
    hintln!(
        "Write each off or print it, give it away, and delete the file. Try them with `realm keep`. Any {} of",
        split.needed()
    );
    hintln!("them make the key: {}", "--card FILE ".repeat(split.needed()).trim_end());
    hintln!("A disk may keep what was deleted: cards are best written to a tmpfs, such as /dev/shm.");
    Ok(())
}

fn card_name(out: &Path, index: u8) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(format!(".card{index}"));
    name.into()
}

fn none_exists(names: &[PathBuf]) -> Result<(), CliError> {
    match names.iter().find(|name| name.symlink_metadata().is_ok()) {
        Some(path) => {
            let message = "exists, and keys are never overwritten; choose another name".into();
            Err(CliError::Key { path: path.clone(), message })
        }
        None => Ok(()),
    }
}

/// Random bytes. Secret.
fn drawn<const N: usize>(out: &Path) -> Result<Zeroizing<[u8; N]>, CliError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| CliError::Key {
        path: out.into(),
        message: format!("no randomness to make a key: {error}"),
    })?;
    Ok(bytes)
}

fn joined(files: &[PathBuf]) -> Result<SigningKey, CliError> {
    let cards = files.iter().map(|path| card(path)).collect::<Result<Vec<_>, _>>();
    let key = cards.and_then(|cards| Card::join(&cards).map_err(|error| CliError::Usage(error.to_string())));
    if key.is_err() && files.iter().any(|file| file == Path::new(TYPED)) && io::stdin().is_terminal() {
        hintln!("Words of cards are on this terminal, and in what it can scroll back to: close it.");
    }
    key
}

/// One card, from its file or typed.
fn card(path: &Path) -> Result<Card, CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    let bytes = if path == Path::new(TYPED) {
        typed_card()?
    } else {
        let secret = read_secret(path)?;
        secret.private(path)?;
        secret.bytes
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("not a card: it is no text".into()))?;
    Card::read(text).map_err(|error| failed(error.to_string()))
}

/// The lines of standard input until one card is there. What follows is for whoever reads next.
fn typed_card() -> Result<Zeroizing<Vec<u8>>, CliError> {
    if io::stdin().is_terminal() {
        hintln!(
            "Type the {WORDS} words of a card, on as many lines as you like, and end each line with Enter:"
        );
    }
    // Secret: byte by byte, because nobody wipes the buffer of standard input.
    let mut typed = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_CARD_BYTES));
    let mut byte = Zeroizing::new([0]);
    while text.len() < MAX_CARD_BYTES && typed.read(&mut *byte)? == 1 {
        text.push(byte[0]);
        // What is no text by now stays none.
        if byte[0] == b'\n' && std::str::from_utf8(&text).map_or(true, |text| Card::count(text) >= WORDS) {
            break;
        }
    }
    Ok(text)
}
