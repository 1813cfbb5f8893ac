//! A small realm in memory that is well-formed in every respect, made with keys of its own, and ways to spoil it.
#![allow(dead_code, reason = "shared by test files, each of which uses a part")]

use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey as Ed25519};
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_proto::checkpoint::{CheckpointKey, body, origin};
use strongroom_proto::enrolment::{
    CustodianKey, CustodianSignature, Founding, FoundingStatement, RealmPolicy,
};
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::hash::hash;
use strongroom_proto::ids::{
    BuildDigest, Digest, Ed25519Public, EntryHash, GroupId, HsmId, Index, Mac, RealmId, Term, TreeHash,
    X25519Public,
};
use strongroom_proto::tlog::leaf;
use strongroom_replica::segment::{Segment, SegmentEntry};
use strongroom_tlog::entries::bundle;
use strongroom_tlog::{
    ClaimedCheckpoint, Edge, KeyName, Note, RealmStatement, Signature, SignatureType, SigningKey, Tile,
    VerifierKey,
};
use strongroom_verify::{Asked, Check, Outcome, Report, Source, Verdict, verify};

pub(crate) const REALM: RealmId = RealmId([0xaa; 16]);
pub(crate) const GROUP: GroupId = GroupId([0xbb; 16]);
/// When witnesses have cosigned.
pub(crate) const COSIGNED: u64 = 1_800_000_000;
/// An hour later.
pub(crate) const NOW: u64 = COSIGNED + 3600;
/// How many entries the log has, and how many of them are published.
pub(crate) const ENTRIES: u64 = 604;
pub(crate) const SIZE: u64 = 600;
/// The first entry that is still in a segment; there are four in each.
pub(crate) const FIRST: u64 = 497;
const A_SEGMENT: usize = 4;

/// The keys of a realm, of custodians and witnesses.
pub(crate) struct Keys {
    pub(crate) custodians: Vec<Ed25519>,
    pub(crate) checkpoints: CheckpointKey,
    pub(crate) witness: SigningKey,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let name = KeyName::new("witness.example").unwrap();
        Self {
            custodians: (1..=3).map(|seed| Ed25519::from_bytes(&[seed; 32])).collect(),
            checkpoints: CheckpointKey::from_seed(&[7; 32]),
            witness: SigningKey::from_seed(name, SignatureType::Cosignature, &[8; 32]).unwrap(),
        }
    }

    pub(crate) fn custodian(&self, i: usize) -> CustodianKey {
        CustodianKey(Digest(self.custodians[i].verifying_key().to_bytes()))
    }

    pub(crate) fn policy(&self) -> RealmPolicy {
        let custodians = (0..self.custodians.len()).map(|i| self.custodian(i)).collect();
        RealmPolicy { custodians, threshold: 2, smallest_group: Some(3) }
    }

    /// What custodians say, with these builds.
    pub(crate) fn statement(&self, builds: Vec<BuildDigest>) -> RealmStatement {
        RealmStatement {
            realm: REALM,
            version: 3,
            noise_key: X25519Public([5; 32]),
            checkpoint_key: self.checkpoints.public(),
            policy: self.policy(),
            builds,
            witnesses: vec![self.witness.verifier().clone()],
            cosignatures: 1,
        }
    }

    /// The statement as these custodians sign it.
    pub(crate) fn signed(&self, statement: &RealmStatement, custodians: &[usize]) -> String {
        let text = statement.to_string();
        let sign = |i: &usize| {
            let signature = self.custodians[*i].sign(text.as_bytes()).to_bytes();
            statement.signature(&self.custodian(*i), signature).unwrap()
        };
        Note::new(text.clone(), custodians.iter().map(sign).collect()).unwrap().to_string()
    }

    pub(crate) fn founding(&self) -> Founding {
        Founding {
            realm: REALM,
            public_key: X25519Public([5; 32]),
            policy: self.policy(),
            hsm: HsmId([6; 16]),
            build: BuildDigest([4; 32]),
            checkpoint_key: Some(self.checkpoints.public()),
        }
    }

    /// The line of a founding that these custodians signed.
    pub(crate) fn founded(&self, founding: &Founding, custodians: &[usize]) -> String {
        use base64ct::{Base64UrlUnpadded, Encoding as _};
        let digest = founding.digest();
        let sign = |i: &usize| CustodianSignature {
            custodian: self.custodian(*i),
            signature: self.custodians[*i].sign(&digest.0).to_bytes().into(),
        };
        let signatures = custodians.iter().map(sign).collect();
        let signed = FoundingStatement { founding: founding.clone(), signatures };
        let cbor = minicbor::to_vec(&signed).unwrap();
        format!("strongroom-founding-2:{}", Base64UrlUnpadded::encode_string(&cbor))
    }

    /// A checkpoint as the realm signs it, without cosignatures.
    pub(crate) fn checkpoint(&self, group: &GroupId, hashes: &[EntryHash]) -> Note {
        sign(&self.checkpoints, group, hashes.len() as u64, &root(hashes))
    }

    pub(crate) fn cosigned(&self, note: Note, time: u64) -> Note {
        let cosignature = self.witness.cosign(note.text(), time).unwrap();
        note.with(cosignature).unwrap()
    }
}

