//! `token`: a token for a test, as a tenant's server would make one.

use super::arguments::TokenArguments;
use super::error::CliError;
use super::reach::{Reach, agent, configured};
use crate::admin::AdminError;
use crate::clock::system_clock;
use crate::tenants::{TenantKey, Tenants};
use crate::token::{MAX_TOKEN_LEN, MINTED_LIFETIME_S, Purpose, mint_for, verify_for};

pub(super) async fn execute(reach: &Reach, arguments: &TokenArguments) -> Result<(), CliError> {
    let TokenArguments { user, audit, tenant, realm } = arguments;
    let purpose = if *audit { Purpose::Audit } else { Purpose::User };
    if user.is_empty() {
        return Err(CliError::Arguments(
            "give the user a name; with an empty one, strangers would share a record",
        ));
    }
    let config = configured(&reach.config)?;
    let tenants = Tenants::open(config.tenants.clone(), config.test_tenants())?.current();
    let file = config.tenants.display();
    let found = match tenant {
        Some(name) => tenants.newest(name).map(|(version, key)| (name.as_str(), version, key)),
        None => {
            let mut all = tenants.newest_secrets();
            let first = all.next();
            if all.next().is_some() {
                return Err(CliError::Usage(format!("{file} has several tenants: say which with --tenant")));
            }
            first
        }
    };
    let (name, version, key) = found.ok_or_else(|| {
        CliError::Usage(format!(
            "{file} has no such tenant; make one with `strongroom-agent tenant add NAME`"
        ))
    })?;
    let TenantKey::Hs256(secret) = key else {
        return Err(CliError::Usage(format!(
            "only tenant {name} itself can sign its tokens: its newest key in {file} is a public one; for tests, make a \
             tenant of their own with `strongroom-agent tenant add`"
        )));
    };
    let realm = match realm {
        Some(realm) => *realm,
        None => agent(reach).await?.device().await?.realm.ok_or(AdminError::NoRealm)?.realm,
    };
    let now = system_clock()();
    let token = mint_for(purpose, secret, (name, version), user, &realm, now);
    // Nothing is printed that an agent would refuse.
    verify_for(purpose, &tenants, &token, &realm, now).map_err(|error| {
        CliError::Usage(format!(
            "no agent would take a token for this user: {error}; a token has up to {MAX_TOKEN_LEN} characters"
        ))
    })?;
    outln!("{token}");
    let minutes = MINTED_LIFETIME_S / 60;
    if *audit {
        hintln!(
            "Anyone who has the token above reads the pages of events of tenant {name} for {minutes} minutes."
        );
    } else {
        hintln!(
            "Anyone who has the token above is user {user} of tenant {name} for {minutes} minutes: keep it to yourself."
        );
    }
    Ok(())
}
