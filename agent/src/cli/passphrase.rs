//! Passphrases of custodians' keys: from a file, from a credential of systemd, or from the terminal; never from the command line,
//! which every user of the machine can read.

use super::error::CliError;
use super::reach::{Secret, read_secret};
use std::fs::File;
use std::path::Path;
use zeroize::Zeroizing;

/// The shortest passphrase for a new file, in characters.
const SHORTEST: usize = 12;
/// The name under which systemd gives a passphrase.
const CREDENTIAL: &str = "strongroom-passphrase";

/// The passphrase with which a file was encrypted.
pub(super) fn existing_passphrase(file: Option<&Path>, of: &Path) -> Result<Zeroizing<String>, CliError> {
    if let Some(path) = file {
        let secret = read_secret(path)?;
        secret.private(path)?;
        return line_of(&secret, path);
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
    let credential = folder.map(|folder| Path::new(&folder).join(CREDENTIAL)).filter(|file| file.is_file());
    match credential {
        // Who may read it is systemd's to decide, and it shows no group's rights but those of its list.
        Some(path) => line_of(&read_secret(&path)?, &path),
        None => ask(&format!("Passphrase of {}: ", of.display()), of, "--passphrase-file"),
    }
}

/// One for a new file.
pub(super) fn new_passphrase(file: Option<&Path>, of: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |message: String| CliError::Key { path: of.into(), message };
    let passphrase = match file {
        Some(_) => existing_passphrase(file, of)?,
        None => {
            let option = "--new-passphrase-file";
            let typed = ask(&format!("New passphrase of {}: ", of.display()), of, option)?;
            if *typed != *ask("Once more: ", of, option)? {
                return Err(failed("these were two passphrases; nothing was written".into()));
            }
            typed
        }
    };
    if passphrase.trim() != passphrase.as_str() || passphrase.chars().any(char::is_control) {
        return Err(failed(
            "a new passphrase neither begins nor ends with white space, and has no control characters: nobody could type it again; \
             take another one"
                .into(),
        ));
    }
    if passphrase.chars().count() < SHORTEST {
        return Err(failed(format!(
            "a new passphrase has {SHORTEST} characters or more: whoever has the file can try them one after the other; take several \
             words that nobody chose, drawn by dice"
        )));
    }
    Ok(passphrase)
}

fn line_of(secret: &Secret, path: &Path) -> Result<Zeroizing<String>, CliError> {
    let text = std::str::from_utf8(&secret.bytes).unwrap_or_default();
    let line = text.strip_suffix('\n').unwrap_or(text);
    match line.strip_suffix('\r').unwrap_or(line) {
        line if line.is_empty() || line.contains('\n') => Err(CliError::Key {
            path: path.into(),
            message: "a passphrase is one line of text; write it into the file".into(),
        }),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

fn ask(prompt: &str, of: &Path, option: &str) -> Result<Zeroizing<String>, CliError> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        let why = match File::open("/dev/tty") {
            Ok(_) => "the passphrase could not be read from the terminal",
            Err(_) => "there is no terminal to ask for the passphrase on",
        };
        let message = format!("{why} ({error}): name a file that holds it with `{option} FILE`");
        CliError::Key { path: of.into(), message }
    })
}
