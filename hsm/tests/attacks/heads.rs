//! Attacks on the tree over a group's log: a checkpoint of a tree that is not over the log. Whoever believes the realm's key
//! would believe it.

use super::common::{Device, Rig};
use super::{outsider, second_group, whole};
use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};
use strongroom_hsm::Config;
use strongroom_hsm_planted::Bug;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, Refusal, Reply, Request};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, Mac};
use strongroom_proto::statement::{Captured, Committed, Head};
use strongroom_proto::tlog::{CompactRange, leaf};

/// Three HSMs, of which the first leads, and all that it has made: each entry captured by all, and stated as committed.
struct Log {
    rig: Rig,
    entries: Vec<Entry>,
    committed: Vec<Committed>,
}

impl Log {
    fn new(bug: Option<Bug>, entries: usize) -> Self {
        let mut rig = Rig::new(3, bug);
        assert!(matches!(rig.lead(0, None), Reply::Leading(_)));
        let mut log = Self { rig, entries: vec![], committed: vec![] };
        (0..entries).for_each(|_| log.grow());
        log
    }

    /// One more entry, without requests, which all capture.
    fn grow(&mut self) {
        let entry = self.rig.make(0, &mut whole(), &[]).entry;
        let statements: Vec<Captured> =
            (0..3).map(|d| self.rig.captured(d, std::slice::from_ref(&entry))).collect();
        self.committed.push(self.rig.committed(0, &statements).0);
        self.entries.push(entry);
    }

    /// An entry at another member that follows these, made in another leadership, which nobody captures.
    fn fork(&mut self) -> Entry {
        assert!(matches!(self.rig.lead(1, self.entries.last()), Reply::Leading(_)));
        self.rig.make(1, &mut whole(), &[]).entry
    }

    fn extend(&mut self, from: Option<&Head>, entries: &[Entry]) -> Result<Head, Refusal> {
        extend(&mut self.rig.devices[2], from, entries)
    }

    /// The head over the first of these entries.
    fn head(&mut self, size: usize) -> Head {
        let entries = self.entries[..size].to_vec();
        self.extend(None, &entries).expect("entries that follow one another")
    }

    fn sign(&mut self, head: &Head, committed: Committed) -> Result<[u8; 64], Refusal> {
        sign(&mut self.rig.devices[2], head, committed)
    }

    /// Whether a signature is over the tree of the first of these entries.
    fn is_signed(&mut self, size: usize, signature: [u8; 64]) -> bool {
        let realm = self.rig.devices[2].status().realm.expect("joined");
        let key = realm.checkpoint_key.expect("it makes checkpoints");
        let key = VerifyingKey::from_bytes(key.as_bytes()).expect("a key");
        let root = Base64::encode_string(&root_of(&self.entries[..size]));
        let body = format!("strongroom/{}/{}\n{size}\n{root}\n", self.rig.realm, self.rig.group);
        key.verify_strict(body.as_bytes(), &Signature::from_bytes(&signature)).is_ok()
    }
}

