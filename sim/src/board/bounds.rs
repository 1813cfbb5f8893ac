//! Whether everything that a board promises to hold fits in its memory at once.

use super::host::Host;
use super::play::{Bench, Marks, image_or_default};
use crate::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use strongroom_client_crypto::oprf::{blind, random_key};
use strongroom_hsm::SEALED_EVENT_BYTES;
use strongroom_proto::client::{MAX_REQUEST_BODY, RegistrationVersion, SecretsRequest};
use strongroom_proto::entry::{Entry, MAX_AWAITED, MAX_OPEN, MAX_PARTITIONS, Partition};
use strongroom_proto::events::{EntryEvents, MAX_NAME_BYTES, OwnedEvent, Settled, Telling, TenantKey};
use strongroom_proto::hsm::{
    BatchRequest, CustodianKey, CustodianSignature, GroupEntries, Limits, MAX_BATCH_REQUESTS,
    MAX_CAPTURE_ENTRIES, MAX_CUSTODIANS, MAX_GROUPS, NoiseMessage, PrefixTree, Reply, Request,
};
use strongroom_proto::ids::{
    Digest, EntryHash, GroupId, HsmId, Index, Mac, RecordId, SessionId, Term, TransferId, TreeHash,
    X25519Public,
};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Head, Past};
use strongroom_proto::tlog::MAX_RANGE;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::ClaimedTree;
use strongroom_testkit::Hsm;

/// The most heap that may be in use, in bytes. The rest of it is for the gaps between blocks.
const MAX_HEAP: usize = 408 << 10;
/// The most stack, in bytes.
const MAX_STACK: usize = 24 << 10;
/// How many entries an agent has summed up in one call.
const SUMMED_AT_ONCE: usize = 32;
/// The most code, in bytes.
const MAX_IMAGE: u64 = 512 << 10;

/// Fills a board to its bounds, prints how much of its memory was in use, and fails if that is more than is pinned
/// here. `image` is one for measuring, made by `build.sh --marks`.
///
/// # Errors
/// More is in use than is pinned; the board halted; it cannot be booted.
pub fn bounds(image: &Path) -> Result<(), Error> {
    let mut bench = Bench::new(Some(image.to_path_buf()))?;
    let config = bench.config()?;
    let mut marks = bench.marks()?;
    row("started, told its state", None, &marks);
    let mut filled =
        Filled { host: Host::new(1, config.clone()), rng: StdRng::seed_from_u64(1), limits: config.limits };
    // Everything before is repeated by each longer tape; the marks only grow.
    for (what, fill) in FILLS {
        fill(&mut filled);
        if let Some(difference) = bench.play(filled.host.tape().events())? {
            return Err(format!("{what}: {difference}").into());
        }
        marks = bench.marks()?;
        row(what, Some(filled.host.tape().exchanges()), &marks);
    }
    let image = std::fs::metadata(image_or_default(Some(&image.with_extension("bin"))))?.len();
    println!("code and constants: {image} of {MAX_IMAGE} bytes");
    println!("pinned: heap {MAX_HEAP}, stack {MAX_STACK}");
    Ok(fits(&marks, image)?)
}

/// Whether this is within what is pinned.
fn fits(marks: &Marks, image: u64) -> Result<(), String> {
    let within = [
        ("heap", marks.heap as u64, MAX_HEAP as u64),
        ("stack", marks.stack as u64, MAX_STACK as u64),
        ("code and constants", image, MAX_IMAGE),
    ];
    match within.into_iter().find(|(_, used, most)| used > most) {
        None => Ok(()),
        Some((what, used, most)) => {
            Err(format!("{what}: {used} bytes, more than the {most} that are pinned"))
        }
    }
}

fn row(what: &str, exchanges: Option<usize>, marks: &Marks) {
    let Marks { heap, heap_bytes, stack, stack_bytes, .. } = marks;
    let after = exchanges.map(|n| format!(", after {n} messages")).unwrap_or_default();
    println!("{what}{after}: heap {heap} of {heap_bytes}, stack {stack} of {stack_bytes} bytes");
}

struct Filled {
    host: Host,
    rng: StdRng,
    limits: Limits,
}

type Fill = fn(&mut Filled);

