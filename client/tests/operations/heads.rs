//! A demand for heads of logs: what is content with it, what is not, and that no guess is spent on what is not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use strongroom_client::{
    Bug, Cause, Client, DemandError, Error, ErrorKind, ForgetfulMemory, HeadDemand, HeadError, HeadMemory,
    HttpResponse, MemoryError, NetworkError, RealmId, Transport,
};
use strongroom_proto::checkpoint::origin;
use strongroom_proto::enrolment::{CustodianKey, RealmPolicy};
use strongroom_proto::ids::{Digest, Ed25519Public, EntryHash, GroupId};
use strongroom_proto::tlog::leaf;
use strongroom_tlog::{
    Checkpoint, Edge, KeyName, Note, RealmStatement, Signature, SignatureType, SigningKey, Tile,
};
use url::Url;
use zeroize::Zeroizing;

use super::realms::Realms;
use super::{SECRET, builder, recover, register};

/// Tiles of a log, by path.
type Tiles = BTreeMap<String, Vec<u8>>;
/// What a host does to them.
type Change<'a> = &'a dyn Fn(&mut Tiles);

const MAX_AGE: Duration = Duration::from_secs(600);
const GROUP: GroupId = GroupId([0xaa; 16]);

fn key(name: &str, kind: SignatureType, seed: u8) -> SigningKey {
    SigningKey::from_seed(KeyName::new(name).unwrap(), kind, &[seed; 32]).unwrap()
}

fn witnesses() -> [SigningKey; 3] {
    [11, 12, 13].map(|seed| key(&format!("witness-{seed}.example"), SignatureType::Cosignature, seed))
}

/// Seconds from 1970 to so many seconds from now.
fn at(from_now: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.checked_add_signed(from_now).unwrap()
}

/// The statement of a realm, of which two of three witnesses must have cosigned.
fn statement(realms: &Realms, realm: usize) -> RealmStatement {
    let configuration = realms.configuration(&[realm], 1, 1);
    let (id, noise_key) = (realms.id(realm), *configuration.realms()[0].public_key().unwrap());
    let signer = key("any", SignatureType::Ed25519, realm as u8);
    let custodian = key("any", SignatureType::Ed25519, 21);
    RealmStatement {
        realm: id,
        version: 1,
        noise_key,
        checkpoint_key: Ed25519Public(signer.verifier().public().0),
        policy: RealmPolicy {
            custodians: vec![CustodianKey(Digest(custodian.verifier().public().0))],
            threshold: 1,
            smallest_group: None,
        },
        builds: vec![],
        witnesses: witnesses().iter().map(|witness| witness.verifier().clone()).collect(),
        cosignatures: 2,
    }
}

fn signed(statement: &RealmStatement) -> String {
    let text = statement.to_string();
    let signature =
        key(&RealmStatement::name(&statement.realm), SignatureType::Ed25519, 21).sign(&text).unwrap();
    Note::new(text, vec![signature]).unwrap().to_string()
}

fn demand(realms: &Realms, realm: usize) -> HeadDemand {
    HeadDemand::new(&signed(&statement(realms, realm)), MAX_AGE).unwrap()
}

/// The log of a realm's group, as it publishes it.
#[derive(Clone, Default)]
struct Log {
    realm: usize,
    edge: Edge,
    tiles: Tiles,
}

impl Log {
    /// So many entries, different ones for each `salt`.
    fn of(realm: usize, entries: u64, salt: u8) -> Self {
        let mut log = Self { realm, ..Self::default() };
        log.grow(entries, salt);
        log
    }

    /// Entries one after another, so that each size has its tiles.
    fn grow(&mut self, by: u64, salt: u8) {
        for _ in 0..by {
            let mut entry = [salt; 32];
            entry[..8].copy_from_slice(&self.edge.size().to_be_bytes());
            for written in self.edge.append(&[leaf(&EntryHash(entry))]).unwrap() {
                self.tiles.insert(written.tile.to_string(), written.bytes);
            }
        }
    }

