//! What is asked to be told to a tenant, right and wrong.

use super::{Scene, encode, probe};
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{EntryEvents, MAX_NAME_BYTES, OwnedEvent, Settled, Telling, TenantKey};
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, Refusal, Reply, Request};
use strongroom_proto::ids::X25519Public;
use strongroom_proto::statement::{Committed, Past};
use strongroom_testkit::founding::sign;

pub(super) const TENANT: &str = "tenant";
pub(super) const USER: &str = "user";

impl Scene {
    /// Of the tip, for the user's tenant.
    pub(super) fn telling(&self) -> Telling {
        let key = TenantKey { tenant: TENANT.as_bytes().to_vec().into(), key: self.rig.public_key };
        let signatures = [0, 1].map(|i| sign(&self.rig.custodians[i], &key.digest(&self.rig.realm))).to_vec();
        let owned = vec![OwnedEvent { place: 0, user: USER.as_bytes().to_vec().into(), time: u64::MAX }];
        Telling { key, signatures, entries: vec![EntryEvents { events: self.events.clone(), owned }] }
    }

    /// That a user has registered, told to the tenant.
    pub(super) fn tell(&self) -> Request {
        let (settled, telling) = (Settled::Committed(self.committed), Some(self.telling()));
        Request::Tell { settled, entries: vec![self.tip.clone()], telling }
    }
}

#[test]
fn what_may_not_be_told_is_refused_by_a_leader_whom_that_does_not_change() {
    let mut s = Scene::new();
    let own = s.rig.captured(1, std::slice::from_ref(&s.pending.entry));
    let (tip, pending) = (s.tip.clone(), s.pending.entry.clone());
    let (telling, committed) = (s.telling(), s.committed);
    let Committed { hsm, index, hash, mac } = committed;
    let past = Settled::Past(Past { hsm, index, hash, mac });
    let dressed = Committed { hsm: own.hsm, index: own.index, hash: own.hash, mac: own.mac };
    let (settled, dressed) = (Settled::Committed(committed), Settled::Committed(dressed));
    let many = vec![tip.clone(); MAX_CAPTURE_ENTRIES + 1];
    let told = |settled: Settled, entries: &[Entry], change: &dyn Fn(&mut Telling)| {
        let mut telling = telling.clone();
        change(&mut telling);
        Request::Tell { settled, entries: entries.to_vec(), telling: Some(telling) }
    };
    let (one, none) = (std::slice::from_ref(&tip), |_: &mut Telling| {});
    let both = [tip.clone(), pending.clone()];
    let all = [
        (told(settled, &[], &none), Refusal::Malformed),
        (told(settled, &many, &none), Refusal::TooLarge),
        (told(settled, &[pending.clone(), tip.clone()], &none), Refusal::NotConsecutive),
        (told(settled, &both, &none), Refusal::NotCommitted),
        (told(settled, &both[1..], &none), Refusal::NotCommitted),
        (told(dressed, &both, &none), Refusal::NotAuthentic),
        (told(past, one, &none), Refusal::NotAuthentic),
        (told(settled, one, &|t| t.signatures.truncate(1)), Refusal::NotApproved),
        (told(settled, one, &|t| t.key.key = X25519Public([0; 32])), Refusal::NotApproved),
        (told(settled, one, &|t| t.entries[0].events.clear()), Refusal::NotAuthentic),
        (told(settled, one, &|t| t.entries.push(t.entries[0].clone())), Refusal::Malformed),
        (told(settled, one, &|t| t.entries[0].owned[0].place = 1), Refusal::Malformed),
        (
            told(settled, one, &|t| t.entries[0].owned = vec![t.entries[0].owned[0].clone(); 2]),
            Refusal::Malformed,
        ),
        (
            told(settled, one, &|t| t.entries[0].owned[0].user = b"another".to_vec().into()),
            Refusal::NotCovered,
        ),
        (
            told(settled, one, &|t| t.entries[0].owned[0].user = vec![0; MAX_NAME_BYTES + 1].into()),
            Refusal::TooLarge,
        ),
    ];
    for (request, refusal) in all {
        let reply = probe(&mut s.rig.devices[0], &encode(&request));
        assert_eq!(reply, Reply::Refused(refusal), "{request:?}");
    }
    let right = encode(&s.tell());
    let told = probe(&mut s.rig.devices[0], &right);
    assert!(matches!(told, Reply::Told { sealed: Some(_), .. }), "{told:?}");
}
