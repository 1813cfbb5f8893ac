//! What messages and stored things weigh, pinned: a change here is a change of bounds that hosts and docs rely on.
//!
//! Largest things are built, not computed, with every integer at its widest.

use crate::common::{Rig, User, apply};
use ed25519_dalek::SigningKey;
use strongroom_hsm::{Config, RECORD_BYTES, SEALED_EVENT_BYTES, SEALED_RECORD_BYTES};
use strongroom_hsm_planted::Revealed;
use strongroom_proto::client::{ATTEMPT_BYTES, MAX_ATTEMPTS, MAX_REQUEST_BODY, PADDED_RESPONSE};
use strongroom_proto::enrolment::{Attestation, MAX_ATTESTATION_BYTES};
use strongroom_proto::entry::{Entry, MAX_OPEN, MAX_PARTITIONS, MAX_PREFIX_BITS, Partition};
use strongroom_proto::events::{
    EntryEvents, MAX_NAME_BYTES, OwnedEvent, SealedEvents, Settled, Telling, TenantKey,
};
use strongroom_proto::frame::MAX_FRAME_BYTES;
use strongroom_proto::hsm::{
    BatchRequest, CustodianKey, DeviceStatus, GroupStatus, Limits, MAX_BATCH_REQUESTS, MAX_CAPTURE_ENTRIES,
    MAX_CUSTODIANS, MAX_GROUPS, MAX_RETIRED, Made, NoiseMessage, NoiseReply, Origin, Outcome, PrefixTree,
    RealmPolicy, RealmStatus, Released, Reply, Request, Role, SealedLeaf, Wear,
};
use strongroom_proto::ids::{
    BuildDigest, Digest, Ed25519Public, EntryHash, GroupId, HsmId, Index, Mac, RealmId, RecordId, SessionId,
    Term, TransferId, TreeHash, X25519Public,
};
use strongroom_proto::noise::TAG_LEN;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{
    Captured, Committed, GroupStatement, Head, MAX_MEMBERS, MemberStatement, Past, Retired,
};
use strongroom_proto::tlog::{CompactRange, MAX_RANGE};
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{ClaimedTree, MAX_TREE_NODES, Tree};
use strongroom_testkit::founding::sign;

const KEY: [u8; 32] = [0xff; 32];
const REALM: RealmId = RealmId([0xff; 16]);
const GROUP: GroupId = GroupId([0xff; 16]);
const HSM: HsmId = HsmId([0xff; 16]);
const HASH: EntryHash = EntryHash([0xff; 32]);
const DIGEST: Digest = Digest([0xff; 32]);
const INDEX: Index = Index(u64::MAX);

fn size<T: minicbor::Encode<()>>(value: &T) -> usize {
    minicbor::to_vec(value).expect("encodes").len()
}

/// Of every device that there is: in software, and a board with little memory.
fn limits() -> [Limits; 2] {
    let firmware = Config::firmware(String::new(), BuildDigest([0; 32]));
    [Config::software().limits, firmware.limits]
}

/// The shortest frame.
fn frame() -> usize {
    limits().map(|limits| limits.max_frame_bytes as usize).into_iter().min().expect("some")
}

fn count(limit: u32) -> usize {
    limit as usize
}

fn entry(index: Index, partitions: Vec<Partition>, transfers: u64) -> Entry {
    Entry {
        realm: REALM,
        group: GROUP,
        index,
        prev: HASH,
        leader: HSM,
        term: Term([0xff; 16]),
        partitions,
        transfers,
        open: Vec::new(),
        last: false,
        events_hash: DIGEST,
        mac: Mac(DIGEST),
    }
}

fn largest_entry() -> Entry {
    let prefix = Prefix::of(&RecordId([0xff; 32]), MAX_PREFIX_BITS).expect("so many bits");
    let transfer = Transfer::Outgoing {
        id: TransferId([0xff; 16]),
        destination: GROUP,
        prefix,
        root: DIGEST,
        decisions: u64::MAX,
    };
    // A transfer takes more bytes than a prefix, and the place of one.
    let partitions = vec![Partition { prefix, root: DIGEST }; MAX_PARTITIONS - MAX_OPEN];
    Entry { open: vec![transfer; MAX_OPEN], ..entry(INDEX, partitions, u64::MAX) }
}

fn captured() -> Captured {
    Captured::new(&KEY, &REALM, &GROUP, HSM, INDEX, HASH)
}

fn committed() -> Committed {
    Committed::new(&KEY, &REALM, &GROUP, HSM, INDEX, HASH)
}

