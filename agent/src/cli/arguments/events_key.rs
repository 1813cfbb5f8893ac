//! Arguments about the keys to which tenants' events are sealed.

use super::{KeyArguments, StatusFormat};
use clap::{Args, Subcommand};
use strongroom_proto::ids::{RealmId, X25519Public};

/// Keys of tenants for their events.
#[derive(Subcommand, Debug)]
pub enum EventsKeyCommand {
    /// For each custodian, without an agent: sign that a tenant's events are sealed to this key. Whoever has its secret is told what
    /// happens to the tenant's users. Prints a signature.
    Sign(SignEventsKey),
    /// Store the key with the custodians' signatures beside the log, where agents find it: from then on the tenant's events are
    /// sealed to it. Asks this agent's HSM who the custodians are.
    Publish(PublishEventsKey),
    /// Show the key that the store has for a tenant, and whether it counts.
    Show {
        /// The tenant.
        #[arg(value_parser = tenant)]
        tenant: String,
        /// How to show it.
        #[command(flatten)]
        format: StatusFormat,
    },
}

/// `tenant events-key sign`.
#[derive(Args, Debug)]
pub struct SignEventsKey {
    /// The custodian's private key.
    #[command(flatten)]
    pub key: KeyArguments,
    /// The realm.
    #[arg(long, value_name = "REALMID")]
    pub realm: RealmId,
    /// The tenant.
    #[arg(long, value_name = "NAME", value_parser = tenant)]
    pub tenant: String,
    /// The tenant's public key, as `strongroom-events new-key` printed it to the tenant: 64 hexadecimal digits.
    #[arg(value_name = "PUBKEY", value_parser = public_key)]
    pub public_key: X25519Public,
}

/// `tenant events-key publish`.
#[derive(Args, Debug)]
pub struct PublishEventsKey {
    /// The tenant.
    #[arg(value_parser = tenant)]
    pub tenant: String,
    /// The tenant's public key, 64 hexadecimal digits.
    #[arg(value_name = "PUBKEY", value_parser = public_key)]
    pub public_key: X25519Public,
    /// What each `tenant events-key sign` printed.
    #[arg(required = true, num_args = 1..=9)]
    pub signatures: Vec<String>,
    /// Put it in the place of another key of the tenant.
    #[arg(long)]
    pub replace: bool,
}

fn tenant(name: &str) -> Result<String, &'static str> {
    if crate::tenants::is_tenant_name(name) {
        Ok(name.to_owned())
    } else {
        Err("a tenant's name is letters and digits, optionally after `test-`")
    }
}

fn public_key(text: &str) -> Result<X25519Public, &'static str> {
    let key = text
        .parse()
        .map_err(|_| "a public key is 64 hexadecimal digits; `strongroom-events new-key` prints one")?;
    if strongroom_events::tenant::is_usable(&key) {
        Ok(key)
    } else {
        Err(
            "what is sealed to this key, anybody could read; have the tenant make one with `strongroom-events new-key`",
        )
    }
}
