//! One process of a host: started, killed, stopped, and watched for an unexpected end.

use crate::Error;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a process may take to end when it is asked to.
const TERM_LIMIT: Duration = Duration::from_secs(60);

/// A process with its log.
pub struct Daemon {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    started: Instant,
    /// Whether it was asked to end, and has not yet.
    ending: bool,
}

impl Daemon {
    /// A process that is not started yet. Its log, across all its starts, is `<name>.log` in `folder`.
    pub(crate) fn new(folder: &Path, name: String, program: &Path, arguments: Vec<String>) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self {
            name,
            program: program.to_owned(),
            arguments,
            log,
            child: None,
            started: Instant::now(),
            ending: false,
        }
    }

    /// Its name, such as `agent-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it runs, stopped or not.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, unless it runs; one that was asked to end does not count as running.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&mut self) -> Result<(), Error> {
        if self.ending {
            self.kill();
        }
        if self.child.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env("RUST_LOG", level).env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        (self.child, self.started) = (Some(child), Instant::now());
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended, which is just as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.ending = false;
    }

    /// `kill -STOP`: it lives and does nothing.
    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
    }

    /// `kill -CONT`.
    pub fn carry_on(&mut self) {
        self.signal(Signal::CONT);
    }

    /// `kill -TERM`, and waits for the end.
    ///
    /// # Errors
    /// It did not end.
    pub async fn end(&mut self) -> Result<(), Error> {
        self.carry_on();
        self.signal(Signal::TERM);
        self.ending = self.child.is_some();
        let from = Instant::now();
        while let Some(child) = &mut self.child {
            if child.try_wait()?.is_some() {
                (self.child, self.ending) = (None, false);
            } else if from.elapsed() > TERM_LIMIT {
                let seconds = TERM_LIMIT.as_secs();
                return Err(format!("{} did not end within {seconds} s of SIGTERM", self.name).into());
            } else {
                sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// How it ended, if it ended by itself.
    pub(crate) fn died(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(format!("{} ended by itself ({status}); its log: {}", self.name, self.log.display()))
    }

    /// The number of its process, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How long it has run since its last start.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How much memory it holds in RAM, in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // Fails only for a process that has ended, which is noticed elsewhere.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, script: &str) -> Daemon {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let mut daemon = Daemon::new(folder, "shell".into(), Path::new("/bin/sh"), arguments);
        daemon.start().unwrap();
        daemon
    }

    #[tokio::test]
    async fn an_unexpected_end_is_reported_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell(folder.path(), "echo because >&2; exit 3");
        let told = loop {
            if let Some(told) = daemon.died() {
                break told;
            }
            tokio::task::yield_now().await;
        };
        assert!(told.contains("shell ended by itself") && told.contains("shell.log"), "{told}");
        assert_eq!(std::fs::read_to_string(daemon.log()).unwrap(), "because\n");
    }

    #[tokio::test]
    async fn an_expected_end_is_not_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell(folder.path(), "while :; do :; done");
        daemon.stop();
        assert_eq!(daemon.died(), None);
        daemon.end().await.unwrap();
        assert!(!daemon.runs());
        daemon.start().unwrap();
        daemon.kill();
        assert_eq!(daemon.died(), None);
    }
}
