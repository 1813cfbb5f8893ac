//! The configuration and the files that it names.

use super::Finding;
use crate::config::Config;
use crate::front::{FrontMetrics, Relay};
use crate::link::HsmAddress;
use crate::store::{Store, StoreError};
use crate::tenants::Tenants;
use crate::tls::Tls;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// How long before its end a certificate is spoken of, in seconds.
const SOON: u64 = 14 * 24 * 60 * 60;

/// Looks at everything that `config`, read from `path`, names. Connects to nothing, and creates nothing. `unix`: the time, in
/// Unix seconds.
#[must_use]
pub fn files(path: &Path, config: &Config, unix: u64) -> Vec<Finding> {
    let mut found = vec![Finding::well("configuration", format!("{} can be used", path.display()))];
    found.push(tenants(config));
    found.extend(certificate(config, unix));
    found.extend(doors(config));
    found.push(store(config));
    found.extend(socket(config));
    found.extend(exposed(path, config));
    found
}

/// The files with keys in them that everybody on this machine may read.
#[must_use]
pub fn exposed(path: &Path, config: &Config) -> Vec<Finding> {
    let is_secret = |name: &String| {
        ["secret", "key", "token", "password"].iter().any(|word| name.to_lowercase().contains(word))
    };
    let options = Some(path).filter(|_| config.store_options.0.keys().any(is_secret));
    let shares = |tenants: &Tenants| tenants.current().newest_secrets().next().is_some();
    let tenants = Tenants::open(config.tenants.clone(), config.test_tenants()).ok();
    // One that cannot be read may hold anything.
    let tenants = Some(config.tenants.as_path()).filter(|_| tenants.as_ref().is_none_or(shares));
    let key = config.tls.as_ref().map(|tls| tls.key.as_path());
    let secret = [options, tenants, key];
    let open = secret.into_iter().flatten().filter(|path| is_for_everybody(path));
    let finding = |path: &Path| {
        let path = path.display();
        let what = format!("every user of this machine may read {path}, and keys are in it");
        Finding::attention(
            "permissions",
            what,
            format!("chmod o= {path}, and take new keys if others use it"),
        )
    };
    open.map(finding).collect()
}

fn is_for_everybody(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0)
}

fn tenants(config: &Config) -> Finding {
    match Tenants::open(config.tenants.clone(), config.test_tenants()) {
        Ok(_) => Finding::well("tenants", format!("{} can be used", config.tenants.display())),
        Err(error) => Finding::bad("tenants", error.to_string(), "mend the file, or `tenant add NAME`"),
    }
}

fn certificate(config: &Config, unix: u64) -> Option<Finding> {
    let files = config.tls.as_ref()?;
    let about = "certificate";
    let tls = match Tls::open(files.certificate.clone(), files.key.clone()) {
        Ok(tls) => tls,
        Err(error) => {
            return Some(Finding::bad(about, error.to_string(), "mend `[tls]` in the configuration"));
        }
    };
    let renew = "put a new one in the same place: the agent takes it within five seconds";
    Some(match tls.current().end() {
        Some(end) if end <= unix => Finding::bad(about, "it has expired, and clients refuse it", renew),
        Some(end) if end <= unix.saturating_add(SOON) => {
            let hours = end.saturating_sub(unix) / 3_600;
            Finding::attention(about, format!("it expires in {hours} hours"), renew)
        }
        Some(end) => {
            Finding::well(about, format!("it is good for {} days", end.saturating_sub(unix) / 86_400))
        }
        None => Finding::attention(about, "when it expires cannot be read from it", renew),
    })
}

fn doors(config: &Config) -> Option<Finding> {
    if config.fronts.is_empty() {
        return None;
    }
    let (time, metrics) = (Duration::from_secs(1), FrontMetrics::default());
    let opened = Relay::open(&config.fronts, config.fronts_ca.as_deref(), time, time, metrics);
    Some(match opened {
        Ok(_) => Finding::well("fronts", format!("{} front doors of other agents", config.fronts.len())),
        Err(error) => Finding::bad("fronts", error.to_string(), "mend `fronts` or `fronts_ca`"),
    })
}

fn store(config: &Config) -> Finding {
    let about = "store";
    match Store::open_existing(&config.store, &config.store_options) {
        Ok(_) if config.store.scheme() == "memory" => {
            let what = "memory:// ends with the agent, and no other agent sees it";
            Finding::attention(about, what, "choose a bucket, or a folder that all hosts share")
        }
        Ok(_) => Finding::well(about, "`store` and its options can be used"),
        Err(error @ StoreError::NoFolder { .. }) => {
            let next = "the agent makes it when it starts; if it should be there, mount it, or mend `store`";
            Finding::attention(about, error.to_string(), next)
        }
        Err(error) => Finding::bad(about, error.to_string(), "mend `store` or `[store_options]`"),
    }
}

/// A Unix socket lies in a folder that must be there, and its name has room for 107 bytes.
fn socket(config: &Config) -> Vec<Finding> {
    let hsm = match &config.hsm {
        HsmAddress::Unix(path) => Some(("hsm", path.as_path())),
        HsmAddress::Tcp(_) => None,
    };
    let sockets = hsm.into_iter().chain([("admin_socket", config.admin_socket.as_path())]);
    let of = |(name, path): (&'static str, &Path)| {
        if path.as_os_str().len() > 107 {
            let what = format!("{name}: a socket's path has at most 107 bytes, {} has more", path.display());
            return Some(Finding::bad("sockets", what, "choose a shorter one"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let error = match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => return None,
            Ok(_) => io::Error::from(io::ErrorKind::NotADirectory),
            Err(error) => error,
        };
        let what = format!("{name}: {}: {error}", folder.display());
        let next = "make that folder, for the agent's user";
        // What starts the agent, or its HSM, makes what it needs there.
        let is_made = folder.starts_with("/run") || folder.starts_with("/var/run");
        Some(if is_made {
            Finding::attention("sockets", what, next)
        } else {
            Finding::bad("sockets", what, next)
        })
    };
    sockets.filter_map(of).collect()
}
