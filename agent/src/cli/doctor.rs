//! `configtest`, `doctor` and `upgrade-check`: what keeps the agent from working, or a newer one, and what to do about it.

use super::arguments::StatusFormat;
use super::error::CliError;
use super::reach::configured;
use super::show;
use super::stated::{Builds, Stated, stated};
use crate::admin::Client;
use crate::clock::system_clock;
use crate::config::Config;
use crate::doctor::{Finding, files, live, upgrade};
use crate::overview::Level;
use serde_json::json;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How far to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The configuration and what it names.
    Files,
    /// All that the agent depends on too.
    Everything,
    /// What this version would meet in place of the one that runs.
    Upgrade,
}

/// Looks, and says what was found.
pub(super) async fn execute(path: &Path, format: StatusFormat, look: Look) -> Result<(), CliError> {
    let opened = configured(path);
    let mut found = match &opened {
        Ok(config) => files(path, config, system_clock()()),
        Err(error) => vec![Finding::unusable(error.to_string())],
    };
    if let Ok(config) = opened
        && look != Look::Files
    {
        found.extend(as_whom(&config));
        found.extend(match look {
            Look::Upgrade => upgrade(&config).await,
            _ => live(&config, salt()?).await,
        });
        if look == Look::Everything {
            found.extend(statement(&config).await);
        }
    }
    // The worst is read first.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let all: Vec<_> = found.iter().map(as_json).collect();
    show::print(format, &json!({ "findings": all }), || found.iter().map(text).collect())?;
    match found.first() {
        Some(Finding { level, what, .. }) if *level != Level::Well => {
            Err(CliError::NotWell { level: *level, line: what.clone() })
        }
        _ => Ok(()),
    }
}

fn salt() -> Result<[u8; 16], CliError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| CliError::Usage(format!("the system gives no randomness: {error}")))?;
    Ok(salt)
}

/// Root may do more than the agent's user.
fn as_whom(config: &Config) -> Option<Finding> {
    let owner = std::fs::metadata(&config.admin_socket).ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    (owner != own).then(|| Finding::as_another(owner, own))
}

/// Whether the realm's statement counts, and names what its HSMs run. Nothing, if there is none or nobody to ask.
async fn statement(config: &Config) -> Vec<Finding> {
    let about = "statement";
    let Ok(mut agent) = Client::connect(&config.admin_socket).await else { return Vec::new() };
    let (Ok(device), Ok((_, peers, _))) = (agent.device().await, agent.said().await) else {
        return Vec::new();
    };
    let Some(realm) = &device.realm else { return Vec::new() };
    let stated = stated(&mut agent, realm).await;
    match &stated {
        Stated::Signed(signed) => {
            let builds = Builds::of(&device, &peers).known;
            let named = &signed.statement().builds;
            let unnamed: Vec<_> = builds.iter().filter(|build| !named.contains(build)).collect();
            if unnamed.is_empty() {
                return vec![Finding::well(about, stated.text())];
            }
            let next = "if custodians approved that build, have them sign a newer one: `realm statement draft`; if not, find out why \
                        an HSM runs it";
            let finding = |build| {
                Finding::attention(about, format!("it does not name build {build}, which an HSM runs"), next)
            };
            unnamed.into_iter().map(finding).collect()
        }
        Stated::Wrong(why) => {
            let next = "put the signed statement in its place with `realm statement publish`";
            vec![Finding::attention(about, format!("what the store has does not count: {why}"), next)]
        }
        Stated::Closed | Stated::Missing | Stated::Unavailable => Vec::new(),
    }
}

fn text(finding: &Finding) -> String {
    let Finding { level, about, what, next } = finding;
    let mut text = format!("{:9}  {about:13}  {what}\n", level.name());
    if let Some(next) = next {
        let _ = writeln!(text, "{:9}  {:13}  next: {next}", "", "");
    }
    text
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let Finding { level, about, what, next } = finding;
    json!({ "level": level.name(), "about": about, "what": what, "next": next })
}
