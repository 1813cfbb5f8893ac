//! `tenant add`, `rotate` and `remove`: the keys of tenants, in the tenants file. `tenant usage` is in `usage.rs`, `tenant events-key` in
//! `events_key.rs`.
//!
//! The file is written in place: its comments, owner and permissions stay as the operator made them. The new contents are
//! parsed as the agent parses them before anything is written. An agent that reads in between keeps what it has.

use super::arguments::TenantCommand;
use super::error::CliError;
use super::events_key;
use super::reach::{Reach, configured};
use super::usage::usage;
use crate::file::{FileError, read};
use crate::tenants::{TenantKey, TenantKeys, is_tenant_name, public_key_algorithm};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Length of a secret, in bytes.
const SECRET_LEN: usize = 32;

pub(super) async fn execute(reach: &Reach, command: TenantCommand) -> Result<(), CliError> {
    let config = &reach.config;
    match command {
        TenantCommand::Add { name, public_key } => add(config, &name, public_key.as_deref(), false),
        TenantCommand::Rotate { name, public_key } => add(config, &name, public_key.as_deref(), true),
        TenantCommand::Remove { key, last } => remove(config, &key, last),
        TenantCommand::Usage(arguments) => usage(config, &arguments).await,
        TenantCommand::EventsKey(command) => events_key::execute(reach, command).await,
    }
}

/// Adds a key; `rotates`: to a tenant that has one.
fn add(config: &Path, name: &str, public_key: Option<&Path>, rotates: bool) -> Result<(), CliError> {
    if !is_tenant_name(name) {
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
    let newest = keys.newest(name).map(|(newest, _)| newest);
    if rotates && newest.is_none() {
        return Err(CliError::Arguments("there is no such tenant; `tenant add` makes one"));
    }
    let version = newest.map_or(Some(1), |newest| newest.checked_add(1));
    let version =
        version.ok_or(CliError::Arguments("the tenant's newest key has the last version there is"))?;
    let entry = entry(name, version, public_key)?;
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
    if let Some(older) = newest.filter(|_| rotates) {
        hintln!(
            "Tokens under the older keys stay good. Once the tenant signs with the new one: strongroom-agent tenant remove {name}:{older}"
        );
    }
    if let Some(TenantKey::Hs256(_)) = keys.key(name, version) {
        hintln!(
            "The tenant's server signs its users' tokens with the secret in that file: hand it over in a way that"
        );
        hintln!("nobody else reads. Anyone who has it can use up the guesses of that tenant's users.");
        hintln!("Next, for a test: strongroom-agent token --tenant {name} --user NAME");
    }
    Ok(())
}

fn remove(config: &Path, key: &str, last: bool) -> Result<(), CliError> {
    let not_a_key = CliError::Arguments("a key is NAME:VERSION, such as acme:1");
    let Some((name, version)) = key.rsplit_once(':') else { return Err(not_a_key) };
    let Ok(version) = version.parse::<u64>() else { return Err(not_a_key) };
    let config = configured(config)?;
    let path = &config.tenants;
    let mut file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.as_mut().map_err(|error| unusable(path, error))?;
    file.lock().map_err(|error| unusable(path, &error))?;
    let text = Zeroizing::new(String::from_utf8_lossy(&read(path)?).into_owned());
    let keys = TenantKeys::parse(path, &text, config.test_tenants())?;
    if keys.key(name, version).is_none() {
        return Err(CliError::Arguments("the tenants file has no such key"));
    }
    let left = without(&text, name, version)
        .ok_or(CliError::Arguments("the tenants file cannot be edited by this command"))?;
    let keys = TenantKeys::parse(path, &left, config.test_tenants())?;
    if keys.newest(name).is_none() && !last {
        let why =
            "that is the tenant's last key: without it, its users are not let in; add --last if you mean it";
        return Err(CliError::Arguments(why));
    }
    if keys.key(name, version).is_some() {
        return Err(CliError::Arguments("the key is there more than once; mend the file"));
    }
    file.write_all(left.as_bytes())
        .and_then(|()| file.set_len(left.len() as u64))
        .and_then(|()| file.sync_all())
        .map_err(|error| unusable(path, &error))?;
    hintln!(
        "{name}:{version} is gone from {}. Agents refuse its tokens within five seconds;",
        path.display()
    );
    hintln!("copy the file to the other hosts of the realm.");
    Ok(())
}

/// The text of a tenants file without this key, and otherwise as it was.
fn without(text: &str, name: &str, version: u64) -> Option<Zeroizing<String>> {
    let mut all: toml_edit::DocumentMut = text.parse().ok()?;
    let tenants = all.get_mut("tenant")?.as_array_of_tables_mut()?;
    let is_it = |tenant: &toml_edit::Table| {
        let of = tenant.get("version")?;
        let of = of.as_integer().and_then(|n| u64::try_from(n).ok()).or_else(|| of.as_str()?.parse().ok())?;
        Some(of == version && tenant.get("name")?.as_str()? == name)
    };
    // A comment above the key may be about the whole file.
    let above = |tenant: &toml_edit::Table| {
        tenant.decor().prefix().and_then(|p| p.as_str()).unwrap_or_default().to_owned()
    };
    let mut comments = String::new();
    for tenant in tenants.iter_mut() {
        let own = above(tenant);
        if is_it(tenant) == Some(true) {
            comments.push_str(if own.contains('#') { &own } else { "" });
        } else if !comments.is_empty() {
            tenant.decor_mut().set_prefix(std::mem::take(&mut comments) + &own);
        }
    }
    tenants.retain(|tenant| is_it(tenant) != Some(true));
    if tenants.is_empty() {
        all.remove("tenant");
    }
    Some(Zeroizing::new(all.to_string() + &comments))
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