    /// Its checkpoint, cosigned by one witness after another at these times.
    fn checkpoint(&self, cosigned: &[u64]) -> String {
        self.checkpoint_of(RealmId([self.realm as u8 + 1; 16]), self.realm as u8, cosigned)
    }

    fn checkpoint_of(&self, realm: RealmId, seed: u8, cosigned: &[u64]) -> String {
        let log = origin(&realm, &GROUP);
        let text = Checkpoint::new(log.clone(), self.edge.size(), self.edge.root()).unwrap().to_string();
        let own = key(&log, SignatureType::Ed25519, seed).sign(&text).unwrap();
        let of_witness = |(witness, time): (SigningKey, &u64)| witness.cosign(&text, *time).unwrap();
        let witnessed = witnesses().into_iter().zip(cosigned).map(of_witness);
        let all: Vec<Signature> = [own].into_iter().chain(witnessed).collect();
        Note::new(text, all).unwrap().to_string()
    }
}

/// What hosts show of one realm's log.
#[derive(Clone, Default)]
struct Shown {
    /// The checkpoints, one for each time that somebody asks; the last one again and again.
    mine: VecDeque<String>,
    tiles: Tiles,
    /// Which paths were asked for.
    asked: Vec<String>,
}

impl Shown {
    fn of(log: &Log) -> Self {
        Self::saying([log.checkpoint(&[at(0), at(0)])], log)
    }

    fn saying(mine: impl IntoIterator<Item = String>, log: &Log) -> Self {
        Self { mine: mine.into_iter().collect(), tiles: log.tiles.clone(), asked: Vec::new() }
    }
}

/// The realms, and hosts that show their logs.
#[derive(Clone)]
struct Watched {
    realms: Realms,
    shown: Arc<Mutex<BTreeMap<usize, Shown>>>,
}

impl Watched {
    fn new(realms: &Realms) -> Self {
        Self { realms: realms.clone(), shown: Arc::default() }
    }

    fn show(&self, realm: usize, shown: Shown) {
        self.shown.lock().unwrap().insert(realm, shown);
    }

    fn asked(&self, realm: usize) -> Vec<String> {
        self.shown.lock().unwrap()[&realm].asked.clone()
    }
}

#[async_trait]
impl Transport for Watched {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        self.realms.post(url, headers, body).await
    }

    async fn get(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        _: usize,
    ) -> Result<HttpResponse, NetworkError> {
        let number = url.host_str().unwrap().trim_start_matches("realm-").trim_end_matches(".example");
        let Some(path) = url.path().strip_prefix("/tlog/") else {
            return self.realms.get(url, headers, 0).await;
        };
        let with_token = headers.contains(&("Authorization", "Bearer token"));
        assert_eq!(with_token, path == "mine", "a token goes nowhere else");
        let mut all = self.shown.lock().unwrap();
        let shown = all.entry(number.parse().unwrap()).or_default();
        shown.asked.push(path.to_owned());
        let found = match path {
            "mine" if shown.mine.len() > 1 => shown.mine.pop_front().map(String::into_bytes),
            "mine" => shown.mine.front().map(|text| text.clone().into_bytes()),
            _ => shown.tiles.get(path.strip_prefix(&format!("{GROUP}/")).unwrap()).cloned(),
        };
        let status = if found.is_some() { 200 } else { 404 };
        Ok(HttpResponse { status, body: found.unwrap_or_default().into() })
    }
}

/// A registered user of these realms, who demands a head of each.
async fn user(realms: &Realms, watched: &Watched, memory: impl HeadMemory + 'static) -> Client {
    let all: Vec<usize> = (0..realms.count()).collect();
    let configuration = realms.configuration(&all, all.len(), all.len() / 2 + 1);
    let plain = builder(realms, configuration.clone()).build_with(realms.clone());
    register(&plain, 5).await.unwrap();
    let demands = all.into_iter().map(|realm| demand(realms, realm));
    builder(realms, configuration).demand_heads(demands, memory).unwrap().build_with(watched.clone())
}

