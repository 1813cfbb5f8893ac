//! A change of the PIN, cut at every message: before a request arrives, and before its answer does. Then the client is gone.
//!
//! What must hold wherever it is cut is in [`check`]: the secret comes back with the old PIN or with the new one, and a second change, or a
//! repair, makes the realms whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use strongroom_client::{
    Bug, Client, Configuration, Error, ErrorKind, HttpResponse, NetworkError, Pin, RegistrationVersion,
    Summary, Transport,
};
use tokio::sync::Notify;
use tokio::time::sleep;
use url::Url;
use zeroize::Zeroizing;

use crate::realms::Realms;
use crate::{SECRET, builder, client, recover, register};

const OLD: &str = "4821";
const NEW: &str = "1284";
const THIRD: &str = "3333";
const GUESSES: u8 = 5;

/// Where the network ends. Messages are counted from 0, requests and answers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Never,
    /// For everybody, at this message.
    At(usize),
    /// For one realm, at this message to or from it.
    Of(usize, usize),
}

/// Realms behind a network that ends.
#[derive(Clone)]
struct Network {
    realms: Realms,
    end: End,
    ended: Arc<Notify>,
    state: Arc<Mutex<Traffic>>,
}

struct Traffic {
    /// Draws how long a message takes. Without one, it takes no time.
    delays: Option<StdRng>,
    /// How many there were, to and from each realm.
    messages: BTreeMap<usize, usize>,
}

impl Network {
    fn new(realms: &Realms, seed: u64, end: End) -> Self {
        let delays = (seed > 0).then(|| StdRng::seed_from_u64(seed));
        let state = Arc::new(Mutex::new(Traffic { delays, messages: BTreeMap::new() }));
        Self { realms: realms.clone(), end, ended: Arc::default(), state }
    }

    /// A message to or from this realm is on its way; it may never arrive.
    async fn carry(&self, realm: usize) -> Result<(), NetworkError> {
        let delay = self.state.lock().unwrap().delays.as_mut().map(|rng| rng.random_range(0..50));
        if let Some(delay) = delay {
            sleep(Duration::from_millis(delay)).await;
        }
        let arrives = {
            let messages = &mut self.state.lock().unwrap().messages;
            let all = messages.values().sum::<usize>();
            let own = messages.entry(realm).or_default();
            let arrives = match self.end {
                End::Never => true,
                End::At(end) => all < end,
                End::Of(ending, end) => realm != ending || *own < end,
            };
            *own += usize::from(arrives);
            arrives
        };
        match (arrives, self.end) {
            (true, _) => Ok(()),
            (false, End::Of(..)) => {
                sleep(Duration::from_secs(30)).await;
                Err(NetworkError::Lost("timed out".into()))
            }
            (false, _) => {
                self.ended.notify_one();
                std::future::pending().await
            }
        }
    }
}

fn number_of(url: &Url) -> usize {
    let number = url.host_str().unwrap().trim_start_matches("realm-").trim_end_matches(".example");
    number.parse().unwrap()
}

#[async_trait]
impl Transport for Network {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        self.carry(number_of(url)).await?;
        let answer = self.realms.post(url, headers, body).await;
        self.carry(number_of(url)).await?;
        answer
    }

    async fn get(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        self.carry(number_of(url)).await?;
        let answer = self.realms.get(url, headers, most).await;
        self.carry(number_of(url)).await?;
        answer
    }
}

/// Three realms, and how many of them are needed.
#[derive(Clone, Copy, Debug)]
struct Setting {
    software: usize,
    register: usize,
    recover: usize,
    seed: u64,
}

impl Setting {
    fn configuration(self, realms: &Realms) -> Configuration {
        realms.configuration(&[0, 1, 2], self.register, self.recover)
    }

    async fn registered(self) -> Realms {
        let realms = Realms::new(3 - self.software, self.software);
        realms.offer_staging(&[0, 1, 2]);
        register(&client(&realms, self.configuration(&realms)), GUESSES).await.unwrap();
        realms
    }

