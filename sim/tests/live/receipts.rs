//! What an owner is told of the requests that counted, by real agents and HSMs, and what a receipt of it shows to others.

use crate::support::PATIENCE;
use crate::support::statement::statement;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::clock::system_clock;
use strongroom_agent::config::{Config, WitnessSettings};
use strongroom_agent::publish::verifier;
use strongroom_agent::store::Store;
use strongroom_client::{
    AttemptList, Attempts, BrokenHistory, ClaimedReceipt, Client, Counted, ErrorKind, Pin, ReceiptError,
    ReceiptFailure, Standing, UserSecret, standing,
};
use strongroom_proto::checkpoint::origin;
use strongroom_sim::local::{LocalRealm, Setting};
use strongroom_tlog::checkpoint::CheckpointError;
use strongroom_tlog::tlog_proof::TlogProofError;
use strongroom_tlog::{KeyName, Policy, RealmStatement, SignatureType, SigningKey};
use strongroom_witness::serve::{Limits, serve};
use strongroom_witness::state::StateFolder;
use strongroom_witness::witness::Witness;
use tokio::net::TcpListener;

async fn register(client: &Client) {
    let (secret, guesses) = (UserSecret::new(b"a secret").expect("short"), NonZeroU8::new(5).expect("not 0"));
    client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
}

async fn guess_wrong(client: &Client) {
    let error = client.recover(&Pin::from("0000"), b"").await.expect_err("a wrong PIN");
    assert!(matches!(error.kind, ErrorKind::InvalidPin { .. }), "{error:?}");
}

fn list(attempts: &Attempts) -> &AttemptList {
    attempts.realms[0].list.as_ref().expect("the realm keeps a list")
}

/// A realm whose log one witness watches.
struct Scene {
    local: LocalRealm,
    statement: RealmStatement,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let name = KeyName::new("witness.example").expect("a name");
        let key = SigningKey::from_seed(name, SignatureType::Cosignature, &[7; 32]).expect("a key");
        let witness = key.verifier().clone();
        let url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
        let bucket = Arc::new(InMemory::new());
        let open = move |_: &Config| Ok(Store::on(Arc::clone(&bucket) as Arc<dyn ObjectStore>));
        let setting = Setting {
            open: Box::new(open),
            checkpoints: NonZeroU16::new(1),
            witnesses: vec![WitnessSettings { url, key: witness.clone() }],
            ..Setting::patient()
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let local = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
        let realm = local.make_whole().await.expect("three new HSMs");
        let (group, _) = local.groups(local.leader(None).await.expect("one leads")).pop().expect("one group");
        let statement = statement(&local, vec![witness.clone()]).await;
        let statement = RealmStatement::verify(&statement).expect("signed by the custodian");
        let log = verifier(&realm, &group, &statement.checkpoint_key).expect("a good key");
        let policy = Policy::of_log(origin(&realm, &group), vec![log]).expect("one key");
        let state = StateFolder::create(&folder.path().join("witness"), &witness).expect("a new folder");
        let clock = system_clock();
        let witness = Witness::open(key, [policy], state, Box::new(move || clock())).expect("it begins");
        tokio::spawn(serve(listener, Arc::new(witness), Limits::default(), std::future::pending()));
        Self { local, statement, _folder: folder }
    }

    async fn ada(&self) -> Client {
        let leader = self.local.leader(None).await.expect("one leads");
        self.local.fast_client(leader, "ada").await.expect("a client")
    }

