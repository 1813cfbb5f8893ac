//! The tenant of a local realm, as the server of an app: it has a key for events, and is told what happens to its users.

use super::{LocalRealm, TENANT, token};
use crate::Error;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_agent::admin::sign;
use strongroom_agent::store::Store;
use strongroom_agent::token::Purpose;
use strongroom_events::key_file::{self, KeyFileError};
use strongroom_events::tenant::key_object;
use strongroom_events::{HttpSource, SignedKey, TokenSource};
use strongroom_proto::events::TenantKey;
use strongroom_proto::ids::{Ed25519Public, RealmId};
use strongroom_replica::CreateOutcome;
use url::Url;

/// What the tenant needs to read its events.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The realm.
    pub realm: RealmId,
    /// The key with which its HSMs sign what they tell.
    pub checkpoint_key: Ed25519Public,
    /// The file with the secret to which they seal it.
    pub key: PathBuf,
    /// An agent.
    pub agent: Url,
    dir: PathBuf,
}

/// As whom the tenant's server reads.
const READER: &str = "events";

impl LocalRealm {
    /// Makes the tenant's key, has the custodian sign it, and puts it where agents find it; what was done before stays.
    ///
    /// # Errors
    /// The folder cannot be written, or was changed by hand.
    pub async fn tenant(&self, realm: RealmId) -> Result<Tenant, Error> {
        let path = self.dir.join("events.key");
        let secret = match key_file::create(&path) {
            Err(KeyFileError::Exists(_)) => key_file::read(&path)?,
            made => made?,
        };
        let key = TenantKey { tenant: TENANT.as_bytes().to_vec().into(), key: secret.public() };
        let signatures = vec![sign(&self.custodian()?, &key.digest(&realm))];
        let signed = SignedKey { key, signatures }.encode();
        let config = self.config(0)?;
        let store: Store = (self.setting.open)(&config)?;
        match store.create(&key_object(&realm, TENANT), signed.into()).await {
            CreateOutcome::Created => {}
            CreateOutcome::Lost => {
                return Err(format!("{}: another key was published for the realm", path.display()).into());
            }
            CreateOutcome::Unknown => return Err("the store does not take the tenant's key".into()),
        }
        let device = self.device(0).await?;
        let checkpoint_key = device.realm.and_then(|realm| realm.checkpoint_key);
        let checkpoint_key = checkpoint_key.ok_or("the HSMs are of a build that signs nothing")?;
        let agent = format!("http://{}/", super::place::reachable(self.members[0].front)).parse()?;
        Ok(Tenant { realm, checkpoint_key, key: path, agent, dir: self.dir.clone() })
    }
}

impl Tenant {
    /// The command that prints its events, with tokens that this program prints.
    #[must_use]
    pub fn command(&self, program: &str) -> String {
        let Self { realm, checkpoint_key, key, agent, dir, .. } = self;
        let token =
            format!("{} token --audit --keep {}", quoted(program), quoted(&dir.display().to_string()));
        format!(
            "strongroom-events tail --follow --url {agent} --realm {realm} --checkpoint-key {checkpoint_key} --tenant {TENANT} --key {} \
             --token-command {}",
            quoted(&key.display().to_string()),
            quoted(&token)
        )
    }

    /// Its streams.
    ///
    /// # Errors
    /// There can be no HTTP.
    pub fn source(&self) -> Result<HttpSource, Error> {
        let Self { realm, dir, agent, .. } = self.clone();
        // What is no token is refused.
        let mint = move || token(&dir, &realm, READER, Purpose::Audit).unwrap_or_default();
        Ok(HttpSource::open(&[agent], None, TokenSource::Minted(Arc::new(mint)))?)
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_to_a_shell_what_it_is() {
        assert_eq!(quoted("/tmp/a-b"), "/tmp/a-b");
        for word in ["a b", "it's", "", "$HOME"] {
            let shown = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output();
            assert_eq!(shown.expect("there is a shell").stdout, word.as_bytes());
        }
    }
}
