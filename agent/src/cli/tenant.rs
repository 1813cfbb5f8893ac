//! `tenant add`: a key for a tenant, at the end of the tenants file.
//!
//! The file is extended, not replaced: its comments, owner and permissions stay as the operator made them. The new
//! contents are parsed as the agent parses them before anything is written.

use super::arguments::TenantCommand;
use super::error::CliError;
use super::reach::configured;
use crate::file::{FileError, read};
use crate::tenants::{TenantKey, TenantKeys, is_tenant_name, public_key_algorithm};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Length of a secret, in bytes.
const SECRET_LEN: usize = 32;

pub(super) fn execute(config: &Path, command: TenantCommand) -> Result<(), CliError> {
    let TenantCommand::Add { name, public_key } = command;
    if !is_tenant_name(&name) {
        return Err(CliError::Arguments("a tenant's name is letters and digits, optionally after `test-`"));
    }
    let config = configured(config)?;
    let path = &config.tenants;
    // Held to the end: if two add a key at once, the second sees the first one's key.
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file = file.as_mut().map_err(|error| unusable(path, error))?;
    file.lock().map_err(|error| unusable(path, &error))?;
    let mut text = Zeroizing::new(String::from_utf8_lossy(&read(path)?).into_owned());
    let keys = TenantKeys::parse(path, &text, config.test_tenants())?;
    let version = keys.newest(&name).map_or(Some(1), |(newest, _)| newest.checked_add(1));
    let version =
        version.ok_or(CliError::Arguments("the tenant's newest key has the last version there is"))?;
    let entry = entry(&name, version, public_key.as_deref())?;
    let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { "\n" };
    let entry = Zeroizing::new(format!("{gap}{}", *entry));
    text.push_str(&entry);
    let keys = TenantKeys::parse(path, &text, config.test_tenants())?;
    file.write_all(entry.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| unusable(path, &error))?;
    outln!("{name}:{version}");
    hintln!(
        "Tenant {name} has the key above, version {version}, in {}. Agents take it within five",
        path.display()
    );
    hintln!("seconds; copy the file to the other hosts of the realm.");
    if let Some(TenantKey::Hs256(_)) = keys.key(&name, version) {
        hintln!(
            "The tenant's server signs its users' tokens with the secret in that file: hand it over in a way that"
        );
        hintln!("nobody else reads. Anyone who has it can use up the guesses of that tenant's users.");
        hintln!("Next, for a test: strongroom-agent token --tenant {name} --user NAME");
    }
    Ok(())
}

fn unusable(path: &Path, error: &io::Error) -> FileError {
    let message = format!("cannot be extended: {error}; run this as a user who may write it");
    FileError::Unusable { path: path.into(), message }
}

/// The lines of one key.
fn entry(name: &str, version: u64, public_key: Option<&Path>) -> Result<Zeroizing<String>, CliError> {
    let (algorithm, key) = match public_key {
        Some(path) => {
            let pem = Zeroizing::new(String::from_utf8_lossy(&read(path)?).trim().to_owned());
            let unusable = |message: &str| FileError::Unusable { path: path.into(), message: message.into() };
            (public_key_algorithm(&pem).map_err(unusable)?, Zeroizing::new(format!("'''\n{}\n'''", *pem)))
        }
        None => {
            // Secret: shown nowhere except in the file.
            let mut secret = Zeroizing::new([0; SECRET_LEN]);
            getrandom::fill(&mut *secret)
                .map_err(|error| CliError::Usage(format!("no randomness to make a key: {error}")))?;
            let hex = Zeroizing::new(hex::encode(*secret));
            ("HS256", Zeroizing::new(format!("\"{}\"", *hex)))
        }
    };
    // Quoted where TOML has no integer of that size.
    let version = if i64::try_from(version).is_ok() { version.to_string() } else { format!("\"{version}\"") };
    Ok(Zeroizing::new(format!(
        "[[tenant]]\nname = \"{name}\"\nversion = {version}\nalgorithm = \"{algorithm}\"\nkey = {}\n",
        *key
    )))
}