/// A checkpoint, signed with any key.
pub(crate) fn sign(key: &CheckpointKey, group: &GroupId, size: u64, root: &TreeHash) -> Note {
    let text = body(&REALM, group, Index(size), root);
    let name = KeyName::new(origin(&REALM, group)).unwrap();
    let verifier = VerifierKey::new(name, SignatureType::Ed25519, &key.public()).unwrap();
    let signature = key.sign(&text).to_vec();
    Note::new(text, vec![Signature::new(&verifier, signature)]).unwrap()
}

pub(crate) fn root(hashes: &[EntryHash]) -> TreeHash {
    let mut edge = Edge::default();
    edge.append(&hashes.iter().map(leaf).collect::<Vec<_>>()).unwrap();
    edge.root()
}

pub(crate) fn claimed(note: &Note) -> ClaimedCheckpoint {
    note.clone().try_into().unwrap()
}

/// An entry that follows another; `salt` makes it another one.
pub(crate) fn entry_after(prev: Option<&SegmentEntry>, salt: u8) -> SegmentEntry {
    let entry = prev.map(|made| &made.entry);
    let entry = Entry {
        realm: REALM,
        group: GROUP,
        index: Index(entry.map_or(1, |entry| entry.index.0 + 1)),
        prev: entry.map_or(EntryHash::ZERO, Entry::hash),
        leader: HsmId([6; 16]),
        term: Term([salt; 16]),
        partitions: Vec::new(),
        transfers: 0,
        events_hash: events_hash([]),
        mac: Mac(hash("a mac that only HSMs can tell", &[])),
        open: Vec::new(),
        last: false,
    };
    SegmentEntry { entry, leaves: Vec::new(), events: Vec::new(), owners: Vec::new() }
}

/// `count` entries after another.
pub(crate) fn chain_after(prev: Option<&SegmentEntry>, count: u64, salt: u8) -> Vec<SegmentEntry> {
    let mut all: Vec<SegmentEntry> = Vec::new();
    for _ in 0..count {
        let next = entry_after(all.last().or(prev), salt);
        all.push(next);
    }
    all
}

pub(crate) fn hashes(entries: &[SegmentEntry]) -> Vec<EntryHash> {
    entries.iter().map(|made| made.entry.hash()).collect()
}

/// A realm in a store, and what is asked about it.
pub(crate) struct Scene {
    pub(crate) keys: Keys,
    pub(crate) objects: Arc<InMemory>,
    pub(crate) statement: String,
    pub(crate) log: Vec<SegmentEntry>,
    pub(crate) asked: Asked,
    pub(crate) sources: tempfile::TempDir,
}

impl Scene {
    /// Well-formed in every respect.
    pub(crate) async fn new() -> Self {
        let (keys, sources) = (Keys::new(), tempfile::tempdir().unwrap());
        let build = sources_of(sources.path(), b"an image");
        let log = chain_after(None, ENTRIES, 1);
        let statement = keys.signed(&keys.statement(vec![build]), &[0, 2]);
        let asked = Asked { now: NOW, ..Asked::default() };
        let scene = Self { keys, objects: Arc::new(InMemory::new()), statement, log, asked, sources };
        let founded = scene.keys.founded(&scene.keys.founding(), &[0, 1]);
        scene.put(&format!("realms/{REALM}/founding"), founded).await;
        scene.publish(&GROUP, &hashes(&scene.log)[..SIZE as usize]).await;
        for segment in scene.log[FIRST as usize - 1..].chunks(A_SEGMENT) {
            scene.store_segment(segment.to_vec()).await;
        }
        scene
    }

    /// The same, and everything is asked that can be.
    pub(crate) async fn asked_everything() -> Self {
        let mut scene = Self::new().await;
        scene.asked.since = vec![claimed(&scene.keys.checkpoint(&GROUP, &scene.hashes()[..300]))];
        scene.asked.max_age = Some(7200);
        scene.asked.rebuild = vec![scene.sources.path().into()];
        scene
    }