/// That realm 0, the only one, was refused and is not asked to evaluate anything.
async fn refused(client: &Client, realms: &Realms) -> HeadError {
    let before = realms.seen(0, "Recover2").len();
    let error: Error = recover(client, "0000").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HeadRefused, "{error:?}");
    assert_eq!(realms.seen(0, "Recover2").len(), before, "no guess is spent");
    assert_eq!(error.causes.len(), 1);
    match &error.causes[0].cause {
        Cause::Head(refused) => refused.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_well_and_grows_costs_nothing_but_a_look() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    let mut log = Log::of(0, 3, 1);
    for by in [0, 1, 2, 250, 1, 255, 600] {
        log.grow(by, 1);
        // Two of three witnesses, one of them as old as may be, and the third long ago.
        let old = MAX_AGE.as_secs() as i64 - 5;
        watched.show(0, Shown::saying([log.checkpoint(&[at(-old), at(200), at(-9999)])], &log));
        assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
        assert!(watched.asked(0).len() <= 1 + 24, "{:?}", watched.asked(0));
    }
    let same = Shown::of(&log);
    watched.show(0, same);
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert_eq!(watched.asked(0), ["mine"]);
}

#[tokio::test(start_paused = true)]
async fn no_guess_is_spent_on_a_checkpoint_that_is_not_as_demanded() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    let log = Log::of(0, 5, 1);
    let now = [at(0), at(0)];
    let refused_if = async |shown: String| {
        watched.show(0, Shown::saying([shown], &log));
        refused(&client, &realms).await
    };
    let of_realm = |error| matches!(error, HeadError::NotOfRealm(_));
    assert_eq!(refused_if(log.checkpoint(&[])).await, HeadError::NotCosigned { found: 0, needed: 2 });
    assert_eq!(refused_if(log.checkpoint(&[at(0)])).await, HeadError::NotCosigned { found: 1, needed: 2 });
    let old = [at(0), at(-700), at(-800)];
    let too_old = HeadError::TooOld { fresh: 1, needed: 2, max_age_s: 600 };
    assert_eq!(refused_if(log.checkpoint(&old)).await, too_old);
    let early = refused_if(log.checkpoint(&[at(0), at(1000), at(2000)])).await;
    assert!(matches!(early, HeadError::FromTheFuture { ahead_s: 990..=1000 }), "{early:?}");
    assert!(of_realm(refused_if(log.checkpoint_of(RealmId([9; 16]), 0, &now)).await), "another realm");
    assert!(of_realm(refused_if(log.checkpoint_of(realms.id(0), 77, &now)).await), "another key");
    assert!(of_realm(refused_if("nonsense".into()).await));
    assert!(of_realm(refused_if(String::new()).await));
    let cut = log.checkpoint(&now);
    let changed = cut.replacen("\n5\n", "\n6\n", 1);
    assert!(of_realm(refused_if(changed).await), "a changed text");
    watched.show(0, Shown::default());
    assert_eq!(refused(&client, &realms).await, HeadError::Unpublished);
    assert_eq!(realms.guess_count(0), Some(0));
    // One that is well is still content with the same client.
    watched.show(0, Shown::of(&log));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn no_guess_is_spent_on_a_log_that_went_back_forked_or_does_not_show_that_it_goes_on() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    let seen = Log::of(0, 300, 1);
    watched.show(0, Shown::of(&seen));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    let refused_if = async |shown: Shown| {
        watched.show(0, shown);
        refused(&client, &realms).await
    };

    let error = refused_if(Shown::of(&Log::of(0, 299, 1))).await;
    let evidence = error.evidence().cloned().unwrap();
    assert!(matches!(error, HeadError::WentBack(_)));
    assert!(evidence.remembered.contains("\n300\n") && evidence.shown.contains("\n299\n"), "{evidence:?}");
    assert!(
        Note::parse(evidence.remembered.as_bytes()).is_ok() && Note::parse(evidence.shown.as_bytes()).is_ok()
    );

    let mut fork = Log::of(0, 299, 1);
    fork.grow(1, 2);
    assert!(matches!(refused_if(Shown::of(&fork)).await, HeadError::Forked(_)), "at the same size");
    fork.grow(100, 1);
    assert!(matches!(refused_if(Shown::of(&fork)).await, HeadError::Forked(_)), "at a larger size");

    let mut grown = seen.clone();
    grown.grow(100, 1);
    let with = |change: Change<'_>| {
        let mut shown = Shown::of(&grown);
        change(&mut shown.tiles);
        shown
    };
    let edge = "tile/0/001.p/144";
    let cases: [Change<'_>; 5] = [
        &|tiles| tiles.clear(),
        &|tiles| drop(tiles.remove(edge)),
        &|tiles| drop(tiles.insert(edge.into(), vec![0; 144 * 32])),
        &|tiles| drop(tiles.insert(edge.into(), vec![0; 31])),
        &|tiles| drop(tiles.insert("tile/1/000.p/1".into(), vec![7; 32])),
    ];
    for case in cases {
        let error = refused_if(with(case)).await;
        assert!(matches!(error, HeadError::Unproven(_)), "{error:?}");
    }
    // One that is too long counts as none.
    watched.show(0, with(&|tiles| drop(tiles.insert(edge.into(), vec![0; 9000]))));
    let error = recover(&client, "0000").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable { may_have_cost_a_guess: false }, "{error:?}");

    assert_eq!(realms.guess_count(0), Some(0));
    watched.show(0, Shown::of(&grown));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET, "what is refused is not remembered");
}