    async fn receipt(&self, client: &Client, attempts: &Attempts) -> ClaimedReceipt {
        let statements = [self.statement.clone()];
        let made = client.receipts(attempts, &statements, PATIENCE).await.pop().expect("one realm");
        made.receipt.expect("the log is published and cosigned")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_of_every_try_and_a_receipt_shows_it_to_whoever_has_the_statement() {
    let scene = Scene::new().await;
    let ada = scene.ada().await;
    register(&ada).await;
    guess_wrong(&ada).await;
    guess_wrong(&ada).await;
    let before = ada.attempts().await;
    ada.recover(&Pin::from("4821"), b"").await.expect("recovers");
    let after = ada.attempts().await;

    let told = list(&after);
    let what: Vec<_> = told.newest().iter().map(|request| request.what).collect();
    let tried = Counted::Guess;
    assert_eq!(what, [Counted::Registered, tried, tried, tried, Counted::Recovered]);
    let left: Vec<_> = told.newest().iter().map(|request| request.guesses_left).collect();
    assert_eq!(left, [5, 4, 3, 2, 5]);
    assert!(told.newest().iter().all(|request| request.time.is_some()));
    assert_eq!((told.count(), told.is_yours(), told.guesses_left()), (5, Some(true), Some(5)));
    assert_eq!(list(&before).count(), 3);
    assert!(after.agree());
    assert_eq!(after.follows(&before), [(scene.statement.realm, Standing::Whole { new: 2 })]);
    assert_eq!(list(&scene.ada().await.attempts().await).is_yours(), None, "a client that opened nothing");

    let (first, second) = (scene.receipt(&ada, &before).await, scene.receipt(&ada, &after).await);
    let read = ClaimedReceipt::parse(second.to_string().as_bytes()).expect("as it was written");
    let receipt = read.verify(&scene.statement).expect("it convinces");
    assert_eq!(receipt.list(), told.as_signed());
    assert_eq!(receipt.checkpoint().witnesses().len(), 1);
    assert_eq!(standing(second.list(), first.list()), Standing::Whole { new: 2 });
    assert_eq!(standing(first.list(), second.list()), Standing::Older);

    refuses_what_was_altered(&scene, &second);
    too_few_cosignatures_make_no_receipt(&scene, &ada, &after, &second).await;
    begins_anew(&scene, &ada, &after).await;
    scene.local.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_were_kept_name_every_request_since_the_registration() {
    let scene = Scene::new().await;
    let ada = scene.ada().await;
    register(&ada).await;
    let mut kept = Vec::new();
    // A recovery counts twice, as a guess and as right: seven of them are 14 requests, and 15 are named.
    for _ in 0..3 {
        for _ in 0..7 {
            ada.recover(&Pin::from("4821"), b"").await.expect("recovers");
        }
        kept.push(list(&ada.attempts().await).clone());
    }
    let now = kept.pop().expect("three were kept");
    let alone = now.history([]).expect("it fits itself");
    assert_eq!((now.count(), alone.count(), alone.unnamed()), (43, 43, 28));
    let whole = now.history(kept.iter().map(AttemptList::as_signed)).expect("they fit together");
    let what: Vec<_> = whole.named().map(|(_, attempt)| attempt.what).collect();
    let expected: Vec<_> = [1].into_iter().chain([2, 4].repeat(21)).collect();
    assert_eq!((whole.unnamed(), what), (0, expected));
    let mut other = kept[0].as_signed().clone();
    other.newest[0].what = 4;
    assert_eq!(now.history([&other, kept[1].as_signed()]), Err(BrokenHistory), "only the chain shows it");
    scene.local.shutdown().await;
}

/// A list is changed in its receipt.
fn refuses_what_was_altered(scene: &Scene, receipt: &ClaimedReceipt) {
    let mut list = receipt.list().clone();
    list.newest[1].what = 4;
    // The chain says so, without any key.
    let proof = receipt.proof().clone().with_extra(list.to_bytes()).expect("short");
    assert_eq!(ClaimedReceipt::parse(proof.to_string().as_bytes()), Err(ReceiptError::NoList));
    list.newest.remove(0);
    let proof = receipt.proof().clone().with_extra(list.to_bytes()).expect("short");
    let altered = ClaimedReceipt::parse(proof.to_string().as_bytes()).expect("a receipt by its form");
    assert_eq!(altered.verify(&scene.statement), Err(ReceiptError::Signature));
}

/// A statement asks for another witness, who has seen nothing.
async fn too_few_cosignatures_make_no_receipt(
    scene: &Scene,
    ada: &Client,
    attempts: &Attempts,
    receipt: &ClaimedReceipt,
) {
    let name = KeyName::new("elsewhere.example").expect("a name");
    let other = SigningKey::from_seed(name, SignatureType::Cosignature, &[8; 32]).expect("a key");
    let mut demanding = scene.statement.clone();
    demanding.witnesses.push(other.verifier().clone());
    demanding.cosignatures = 2;
    let too_few = CheckpointError::Witnesses { found: 1, needed: 2 };
    let too_few = ReceiptError::from(TlogProofError::Checkpoint(too_few));
    assert_eq!(receipt.verify(&demanding), Err(too_few.clone()));
    let made = ada.receipts(attempts, &[demanding], Duration::ZERO).await.pop().expect("one realm");
    let refused = made.receipt.expect_err("a witness is missing");
    assert!(matches!(refused, ReceiptFailure::Refused(ReceiptError::Proof(_))), "{refused:?}");
    let made = ada.receipts(attempts, &[], Duration::ZERO).await.pop().expect("one realm");
    assert_eq!(made.receipt, Err(ReceiptFailure::NoStatement));
}

/// Another registration has a list of its own.
async fn begins_anew(scene: &Scene, ada: &Client, before: &Attempts) {
    let other_device = scene.ada().await;
    register(&other_device).await;
    let anew = ada.attempts().await;
    assert_eq!((list(&anew).count(), list(&anew).is_yours()), (1, Some(false)));
    assert_eq!(anew.follows(before), [(scene.statement.realm, Standing::Anew)]);
    assert_eq!(list(&other_device.attempts().await).is_yours(), Some(true));
}