    pub(crate) fn hashes(&self) -> Vec<EntryHash> {
        hashes(&self.log)
    }

    /// Tiles, bundles and a cosigned checkpoint.
    pub(crate) async fn publish(&self, group: &GroupId, hashes: &[EntryHash]) {
        let folder = tlog(group);
        let leaves: Vec<TreeHash> = hashes.iter().map(leaf).collect();
        for written in Edge::default().append(&leaves).unwrap() {
            self.put(&format!("{folder}/{}", written.tile), written.bytes).await;
        }
        for (index, some) in hashes.chunks(256).enumerate() {
            let tile = Tile::of(hashes.len() as u64, 0, index as u64).unwrap();
            self.put(&format!("{folder}/{}", tile.entries_path().unwrap()), bundle(some)).await;
        }
        self.put_checkpoint(group, &self.keys.cosigned(self.keys.checkpoint(group, hashes), COSIGNED)).await;
    }

    pub(crate) async fn put_checkpoint(&self, group: &GroupId, note: &Note) {
        self.put(&format!("{}/checkpoint", tlog(group)), note.to_string()).await;
    }

    pub(crate) async fn store_segment(&self, entries: Vec<SegmentEntry>) -> String {
        let segment = Segment::new(entries).unwrap();
        let name = segment.name().to_string();
        self.put(&name, segment.encode().unwrap()).await;
        name
    }

    /// The segment of the log that begins with this entry.
    pub(crate) fn segment(&self, first: u64) -> Vec<SegmentEntry> {
        self.log[first as usize - 1..][..A_SEGMENT].to_vec()
    }

    pub(crate) fn segment_name(&self, first: u64) -> String {
        Segment::new(self.segment(first)).unwrap().name().to_string()
    }

    pub(crate) async fn put(&self, name: &str, bytes: impl Into<Bytes>) {
        self.objects.put(&Path::from(name), bytes.into().into()).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> Vec<u8> {
        self.objects.get(&Path::from(name)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.objects.delete(&Path::from(name)).await.unwrap();
    }

    pub(crate) async fn names(&self, below: &str) -> Vec<String> {
        let listed = self.objects.list(Some(&Path::from(below)));
        listed.map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
    }

    pub(crate) async fn report(&self) -> Report {
        self.report_on(Source::on(Arc::clone(&self.objects) as Arc<dyn ObjectStore>)).await
    }

    pub(crate) async fn report_on(&self, source: Source) -> Report {
        verify(self.statement.as_bytes(), &source, &self.asked, &|_| {}).await
    }

    /// That this check fails and no other, and what the verdict says.
    pub(crate) async fn fails(&self, check: Check, said: &str) -> Report {
        let report = self.report().await;
        let failed: Vec<Check> = failed(&report);
        assert_eq!(failed, [check], "{report:#?}");
        let verdict = report.verdict();
        assert!(matches!(verdict, Verdict::Failed(_)));
        assert!(verdict.to_string().contains(said), "{verdict}");
        report
    }
}

pub(crate) fn failed(report: &Report) -> Vec<Check> {
    let failed = report.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed(_)));
    failed.map(|finding| finding.check).collect()
}

/// What came of a check.
pub(crate) fn outcome(report: &Report, check: Check) -> &Outcome {
    &report.findings.iter().find(|finding| finding.check == check).expect("it was made").outcome
}

pub(crate) fn notes(report: &Report, check: Check) -> String {
    let notes = report.findings.iter().filter(|finding| finding.check == check);
    notes.flat_map(|finding| finding.notes.clone()).collect::<Vec<_>>().join("\n")
}

pub(crate) fn tlog(group: &GroupId) -> String {
    format!("groups/{group}/tlog")
}

/// Sources whose program makes this image, and the digest of it.
pub(crate) fn sources_of(folder: &std::path::Path, image: &[u8]) -> BuildDigest {
    use sha2::Digest as _;
    let firmware: PathBuf = folder.join("hsm/firmware");
    std::fs::create_dir_all(&firmware).unwrap();
    std::fs::write(firmware.join("image"), image).unwrap();
    let script = "set -e\n[ \"$1\" = virt ]\ncp \"$(dirname \"$0\")/image\" \"$2/strongroom-hsm.bin\"\n";
    std::fs::write(firmware.join("build.sh"), script).unwrap();
    BuildDigest(sha2::Sha256::digest(image).into())
}

/// A key that is not the realm's.
pub(crate) fn stranger() -> CheckpointKey {
    CheckpointKey::from_seed(&[99; 32])
}

/// A key that is not in the statement.
pub(crate) fn other_key() -> Ed25519Public {
    stranger().public()
}
