//! Whether a log goes on where an earlier checkpoint ended.

use crate::checkpoint::signed;
use crate::failure::{Failure, Fault, Pair};
use crate::published::Published;
use strongroom_proto::ids::GroupId;
use strongroom_tlog::{ClaimedCheckpoint, RealmStatement, VerifiedCheckpoint};

/// Compares with an earlier checkpoint. `tree` is the tree of the newer one, if all of it was found to be right.
///
/// # Errors
/// [`Failure::Earlier`], [`Failure::WentBack`], [`Failure::Forked`]; unknown without the tree, unless the sizes tell.
pub(crate) async fn check(
    earlier: &ClaimedCheckpoint,
    newer: &VerifiedCheckpoint,
    statement: &RealmStatement,
    group: &GroupId,
    tree: Option<&Published<'_>>,
) -> Result<String, Fault> {
    let earlier = signed(earlier, statement, group).map_err(Failure::Earlier)?;
    let (old, new) = (earlier.checkpoint(), newer.checkpoint());
    let pair = || {
        let notes = [earlier.evidence(), newer.evidence()].map(ToString::to_string);
        Box::new(Pair { earlier: old.size(), now: new.size(), notes })
    };
    if old.size() > new.size() {
        return Err(Failure::WentBack(pair()).into());
    }
    let was = match tree {
        _ if old.size() == new.size() => *new.root(),
        Some(tree) => tree.root_at(old.size()).await.map_err(unknown)?,
        None => return Err(Fault::Unknown("the tree does not check out; see tiles".into())),
    };
    if was != *old.root() {
        return Err(Failure::Forked(pair()).into());
    }
    Ok(format!("goes on from {} to {} entries", old.size(), new.size()))
}

/// What is wrong with a tile is said where tiles are checked.
fn unknown(fault: Fault) -> Fault {
    match fault {
        Fault::Failed(failure) => Fault::Unknown(format!("it cannot be compared: {failure}")),
        unknown @ Fault::Unknown(_) => unknown,
    }
}
