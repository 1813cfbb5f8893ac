//! How running agents become a realm: made in the first HSM, brought to the others as its custodian allows, and one
//! group of all.
//!
//! As an operator does it, over the agents' admin sockets, whether the agents are in this process or in others.

use crate::Error;
use ed25519_dalek::SigningKey;
use std::path::Path;
use std::time::Duration;
use strongroom_agent::admin::{Client, custodian_key, sign};
use strongroom_proto::enrolment::FoundingStatement;
use strongroom_proto::hsm::{DeviceStatus, RealmPolicy};
use strongroom_proto::ids::{GroupId, HsmId};

/// How long anything about a realm may take on a machine that is busy with other things, and after how long to say what
/// is being waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const SLOW: Duration = Duration::from_secs(10);

/// Asks until there is an answer, for two minutes.
///
/// # Errors
/// There is none; `failing` says what is missing.
pub async fn patiently<T>(
    failing: &str,
    ask: impl AsyncFnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    within(PATIENCE, failing, ask).await
}

/// Asks until there is an answer, for this long.
///
/// # Errors
/// There is none; `failing` says what is missing.
pub async fn within<T>(
    limit: Duration,
    failing: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let (begun, mut told) = (tokio::time::Instant::now(), false);
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        let waited = begun.elapsed();
        if waited >= limit {
            let limit = limit.as_secs();
            return Err(format!("{failing}, in {limit} s; run again with RUST_LOG=info to see why").into());
        }
        if waited >= SLOW && !told {
            eprintln!("so far, {failing}");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The agent that has this admin socket.
///
/// # Errors
/// It does not answer.
pub async fn admin(socket: &Path) -> Result<Client, Error> {
    patiently("an agent does not answer", async || Ok(Client::connect(socket).await.ok())).await
}

/// What an agent's HSM says about itself.
///
/// # Errors
/// It does not answer.
pub async fn device(socket: &Path) -> Result<DeviceStatus, Error> {
    let mut admin = admin(socket).await?;
    patiently("an HSM does not answer", async || Ok(admin.clone().device().await.ok())).await?;
    Ok(admin.device().await?)
}

/// Makes the realm in an HSM, under one custodian, who signs its founding.
///
/// # Errors
/// The HSM refuses.
pub async fn make_realm(socket: &Path, custodian: &SigningKey) -> Result<FoundingStatement, Error> {
    let policy =
        RealmPolicy { custodians: vec![custodian_key(custodian)], threshold: 1, smallest_group: None };
    let device = admin(socket).await?.new_realm(policy).await?;
    let founding = device.founding().ok_or("the HSM made no realm")?;
    let signatures = vec![sign(custodian, &founding.digest())];
    Ok(FoundingStatement { founding, signatures })
}

/// Gives the realm to another HSM, as its custodian allows.
///
/// # Errors
/// One of the HSMs refuses.
pub async fn enrol(exporter: &Path, importer: &Path, custodian: &SigningKey) -> Result<(), Error> {
    let request = admin(importer).await?.request().await?;
    let mut exporter = admin(exporter).await?;
    let approval = exporter.offer(request).await?;
    let signature = sign(custodian, &approval.digest());
    let sealed = exporter.export(approval, vec![signature]).await?;
    admin(importer).await?.enrol(sealed).await?;
    Ok(())
}

/// Makes one group of the HSMs of all these agents, at the first.
///
/// # Errors
/// They do not all join.
pub async fn make_group(sockets: &[&Path]) -> Result<GroupId, Error> {
    let mut members: Vec<HsmId> = Vec::new();
    for socket in sockets {
        members.push(device(socket).await?.hsm);
    }
    let first = sockets.first().ok_or("a group has members")?;
    let mut admin = admin(first).await?;
    // Agents find each other in their own time.
    let made = patiently("the HSMs do not all join the group", async || {
        Ok(admin.clone().create_group(&members).await.ok().filter(|made| made.missing.is_empty()))
    })
    .await?;
    admin.device().await?;
    Ok(made.statement.group)
}

/// What clients are told about a realm that one HSM has, as JSON text, with this address of its front door.
///
/// # Errors
/// The HSM has no realm.
pub fn configuration(
    device: &DeviceStatus,
    address: &str,
    founding: Option<String>,
    pin_hashing_mode: &str,
) -> Result<serde_json::Value, Error> {
    let realm = device.realm.as_ref().ok_or("the HSM has no realm")?;
    Ok(serde_json::json!({
        "realms": [{
            "id": realm.realm.to_string(),
            "address": address,
            "public_key": realm.public_key.to_string(),
            "founding": founding,
        }],
        "register_threshold": 1,
        "recover_threshold": 1,
        "pin_hashing_mode": pin_hashing_mode,
    }))
}
