//! How commands reach an agent, its configuration, and the files that they write.

use super::error::CliError;
use crate::admin::Client;
use crate::clock::system_clock;
use crate::config::{Config, PeerUrl};
use crate::file::FileError;
use crate::peers::open_operator;
use std::fs::{File, OpenOptions};
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

/// Writes a new file that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            failed(match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    "exists, and keys are never overwritten; choose another name".into()
                }
                _ => format!("cannot be written: {error}"),
            })
        })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| failed(format!("cannot be written: {error}")))
}

/// What a file holds that may be secret.
pub(super) struct Secret {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Secret {
    /// Refuses what others than the file's owner may read.
    pub(super) fn private(&self, path: &Path) -> Result<(), CliError> {
        if self.mode & 0o077 == 0 {
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
    Ok(Secret { bytes, mode })
}
