//! Arrays of a request have the bounds that the protocol gives them, before their items take memory.

use crate::common::led;
use ed25519_dalek::SigningKey;
use strongroom_proto::entry::{Entry, MAX_PARTITIONS};
use strongroom_proto::events::{EntryEvents, OwnedEvent, Settled, Telling, TenantKey};
use strongroom_proto::hsm::{
    CustodianKey, GroupEntries, MAX_BATCH_REQUESTS, MAX_CAPTURE_ENTRIES, MAX_CUSTODIANS, MAX_GROUPS,
    RealmPolicy, Refusal, Reply, Request,
};
use strongroom_proto::ids::{Digest, HsmId, Index, X25519Public};
use strongroom_proto::statement::{Captured, Committed, MAX_MEMBERS, MemberStatement};
use strongroom_proto::tlog::{MAX_RANGE, leaf};
use strongroom_testkit::founding::sign;

/// A request with one array in it that holds one item, the bytes of that, and how many there may be.
type Case = (Request, Vec<u8>, usize);

fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a vector takes all bytes")
}

/// An array with the bytes of so many items, which all are these bytes.
fn array(items: usize, item: &[u8]) -> Vec<u8> {
    let head = u16::try_from(items).expect("few").to_be_bytes();
    [&[0x99][..], &head, &item.repeat(items)].concat()
}

fn of_realms_and_groups(made: &Entry) -> Vec<Case> {
    let group = made.group;
    let statement = Captured::new(&[0; 32], &made.realm, &group, HsmId([0; 16]), Index(1), made.hash());
    let member = MemberStatement::new(&[0; 32], &made.realm, HsmId([0; 16]));
    let empty = GroupEntries { group, entries: vec![] };
    let key = CustodianKey(Digest([1; 32]));
    let policy = RealmPolicy { custodians: vec![key], threshold: 1, smallest_group: None };
    vec![
        (Request::NewRealm(policy), encode(&key), MAX_CUSTODIANS),
        (Request::NewGroup(vec![member]), encode(&member), MAX_MEMBERS),
        (Request::Capture(vec![empty.clone()]), encode(&empty), MAX_GROUPS),
        (Request::capture(group, vec![made.clone()]), encode(made), MAX_CAPTURE_ENTRIES),
        (Request::Lead(group, Some(made.clone())), encode(&made.partitions[0]), MAX_PARTITIONS),
        (Request::Commit { group, statements: vec![statement] }, encode(&statement), MAX_MEMBERS),
    ]
}

fn of_tellings(made: &Entry) -> Vec<Case> {
    let settled = Settled::Committed(Committed::new(
        &[0; 32],
        &made.realm,
        &made.group,
        HsmId([0; 16]),
        Index(1),
        made.hash(),
    ));
    let key = TenantKey { tenant: b"tenant".to_vec().into(), key: X25519Public([9; 32]) };
    let signature = sign(&SigningKey::from_bytes(&[1; 32]), &key.digest(&made.realm));
    let event: minicbor::bytes::ByteVec = vec![7; 104].into();
    let owned = OwnedEvent { place: 0, user: b"user".to_vec().into(), time: 0 };
    let nothing = EntryEvents { events: vec![], owned: vec![] };
    let none = Telling { key, signatures: vec![], entries: vec![nothing.clone(); 2] };
    let tell = |telling| Request::Tell { settled, entries: vec![], telling };
    let telling = |change: &dyn Fn(&mut Telling)| {
        let mut telling = none.clone();
        change(&mut telling);
        tell(Some(telling))
    };
    vec![
        (
            Request::Tell { settled, entries: vec![made.clone()], telling: None },
            encode(made),
            MAX_CAPTURE_ENTRIES,
        ),
        (
            telling(&|telling| telling.signatures = vec![signature.clone()]),
            encode(&signature),
            MAX_CUSTODIANS,
        ),
        (telling(&|telling| telling.entries.truncate(1)), encode(&nothing), MAX_CAPTURE_ENTRIES),
        (
            telling(&|telling| telling.entries[0].events = vec![event.clone()]),
            encode(&event),
            MAX_BATCH_REQUESTS,
        ),
        (
            telling(&|telling| telling.entries[0].owned = vec![owned.clone()]),
            encode(&owned),
            MAX_BATCH_REQUESTS,
        ),
    ]
}

#[test]
fn arrays_longer_than_the_protocol_allows_are_refused_before_their_items_take_memory() {
    let (mut rig, made) = led(1, 1);
    let made = &made[0];
    let request = Request::ExtendHead { from: None, entries: vec![made.clone()] };
    let Reply::Head(head) = rig.devices[0].ask(&request) else { panic!("no head") };
    let of_heads = vec![
        (request, encode(made), MAX_CAPTURE_ENTRIES),
        (Request::ExtendHead { from: Some(head), entries: vec![] }, encode(&leaf(&made.hash())), MAX_RANGE),
    ];
    for (request, item, most) in [of_realms_and_groups(made), of_heads, of_tellings(made)].concat() {
        let bytes = encode(&request);
        let one = [&[0x81][..], &item].concat();
        let at = bytes.windows(one.len()).position(|w| w == one).expect("an array of one item");
        let mut ask = |items: usize| {
            let long = [&bytes[..at], &array(items, &item), &bytes[at + one.len()..]].concat();
            let reply = rig.devices[0].handle(&long);
            minicbor::decode::<Reply>(&reply).expect("a reply")
        };
        for long in [most + 1, 300] {
            assert_eq!(ask(long), Reply::Refused(Refusal::TooLarge), "{long} items in {request:?}");
        }
        let most = ask(most);
        assert!(!matches!(most, Reply::Refused(Refusal::TooLarge)), "{most:?}");
    }
}