    /// A change of the PIN over a network that ends, and with it the client. Its outcome, if it came to one; and how many messages
    /// there were to and from each realm.
    async fn change(
        self,
        realms: &Realms,
        end: End,
        plant: impl Fn(Client) -> Client,
    ) -> (Option<Result<(), Error>>, [usize; 3]) {
        let network = Network::new(realms, self.seed, end);
        let rng = StdRng::seed_from_u64(2);
        let client = builder(realms, self.configuration(realms)).rng(rng).build_with(network.clone());
        let client = plant(client);
        let changed = async {
            let changed = client.change_pin(&Pin::from(OLD), &Pin::from(NEW), b"user").await;
            client.close().await;
            changed
        };
        let changed = tokio::select! {
            changed = changed => Some(changed),
            () = network.ended.notified() => None,
        };
        drop(client);
        let messages = &network.state.lock().unwrap().messages;
        (changed, [0, 1, 2].map(|realm| messages.get(&realm).copied().unwrap_or_default()))
    }

    fn device(self, realms: &Realms, seed: u64) -> Client {
        let rng = StdRng::seed_from_u64(seed);
        builder(realms, self.configuration(realms)).rng(rng).build_with(realms.clone())
    }

    /// How many realms hold this, present or staged.
    fn holders(realms: &Realms, version: RegistrationVersion) -> usize {
        (0..3).filter(|realm| realms.versions(*realm).contains(&Some(version))).count()
    }

    /// Recovers with a PIN, and looks at what that costs. Whether it is right.
    async fn opens(self, realms: &Realms, pin: &str) -> Result<bool, String> {
        let realms = realms.fork();
        let before: Vec<_> =
            (0..3).map(|realm| (realms.versions(realm), realms.guess_counts(realm))).collect();
        let client = self.device(&realms, 3);
        let outcome = recover(&client, pin).await;
        client.close().await;
        for (realm, (versions, counts)) in before.into_iter().enumerate() {
            let after = realms.guess_counts(realm);
            for place in 0..2 {
                let Some(version) = versions[place] else { continue };
                let spent =
                    after[place].unwrap_or(u16::MAX).saturating_sub(counts[place].unwrap_or_default());
                let allowed = u16::from(Self::holders(&realms, version) >= self.recover);
                if spent > allowed {
                    return Err(format!("realm {realm}, place {place}: {spent} guesses of {allowed}"));
                }
            }
        }
        match outcome {
            Ok(secret) if secret == SECRET => Ok(true),
            Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 1.. }, .. }) => Ok(false),
            other => Err(format!("{pin}: {other:?}")),
        }
    }

    /// That all realms hold one registration, which this PIN opens and no other does.
    async fn is_whole(self, realms: &Realms, pin: &str) -> Result<(), String> {
        let all = [0, 1, 2].map(|realm| (realms.versions(realm), realms.guess_counts(realm)));
        if all.iter().any(|one| *one != all[0] || one.0[1].is_some() || one.1[0] != Some(0)) {
            return Err(format!("not whole: {all:?}"));
        }
        // If there were another one, it would be one of these two that opens it.
        let other = if pin == OLD { NEW } else { OLD };
        for (one, opens) in [(pin, true), (other, false)] {
            if self.opens(realms, one).await? != opens {
                return Err(format!("whole, but {one} does not do what it should"));
            }
        }
        Ok(())
    }
}