/// What a board is filled with, step by step.
const FILLS: [(&str, Fill); 6] = [
    ("sixteen records with both places taken, two of them 256 levels deep", records),
    ("a full table of sessions, with as many replies as are kept", sessions),
    ("as many replies waiting as may, each batch with the deep path", replies),
    ("the longest messages of all kinds, with all of that in memory", longest),
    ("the longest entries summed up, and a checkpoint signed, with all of that in memory", heads),
    ("all replies released", |filled| {
        assert_eq!(filled.host.commit(), count(filled.limits.max_pending_replies))
    }),
];

const fn count(limit: u32) -> usize {
    limit as usize
}

/// The records of a batch, the first two of which differ only in their last bit.
fn ids() -> Vec<RecordId> {
    let mut rng = StdRng::seed_from_u64(2);
    let mut ids: Vec<[u8; 32]> = (0..16).map(|_| rng.random()).collect();
    ids[1] = ids[0];
    ids[1][31] ^= 1;
    ids.into_iter().map(RecordId).collect()
}

fn records(filled: &mut Filled) {
    for id in ids() {
        filled.host.register(id);
        filled.host.stage(id);
    }
}

/// A batch with a request on each record.
fn batch(filled: &mut Filled, first: u32, payload: &[u8]) {
    let ids = ids();
    let sessions = (first..).map(SessionId);
    let requests = ids
        .into_iter()
        .zip(sessions)
        .map(|(id, session)| filled.host.message(id, session, payload))
        .collect();
    filled.host.process(requests);
}

/// As many sessions as there may be, four for each record; the last ones keep as many replies as may be kept.
fn sessions(filled: &mut Filled) {
    for first in (0..filled.limits.max_sessions).step_by(16) {
        let records: Vec<RecordId> = (0..4).map(|_| RecordId(filled.rng.random())).collect();
        let of = |session: u32| records[(session % 4) as usize];
        (first..first + 16).for_each(|session| filled.host.open(of(session), SessionId(session)));
        let question = SecretsRequest::Recover1.to_cbor();
        let ask = |session| filled.host.message(of(session), SessionId(session), &question);
        let requests = (first..first + 16).map(ask).collect();
        filled.host.process(requests);
        assert_eq!(filled.host.commit(), 16);
    }
}

fn replies(filled: &mut Filled) {
    let blinded_input = blind(&[1; 32], &mut filled.rng).1;
    let guess = SecretsRequest::Recover2 { version: RegistrationVersion([0; 16]), blinded_input };
    // Other sessions with a reply make room for these, which have one too.
    for first in (0..filled.limits.max_pending_replies).step_by(16) {
        let first = filled.limits.max_sessions + first;
        ids()
            .into_iter()
            .zip((first..).map(SessionId))
            .for_each(|(id, session)| filled.host.open(id, session));
        batch(filled, first, &guess.to_cbor());
    }
}

/// An entry with the longest prefixes that can be encoded; no HSM made it.
fn forged(filled: &Filled, partitions: usize) -> Entry {
    let prefix = Prefix::of(&RecordId([0xff; 32]), Prefix::MAX_LEN).expect("all bits");
    Entry {
        realm: filled.host.realm.realm,
        group: filled.host.group,
        index: Index(u64::MAX),
        prev: EntryHash([0xff; 32]),
        leader: HsmId([0xff; 16]),
        term: Term([0xff; 16]),
        partitions: vec![Partition { prefix, root: Digest([0xff; 32]) }; partitions],
        transfers: u64::MAX,
        open: Vec::new(),
        last: false,
        events_hash: Digest([0xff; 32]),
        mac: Mac(Digest([0xff; 32])),
    }
}

/// Over as long a log as there can be; no HSM stated it.
fn forged_head(group: GroupId) -> Head {
    let range = minicbor::to_vec(vec![TreeHash([0xff; 32]); MAX_RANGE]).expect("a vector takes all bytes");
    let range = minicbor::decode(&range).expect("as many hashes as there may be");
    let mac = Mac(Digest([0xff; 32]));
    Head { group, index: Index(u64::MAX), hash: EntryHash([0xff; 32]), range, mac }
}