/// Over a log as long as there can be, though no group lives to see it.
fn largest_head() -> Head {
    let range = minicbor::to_vec(vec![TreeHash([0xff; 32]); MAX_RANGE]).expect("encodes");
    let range: CompactRange = minicbor::decode(&range).expect("as many hashes as there may be");
    Head::new(&KEY, &REALM, GROUP, (INDEX, HASH), range)
}

/// The answer to a request in a handshake; nothing that an HSM sends to a client is longer.
fn handshake_reply() -> NoiseReply {
    let ciphertext = vec![0xff; PADDED_RESPONSE + TAG_LEN].into();
    NoiseReply::Handshake { ephemeral: X25519Public([0xff; 32]), ciphertext }
}

#[test]
fn sealed_records_and_events_have_one_size_that_the_longest_state_fits_in() {
    assert_eq!((RECORD_BYTES, SEALED_RECORD_BYTES, SEALED_EVENT_BYTES), (1664, 1704, 104));
    let mut rig = Rig::new(1, None);
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 1);
    rig.open(0, &mut user);
    for requests in [vec![user.register2()], vec![user.recover2()], vec![user.recover3(false)]] {
        let Reply::Processed { made: Some(made), .. } = rig.process(0, &tree, &requests) else { panic!() };
        apply(&mut tree, &made);
        assert_eq!(made.leaves[0].sealed.len(), SEALED_RECORD_BYTES);
        assert_eq!(made.events[0].len(), SEALED_EVENT_BYTES);
        let revealed = rig.devices[0].reader().reveal(&user.record, &made.leaves[0].sealed);
        if let Some(Revealed::LastGuess(record)) = revealed {
            // The longest state. An index and two counts take one byte each here, and nine and two at most; the count of attempts
            // nine, too, and there are two of them, not all.
            let wider = 8 + 1 + 1 + 8 + (MAX_ATTEMPTS - 2) * ATTEMPT_BYTES;
            // The version is not among what is revealed.
            assert_eq!(record.len(), 763);
            assert!(1 + record.len() + wider <= RECORD_BYTES);
        }
    }
}

#[test]
fn entries_and_statements_have_their_sizes() {
    let typical = entry(Index(100_000), vec![Partition { prefix: Prefix::WHOLE, root: DIGEST }], 0);
    assert_eq!(size(&typical), 216);
    // The mark of the last takes its place behind the open transfers, of which it has none.
    assert_eq!(size(&Entry { last: true, ..entry(Index(100_000), vec![], 7) }), 180);
    assert_eq!(size(&largest_entry()), 1303);
    assert_eq!(size(&captured()), 95);
    assert_eq!(size(&committed()), 95);
    assert_eq!(size(&Retired::new(&KEY, &REALM, &GROUP, HSM)), 52);
    assert_eq!(size(&largest_head()), 2273);
}

#[test]
fn a_capture_of_as_many_largest_entries_as_there_may_be_fits_in_a_frame() {
    let request = Request::capture(GROUP, vec![largest_entry(); MAX_CAPTURE_ENTRIES]);
    assert_eq!(size(&request), 83_416);
    assert!(size(&request) <= frame());
}

#[test]
fn the_largest_head_with_as_many_largest_entries_as_there_may_be_fits_in_a_frame() {
    let entries = vec![largest_entry(); MAX_CAPTURE_ENTRIES];
    let extend = Request::ExtendHead { from: Some(largest_head()), entries };
    assert_eq!(size(&extend), 85_670);
    let sign = Request::SignHead { head: largest_head(), committed: committed() };
    let replies = [size(&Reply::Head(largest_head())), size(&Reply::Checkpoint([0xff; 64].into()))];
    assert_eq!((size(&sign), replies), (2371, [2276, 69]));
    assert!(size(&extend) <= frame());
}

/// All that there can be to tell of an entry, under as many signatures as there can be.
fn largest_telling(events: usize) -> Telling {
    let name = || vec![0xff; MAX_NAME_BYTES].into();
    let key = TenantKey { tenant: name(), key: X25519Public([0xff; 32]) };
    let signature = sign(&SigningKey::from_bytes(&[0xff; 32]), &key.digest(&REALM));
    let owned = |place: usize| OwnedEvent {
        place: u8::try_from(place).expect("a place in a batch"),
        user: name(),
        time: u64::MAX,
    };
    Telling {
        key,
        signatures: vec![signature; MAX_CUSTODIANS],
        entries: vec![EntryEvents {
            events: vec![vec![0xff; SEALED_EVENT_BYTES].into(); events],
            owned: (0..events).map(owned).collect(),
        }],
    }
}

