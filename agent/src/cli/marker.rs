//! What marks the folder of a rehearsal's host or custodian. Only there do the commands of a ceremony run as a rehearsal: what
//! a real HSM or a real key makes is real, whatever its transcript says.

use super::error::CliError;
use super::reach::Reach;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that a rehearsal writes into its folders.
const NAME: &str = "rehearsal-only";
/// What is in it.
const TEXT: &str = "strongroom rehearsal 1\n";

/// The name that stands for a card that is typed.
pub(super) const TYPED: &str = "-";

/// Where a step takes place.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    /// At an agent.
    Agent(&'a Reach),
    /// On a custodian's machine, with the private key in these files.
    Custodian(&'a [PathBuf]),
}

/// Marks a folder as one of a rehearsal.
pub(super) fn mark(folder: &Path) -> io::Result<()> {
    fs::write(folder.join(NAME), TEXT)
}

/// Whether a step may run here as one of a rehearsal.
///
/// # Errors
/// [`CliError::NoRehearsal`] unless the agent's configuration, or the key, lies in a folder that a rehearsal has marked.
pub(super) fn check(at: At<'_>) -> Result<(), CliError> {
    let files = match at {
        At::Agent(Reach { afar: Some((addresses, _)), .. }) => {
            let address = addresses.first().map_or_else(|| "--agent".into(), |address| address.0.to_string());
            return Err(CliError::NoRehearsal(address));
        }
        At::Agent(Reach { config, afar: None }) => std::slice::from_ref(config),
        At::Custodian(files) => files,
    };
    match files.iter().find(|file| !is_rehearsed(file)) {
        Some(real) => Err(CliError::NoRehearsal(real.display().to_string())),
        None if files.is_empty() => Err(CliError::NoRehearsal("no file".into())),
        None => Ok(()),
    }
}

fn is_rehearsed(file: &Path) -> bool {
    // Also where a file has that name.
    if file == Path::new(TYPED) {
        return false;
    }
    // A link from a rehearsal's folder leads to the folder that counts.
    let folder = fs::canonicalize(file).ok().and_then(|file| file.parent().map(Path::to_path_buf));
    folder.is_some_and(|folder| fs::read(folder.join(NAME)).is_ok_and(|text| text == TEXT.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerUrl;

    fn agent(config: &Path, afar: &[&str]) -> Reach {
        let addresses: Vec<_> = afar.iter().map(|url| PeerUrl((*url).parse().unwrap())).collect();
        let afar = (!addresses.is_empty()).then(|| (addresses, "operator.pem".into()));
        Reach { config: config.into(), afar }
    }

    #[test]
    fn a_rehearsal_runs_in_its_own_folders_and_nowhere_else() {
        let (own, real) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        mark(own.path()).unwrap();
        let files = [own.path().join("agent.toml"), real.path().join("agent.toml")];
        files.iter().for_each(|file| fs::write(file, "").unwrap());
        let [rehearsed, production] = &files;
        assert!(
            check(At::Agent(&agent(rehearsed, &[]))).is_ok() && check(At::Custodian(&files[..1])).is_ok()
        );
        let link = own.path().join("link.toml");
        std::os::unix::fs::symlink(production, &link).unwrap();
        let missing = own.path().join("missing.toml");
        for file in [production.as_path(), link.as_path(), missing.as_path(), Path::new("agent.toml")] {
            // One card that is real makes a key that is.
            let cards = [rehearsed.clone(), file.into()];
            for at in [At::Agent(&agent(file, &[])), At::Custodian(&cards[1..]), At::Custodian(&cards)] {
                assert!(matches!(check(at), Err(CliError::NoRehearsal(_))), "{at:?}");
            }
        }
        // The configuration of a rehearsal beside an agent elsewhere.
        let elsewhere = agent(rehearsed, &["https://host1.example:8711"]);
        assert!(matches!(check(At::Agent(&elsewhere)), Err(CliError::NoRehearsal(_))));
        // A file of that name that no rehearsal wrote.
        fs::write(real.path().join(NAME), "").unwrap();
        assert!(check(At::Custodian(&files[1..])).is_err() && check(At::Custodian(&[])).is_err());
    }
}
