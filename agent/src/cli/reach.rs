//! How commands reach an agent, its configuration, and the files that they write.

use super::error::CliError;
use crate::admin::Client;
use crate::clock::system_clock;
use crate::config::{Config, PeerUrl};
use crate::file::FileError;
use crate::peers::open_operator;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