/// What must hold after a change that was cut, whatever came of it.
async fn check(setting: Setting, realms: &Realms, changed: Option<&Result<(), Error>>) -> Result<(), String> {
    let status = setting.device(&realms.fork(), 6).status().await;
    if status.summary() != Summary::Registered {
        return Err(format!("{status:?}"));
    }
    let (old, new) = (setting.opens(realms, OLD).await?, setting.opens(realms, NEW).await?);
    if changed.is_some_and(Result::is_ok) && (old || !new) {
        return Err(format!("it says that it is done, and the old PIN opens: {old}, the new one: {new}"));
    }
    let right = match (old, new) {
        (true, _) => OLD,
        (false, true) => NEW,
        (false, false) => return Err("neither PIN opens anything".to_owned()),
    };
    let anew = realms.fork();
    let client = setting.device(&anew, 4);
    let again = client.change_pin(&Pin::from(right), &Pin::from(THIRD), b"user").await;
    again.map_err(|error| format!("a second change: {error}, {:?}", error.causes))?;
    client.close().await;
    setting.is_whole(&anew, THIRD).await?;

    let repaired = realms.fork();
    let client = setting.device(&repaired, 5);
    let repair = client.repair(&Pin::from(right), b"user").await;
    let repair = repair.map_err(|error| format!("a repair: {error}, {:?}", error.causes))?;
    client.close().await;
    if !repair.is_whole() {
        return Err(format!("a repair: {repair:?}"));
    }
    setting.is_whole(&repaired, right).await
}

/// Every place at which the network can end for everybody, if the change goes as it does without an end.
async fn ends(setting: Setting) -> (Vec<End>, [usize; 3]) {
    let realms = setting.registered().await;
    let (changed, messages) = setting.change(&realms, End::Never, |client| client).await;
    changed.unwrap().unwrap();
    setting.is_whole(&realms, NEW).await.unwrap();
    ((0..messages.iter().sum()).map(End::At).collect(), messages)
}

/// The first of these ends after which something does not hold.
async fn first_wrong(
    setting: Setting,
    ends: Vec<End>,
    plant: impl Fn(Client) -> Client,
) -> Option<(End, String)> {
    let registered = setting.registered().await;
    for end in ends {
        let realms = registered.fork();
        let (changed, _) = setting.change(&realms, end, &plant).await;
        if let Err(wrong) = check(setting, &realms, changed.as_ref()).await {
            return Some((end, wrong));
        }
    }
    None
}

async fn cut_at_every_message(register: usize, recover: usize, software: usize) {
    for seed in 0..2 {
        let setting = Setting { software, register, recover, seed };
        let (ends, _) = ends(setting).await;
        assert!(ends.len() > 40, "{}", ends.len());
        assert_eq!(first_wrong(setting, ends, |client| client).await, None, "{setting:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_two_of_three_that_is_cut_at_any_message_leaves_the_old_pin_or_the_new_one() {
    cut_at_every_message(2, 2, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_three_of_three_that_is_cut_at_any_message_leaves_the_old_pin_or_the_new_one() {
    cut_at_every_message(3, 3, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_with_a_software_realm_that_is_cut_at_any_message_leaves_the_old_pin_or_the_new_one() {
    cut_at_every_message(3, 2, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_gone_from_any_message_on_leaves_the_old_pin_or_the_new_one() {
    for (register, recover) in [(2, 2), (3, 3)] {
        let setting = Setting { software: 0, register, recover, seed: 3 };
        let (_, messages) = ends(setting).await;
        for (realm, messages) in messages.into_iter().enumerate() {
            let ends = (0..messages).map(|end| End::Of(realm, end)).collect();
            assert_eq!(first_wrong(setting, ends, |client| client).await, None, "{setting:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_activates_before_enough_realms_have_staged_is_noticed() {
    let plant = |client: Client| client.with_planted_bug(Bug::ActivateEarly);
    let mut wrong = None;
    for seed in 1..10 {
        let setting = Setting { software: 0, register: 3, recover: 3, seed };
        let (ends, _) = ends(setting).await;
        wrong = first_wrong(setting, ends, plant).await;
        if wrong.is_some() {
            break;
        }
    }
    let (_, wrong) = wrong.expect("it is noticed");
    assert!(wrong.contains("staged: false") || wrong.contains("NotRegistered"), "{wrong}");
}
