//! Where a consumer has its tenant's tokens from: anew for each use, because a token lives for minutes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The longest token that an agent takes, in characters.
const MAX_TOKEN: usize = 4096;
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where tokens come from.
#[derive(Clone)]
pub enum TokenSource {
    /// A file, which somebody replaces in time.
    File(PathBuf),
    /// A command for `sh`, which prints a token.
    Command(String),
    /// The program itself.
    Minted(Arc<dyn Fn() -> String + Send + Sync>),
}

/// Without what the command may have in its arguments.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Command(_) => f.write_str("Command"),
            Self::Minted(_) => f.write_str("Minted"),
        }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token in {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command cannot be run.
    #[error("cannot run --token-command with `sh`: {0}")]
    Command(io::Error),
    /// The command failed. What it wrote to standard error is there.
    #[error("--token-command failed: {0}")]
    Failed(std::process::ExitStatus),
    /// The command takes too long.
    #[error("--token-command did not end in {} s", PATIENCE.as_secs())]
    Slow,
    /// What it gave is no token. It is not shown.
    #[error("what should be the tenant's token is not: a token is one line of up to {MAX_TOKEN} characters")]
    NoToken,
}

impl TokenSource {
    /// A token.
    ///
    /// # Errors
    /// [`TokenError`].
    // Secret: whoever has it reads pages as the tenant, until it expires.
    pub async fn token(&self) -> Result<Zeroizing<String>, TokenError> {
        let bytes = match self {
            Self::File(path) => {
                let failed = |source| TokenError::File { path: path.clone(), source };
                read(File::open(path).await.map_err(failed)?).await.map_err(failed)?
            }
            Self::Command(command) => {
                timeout(PATIENCE, run(command)).await.map_err(|_| TokenError::Slow)??
            }
            Self::Minted(mint) => Zeroizing::new(mint().into_bytes()),
        };
        let text = std::str::from_utf8(&bytes).map(str::trim_end).unwrap_or_default();
        let fits =
            !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Zeroizing::new(text.to_owned())) } else { Err(TokenError::NoToken) }
    }
}

async fn run(command: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut command = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(TokenError::Command)?;
    let printed = match command.stdout.take() {
        Some(stdout) => read(stdout).await.map_err(TokenError::Command)?,
        None => Zeroizing::default(),
    };
    let status = command.wait().await.map_err(TokenError::Command)?;
    if status.success() { Ok(printed) } else { Err(TokenError::Failed(status)) }
}

/// What is longer than any token is cut off where that shows.
async fn read(from: impl AsyncRead + Unpin) -> io::Result<Zeroizing<Vec<u8>>> {
    // Of this size from the start, so that no part stays behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_TOKEN));
    from.take(MAX_TOKEN as u64 + 64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_read_anew_for_each_use_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenSource::File(path.clone());
        assert!(matches!(file.token().await, Err(TokenError::File { .. })));
        let command = TokenSource::Command(format!("cat {}", path.display()));
        for token in ["first.token.a", "second.token.b"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(file.token().await.unwrap().as_str(), token);
            assert_eq!(command.token().await.unwrap().as_str(), token);
        }
        for bad in [String::new(), "two words".into(), "two\nlines".into(), "\u{fc}".into(), "a".repeat(4097)]
        {
            std::fs::write(&path, &bad).unwrap();
            for source in [&file, &command] {
                assert!(matches!(source.token().await, Err(TokenError::NoToken)), "{bad}");
            }
        }
        let failing = TokenSource::Command("echo hunter2; exit 3".into());
        let said = format!("{failing:?} {}", failing.token().await.unwrap_err());
        assert!(said.contains("exit status: 3") && !said.contains("hunter2"), "{said}");
    }
}