/// An agent reaches the entry first, and then asks for its events with that entry alone.
#[test]
fn as_many_largest_entries_as_there_may_be_or_one_with_all_its_events_are_told_in_a_frame() {
    let settled = Settled::Committed(committed());
    let tell =
        |entries, telling| size(&Request::Tell { settled, entries: vec![largest_entry(); entries], telling });
    assert_eq!(tell(MAX_CAPTURE_ENTRIES, None), 83_495);
    assert_eq!(tell(1, Some(largest_telling(MAX_BATCH_REQUESTS))), 50_590);
    assert!(tell(MAX_CAPTURE_ENTRIES, None) <= frame());
    for limits in limits() {
        let (batch, frame) = (count(limits.max_batch_requests), count(limits.max_frame_bytes));
        assert!(tell(1, Some(largest_telling(batch))) <= frame);
        // With typical entries, a few steps back at once as well.
        let typical = entry(INDEX, vec![Partition { prefix: Prefix::WHOLE, root: DIGEST }], u64::MAX);
        let entries = vec![typical; 32];
        let telling = Some(largest_telling(batch));
        assert!(size(&Request::Tell { settled, entries, telling }) <= frame, "{batch}");
        let sealed = SealedEvents {
            ephemeral: X25519Public([0xff; 32]),
            sealed: vec![0xff; 24 + (1 + 12 + MAX_NAME_BYTES + 19 + (batch - 1) * 288) + 16].into(),
            signature: [0xff; 64].into(),
        };
        let past = Past::new(&KEY, &REALM, &GROUP, HSM, INDEX, HASH);
        let told = size(&Reply::Told { past, sealed: Some(sealed) });
        assert!(told <= frame, "{told} bytes");
    }
}

#[test]
fn replies_to_clients_have_one_size_in_a_handshake_and_one_in_a_session() {
    assert_eq!(size(&handshake_reply()), 528);
    let ciphertext = vec![0xff; PADDED_RESPONSE + TAG_LEN].into();
    assert_eq!(size(&NoiseReply::Transport { ciphertext }), 494);
}

#[test]
fn a_full_batch_and_its_reply_fit_in_a_frame() {
    // An agent takes no longer body, so no longer ciphertext.
    let message = NoiseMessage::Handshake {
        ephemeral: vec![0xff; 32].into(),
        ciphertext: vec![0xff; MAX_REQUEST_BODY].into(),
    };
    let time = Some(u64::MAX);
    let request = BatchRequest { record: RecordId([0xff; 32]), session: SessionId(u32::MAX), message, time };
    let registration = NoiseMessage::Transport { ciphertext: vec![0xff; 665 + TAG_LEN].into() };
    let registration = BatchRequest { message: registration, ..request.clone() };
    assert_eq!((size(&registration), size(&request)), (736, 2137));

    // Each record 30 levels deep, as among 2^30 records, and no two sharing a path: more than there can be.
    let path = path_bytes(30);
    assert_eq!(path, 2885);
    for limits in limits() {
        a_batch_fits(&limits, &request, path);
    }
    // In deeper trees the board's batches are smaller.
    let [_, board] = limits();
    assert_eq!(count(board.max_tree_nodes), count(board.max_batch_requests) * path_nodes(24));
}

fn a_batch_fits(limits: &Limits, request: &BatchRequest, path: usize) {
    let (n, frame) = (count(limits.max_batch_requests), count(limits.max_frame_bytes));
    let around = size(&Request::Process {
        group: GROUP,
        trees: vec![PrefixTree { prefix: Prefix::WHOLE, tree: claimed(&Tree::new(Prefix::WHOLE)) }],
        requests: vec![request.clone(); n],
    });
    assert!(around + n * path <= frame, "{} bytes", around + n * path);

    let leaf = SealedLeaf { record: RecordId([0xff; 32]), sealed: vec![0xff; SEALED_RECORD_BYTES].into() };
    let events = vec![vec![0xff; SEALED_EVENT_BYTES].into(); n];
    let reply = Reply::Processed {
        outcomes: vec![Outcome::Answered(handshake_reply()); n],
        made: Some(Made { entry: largest_entry(), leaves: vec![leaf; n], events }),
    };
    assert!(size(&reply) <= frame, "{} bytes", size(&reply));
}

fn claimed(tree: &Tree) -> ClaimedTree {
    ClaimedTree::decode(&tree.encode()).expect("decodes")
}

