//! The checkpoint of one group: who signed it, and how long ago.

use crate::failure::{Failure, Fault, clean};
use strongroom_proto::checkpoint::origin;
use strongroom_proto::ids::GroupId;
use strongroom_tlog::checkpoint::CheckpointError;
use strongroom_tlog::note::MAX_LEN;
use strongroom_tlog::{
    ClaimedCheckpoint, KeyName, Policy, RealmStatement, SignatureType, VerifiedCheckpoint, VerifierKey,
};

/// The longest checkpoint, in bytes.
pub(crate) const MAX_CHECKPOINT: u64 = MAX_LEN as u64;

/// How far in the future a cosignature may be and still count as made now, in seconds: clocks differ.
const AHEAD: u64 = 300;

/// That the realm has signed it, as the checkpoint of this group. What witnesses signed is not looked at.
///
/// # Errors
/// [`CheckpointError`].
pub(crate) fn signed(
    claimed: &ClaimedCheckpoint,
    statement: &RealmStatement,
    group: &GroupId,
) -> Result<VerifiedCheckpoint, CheckpointError> {
    let origin = origin(&statement.realm, group);
    // The statement was read, so its key is one.
    let key = KeyName::new(origin.clone())
        .and_then(|name| VerifierKey::new(name, SignatureType::Ed25519, &statement.checkpoint_key));
    let policy = key.ok().and_then(|key| Policy::of_log(origin, vec![key]).ok());
    claimed.verify(&policy.ok_or(CheckpointError::Form)?)
}

/// How many witnesses have cosigned it, and when.
///
/// # Errors
/// [`Failure::Cosignatures`], [`Failure::Old`].
pub(crate) fn cosigned(
    claimed: &ClaimedCheckpoint,
    statement: &RealmStatement,
    group: &GroupId,
    now: u64,
    max_age: Option<u64>,
) -> Result<(String, Vec<String>), Fault> {
    let policy = statement.policy_of(group).map_err(Failure::Statement)?;
    let verified = claimed.verify(&policy).map_err(Failure::Cosignatures)?;
    let witnesses = verified.witnesses();
    let notes = witnesses
        .iter()
        .map(|(name, time)| format!("{} cosigned it {}", clean(name.as_str()), when(*time, now)));
    let notes: Vec<String> = notes.collect();
    let newest = witnesses.iter().map(|(_, time)| *time).max();
    if let Some(max_age) = max_age {
        // Who asks how old it is wants at least one who says so.
        let needed = statement.cosignatures.max(1);
        let is_young = |time: u64| time <= now.saturating_add(AHEAD) && now.saturating_sub(time) <= max_age;
        let young = witnesses.iter().filter(|(_, time)| is_young(*time)).count();
        if young < needed {
            let newest = newest.map_or_else(|| "missing".into(), |time| format!("from {}", when(time, now)));
            return Err(Failure::Old { young, needed, max_age, newest }.into());
        }
    }
    let told = format!("{} of at least {}", witnesses.len(), statement.cosignatures);
    let told = newest.map_or(told.clone(), |time| format!("{told}, the newest from {}", when(time, now)));
    Ok((told, notes))
}

/// When something was, for people.
fn when(time: u64, now: u64) -> String {
    match now.checked_sub(time) {
        None => format!("{} s in the future (Unix time {time})", time - now),
        Some(age) => format!("{} ago (Unix time {time})", span(age)),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