/// As many of an entry as a frame holds, over as many groups as may be named.
fn capture_full_of(entry: &Entry, group: GroupId, frame: usize) -> Request {
    let bytes = minicbor::to_vec(entry).expect("a vector takes all bytes").len();
    let mut left = (frame - 1024) / bytes;
    let mut groups = Vec::new();
    while left > 0 && groups.len() < MAX_GROUPS {
        let entries = vec![entry.clone(); left.min(MAX_CAPTURE_ENTRIES)];
        left -= entries.len();
        groups.push(GroupEntries { group, entries });
    }
    Request::Capture(groups)
}

/// Entries that take far more memory than bytes, which nobody need have made: they are decoded before they are checked.
fn dense(filled: &Filled) -> [Entry; 3] {
    let few = Entry { index: Index(1), transfers: 0, ..forged(filled, 0) };
    let partition = Partition { prefix: Prefix::WHOLE, root: Digest([0xff; 32]) };
    let (id, group, prefix, decisions) = (TransferId([0xff; 16]), filled.host.group, Prefix::WHOLE, 0);
    let awaited = Transfer::Incoming { id, source: group, prefix, decisions };
    let root = Digest([0xff; 32]);
    let gone = Transfer::Outgoing { id, destination: group, prefix, root, decisions };
    let open = [vec![awaited; MAX_AWAITED], vec![gone; MAX_OPEN - MAX_AWAITED]].concat();
    [Entry { open, ..few.clone() }, Entry { partitions: vec![partition; MAX_PARTITIONS], ..few.clone() }, few]
}

/// An entry, and all that may be told of one, which no HSM stated, to a key that nobody signed.
fn forged_telling(entry: Entry) -> Request {
    let name = || vec![0xff; MAX_NAME_BYTES].into();
    let custodian = CustodianKey(Digest([0xff; 32]));
    let signature = CustodianSignature { custodian, signature: [0xff; 64].into() };
    let places = 0..u8::try_from(MAX_BATCH_REQUESTS).expect("few");
    let telling = Telling {
        key: TenantKey { tenant: name(), key: X25519Public([0xff; 32]) },
        signatures: vec![signature; MAX_CUSTODIANS],
        entries: vec![EntryEvents {
            events: vec![vec![0xff; SEALED_EVENT_BYTES].into(); MAX_BATCH_REQUESTS],
            owned: places.map(|place| OwnedEvent { place, user: name(), time: u64::MAX }).collect(),
        }],
    };
    let (hsm, mac) = (HsmId([0xff; 16]), Mac(Digest([0xff; 32])));
    let settled = Settled::Past(Past { hsm, index: Index(u64::MAX), hash: EntryHash([0xff; 32]), mac });
    Request::Tell { settled, entries: vec![entry], telling: Some(telling) }
}

fn longest(filled: &mut Filled) {
    let group = filled.host.group;
    let frame = count(filled.limits.max_frame_bytes);
    let largest = vec![forged(filled, MAX_PARTITIONS); MAX_CAPTURE_ENTRIES];
    let message = NoiseMessage::Handshake {
        ephemeral: vec![0xff; 32].into(),
        ciphertext: vec![0xff; MAX_REQUEST_BODY].into(),
    };
    let key = random_key(&mut filled.rng).public_key().0;
    let requests: Vec<BatchRequest> = ids()
        .into_iter()
        .map(|record| BatchRequest {
            record,
            session: SessionId(u32::MAX),
            message: message.clone(),
            time: None,
        })
        .collect();
    // A chain of inner nodes down to the last level, with a stub beside each: as many nodes as are ever decoded.
    let nodes = count(filled.limits.max_tree_nodes);
    let stub = [&[0x82, 0x02, 0x58, 0x20][..], &key].concat();
    let tree =
        [&[0x99][..], &u16::try_from(nodes).expect("fits").to_be_bytes(), &stub.repeat(nodes)].concat();
    let tree = ClaimedTree::decode(&tree).expect("a claim");
    let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree }];
    let dense = dense(filled).map(|entry| capture_full_of(&entry, group, frame));
    let head = forged_head(group);
    let bytes = |of: &Entry| minicbor::to_vec(of).expect("a vector takes all bytes").len();
    let most = (frame - 4096) / bytes(&largest[0]);
    let extend =
        Request::ExtendHead { from: Some(head), entries: largest[..most.min(largest.len())].to_vec() };
    let committed = filled.host.committed.expect("records were registered");
    let sign = Request::SignHead { head: forged_head(group), committed };
    let tell = forged_telling(largest[0].clone());
    let others =
        [Request::capture(group, largest), Request::Process { group, trees, requests }, extend, sign, tell];
    for request in dense.into_iter().chain(others) {
        let bytes = minicbor::to_vec(&request).expect("a vector takes all bytes");
        assert!(bytes.len() <= frame, "{} bytes", bytes.len());
        let reply: Reply = minicbor::decode(&filled.host.twin.handle(&bytes)).expect("a reply");
        assert!(!matches!(reply, Reply::Processed { .. }), "{reply:?}");
    }
    for byte in [0x81, 0xff, 0x00] {
        filled.host.twin.handle(&vec![byte; frame]);
    }
}

