//! What is sealed for one place, opened in another: by a host that has its bytes, were there a way to put them there.
//!
//! A root stands in the way of every one of these besides. What it is bound to is the second line.

use super::{Scene, answers};
use strongroom_hsm_planted::Bug;
use strongroom_proto::ids::{GroupId, RealmId, RecordId};

pub(super) const OTHER_REALM: RealmId = RealmId([7; 16]);

/// The record after its last guess, with its place changed, and whether the right tag still unwraps it.
fn unwraps_elsewhere(bug: Option<Bug>, elsewhere: fn(&mut (RealmId, RecordId, [u8; 16]))) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let request = s.user.recover2();
    answers(&mut s, &[request]);
    let record = s.user.record;
    let sealed = s.tree.get(&record).expect("open").expect("there");
    let (tag, reader) = (s.user.registration.unlock_key_tag.as_bytes(), s.rig.devices[0].reader());
    let mut place = (s.rig.realm, record, s.user.registration.version.0);
    let unwraps = |(realm, owner, version): &(RealmId, RecordId, [u8; 16])| {
        reader.unwraps(&record, sealed, tag, (realm, owner, version)).expect("after the last guess")
    };
    assert!(unwraps(&place), "in its place it unwraps");
    elsewhere(&mut place);
    unwraps(&place)
}

pub(super) fn secrets_unwrapped_in_another_realm(bug: Option<Bug>) -> bool {
    unwraps_elsewhere(bug, |place| place.0 = OTHER_REALM)
}

pub(super) fn secrets_unwrapped_for_another_record(bug: Option<Bug>) -> bool {
    unwraps_elsewhere(bug, |place| place.1.0[0] ^= 1)
}

pub(super) fn secrets_unwrapped_for_another_version(bug: Option<Bug>) -> bool {
    unwraps_elsewhere(bug, |place| place.2[0] ^= 1)
}

/// In an HSM with the same keys: ids are not all that keys are derived from.
pub(super) fn record_opened_in_another_realm(bug: Option<Bug>) -> bool {
    let s = Scene::new(bug, 3, 2);
    let sealed = s.tree.get(&s.user.record).expect("open").expect("there");
    let mut reader = s.rig.devices[0].reader();
    assert!(reader.reveal(&s.user.record, sealed).is_some(), "in its place it opens");
    reader.rename(OTHER_REALM);
    reader.reveal(&s.user.record, sealed).is_some()
}

fn event_opens_elsewhere(bug: Option<Bug>, realm: Option<RealmId>, group: Option<GroupId>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let event = s.tip.events.remove(0);
    let mut reader = s.rig.devices[0].reader();
    assert!(reader.event(&s.rig.group, &event).is_some(), "in its place it opens");
    realm.into_iter().for_each(|realm| reader.rename(realm));
    reader.event(&group.unwrap_or(s.rig.group), &event).is_some()
}

pub(super) fn event_opened_in_another_realm(bug: Option<Bug>) -> bool {
    event_opens_elsewhere(bug, Some(OTHER_REALM), None)
}

pub(super) fn event_opened_in_another_group(bug: Option<Bug>) -> bool {
    event_opens_elsewhere(bug, None, Some(GroupId([7; 16])))
}
