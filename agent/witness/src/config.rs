//! The configuration file.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};
use strongroom_tlog::checkpoint::PolicyError;
use strongroom_tlog::key::KeyError;
use strongroom_tlog::{Policy, VerifierKey};

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no such file.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        source: Box<toml::de::Error>,
    },
    /// The key of a log is none.
    #[error("the key of the log {origin}: {source}")]
    Key {
        /// The log.
        origin: String,
        /// What is wrong.
        source: KeyError,
    },
    /// A log cannot be watched like this.
    #[error("the log {origin}: {source}")]
    Policy {
        /// The log.
        origin: String,
        /// What is wrong.
        source: PolicyError,
    },
    /// There is none.
    #[error("no log is named under [logs]; add a line \"ORIGIN\" = \"KEY\" for each")]
    NoLogs,
}

/// The key of a log, or several while one takes the place of another.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Keys {
    One(String),
    Several(Vec<String>),
}

/// What an operator decides. Relative paths are taken from the folder of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where logs connect. By default `127.0.0.1:8760`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The key file.
    pub key: PathBuf,
    /// The folder with what was cosigned last.
    pub state: PathBuf,
    logs: BTreeMap<String, Keys>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8760))
}

impl Config {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a configuration that belongs at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Toml`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |source| ConfigError::Toml { path: path.into(), source: Box::new(source) };
        let mut config: Self = toml::from_str(text).map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.key = folder.join(config.key);
        config.state = folder.join(config.state);
        Ok(config)
    }

    /// The logs that are watched, each with the keys that it signs with.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn logs(&self) -> Result<Vec<Policy>, ConfigError> {
        if self.logs.is_empty() {
            return Err(ConfigError::NoLogs);
        }
        self.logs.iter().map(|(origin, keys)| policy(origin, keys)).collect()
    }
}

fn policy(origin: &str, keys: &Keys) -> Result<Policy, ConfigError> {
    let texts = match keys {
        Keys::One(text) => core::slice::from_ref(text),
        Keys::Several(texts) => texts,
    };
    let wrong = |source| ConfigError::Key { origin: origin.into(), source };
    let keys =
        texts.iter().map(|text| text.parse::<VerifierKey>().map_err(wrong)).collect::<Result<_, _>>()?;
    Policy::of_log(origin, keys).map_err(|source| ConfigError::Policy { origin: origin.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("/etc/witness/witness.toml"), text)
    }

    #[test]
    fn paths_are_taken_from_the_folder_of_the_file() {
        let text = format!(
            "key = \"witness.key\"\nstate = \"/var/lib/w\"\n[logs]\n\"example.com/foo\" = \"{KEY}\"\nb = [\"{KEY}\"]\n"
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.key, Path::new("/etc/witness/witness.key"));
        assert_eq!(config.state, Path::new("/var/lib/w"));
        assert_eq!(config.listen, "127.0.0.1:8760".parse().unwrap());
        let logs = config.logs().unwrap();
        assert_eq!(logs.iter().map(Policy::origin).collect::<Vec<_>>(), ["b", "example.com/foo"]);
    }

    #[test]
    fn the_configuration_that_is_packaged_wants_nothing_but_logs() {
        let text = include_str!("../../packaging/witness/witness.toml");
        let config = parse(text).unwrap();
        assert!(config.key.starts_with("/var/lib/strongroom-witness"), "what the unit lets it write");
        assert!(config.state.starts_with("/var/lib/strongroom-witness"));
        assert!(matches!(config.logs(), Err(ConfigError::NoLogs)));
        let config = parse(&format!("{text}\n\"example.com/foo\" = \"{KEY}\"\n")).unwrap();
        assert_eq!(config.logs().unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |logs: &str| parse(&format!("key = \"k\"\nstate = \"s\"\n[logs]\n{logs}"));
        assert!(matches!(with("").unwrap().logs(), Err(ConfigError::NoLogs)));
        assert!(matches!(with("a = \"a+00000000+AAAA\"").unwrap().logs(), Err(ConfigError::Key { .. })));
        assert!(matches!(with("a = []").unwrap().logs(), Err(ConfigError::Policy { .. })));
        assert!(matches!(with("a = 1"), Err(ConfigError::Toml { .. })));
        assert!(matches!(parse("key = \"k\"\nstate = \"s\"\n"), Err(ConfigError::Toml { .. })));
        assert!(matches!(parse("keys = \"k\"\nstate = \"s\"\n[logs]\n"), Err(ConfigError::Toml { .. })));
    }
}
