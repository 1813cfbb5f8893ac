//! Every hash and MAC of Strongroom over fixed inputs, against `preimages.golden`.
//!
//! Two implementations agree if they agree on that file; a change of it is a change of the protocol and needs new
//! labels. What proto computes itself is computed here too, so the fields listed are the ones that the code feeds. What
//! only an HSM or only a client computes is held against the same file by the tests of the HSM core and of
//! `client/crypto`. To accept a change, run this test with `BLESS=1`.

use blake2::digest::{Digest as _, FixedOutput, KeyInit, Update, typenum::U16};
use blake2::{Blake2s256, Blake2sMac, Blake2sMac256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use strongroom_proto::client::{Attempt, AttemptsResponse, RegistrationVersion, next_head};
use strongroom_proto::enrolment::{Attestation, CustodianKey, ExportApproval, Founding, RealmPolicy};
use strongroom_proto::entry::{Entry, Partition, events_hash};
use strongroom_proto::events::{SealedEvents, TenantKey};
use strongroom_proto::hash::{absorb, hash, label, mac, node};
use strongroom_proto::hsm::{AgentSecret, record_id};
use strongroom_proto::ids::{
    BuildDigest, Digest, Ed25519Public, EntryHash, GroupId, HsmId, Index, Mac, Nonce, RealmId, RecordId,
    Term, TransferId, TreeHash, X25519Public,
};

use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{
    Captured, Committed, Fresh, GroupStatement, Head, MemberStatement, Past, Retired,
};
use strongroom_proto::tlog::{self, CompactRange};
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::Tree;

/// As text, [`label::NODE`].
const NODE: &str = "node 2";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/preimages.golden");
const KEY: [u8; 32] = [0x6b; 32];
const REALM: RealmId = RealmId([0x01; 16]);
const GROUP: GroupId = GroupId([0x02; 16]);
const HSM: HsmId = HsmId([0x03; 16]);
const HASH: EntryHash = EntryHash([0x04; 32]);
const INDEX: Index = Index(0x0102_0304_0506_0708);

/// How a preimage is hashed: BLAKE2s (RFC 7693), with or without a key or a personalisation, 32 bytes of output or 16.
#[derive(Clone, Copy)]
enum Function {
    Hash,
    /// The label and these bits above, big-endian, are the personalisation; the fields are hashed as they are.
    Node(u16),
    Mac([u8; 32]),
    ShortMac([u8; 32]),
}

/// One label: what it is hashed with, and what the code made of the same inputs.
struct Line {
    label: &'static str,
    function: Function,
    fields: Vec<(&'static str, Vec<u8>)>,
    /// None: computed inside an HSM only.
    code: Option<Vec<u8>>,
}

fn line<const N: usize>(
    label: &'static str,
    function: Function,
    fields: [(&'static str, &[u8]); N],
    code: Option<&[u8]>,
) -> Line {
    let fields = fields.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
    Line { label, function, fields, code: code.map(<[u8]>::to_vec) }
}

impl Line {
    /// `be4(len(label)) ‖ label`, then `be4(len(field)) ‖ field` for each. Of a node, the fields alone.
    fn preimage(&self) -> Vec<u8> {
        if matches!(self.function, Function::Node(_)) {
            return self.fields.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        }
        let parts =
            [self.label.as_bytes()].into_iter().chain(self.fields.iter().map(|(_, bytes)| bytes.as_slice()));
        parts.flat_map(|p| [&u32::try_from(p.len()).expect("short").to_be_bytes()[..], p].concat()).collect()
    }

    fn digest(&self) -> Vec<u8> {
        let preimage = self.preimage();
        match &self.function {
            Function::Hash => Blake2s256::digest(&preimage).to_vec(),
            Function::Node(depth) => {
                let personal = self.personalisation(*depth);
                let hash = Blake2sMac256::new_with_salt_and_personal(None, &[], &personal).expect("8 bytes");
                hash.chain(&preimage).finalize_fixed().to_vec()
            }
            Function::Mac(key) => {
                Blake2sMac256::new(&(*key).into()).chain(&preimage).finalize_fixed().to_vec()
            }
            Function::ShortMac(key) => {
                <Blake2sMac<U16> as KeyInit>::new(&(*key).into()).chain(&preimage).finalize_fixed().to_vec()
            }
        }
    }

    fn personalisation(&self, depth: u16) -> Vec<u8> {
        [self.label.as_bytes(), &depth.to_be_bytes()].concat()
    }

    /// What [`strongroom_proto::hash`] makes of the same fields; nothing for 16 bytes of output, which it has not.
    fn by_proto(&self) -> Option<Vec<u8>> {
        let fields: Vec<&[u8]> = self.fields.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        match &self.function {
            Function::Hash => Some(hash(self.label, &fields).0.to_vec()),
            Function::Node(depth) => {
                let side = |at: usize| Digest(fields[at].try_into().expect("a digest"));
                Some(node(*depth, &side(0), &side(1)).0.to_vec())
            }
            Function::Mac(key) => Some(mac(key, self.label, &fields).0.0.to_vec()),
            Function::ShortMac(_) => None,
        }
    }

    fn golden(&self) -> String {
        let mut out = String::new();
        let function = match self.function {
            Function::Hash => "BLAKE2s-256".to_owned(),
            Function::Node(depth) => format!(
                "BLAKE2s-256, personalisation {} (label ‖ bits above, big-endian)",
                hex::encode(self.personalisation(depth))
            ),
            Function::Mac(key) => format!("keyed BLAKE2s-256, key {}", hex::encode(key)),
            Function::ShortMac(key) => format!("keyed BLAKE2s-128, key {}", hex::encode(key)),
        };
        let fields: Vec<String> =
            self.fields.iter().map(|(name, bytes)| format!("{name}: {}", bytes.len())).collect();
        writeln!(out, "label    {}", self.label).expect("memory");
        writeln!(out, "function {function}").expect("memory");
        writeln!(out, "fields   {}", fields.join("; ")).expect("memory");
        writeln!(out, "preimage {}", hex::encode(self.preimage())).expect("memory");
        writeln!(out, "digest   {}", hex::encode(self.digest())).expect("memory");
        out
    }
}

fn lines() -> Vec<Line> {
    [log(), tree(), statements(), foundings(), realms(), attempts().into(), hsm_only(), client()]
        .into_iter()
        .flatten()
        .collect()
}

fn log() -> Vec<Line> {
    let prefix = Prefix::of(&RecordId([0xff; 32]), 9).expect("9 bits");
    let partition = Partition { prefix, root: Digest([0x05; 32]) };
    let event = [0x06; 104];
    let events = events_hash([&event[..], &[0x07; 104]]);
    let entry = Entry {
        realm: REALM,
        group: GROUP,
        index: INDEX,
        prev: HASH,
        leader: HSM,
        term: Term([0x08; 16]),
        partitions: vec![partition],
        transfers: 9,
        open: Vec::new(),
        last: false,
        events_hash: events,
        mac: Mac(Digest([0; 32])),
    };
    let mut bits = [0; 32];
    bits[..2].copy_from_slice(&[0xff, 0x80]);
    let bits = [&9u16.to_be_bytes()[..], &bits].concat();
    let partitions = [&bits[..], &[0x05; 32]].concat();
    let (id, other) = (TransferId([0x0e; 16]), GroupId([0x0f; 16]));
    let incoming = Transfer::Incoming { id, source: other, prefix, decisions: 4 };
    let root = Digest([0x10; 32]);
    let outgoing = Transfer::Outgoing { id, destination: other, prefix, root, decisions: 4 };
    let decisions = 4u64.to_be_bytes();
    let of_incoming = [&[0][..], &id.0, &other.0, &bits, &decisions].concat();
    let of_outgoing = [&[1][..], &id.0, &other.0, &bits, &root.0, &decisions].concat();
    let of_entry = |open: &[Transfer], last, name, bytes: &[u8]| {
        let entry = Entry { open: open.to_vec(), last, ..entry.clone() };
        let fields: [(&'static str, &[u8]); 10] = [
            ("realm", &REALM.0),
            ("group", &GROUP.0),
            ("index, big-endian", &INDEX.0.to_be_bytes()),
            ("previous entry's hash", &HASH.0),
            ("leader", &HSM.0),
            ("term", &entry.term.0),
            ("partitions, each be2(bits) ‖ prefix 32 ‖ root 32", &partitions),
            ("transfers, big-endian", &9u64.to_be_bytes()),
            (name, bytes),
            ("hash of events", &events.0),
        ];
        line(label::ENTRY, Function::Hash, fields, Some(&entry.hash().0))
    };
    vec![
        of_entry(&[], false, "open transfers, none", &[]),
        of_entry(&[], true, "open transfers, none ‖ 2, for the group's last entry", &[2]),
        of_entry(
            &[incoming, outgoing],
            false,
            "open transfers, each 0 ‖ id ‖ source ‖ be2(bits) ‖ prefix 32 ‖ be8(decisions), or \
             1 ‖ id ‖ destination ‖ be2(bits) ‖ prefix 32 ‖ root 32 ‖ be8(decisions)",
            &[of_incoming, of_outgoing].concat(),
        ),
        line(
            label::ENTRY_MAC,
            Function::Mac(KEY),
            [("entry's hash", &HASH.0)],
            Some(&Entry::mac_of(&KEY, &HASH).0.0),
        ),
        line(
            label::EVENTS,
            Function::Hash,
            [("sealed event", &event), ("sealed event (one field each)", &[0x07; 104])],
            Some(&events.0),
        ),
    ]
}

fn tree() -> Vec<Line> {
    let (left, right) = (RecordId([0x20; 32]), RecordId([0xa0; 32]));
    let sealed: Arc<[u8]> = Arc::from([0x0a; 40]);
    let tree_of = |ids: &[RecordId]| {
        let mut tree = Tree::new(Prefix::WHOLE);
        tree.update(ids.iter().map(|id| (*id, sealed.clone()))).expect("whole");
        tree
    };
    let sealed_digest = tree_of(&[left]).leaves().next().expect("one leaf").sealed_digest();
    let (of_left, of_right) = (tree_of(&[left]).root(), tree_of(&[right]).root());
    vec![
        line(label::SEALED, Function::Hash, [("sealed record", &sealed)], Some(&sealed_digest.0)),
        line(
            label::LEAF,
            Function::Hash,
            [("record id", &left.0), ("sealed digest", &sealed_digest.0)],
            Some(&of_left.0),
        ),
        line(
            NODE,
            Function::Node(0),
            [("left", &of_left.0), ("right", &of_right.0)],
            Some(&tree_of(&[left, right]).root().0),
        ),
    ]
}

fn statements() -> Vec<Line> {
    let index = INDEX.0.to_be_bytes();
    let position: [(&'static str, &[u8]); 5] = [
        ("realm", &REALM.0),
        ("group", &GROUP.0),
        ("HSM", &HSM.0),
        ("index, big-endian", &index),
        ("entry's hash", &HASH.0),
    ];
    let captured = Captured::new(&KEY, &REALM, &GROUP, HSM, INDEX, HASH);
    let committed = Committed::new(&KEY, &REALM, &GROUP, HSM, INDEX, HASH);
    let past = Past::new(&KEY, &REALM, &GROUP, HSM, INDEX, HASH);
    let nonce = [0x0d; 16];
    let fresh = Fresh::new(&KEY, &REALM, &GROUP, HSM, (INDEX, HASH), &Nonce(nonce));
    let [realm, of, hsm, index, hash] = position;
    let retired = Retired::new(&KEY, &REALM, &GROUP, HSM);
    let mut range = CompactRange::default();
    let leaves = [[0x2c; 32], [0x2d; 32], [0x2e; 32]].map(TreeHash);
    assert!((0..).zip(leaves).all(|(size, leaf)| range.append(size, leaf)));
    let head = Head::new(&KEY, &REALM, GROUP, (INDEX, HASH), range);
    let range = [tlog::node(&leaves[0], &leaves[1]).0, leaves[2].0].concat();
    let members = vec![HSM, HsmId([0x0b; 16])];
    let group = GroupStatement::new(&KEY, &REALM, GROUP, members, true);
    let members = [[0x03; 16], [0x0b; 16]].concat();
    vec![
        line(label::CAPTURED, Function::Mac(KEY), position, Some(&captured.mac.0.0)),
        line(label::COMMITTED, Function::Mac(KEY), position, Some(&committed.mac.0.0)),
        line(label::PAST, Function::Mac(KEY), position, Some(&past.mac.0.0)),
        line(
            label::FRESH,
            Function::Mac(KEY),
            [realm, of, hsm, index, hash, ("nonce", &nonce)],
            Some(&fresh.mac.0.0),
        ),
        line(
            label::HEAD,
            Function::Mac(KEY),
            [
                realm,
                of,
                index,
                hash,
                ("hashes of the largest perfect subtrees, left to right, 32 each", &range),
            ],
            Some(&head.mac.0.0),
        ),
        line(label::RETIRED, Function::Mac(KEY), [realm, of, hsm], Some(&retired.mac.0.0)),
        line(
            label::GROUP,
            Function::Mac(KEY),
            [("realm", &REALM.0), ("group", &GROUP.0), ("members, 16 each", &members), ("genesis", &[1])],
            Some(&group.mac.0.0),
        ),
        line(
            label::MEMBER,
            Function::Mac(KEY),
            [("realm", &REALM.0), ("HSM", &HSM.0)],
            Some(&MemberStatement::new(&KEY, &REALM, HSM).mac.0.0),
        ),
    ]
}

fn approval() -> ExportApproval {
    ExportApproval {
        realm: REALM,
        public_key: X25519Public([0x0a; 32]),
        exporter: HSM,
        exporter_build: BuildDigest([0x0f; 32]),
        exporter_nonce: Nonce([0x0e; 16]),
        importer: HsmId([0x0b; 16]),
        device_key: X25519Public([0x0c; 32]),
        importer_build: BuildDigest([0x0d; 32]),
        importer_nonce: Nonce([0x1e; 16]),
        attestation: Attestation(vec![0x1f; 5].into()),
        policy: RealmPolicy {
            custodians: vec![CustodianKey(Digest([0x2a; 32])), CustodianKey(Digest([0x2b; 32]))],
            threshold: 2,
            smallest_group: None,
        },
    }
}

/// A founding under a policy of any groups, one of groups of at least three, and one without a checkpoint key, as older builds
/// showed it.
fn foundings() -> Vec<Line> {
    let key = Some(Ed25519Public([0x0c; 32]));
    [(None, key), (Some(3), key), (Some(3), None)].map(founding).into()
}

fn founding((smallest_group, checkpoint_key): (Option<u8>, Option<Ed25519Public>)) -> Line {
    let founding = Founding {
        realm: REALM,
        public_key: X25519Public([0x0a; 32]),
        policy: RealmPolicy { smallest_group, ..approval().policy },
        hsm: HSM,
        build: BuildDigest([0x0f; 32]),
        checkpoint_key,
    };
    let policy = [&[2][..], &[0x2a; 32], &[0x2b; 32], smallest_group.as_slice()].concat();
    let name = match smallest_group {
        None => "threshold ‖ custodians",
        Some(_) => "threshold ‖ custodians ‖ smallest group",
    };
    let (label, digest) = (label::FOUNDING_1, founding.digest());
    let fields = [
        ("realm", &REALM.0[..]),
        ("public key", &[0x0a; 32]),
        (name, &policy),
        ("HSM", &HSM.0),
        ("build", &[0x0f; 32]),
    ];
    let mut line = line(label, Function::Hash, fields, Some(&digest.0));
    if let Some(key) = checkpoint_key {
        line.label = label::FOUNDING;
        line.fields.push(("checkpoint key", key.0.to_vec()));
    }
    line
}

/// Of one attempt, as the second of a registration.
fn attempts() -> [Line; 2] {
    let attempt = Attempt { index: INDEX, time: 0x0a0b_0c0d_0e0f, what: 2, guesses_left: 4 };
    let (version, before, count) = ([0x32; 16], Digest([0x33; 32]), 2_u64);
    let head = next_head(&before, &version, count, &GROUP, &attempt);
    let newest = attempt.to_bytes();
    let chained = line(
        label::ATTEMPT,
        Function::Hash,
        [
            ("head before", &before.0[..]),
            ("version", &version),
            ("count", &count.to_be_bytes()),
            ("group", &GROUP.0),
            ("attempt", &newest),
        ],
        Some(&head.0),
    );
    let (hash, signature) = (EntryHash([0x34; 32]), [0; 64].into());
    let (version, newest) = (RegistrationVersion(version), vec![attempt]);
    let said = AttemptsResponse { group: GROUP, index: INDEX, hash, version, count, head, newest, signature };
    let bytes = said.to_bytes();
    let (unsigned, _) = bytes.split_at(bytes.len() - 64);
    let fields = [("realm", &REALM.0[..]), ("what is said", unsigned)];
    [chained, line(label::ATTEMPTS, Function::Hash, fields, Some(&said.digest(&REALM).0))]
}

fn realms() -> Vec<Line> {
    let approval = approval();
    let (ephemeral, signature) = (X25519Public([0x30; 32]), [0; 64].into());
    let told = SealedEvents { ephemeral, sealed: vec![0x31; 72].into(), signature };
    let tenant = TenantKey { tenant: b"acme".to_vec().into(), key: X25519Public([0x2f; 32]) };
    let policy = [&[2][..], &[0x2a; 32], &[0x2b; 32]].concat();
    vec![
        line(
            label::DEVICE,
            Function::Hash,
            [("HSM", &[0x0b; 16]), ("device key", &[0x0c; 32]), ("build", &[0x0d; 32])],
            Some(&approval.importer().digest().0),
        ),
        line(label::FINGERPRINT, Function::Hash, [("kind", &b"build"[..]), ("field", &[0x0d; 32])], None),
        line(
            label::EXPORT,
            Function::Hash,
            [
                ("realm", &REALM.0),
                ("public key", &[0x0a; 32]),
                ("exporter", &HSM.0),
                ("exporter's build", &[0x0f; 32]),
                ("exporter's nonce", &[0x0e; 16]),
                ("importer", &[0x0b; 16]),
                ("importer's device key", &[0x0c; 32]),
                ("importer's build", &[0x0d; 32]),
                ("importer's nonce", &[0x1e; 16]),
                ("attestation", &[0x1f; 5]),
                ("threshold ‖ custodians", &policy),
            ],
            Some(&approval.digest().0),
        ),
        line(
            label::RECORD_ID,
            Function::Mac(KEY),
            [("tenant", b"acme"), ("user", b"user-1")],
            Some(&record_id(&Digest(KEY), "acme", "user-1").0),
        ),
        line(
            label::TENANT_KEY,
            Function::Hash,
            [("realm", &REALM.0), ("tenant", b"acme"), ("tenant's key", &[0x2f; 32])],
            Some(&tenant.digest(&REALM).0),
        ),
        line(
            label::TOLD,
            Function::Hash,
            [
                ("realm", &REALM.0),
                ("group", &GROUP.0),
                ("index", &INDEX.0.to_be_bytes()),
                ("tenant", b"acme"),
                ("tenant's key", &[0x2f; 32]),
                ("ephemeral key", &[0x30; 32]),
                ("what is sealed", &[0x31; 72]),
            ],
            Some(&told.digest(&REALM, (&GROUP, INDEX), &tenant).0),
        ),
        line(
            label::AGENT_AUTHORITY,
            Function::Mac(KEY),
            [("realm", &REALM.0)],
            Some(&*AgentSecret(KEY).authority_key(&REALM)),
        ),
    ]
}

/// Held against the golden file by the tests of the HSM core.
fn hsm_only() -> Vec<Line> {
    let nvram_head = [&b"D\x01\x00\x28"[..], &9u64.to_be_bytes()].concat();
    let of_seed = |label| line(label, Function::Mac(KEY), [("realm", &REALM.0)], None);
    let of_tag = |label| {
        let fields: [(&'static str, &[u8]); 4] = [
            ("unlock key tag", &[0x0f; 16]),
            ("realm", &REALM.0),
            ("record id", &[0x10; 32]),
            ("registration version", &[0x11; 16]),
        ];
        line(label, Function::Hash, fields, None)
    };
    vec![
        line(
            label::EXPORT_KEY,
            Function::Hash,
            [("X25519 result", &[0x12; 32]), ("ephemeral key", &[0x13; 32]), ("device key", &[0x0c; 32])],
            None,
        ),
        line(
            label::TENANT_EVENTS,
            Function::Hash,
            [("X25519 result", &[0x12; 32]), ("ephemeral key", &[0x13; 32]), ("tenant's key", &[0x2f; 32])],
            None,
        ),
        of_seed(label::KEY_NOISE),
        of_seed(label::KEY_RECORDS),
        of_seed(label::KEY_EVENTS),
        of_seed(label::KEY_STATEMENTS),
        of_seed(label::KEY_CHECKPOINTS),
        of_seed(label::KEY_RECORD_IDS),
        line(
            label::KEY_AGENTS,
            Function::Mac(KEY),
            [("realm", &REALM.0), ("be4(epoch)", &3u32.to_be_bytes())],
            None,
        ),
        of_tag(label::LAST_GUESS_KEY),
        of_tag(label::LAST_GUESS_TAG),
        line(
            label::NVRAM,
            Function::Hash,
            [("kind 1 ‖ format 1 ‖ be2(length) ‖ be8(sequence number)", &nvram_head), ("body", &[0x17; 40])],
            None,
        ),
        line(label::LAST_REQUEST, Function::Hash, [("request ciphertext", &[0x14; 25])], None),
        line(
            label::DRBG_SEED,
            Function::Hash,
            [("key before", &[0x18; 32]), ("samples", &[0x19; 128])],
            None,
        ),
        line(
            label::DRBG,
            Function::Mac(KEY),
            [("block, from 1, or 0 for the next key", &1u64.to_be_bytes())],
            None,
        ),
    ]
}

/// The client protocol's MACs (section 7), whose labels are older than this code. Held against the golden file by the tests
/// of `client/crypto`.
fn client() -> Vec<Line> {
    let mut share = [0; 32];
    share[0] = 0x15;
    vec![
        line("Unlock Key Tag", Function::ShortMac(KEY), [("realm", &REALM.0)], None),
        line(
            "Encrypted User Secret Commitment",
            Function::ShortMac(KEY),
            [
                ("realm", &REALM.0),
                ("scalar share, little-endian", &share),
                ("encrypted secret", &[0x16; 145]),
            ],
            None,
        ),
        line("User Secret Encryption Key", Function::Mac(KEY), [("scalar, little-endian", &share)], None),
    ]
}

#[test]
fn the_code_hashes_what_is_listed_here() {
    for line in lines() {
        if !matches!(line.function, Function::Node(_)) {
            let mut absorbed = Vec::new();
            let fields: Vec<&[u8]> = line.fields.iter().map(|(_, bytes)| bytes.as_slice()).collect();
            absorb(line.label, &fields, |bytes| absorbed.extend_from_slice(bytes));
            assert_eq!(absorbed, line.preimage(), "{}", line.label);
        }
        let by_proto = line.by_proto();
        assert!(by_proto.is_none_or(|digest| digest == line.digest()), "{}", line.label);
        assert!(line.code.as_ref().is_none_or(|code| *code == line.digest()), "{}", line.label);
    }
}

#[test]
fn the_golden_file_lists_what_is_hashed() {
    let lines: Vec<String> = lines().iter().map(Line::golden).collect();
    let generated = lines.join("\n");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(GOLDEN, &generated).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(GOLDEN).expect("there is a golden file");
    for (line, golden) in lines.iter().zip(golden.split("\n\n")) {
        assert_eq!(line.trim_end(), golden.trim_end(), "a preimage changed: that needs a new label");
    }
    assert_eq!(golden, generated);
}

#[test]
fn every_label_has_its_line_and_no_two_are_equal() {
    let sources = [include_str!("../src/hash.rs"), include_str!("../../client/crypto/src/registration.rs")];
    let declared: Vec<&str> = sources.iter().flat_map(|source| labels_in(source)).collect();
    let is_constant = |line: &&str| line.contains(": &str =") || line.contains("] = *b");
    let constants: usize = sources.iter().map(|source| source.lines().filter(is_constant).count()).sum();
    assert_eq!(declared.len(), constants, "every label is declared on one line");
    let lines = lines();
    let mut listed: Vec<&str> = lines.iter().map(|line| line.label).collect();
    // An entry's has a line for each kind of transfer, and one for the last.
    listed.dedup();
    assert_eq!(declared.iter().collect::<BTreeSet<_>>(), listed.iter().collect::<BTreeSet<_>>());
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "each label once");
    assert_eq!(declared.len(), listed.len(), "two labels are equal");
}

/// The values of all constants that are text, or bytes of text.
fn labels_in(source: &str) -> impl Iterator<Item = &str> {
    let declarations =
        source.lines().filter_map(|l| l.trim().trim_start_matches("pub ").strip_prefix("const "));
    declarations.filter_map(|d| {
        let (_, text) = d.split_once(": &str = \"").or_else(|| d.split_once("] = *b\""))?;
        text.strip_suffix("\";")
    })
}

/// Values of Python's `hashlib.blake2s(left + right, person=b"node 2" + depth.to_bytes(2, "big"))`.
#[test]
fn nodes_are_hashed_as_another_implementation_hashes_them() {
    assert_eq!(NODE.as_bytes(), label::NODE);
    let ascending = Digest(std::array::from_fn(|i| u8::try_from(i).expect("32")));
    for (depth, left, right, expected) in [
        (
            0,
            ascending,
            Digest([0xff; 32]),
            "836b1da7e28873458f30e06ae3e68a1e686baeec268589d0f2a1ffd10a245788",
        ),
        (
            0,
            Digest([0xff; 32]),
            ascending,
            "281188bf7d013395b33d6c41fbabe841efec695614b7abb2f7c17c9658443a72",
        ),
        (
            1,
            ascending,
            Digest([0xff; 32]),
            "d1b3444850dff522f1e58deccafd559221b255dcadbd921d7357db865f3624a2",
        ),
        (255, ascending, Digest::EMPTY, "0669aa93aea024a33f729ed04e1c0d66f58cfc491846f72a1014254659225c0b"),
        (256, Digest::EMPTY, ascending, "26ed8b972cca171944c7239b8b58cd366b298ffc9d23627a472c8429ccb3e80b"),
    ] {
        assert_eq!(hex::encode(node(depth, &left, &right).0), expected, "{depth}");
    }
}

#[test]
fn a_node_is_no_other_hash_of_the_same_bytes() {
    let (left, right) = (Digest([1; 32]), Digest([2; 32]));
    let both = [left.0, right.0].concat();
    let mut all: Vec<Vec<u8>> = (0..=255).map(|depth| node(depth, &left, &right).0.to_vec()).collect();
    all.push(node(0, &right, &left).0.to_vec());
    all.push(Blake2s256::digest(&both).to_vec());
    all.push(<Blake2sMac256 as KeyInit>::new(&KEY.into()).chain(&both).finalize_fixed().to_vec());
    // Under no label at all: this would be the preimage.
    all.push(hash(NODE, &[&0u16.to_be_bytes(), &left.0, &right.0]).0.to_vec());
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