/// Longest entries that follow one another from the first on. An HSM sums up what it is brought.
fn forged_log(filled: &Filled, len: usize) -> Vec<Entry> {
    let mut prev = EntryHash::ZERO;
    let mut next = |index: usize| {
        let entry = Entry { index: Index(index as u64), prev, ..forged(filled, MAX_PARTITIONS) };
        prev = entry.hash();
        entry
    };
    (1..=len).map(&mut next).collect()
}

fn sum_up(filled: &mut Filled, from: Option<Head>, entries: &[Entry]) -> Head {
    let reply = filled.host.twin.ask(&Request::ExtendHead { from, entries: entries.to_vec() });
    let Reply::Head(head) = reply else { panic!("not summed up but {reply:?}") };
    head
}

/// What an agent asks to publish a log whose entries are as long as can be, and as much of that as a frame takes; then the group's own log,
/// and its checkpoint.
fn heads(filled: &mut Filled) {
    let frame = count(filled.limits.max_frame_bytes);
    let longest = minicbor::to_vec(forged(filled, MAX_PARTITIONS)).expect("a vector takes all bytes").len();
    let most = ((frame - 4096) / longest).min(MAX_CAPTURE_ENTRIES);
    assert!(SUMMED_AT_ONCE <= most, "{SUMMED_AT_ONCE} of the longest entries are more than a frame takes");
    let forged = forged_log(filled, SUMMED_AT_ONCE + most);
    let (first, others) = forged.split_at(SUMMED_AT_ONCE);
    let head = sum_up(filled, None, first);
    sum_up(filled, Some(head), others);
    let committed = filled.host.committed.expect("records were registered");
    let log: Vec<Entry> =
        filled.host.log.iter().filter(|entry| entry.index <= committed.index).cloned().collect();
    let mut head = None;
    for some in log.chunks(SUMMED_AT_ONCE) {
        head = Some(sum_up(filled, head, some));
    }
    let request = Request::SignHead { head: head.expect("records were registered"), committed };
    let reply = filled.host.twin.ask(&request);
    assert!(matches!(reply, Reply::Checkpoint(_)), "not signed but {reply:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::ids::BuildDigest;

    #[test]
    fn a_core_with_the_limits_of_a_board_answers_all_that_boards_are_filled_with() {
        let config = strongroom_hsm::Config::firmware(String::new(), BuildDigest([0; 32]));
        let host = Host::new(1, config.clone());
        let mut filled = Filled { host, rng: StdRng::seed_from_u64(1), limits: config.limits };
        for (_, fill) in FILLS {
            fill(&mut filled);
        }
    }

    #[test]
    fn a_byte_more_than_is_pinned_is_noticed_for_each_kind_of_memory() {
        let (heap_bytes, stack_bytes, instructions) = (usize::MAX, usize::MAX, 0);
        let marks = |heap, stack| Marks { heap, heap_bytes, stack, stack_bytes, instructions };
        assert_eq!(fits(&marks(MAX_HEAP, MAX_STACK), MAX_IMAGE), Ok(()));
        for (heap, stack, image) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            assert!(fits(&marks(MAX_HEAP + heap, MAX_STACK + stack), MAX_IMAGE + image).is_err());
        }
    }
}
