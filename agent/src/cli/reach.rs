//! How commands reach an agent, its configuration, and the files that they write.

use super::error::CliError;
use crate::admin::Client;
use crate::clock::system_clock;
use crate::config::{Config, PeerUrl};
use crate::file::{FileError, strip_byte_order_mark, sync_folder_of};
use crate::peers::open_operator;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// No key, card or passphrase is longer.
const MAX_SECRET_BYTES: usize = 16 << 10;

/// How commands reach an agent.
#[derive(Debug)]
pub(super) struct Reach {
    /// The configuration file, which need not exist if an agent is named.
    pub(super) config: PathBuf,
    pub(super) afar: Option<(Vec<PeerUrl>, PathBuf)>,
}

/// Connects to the agent that was named, or that runs with this configuration.
pub(super) async fn agent(reach: &Reach) -> Result<Client, CliError> {
    if reach.afar.as_ref().is_some_and(|(addresses, _)| addresses.len() > 1) {
        return Err(CliError::Arguments("this is for one agent; name one with --agent"));
    }
    any_agent(reach).await
}

/// The same, for what any agent can answer: the first that can be reached, if several were named.
pub(super) async fn any_agent(reach: &Reach) -> Result<Client, CliError> {
    Ok(match &reach.afar {
        Some((addresses, identity)) => {
            let identity = open_operator(identity, system_clock())?;
            let mut failed = None;
            for address in addresses {
                match Client::connect_from_afar(address, Arc::clone(&identity)).await {
                    Ok(client) => return Ok(client),
                    Err(error) => {
                        if addresses.len() > 1 {
                            hintln!("{error}");
                        }
                        failed = Some(error);
                    }
                }
            }
            return Err(failed.map_or(CliError::Arguments("name an agent with --agent"), CliError::from));
        }
        None => Client::connect(&configured(&reach.config)?.admin_socket).await?,
    })
}

/// The configuration of the agent on this machine.
pub(super) fn configured(path: &Path) -> Result<Config, CliError> {
    Config::open(path).map_err(|error| match error {
        FileError::Read { path, source } if source.kind() == io::ErrorKind::NotFound => {
            CliError::NoConfig(path)
        }
        error => error.into(),
    })
}

/// Writes a new file that only its owner may read. There is none if that fails.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), CliError> {
    let file = create(path)?;
    fill(file, path, text, true).map_err(|error| without(&[path.into()], error))
}

/// The same for what is encrypted, on whatever medium: who may read it does not matter.
pub(super) fn write_encrypted(path: &Path, text: &str) -> Result<(), CliError> {
    let file = create(path)?;
    fill(file, path, text, false).map_err(|error| without(&[path.into()], error))
}

fn create(path: &Path) -> Result<File, CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "exists, and keys are never overwritten; choose another name".into()
            }
            _ => format!("cannot be written: {error}"),
        })
    })
}

fn fill(mut file: File, path: &Path, text: &str, is_secret: bool) -> Result<(), CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    let unwritten = |error: io::Error| failed(format!("cannot be written: {error}"));
    let mode = file.metadata().map_err(unwritten)?.mode();
    // Before anything secret is in it.
    if is_secret && may_others_read(mode) {
        return Err(failed(format!(
            "others could read it there (a new file has mode {:o}), and it is secret: name a file on a disk that knows modes",
            mode & 0o777
        )));
    }
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| sync_folder_of(path)).map_err(unwritten)
}

/// Removes files of which others could not be written, and names those that it cannot.
pub(super) fn without(files: &[PathBuf], error: CliError) -> CliError {
    let left = files.iter().filter(|file| fs::remove_file(file).is_err());
    let left: Vec<String> = left.map(|file| file.display().to_string()).collect();
    match error {
        CliError::Key { path, message } if !left.is_empty() => {
            let left = left.join(", ");
            CliError::Key { path, message: format!("{message}; delete {left}, which could not be deleted") }
        }
        error => error,
    }
}

const fn may_others_read(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// What a file holds that may be secret.
pub(super) struct Secret {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Secret {
    /// Refuses what others than the file's owner may read.
    pub(super) fn private(&self, path: &Path) -> Result<(), CliError> {
        if !may_others_read(self.mode) {
            return Ok(());
        }
        let message = format!(
            "others may read it (its mode is {:o}), and it is secret: `chmod 600` it; from a medium that knows no modes, copy it to a \
             disk that does",
            self.mode & 0o777
        );
        Err(CliError::Key { path: path.into(), message })
    }
}

/// Reads what [`write_secret`] wrote.
pub(super) fn read_secret(path: &Path) -> Result<Secret, CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    let unread = |error: io::Error| failed(format!("cannot be read: {error}"));
    let file = File::open(path).map_err(unread)?;
    let about = file.metadata().map_err(unread)?;
    // The modes of a pipe are nobody's choice, and only who has it open can read it.
    let mode = if about.is_file() { about.mode() } else { 0 };
    // Secret: as much as it will take, so that no part is left behind where it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 64));
    file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(failed("too long for a key, a card or a passphrase; name another file".into()));
    }
    strip_byte_order_mark(&mut bytes);
    Ok(Secret { bytes, mode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nothing_secret_is_written_where_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        for (mode, is_secret, is_written) in [(0o600, true, true), (0o755, true, false), (0o755, false, true)]
        {
            // As on a medium that gives all files the same mode.
            let file = File::create(&path).unwrap();
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            assert_eq!(fill(file, &path, "secret", is_secret).is_ok(), is_written, "{mode:o} {is_secret}");
            assert_eq!(fs::read(&path).unwrap() == b"secret", is_written, "{mode:o} {is_secret}");
        }
    }

    #[test]
    fn what_could_not_be_deleted_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (card, stuck) = (folder.path().join("dave.card1"), folder.path().join("dave.card2"));
        fs::write(&card, "").unwrap();
        fs::create_dir(&stuck).unwrap();
        let full = || CliError::Key { path: "dave.card3".into(), message: "cannot be written".into() };
        let said = without(&[card.clone(), stuck.clone()], full()).to_string();
        assert!(said.contains(&format!("; delete {}, which", stuck.display())) && !card.exists(), "{said}");
        assert_eq!(without(&[], full()).to_string(), "dave.card3: cannot be written");
    }
}
