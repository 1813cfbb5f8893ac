//! What `recover` demands of realms' logs before it sends the PIN: options, and the file of heads that were seen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use strongroom_client::{ClientBuilder, ForgetfulMemory, HeadDemand, HeadMemory, MemoryError, async_trait};

use crate::output::Failure;

/// The longest file of heads that is read, in bytes: many logs, of 64 KiB at most and usually of one.
const MAX_FILE: u64 = 4 << 20;

/// What is demanded.
#[derive(Debug, Args)]
pub(crate) struct HeadOptions {
    /// A realm's statement as its custodians signed it: send the PIN there only if the log with the user's record is cosigned as the
    /// statement says, and did not go back; repeat for more realms
    #[arg(long, value_name = "FILE")]
    statement: Vec<PathBuf>,
    /// How old cosignatures may be, such as 90s, 10m or 2h; realms renew them every five minutes
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, requires = "statement")]
    max_head_age: Duration,
    /// Remember in this file which logs were seen, to notice when one goes back; made if it is not there
    #[arg(long, value_name = "FILE", requires = "statement")]
    heads: Option<PathBuf>,
}

impl HeadOptions {
    /// The client with these demands.
    pub(crate) fn demand(&self, builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        if self.statement.is_empty() {
            return Ok(builder);
        }
        let demand = |path: &PathBuf| {
            let named =
                |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
            let text = read(path, MAX_FILE).map_err(|error| named(&error))?;
            HeadDemand::new(&text, self.max_head_age).map_err(|error| named(&error))
        };
        let demands = self.statement.iter().map(demand).collect::<Result<Vec<_>, _>>()?;
        let demanded = match &self.heads {
            Some(path) => {
                let file = HeadFile(path.clone());
                file.read().map_err(Failure::usage)?;
                builder.demand_heads(demands, file)
            }
            None => builder.demand_heads(demands, ForgetfulMemory::default()),
        };
        demanded.map_err(Failure::usage)
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds).filter(|seconds| *seconds > 0)
    });
    parsed.map(Duration::from_secs).ok_or_else(|| "write a number and s, m or h, such as 10m".to_owned())
}

fn read(path: &Path, most: u64) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Heads that were seen, in a file: a JSON object from the name of a log to its checkpoint. Always whole: a new one takes its place.
struct HeadFile(PathBuf);

impl HeadFile {
    fn read(&self) -> Result<BTreeMap<String, String>, MemoryError> {
        let Self(path) = self;
        match read(path, MAX_FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(MemoryError(format!("{} cannot be read: {error}", path.display()))),
            Ok(text) => serde_json::from_str(&text).map_err(|_| {
                let path = path.display();
                MemoryError(format!(
                    "{path} is no file of heads: find out who changed it, or name another with --heads"
                ))
            }),
        }
    }

    fn write(&self, heads: &BTreeMap<String, String>) -> std::io::Result<()> {
        let Self(path) = self;
        let mut name = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = path.with_file_name(name);
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&serde_json::to_vec_pretty(heads)?)?;
            // Durable: the guess that follows rests on it.
            file.sync_all()?;
            fs::rename(&new, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        #[cfg(unix)]
        {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }
}

#[async_trait]
impl HeadMemory for HeadFile {
    async fn load(&self, log: &str) -> Result<Option<String>, MemoryError> {
        Ok(self.read()?.remove(log))
    }

    async fn save(&self, log: &str, checkpoint: &str) -> Result<(), MemoryError> {
        let mut heads = self.read()?;
        heads.insert(log.to_owned(), checkpoint.to_owned());
        self.write(&heads)
            .map_err(|error| MemoryError(format!("{} cannot be written: {error}", self.0.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit_and_is_not_nothing() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in
            ["", "10", "m", "0m", "-1m", "1.5h", "10 m", "99999999999999999999h", "18446744073709551615h"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn heads_are_kept_in_a_file_that_is_always_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads.json");
        let file = HeadFile(path.clone());
        assert_eq!(file.load("a").await, Ok(None));
        for (log, text) in [("a", "1\n"), ("b", "2\n"), ("a", "3\n")] {
            file.save(log, text).await.unwrap();
        }
        let again = HeadFile(path.clone());
        assert_eq!(again.load("a").await, Ok(Some("3\n".into())));
        assert_eq!(again.load("b").await, Ok(Some("2\n".into())));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

        fs::write(&path, "{").unwrap();
        assert!(again.load("a").await.is_err() && again.save("a", "4\n").await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{", "what cannot be read is not written over");
        let nowhere = HeadFile(folder.path().join("none/heads.json"));
        assert!(nowhere.save("a", "1\n").await.is_err());
    }
}