#[tokio::test(start_paused = true)]
async fn a_partial_tile_that_was_deleted_is_read_from_the_full_one() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    let mut log = Log::of(0, 100, 1);
    watched.show(0, Shown::of(&log));
    recover(&client, "4821").await.unwrap();
    log.grow(100, 1);
    let checkpoint = log.checkpoint(&[at(0), at(0)]);
    log.grow(100, 1);
    log.tiles.retain(|path, _| {
        path.parse_tile().is_none_or(|tile| tile.is_full() || tile.index() > 0 || tile.level() > 0)
    });
    watched.show(0, Shown::saying([checkpoint], &log));
    recover(&client, "4821").await.unwrap();
    assert_eq!(watched.asked(0)[2], format!("{GROUP}/tile/0/000"));
}

trait ParseTile {
    fn parse_tile(&self) -> Option<Tile>;
}

impl ParseTile for String {
    fn parse_tile(&self) -> Option<Tile> {
        match strongroom_tlog::Resource::parse(self) {
            Ok(strongroom_tlog::Resource::Hashes(tile)) => Some(tile),
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_read_something_old_is_asked_again() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    let (old, new) = (Log::of(0, 10, 1), Log::of(0, 20, 1));
    watched.show(0, Shown::of(&new));
    recover(&client, "4821").await.unwrap();
    let now = [at(0), at(0)];
    let stale = [old.checkpoint(&now), new.checkpoint(&[]), new.checkpoint(&now)];
    watched.show(0, Shown::saying(stale, &new));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_refused_fails_alone_and_too_many_of_them_cost_no_guess_anywhere() {
    let realms = Realms::new(3, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    for realm in 0..3 {
        watched.show(realm, Shown::of(&Log::of(realm, 9, 1)));
    }
    recover(&client, "4821").await.unwrap();
    watched.show(1, Shown::of(&Log::of(1, 8, 1)));
    let wrong = recover(&client, "0000").await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 4 });
    client.close().await;
    assert_eq!([0, 1, 2].map(|realm| realms.guess_count(realm)), [Some(1), Some(0), Some(1)]);
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    watched.show(2, Shown::of(&Log::of(2, 8, 1)));
    let refused = recover(&client, "0000").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::HeadRefused);
    for realm in [1, 2] {
        let of_realm = refused.causes.iter().find(|error| error.realm == realms.id(realm)).unwrap();
        assert!(matches!(&of_realm.cause, Cause::Head(HeadError::WentBack(_))), "{refused:?}");
    }
    client.close().await;
    assert_eq!([0, 1, 2].map(|realm| realms.guess_count(realm)), [Some(0); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_the_demand_out_would_be_noticed() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let client = user(&realms, &watched, ForgetfulMemory::default()).await;
    watched.show(0, Shown::default());
    refused(&client, &realms).await;
    let client = client.with_planted_bug(Bug::GuessWithoutHead);
    assert_eq!(
        recover(&client, "0000").await.unwrap_err().kind,
        ErrorKind::InvalidPin { guesses_remaining: 4 }
    );
    assert_eq!(realms.guess_count(0), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_transport_without_get_and_a_memory_that_fails_are_said_at_once() {
    let realms = Realms::new(1, 0);
    let watched = Watched::new(&realms);
    let configuration = realms.configuration(&[0], 1, 1);
    register(&builder(&realms, configuration.clone()).build_with(realms.clone()), 5).await.unwrap();
    let demanding = || builder(&realms, configuration.clone());
    let client = demanding().demand_heads([demand(&realms, 0)], ForgetfulMemory::default()).unwrap();
    assert_eq!(refused(&client.build_with(realms.clone()), &realms).await, HeadError::CannotGet);

    watched.show(0, Shown::of(&Log::of(0, 4, 1)));
    for memory in [Broken { load: true }, Broken { load: false }] {
        let client = demanding().demand_heads([demand(&realms, 0)], memory).unwrap();
        let error = refused(&client.build_with(watched.clone()), &realms).await;
        assert_eq!(error, HeadError::Memory("the disk is full".into()));
    }
    let other = ForgetfulMemory::default();
    other.save(&origin(&realms.id(0), &GROUP), "no checkpoint").await.unwrap();
    let client = demanding().demand_heads([demand(&realms, 0)], other).unwrap();
    assert!(matches!(refused(&client.build_with(watched), &realms).await, HeadError::Memory(_)));
}

/// A memory that cannot be read, or not be written.
struct Broken {
    load: bool,
}

#[async_trait]
impl HeadMemory for Broken {
    async fn load(&self, _: &str) -> Result<Option<String>, MemoryError> {
        if self.load { Err(MemoryError("the disk is full".into())) } else { Ok(None) }
    }

    async fn save(&self, _: &str, _: &str) -> Result<(), MemoryError> {
        Err(MemoryError("the disk is full".into()))
    }
}

#[test]
fn a_demand_is_for_a_realm_of_the_configuration_with_its_key_and_a_statement_that_asks_for_witnesses() {
    let realms = Realms::new(3, 0);
    let two = realms.configuration(&[0, 1], 2, 2);
    let tried = |statements: &[RealmStatement]| {
        let demands = statements.iter().map(|statement| HeadDemand::new(&signed(statement), MAX_AGE));
        let demands: Vec<_> = demands.collect::<Result<_, _>>()?;
        builder(&realms, two.clone()).demand_heads(demands, ForgetfulMemory::default()).map(drop)
    };
    let of = |realm| statement(&realms, realm);
    assert_eq!(tried(&[of(0), of(1)]), Ok(()));
    assert_eq!(tried(&[of(2)]), Err(DemandError::OtherRealm { realm: realms.id(2) }));
    assert_eq!(tried(&[of(0), of(0)]), Err(DemandError::Twice { realm: realms.id(0) }));
    let other_key = RealmStatement { noise_key: of(1).noise_key, ..of(0) };
    assert_eq!(tried(&[other_key]), Err(DemandError::OtherKey { realm: realms.id(0) }));
    assert_eq!(tried(&[RealmStatement { cosignatures: 0, ..of(0) }]), Err(DemandError::NoCosignatures));
    let good = signed(&of(0));
    for bad in ["", "nonsense", &good.replacen("version 1", "version 2", 1), good.trim_end()] {
        assert!(matches!(HeadDemand::new(bad, MAX_AGE), Err(DemandError::Statement(_))), "{bad}");
    }
}