fn extend(device: &mut Device, from: Option<&Head>, entries: &[Entry]) -> Result<Head, Refusal> {
    match device.ask(&Request::ExtendHead { from: from.cloned(), entries: entries.to_vec() }) {
        Reply::Head(head) => Ok(head),
        Reply::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn sign(device: &mut Device, head: &Head, committed: Committed) -> Result<[u8; 64], Refusal> {
    match device.ask(&Request::SignHead { head: head.clone(), committed }) {
        Reply::Checkpoint(signature) => Ok(*signature),
        Reply::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// MTH of RFC 6962, section 2.1, over the hashes of entries.
fn root_of(entries: &[Entry]) -> [u8; 32] {
    match entries {
        [] => Sha256::digest([]).into(),
        [one] => Sha256::new().chain_update([0]).chain_update(one.hash().0).finalize().into(),
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            Sha256::new()
                .chain_update([1])
                .chain_update(root_of(left))
                .chain_update(root_of(right))
                .finalize()
                .into()
        }
    }
}

/// What is summed up over other leaves than there are, from entry 1 on.
fn range_over(leaves: u8) -> CompactRange {
    let mut range = CompactRange::default();
    (0..leaves).for_each(|n| assert!(range.append(n.into(), leaf(&EntryHash([n; 32])))));
    range
}

/// A true head with another tree put into it.
fn forged(head: &Head) -> Head {
    let leaves = u8::try_from(head.index.0).expect("few");
    Head { range: range_over(leaves), ..head.clone() }
}

pub(super) fn tree_of_the_hosts_carried_on(bug: Option<Bug>) -> bool {
    let mut log = Log::new(bug, 3);
    let forged = forged(&log.head(2));
    let next = log.entries[2].clone();
    let Ok(head) = log.extend(Some(&forged), &[next]) else { return false };
    let committed = log.committed[2];
    log.sign(&head, committed).is_ok_and(|signature| !log.is_signed(3, signature))
}

pub(super) fn tree_without_an_entry(bug: Option<Bug>) -> bool {
    let mut log = Log::new(bug, 3);
    let [first, _, third] = log.entries.clone().try_into().expect("three");
    let Ok(head) = log.extend(None, &[first, third]) else { return false };
    let committed = log.committed[2];
    log.sign(&head, committed).is_ok_and(|signature| !log.is_signed(3, signature))
}

pub(super) fn tree_of_the_hosts_signed(bug: Option<Bug>) -> bool {
    let mut log = Log::new(bug, 3);
    let (forged, committed) = (forged(&log.head(3)), log.committed[2]);
    log.sign(&forged, committed).is_ok_and(|signature| !log.is_signed(3, signature))
}

pub(super) fn tree_signed_on_what_nobody_stated(bug: Option<Bug>) -> bool {
    let mut log = Log::new(bug, 2);
    let fork = log.fork();
    let captured = log.rig.captured(1, std::slice::from_ref(&fork));
    let head = [&log.entries[..], std::slice::from_ref(&fork)].concat();
    let head = log.extend(None, &head).expect("it follows");
    let other = log.committed[1];
    dressed(&captured, other, &fork).into_iter().any(|committed| log.sign(&head, committed).is_ok())
}

/// What a member has captured, said as if it were committed; and what is committed, said of this entry; and with its MAC.
fn dressed(captured: &Captured, other: Committed, entry: &Entry) -> [Committed; 3] {
    let Captured { hsm, index, hash, mac } = *captured;
    let moved = Committed { index: entry.index, hash: entry.hash(), ..other };
    [Committed { hsm, index, hash, mac }, moved, Committed { mac: entry.mac, ..moved }]
}

pub(super) fn tree_signed_because_another_entry_is_committed(bug: Option<Bug>) -> bool {
    let mut log = Log::new(bug, 2);
    let fork = log.fork();
    let head = [&log.entries[..], &[fork]].concat();
    let head = log.extend(None, &head).expect("it follows");
    let committed = log.committed[1];
    log.sign(&head, committed).is_ok()
}

#[test]
fn every_checkpoint_is_of_the_log_however_it_is_summed_up_and_by_whomever() {
    let mut log = Log::new(None, 70);
    let mut outsider = outsider(&mut log.rig, None);
    for size in 1..=log.entries.len() {
        let (entries, committed) = (log.entries[..size].to_vec(), log.committed[size - 1]);
        let mut results: Vec<(Head, [u8; 64])> = Vec::new();
        for piece in [1, 2, 3, 7, 32, MAX_CAPTURE_ENTRIES] {
            let mut head = None;
            for (n, piece) in entries.chunks(piece).enumerate() {
                // None of them keeps anything, and one is in no group.
                let device = log.rig.devices.get_mut(n % 4).unwrap_or(&mut outsider);
                head = Some(extend(device, head.as_ref(), piece).expect("they follow one another"));
            }
            let head = head.expect("of at least one entry");
            assert_eq!((head.group, head.index), (log.rig.group, Index(size as u64)));
            assert_eq!(head.hash, entries[size - 1].hash());
            let device = log.rig.devices.get_mut(piece % 4).unwrap_or(&mut outsider);
            let signature = sign(device, &head, committed).expect("it is committed");
            results.push((head, signature));
        }
        results.dedup();
        let [(_, signature)] = results.as_slice() else { panic!("{} differ", results.len()) };
        assert!(log.is_signed(size, *signature), "{size} entries");
    }
}

#[test]
fn a_signature_is_over_no_other_size_or_group_and_under_no_other_key() {
    let mut log = Log::new(None, 3);
    let (head, committed) = (log.head(2), log.committed[1]);
    let signature = log.sign(&head, committed).expect("it is committed");
    assert_eq!([1, 2, 3].map(|size| log.is_signed(size, signature)), [false, true, false]);
    let group = std::mem::replace(&mut log.rig.group, GroupId([7; 16]));
    assert!(!log.is_signed(2, signature));
    log.rig.group = group;
    log.rig.devices.push(Rig::seeded(9, 1).devices.remove(0));
    log.rig.devices.swap(2, 3);
    assert!(!log.is_signed(2, signature), "another realm has another key");
}

#[test]
fn all_hsms_of_a_realm_name_one_checkpoint_key_that_is_none_of_its_other_keys() {
    let mut rig = Rig::new(2, None);
    let [one, other] = [0, 1].map(|at| rig.devices[at].status().realm.expect("joined"));
    assert_eq!(one.checkpoint_key, other.checkpoint_key);
    let key = one.checkpoint_key.expect("it makes checkpoints");
    assert!(key.0 != one.public_key.0 && key.0 != one.record_id_key.0);
    let elsewhere = Rig::seeded(9, 1).devices[0].status().realm.expect("made");
    assert_ne!(one.checkpoint_key, elsewhere.checkpoint_key);
}

#[test]
fn a_head_is_extended_only_by_the_entries_that_follow_it() {
    let mut log = Log::new(None, 4);
    let fork = log.fork();
    let [first, second, third, fourth] = log.entries.clone().try_into().expect("four");
    let head = log.head(2);
    let other = another_first(&mut log.rig);
    let wrong_index = Entry { index: Index(4), ..third.clone() };
    let wrong_prev = Entry { prev: EntryHash([7; 32]), ..third.clone() };
    let not_following: [&[Entry]; 9] = [
        std::slice::from_ref(&fourth),
        std::slice::from_ref(&second),
        std::slice::from_ref(&first),
        &[third.clone(), third.clone()],
        &[third.clone(), fork],
        &[fourth.clone(), third.clone()],
        &[wrong_index],
        &[wrong_prev],
        std::slice::from_ref(&other),
    ];
    for entries in not_following {
        assert_eq!(log.extend(Some(&head), entries), Err(Refusal::NotConsecutive), "{entries:?}");
    }
    for entries in [&[second.clone()][..], &[first.clone(), other.clone()], &[other, second]] {
        assert_eq!(log.extend(None, entries), Err(Refusal::NotConsecutive), "{entries:?}");
    }
    // A refusal is for all of them, and nothing but a head is carried on.
    assert_eq!(log.extend(Some(&head), &[third, fourth]), Ok(log.head(4)));
    assert_eq!(log.extend(Some(&head), &[]), Ok(head));
    assert_eq!(log.extend(None, &[]), Err(Refusal::Malformed));
}

/// The first entry of another group of these HSMs.
fn another_first(rig: &mut Rig) -> Entry {
    let second = second_group(rig).group;
    let group = std::mem::replace(&mut rig.group, second);
    assert!(matches!(rig.lead(0, None), Reply::Leading(_)));
    let reply = rig.devices[0].ask(&super::transfers::empty(rig.group));
    let Reply::Processed { made: Some(made), .. } = reply else { panic!("{reply:?}") };
    rig.group = group;
    made.entry
}

#[test]
fn entries_at_the_last_index_that_there_is_are_not_followed() {
    let mut log = Log::new(None, 1);
    let last = Entry { index: Index(u64::MAX), prev: EntryHash::ZERO, ..log.entries[0].clone() };
    let zero = Entry { index: Index::ZERO, ..last.clone() };
    for entries in [[last.clone()], [zero]] {
        assert_eq!(log.extend(None, &entries), Err(Refusal::NotConsecutive));
    }
    let head = Head { index: Index(u64::MAX), hash: last.hash(), ..log.head(1) };
    assert_eq!(log.extend(Some(&head), &[last]), Err(Refusal::NotAuthentic));
}

#[test]
fn a_head_with_a_field_of_the_hosts_is_no_head() {
    let mut log = Log::new(None, 4);
    let (head, committed) = (log.head(2), log.committed[1]);
    let (longer, third) = (log.head(3), log.entries[2].clone());
    let captured = log.rig.captured(1, &[]);
    let forged = [
        Head { group: GroupId([7; 16]), ..head.clone() },
        Head { index: Index(3), ..head.clone() },
        Head { index: Index(3), hash: third.hash(), ..head.clone() },
        Head { hash: third.hash(), ..head.clone() },
        Head { range: longer.range.clone(), ..head.clone() },
        Head { range: CompactRange::default(), ..head.clone() },
        Head { range: range_over(63), ..head.clone() },
        forged(&head),
        Head { mac: longer.mac, ..head.clone() },
        Head { mac: committed.mac, ..head.clone() },
        Head { mac: captured.mac, ..head.clone() },
        Head { mac: log.entries[1].mac, ..head.clone() },
        Head { mac: Mac(Digest([0; 32])), ..head.clone() },
    ];
    for forged in forged {
        for entries in [&[][..], std::slice::from_ref(&third)] {
            assert_eq!(log.extend(Some(&forged), entries), Err(Refusal::NotAuthentic), "{forged:?}");
        }
        assert_eq!(log.sign(&forged, committed), Err(Refusal::NotAuthentic), "{forged:?}");
    }
}

#[test]
fn a_head_is_signed_only_on_a_statement_that_its_entry_is_committed() {
    let mut log = Log::new(None, 3);
    let (head, committed) = (log.head(2), log.committed[1]);
    let captured = log.rig.captured(1, &[]);
    for wrong in dressed(&captured, log.committed[0], &log.entries[1]) {
        assert_eq!(log.sign(&head, wrong), Err(Refusal::NotAuthentic), "{wrong:?}");
    }
    let stranger = Committed { hsm: strongroom_proto::ids::HsmId([7; 16]), ..committed };
    assert_eq!(log.sign(&head, stranger), Err(Refusal::NotAuthentic));
    for other in [log.committed[0], log.committed[2]] {
        assert_eq!(log.sign(&head, other), Err(Refusal::NotCommitted));
    }
    assert!(log.sign(&head, committed).is_ok());
}

/// A chain of the host's own is summed up like any other: nothing ever states its end as committed.
#[test]
fn a_chain_that_no_hsm_made_has_a_head_that_is_never_signed() {
    let mut log = Log::new(None, 3);
    let mut forged = Entry { transfers: 9, ..log.entries[0].clone() };
    let mut entries = vec![forged.clone()];
    for index in 2..=3 {
        forged = Entry { index: Index(index), prev: forged.hash(), ..forged };
        entries.push(forged.clone());
    }
    let head = log.extend(None, &entries).expect("they follow one another");
    for committed in log.committed.clone() {
        assert_eq!(log.sign(&head, committed), Err(Refusal::NotCommitted));
    }
    // The genuine end does not follow them.
    let (head, third) = (log.extend(None, &entries[..2]).expect("they do"), log.entries[2].clone());
    assert_eq!(log.extend(Some(&head), &[third]), Err(Refusal::NotConsecutive));
}

/// A group's statement is about its own entries: the group is read from the head, and a head's from its entries.
#[test]
fn a_head_of_one_group_is_not_signed_on_a_statement_of_another() {
    let mut log = Log::new(None, 1);
    let first = another_first(&mut log.rig);
    let head = log.extend(None, std::slice::from_ref(&first)).expect("it is a first entry");
    assert_eq!(head.group, first.group);
    let committed = log.committed[0];
    let said = Committed { hash: head.hash, ..committed };
    for statement in [committed, said] {
        assert_eq!(log.sign(&head, statement), Err(Refusal::NotAuthentic));
    }
    // An entry of one group behind one of another is no entry of either, and so is committed in neither.
    let behind = Entry { index: Index(2), prev: first.hash(), ..log.entries[0].clone() };
    let head = log.extend(Some(&head), &[behind]).expect("it follows");
    assert_eq!((head.group, head.index), (first.group, Index(2)));
    assert_eq!(log.sign(&head, committed), Err(Refusal::NotAuthentic));
}

#[test]
fn what_another_realm_stated_is_neither_extended_nor_signed() {
    let mut log = Log::new(None, 2);
    let (head, committed, second) = (log.head(1), log.committed[0], log.entries[1].clone());
    let own = log.sign(&head, committed).expect("it is committed");
    let mut elsewhere = Rig::seeded(9, 1);
    let device = &mut elsewhere.devices[0];
    assert_eq!(extend(device, Some(&head), std::slice::from_ref(&second)), Err(Refusal::NotAuthentic));
    assert_eq!(sign(device, &head, committed), Err(Refusal::NotAuthentic));
    // It sums up the same entries, which are not its own, and does not sign that either.
    let theirs = extend(device, None, std::slice::from_ref(&log.entries[0])).expect("a first entry");
    assert_eq!(sign(device, &theirs, committed), Err(Refusal::NotAuthentic));
    assert_eq!(log.sign(&theirs, committed), Err(Refusal::NotAuthentic));
    assert!(log.is_signed(1, own));
}

/// Heads and statements are kept by hosts for as long as they like: what they say stays true.
#[test]
fn heads_and_statements_from_before_a_restart_or_a_later_entry_are_taken_as_they_were() {
    let mut log = Log::new(None, 3);
    let (head, committed) = (log.head(2), log.committed[1]);
    let signature = log.sign(&head, committed);
    log.rig.devices.iter_mut().for_each(Device::restart);
    assert_eq!(log.sign(&head, committed), signature);
    assert_eq!(log.sign(&head, committed), signature, "and again");
    let third = log.entries[2].clone();
    assert_eq!(log.extend(Some(&head), &[third]), Ok(log.head(3)));
}

#[test]
fn an_hsm_without_a_realm_neither_sums_up_nor_signs() {
    let mut log = Log::new(None, 1);
    let (head, committed) = (log.head(1), log.committed[0]);
    let mut new = Device::new(9, None, Config::software());
    assert_eq!(extend(&mut new, None, &log.entries), Err(Refusal::NoRealm));
    assert_eq!(sign(&mut new, &head, committed), Err(Refusal::NoRealm));
}
