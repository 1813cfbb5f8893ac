//! A whole realm on an object store that fails now and then, and clients that ask again.

use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_agent::config::Config;
use strongroom_agent::store::Store;
use strongroom_client::{Client, Error, ErrorKind, Pin, RetryPolicy, UserSecret};
use strongroom_sim::local::{LocalRealm, Setting};
use strongroom_testkit::faulty::{Fault, Faults, Faulty};

const USERS: u8 = 4;
/// Enough for guesses that counted although no answer came.
const GUESSES: u8 = 20;
/// The faults that a bad day has at least.
const FAULTS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(600);

/// Faults such as a busy cloud may show on a bad day, quick enough for a test.
fn bad_day() -> Faults {
    Faults {
        latency: Duration::from_millis(3),
        slow: Duration::from_millis(200),
        hang: Duration::from_secs(2),
        lag: (2, Duration::from_millis(200)),
        ..Faults::all(20)
    }
}

/// What a user knows about itself, whatever it was told.
struct User {
    client: Client,
    secret: UserSecret,
    /// The most guesses that can be left.
    at_most: u16,
}

impl User {
    async fn new(realm: &LocalRealm, number: u8) -> Self {
        let configuration = realm.configuration(usize::from(number) % 3).await.expect("a member");
        let client = realm.builder(&configuration, &format!("user-{number}")).expect("a name");
        let policy = RetryPolicy { patience: PATIENCE, ..RetryPolicy::default() };
        let client = client.retry_policy(policy).build().expect("roots");
        let secret = UserSecret::new(&[number; 40]).expect("short");
        Self { client, secret, at_most: GUESSES.into() }
    }

    async fn register(&self) {
        let guesses = NonZeroU8::new(GUESSES).expect("not 0");
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.client.register(&Pin::from("4821"), &self.secret, b"info", guesses).await
        {
            assert!(Instant::now() < deadline, "no registration in {} s: {error:?}", PATIENCE.as_secs());
        }
    }

    /// A wrong guess. It counts if it was answered; if not, it may have counted.
    async fn guess_wrong(&mut self) {
        match self.client.recover(&Pin::from("0000"), b"info").await {
            Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) => {
                assert!(guesses_remaining < self.at_most, "{guesses_remaining} are left of {}", self.at_most);
                self.at_most = guesses_remaining;
            }
            Err(Error { kind: ErrorKind::Unavailable { .. }, .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The right guess, tried for as long as it takes.
    async fn recover(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.client.recover(&Pin::from("4821"), b"info").await {
                Ok(secret) => return assert_eq!(secret.as_bytes(), self.secret.as_bytes()),
                Err(error @ Error { kind: ErrorKind::Unavailable { .. }, .. }) => {
                    assert!(Instant::now() < deadline, "no recovery in {} s: {error:?}", PATIENCE.as_secs());
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    async fn live(mut self) -> Self {
        self.register().await;
        self.guess_and_recover().await;
        self
    }

    /// Two wrong guesses, the right one, and a wrong one.
    async fn guess_and_recover(&mut self) {
        self.guess_wrong().await;
        self.guess_wrong().await;
        self.recover().await;
        self.at_most = GUESSES.into();
        self.guess_wrong().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_with_faults_users_register_and_recover_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let faulty = Faulty::new(Arc::new(InMemory::new()), 1, Faults::none());
    let objects: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let open = Box::new(move |_: &Config| Ok(Store::on(Arc::clone(&objects))));
    let setting = Setting { open, ..Setting::patient() };
    let realm = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
    realm.make_whole().await.expect("three new HSMs");
    realm.leader(None).await.expect("one leads");

    faulty.set(bad_day());
    let mut users = Vec::new();
    for number in 0..USERS {
        let user = User::new(&realm, number).await;
        users.push(tokio::spawn(user.live()));
    }
    let mut lived = Vec::new();
    for user in users {
        lived.push(user.await.expect("no panic"));
    }
    // How often a realm calls its store depends on how fast the machine is. A bad day has this many faults.
    let deadline = Instant::now() + PATIENCE;
    while faulty.hits().values().sum::<u64>() < FAULTS {
        assert!(Instant::now() < deadline, "hardly a fault in {} calls: {:?}", faulty.calls(), faulty.hits());
        for user in &mut lived {
            user.guess_and_recover().await;
        }
    }
    let hits: BTreeMap<Fault, u64> = faulty.hits();
    println!("{} calls of the store, faults: {hits:?}", faulty.calls());

    faulty.set(Faults::none());
    for user in &mut lived {
        user.guess_wrong().await;
        user.recover().await;
    }
    realm.shutdown().await;
}