#[test]
fn every_device_takes_the_deepest_path() {
    let deepest = path(256);
    assert_eq!(claimed(&deepest).nodes(), 513);
    for limits in limits() {
        assert!(path_nodes(256) <= count(limits.max_tree_nodes));
        assert!(count(limits.max_tree_nodes) <= MAX_TREE_NODES);
        assert!(deepest.encode().len() + 4096 <= count(limits.max_frame_bytes));
    }
}

/// What a partial tree takes for one record with an inner node at each of `depth` levels above it.
fn path_bytes(depth: u16) -> usize {
    path(depth).encode().len()
}

/// How many nodes it has.
fn path_nodes(depth: u16) -> usize {
    claimed(&path(depth)).nodes()
}

fn path(depth: u16) -> Tree {
    let id = RecordId([0; 32]);
    let beside = (0..depth).map(|bit| {
        let mut id = [0; 32];
        id[usize::from(bit / 8)] = 0x80 >> (bit % 8);
        RecordId(id)
    });
    let mut tree = Tree::new(Prefix::WHOLE);
    let sealed: std::sync::Arc<[u8]> = vec![0xff; SEALED_RECORD_BYTES].into();
    tree.update(beside.chain([id]).map(|id| (id, sealed.clone()))).expect("whole");
    tree.partial(&[id]).expect("whole")
}

#[test]
fn a_commit_that_releases_every_reply_that_may_wait_fits_in_a_frame() {
    for limits in limits() {
        a_release_fits(&limits);
    }
}

fn a_release_fits(limits: &Limits) {
    let frame = count(limits.max_frame_bytes);
    // In as many entries as may be kept: one of them is the one that the leadership began from.
    let (replies, entries) = (count(limits.max_pending_replies), count(limits.max_pending_entries));
    let mut released = vec![Released { entry: HASH, replies: vec![] }; entries];
    for i in 0..replies {
        released[i % entries].replies.push(handshake_reply());
    }
    let reply = Reply::Committed { statement: committed(), released };
    assert!(size(&reply) <= frame, "{} bytes", size(&reply));
    // And the worst distribution of replies over entries cannot matter: a `Released` costs at most this.
    let empty = size(&Released { entry: HASH, replies: vec![handshake_reply(); 1000] });
    let bound = empty - 1000 * size(&handshake_reply());
    assert!(replies * size(&handshake_reply()) + entries * bound + 128 <= frame);
}

#[test]
fn the_fullest_device_status_fits_in_a_frame() {
    let statement = GroupStatement::new(&KEY, &REALM, GROUP, vec![HSM; MAX_MEMBERS], true);
    let role = Role::Leader { term: Term([0xff; 16]), newest: INDEX };
    let group = GroupStatus { statement, role, captured_index: INDEX, captured_hash: HASH };
    let custodians = vec![CustodianKey(DIGEST); MAX_CUSTODIANS];
    let attestation = Attestation(vec![255; MAX_ATTESTATION_BYTES].into());
    let realm = RealmStatus {
        origin: Origin::Imported { exporter: HsmId([255; 16]), signers: u16::MAX },
        attestation: attestation.clone(),
        realm: REALM,
        public_key: X25519Public([0xff; 32]),
        policy: RealmPolicy { custodians, threshold: u8::MAX, smallest_group: Some(u8::MAX) },
        unassigned: true,
        member: MemberStatement::new(&KEY, &REALM, HSM),
        record_id_key: DIGEST,
        checkpoint_key: Some(Ed25519Public([0xff; 32])),
    };
    let most = u32::MAX;
    let reply = Reply::Device(DeviceStatus {
        attestation,
        hsm: HSM,
        device_key: X25519Public([0xff; 32]),
        version: Config::software().version,
        build: BuildDigest([0xff; 32]),
        limits: Limits {
            max_frame_bytes: most,
            max_batch_requests: most,
            max_pending_entries: most,
            max_pending_replies: most,
            max_sessions: most,
            max_tree_nodes: most,
        },
        realm: Some(realm),
        groups: vec![group; MAX_GROUPS],
        wear: Wear { units: most, bad_units: most, spare_units: most, erases: u64::MAX },
        retired: vec![GROUP; MAX_RETIRED],
    });
    assert!(size(&reply) <= 13 * 1024 && size(&reply) <= frame(), "{} bytes", size(&reply));
}

#[test]
fn a_frame_of_this_hsm_is_one_that_a_receiver_may_take() {
    for limits in limits() {
        assert!(limits.max_frame_bytes <= MAX_FRAME_BYTES);
    }
}
