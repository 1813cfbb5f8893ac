//! What marks the folder of a rehearsal's host or custodian. Only there do the commands of a ceremony run as a rehearsal: what
//! a real HSM or a real key makes is real, whatever its transcript says.

use super::error::CliError;
use super::reach::Reach;
use std::fs;
use std::io;
use std::path::Path;

/// The file that a rehearsal writes into its folders.
const NAME: &str = "rehearsal-only";
/// What is in it.
const TEXT: &str = "strongroom rehearsal 1\n";

/// Where a step takes place.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    /// At an agent.
    Agent(&'a Reach),
    /// On a custodian's machine, with the private key in this file.
    Custodian(&'a Path),
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
    let file: &Path = match at {
        At::Agent(Reach { afar: Some((addresses, _)), .. }) => {
            let address = addresses.first().map_or_else(|| "--agent".into(), |address| address.0.to_string());
            return Err(CliError::NoRehearsal(address));
        }
        At::Agent(Reach { config, afar: None }) => config,
        At::Custodian(key) => key,
    };
    // A link from a rehearsal's folder leads to the folder that counts.
    let folder = fs::canonicalize(file).ok().and_then(|file| file.parent().map(Path::to_path_buf));
    match folder.map(|folder| fs::read(folder.join(NAME))) {
        Some(Ok(text)) if text == TEXT.as_bytes() => Ok(()),
        _ => Err(CliError::NoRehearsal(file.display().to_string())),
    }
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
        assert!(check(At::Agent(&agent(rehearsed, &[]))).is_ok() && check(At::Custodian(rehearsed)).is_ok());
        let link = own.path().join("link.toml");
        std::os::unix::fs::symlink(production, &link).unwrap();
        let missing = own.path().join("missing.toml");
        for file in [production.as_path(), link.as_path(), missing.as_path(), Path::new("agent.toml")] {
            for at in [At::Agent(&agent(file, &[])), At::Custodian(file)] {
                assert!(matches!(check(at), Err(CliError::NoRehearsal(_))), "{at:?}");
            }
        }
        // The configuration of a rehearsal beside an agent elsewhere.
        let elsewhere = agent(rehearsed, &["https://host1.example:8711"]);
        assert!(matches!(check(At::Agent(&elsewhere)), Err(CliError::NoRehearsal(_))));
        // A file of that name that no rehearsal wrote.
        fs::write(real.path().join(NAME), "").unwrap();
        assert!(check(At::Custodian(production)).is_err());
    }
}
