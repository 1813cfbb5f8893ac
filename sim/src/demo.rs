//! The demo: one realm, shown from start to end to someone who has never heard of any of this.
//!
//! Every claim is checked before it is printed; the first false one ends the demo with an error.

use crate::Error;
use crate::local::{LocalRealm, MEMBERS};
use futures::future::try_join_all;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strongroom_client::{Client, ErrorKind, Pin, UserSecret};
use strongroom_replica::segment::Segment;

const SECRET: &[u8] = b"the key that opens Ada's backups";
const RIGHT: &str = "4821";
const WRONG: &str = "1234";
const USERS_AT_ONCE: usize = 32;
const ROUNDS: usize = 8;

/// Runs the demo in `dir`, which must hold no realm yet; the first `boards` HSMs are emulated boards.
///
/// # Errors
/// Something was not as described.
pub async fn run(dir: &Path, boards: usize) -> Result<(), Error> {
    let story = Story { began: Instant::now() };
    story.tell("Strongroom keeps a user's secret under a short PIN, and destroys it after a set number of");
    story.tell("wrong guesses. The limit is kept by HSMs; here they are simulated, and protect nothing.");

    if boards > 0 {
        story.tell(format!("{boards} of them are the firmware, on emulated boards."));
    }
    let mut realm = make_realm(&story, dir, boards).await?;
    let leader = story.step("They elect a leader; the other two will witness", realm.leader(None)).await?;
    story.fact(format!("HSM {} leads", leader + 1));
    // Clients talk to a member that will outlive the leader. It forwards what it cannot serve.
    let door = (leader + 1) % MEMBERS;

    let ada = realm.client(door, "ada").await?;
    recover_a_secret(&story, &ada).await?;
    lock_a_record(&story, &realm.client(door, "mallory-has-her-phone").await?).await?;
    if boards > 0 {
        measure(&story, &realm, door).await?;
    }
    lose_the_leader(&story, &mut realm, leader, door).await?;
    show_the_store(&story, &realm.dir().join("store"))?;

    if boards > 0 {
        let replies = realm.compare_boards()?;
        story.tell(format!(
            "\nThe boards gave {replies} replies; the software HSM gives the same, byte by byte."
        ));
    }
    let took = story.began.elapsed();
    realm.shutdown().await;
    story.tell(format!("\nAll of this was checked, in {:.1} s.", took.as_secs_f64()));
    Ok(())
}

async fn make_realm(story: &Story, dir: &Path, boards: usize) -> Result<LocalRealm, Error> {
    story.chapter("A realm is made");
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let start = async { LocalRealm::start_on_boards(dir, listen, boards) };
    let realm = story
        .step("Three HSMs start, each with an agent on its host; their store is a folder", start)
        .await?;
    if realm.realm_id().await?.is_some() {
        return Err(format!("{} holds a realm already; name an empty folder", dir.display()).into());
    }
    let id = story
        .step("The first HSM draws the realm's seed; no one outside it ever sees it", realm.make_realm());
    let id = id.await?;
    story.fact(format!("realm {id}"));
    for importer in 1..MEMBERS {
        let what =
            format!("A custodian approves HSM {}; the seed goes to it, sealed to its key", importer + 1);
        story.step(&what, realm.enrol(importer)).await?;
    }
    story.step("The three become one group, permanently", realm.make_group()).await?;
    Ok(realm)
}

async fn recover_a_secret(story: &Story, ada: &Client) -> Result<(), Error> {
    story.chapter("Ada registers a secret, forgets her PIN, remembers it");
    let register = register(ada, 3);
    story.step("Ada registers a secret under her PIN, with 3 guesses", register).await?;
    let wrong = story.step("She tries a wrong PIN", guess(ada, WRONG)).await?;
    story.expect(wrong == Guess::Wrong { left: 2 }, "the PIN is wrong; 2 guesses are left")?;
    let right = story.step("She tries the right one", guess(ada, RIGHT)).await?;
    story.expect(right == Guess::Right, "the secret is back, and so are all 3 guesses")
}

async fn lock_a_record(story: &Story, thief: &Client) -> Result<(), Error> {
    story.chapter("A thief has another user's phone, and tries every PIN");
    story.step("That user had registered with 2 guesses", register(thief, 2)).await?;
    for (pin, left) in [("0000", 1), ("1111", 0)] {
        let tried = story.step(&format!("The thief tries {pin}"), guess(thief, pin)).await?;
        story.expect(tried == Guess::Wrong { left }, format!("wrong; guesses left: {left}"))?;
    }
    let late = story.step("Even the right PIN comes too late now", guess(thief, RIGHT)).await?;
    story.expect(
        late == Guess::Wrong { left: 0 },
        "the secret is gone; nobody can recover it, not even the operator",
    )
}

/// Many users recover at once.
async fn measure(story: &Story, realm: &LocalRealm, door: usize) -> Result<(), Error> {
    story.chapter("Many users at once");
    let mut users = Vec::new();
    for user in 0..USERS_AT_ONCE {
        users.push(realm.fast_client(door, &format!("user-{user}")).await?);
    }
    let all = try_join_all(users.iter().map(|user| register(user, 3)));
    story.step(&format!("{USERS_AT_ONCE} users register at the same time"), all).await?;
    realm.times().clear();
    let from = Instant::now();
    // Each goes on as soon as it can: none waits for the slowest.
    let all = users.iter().map(async |user| {
        for _ in 0..ROUNDS {
            if guess(user, RIGHT).await? != Guess::Right {
                return Err("a right PIN was refused".into());
            }
        }
        Ok::<(), Error>(())
    });
    try_join_all(all).await?;
    let recoveries = USERS_AT_ONCE * ROUNDS;
    let rate = recoveries as f64 / from.elapsed().as_secs_f64();
    story.fact(format!("{recoveries} recoveries, {rate:.0} per second"));
    for (name, count, mean) in realm.times().means() {
        story.fact(format!("{name:<12} {count:>6} times, {:>9} each", duration(mean)));
    }
    Ok(())
}

async fn lose_the_leader(
    story: &Story,
    realm: &mut LocalRealm,
    leader: usize,
    door: usize,
) -> Result<(), Error> {
    story.chapter("The leader dies");
    let kill = async {
        realm.kill(leader).await;
        Ok::<_, Error>(())
    };
    story.step(&format!("HSM {} and its host lose power", leader + 1), kill).await?;
    let ada = realm.client(door, "ada").await?;
    let right = story.step("Ada recovers her secret once more, not knowing", guess(&ada, RIGHT)).await?;
    story.expect(right == Guess::Right, "the same secret, through the new leader")?;
    let next = realm.leader(Some(leader)).await?;
    story.fact(format!("HSM {} leads", next + 1));
    Ok(())
}

fn show_the_store(story: &Story, store: &Path) -> Result<(), Error> {
    story.chapter("What the store holds");
    let mut files = files_below(store)?;
    files.sort();
    let (mut bytes, mut entries, mut leaves, mut segments, mut told) = (0, 0, 0, 0, false);
    for path in &files {
        let content = std::fs::read(path)?;
        bytes += content.len();
        told |= content.windows(SECRET.len()).any(|window| window == SECRET);
        if let Ok(segment) = Segment::decode(&content) {
            segments += 1;
            entries += segment.entries().len();
            leaves += segment.entries().iter().map(|e| e.leaves.len()).sum::<usize>();
        }
    }
    let first = files.iter().find_map(|f| f.strip_prefix(store).ok()).ok_or("the store is empty")?;
    story.fact(format!(
        "{segments} segments with {entries} log entries and {leaves} sealed records, {bytes} bytes"
    ));
    story.fact(format!("the first: {}", first.display()));
    let sealed = entries > 0 && leaves > 0 && !told;
    story
        .expect(sealed, "the secret is nowhere in it in the clear; what there is opens only inside an HSM")?;
    story.expect(true, "and an HSM serves a record only as of the newest entry that a majority vouches for")
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for item in std::fs::read_dir(dir)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            files.extend(files_below(&item.path())?);
        } else {
            files.push(item.path());
        }
    }
    Ok(files)
}

async fn register(client: &Client, num_guesses: u8) -> Result<(), Error> {
    let guesses = NonZeroU8::new(num_guesses).ok_or("a registration needs a guess")?;
    Ok(client.register(&Pin::from(RIGHT), &UserSecret::new(SECRET)?, b"", guesses).await?)
}

/// How a recovery ended.
#[derive(PartialEq, Eq, Debug)]
enum Guess {
    Right,
    Wrong { left: u16 },
}

async fn guess(client: &Client, pin: &str) -> Result<Guess, Error> {
    match client.recover(&Pin::from(pin), b"").await {
        Ok(secret) if secret.as_bytes() == SECRET => Ok(Guess::Right),
        Ok(_) => Err("a recovery returned another secret than was registered".into()),
        Err(error) => match error.kind {
            ErrorKind::InvalidPin { guesses_remaining } => Ok(Guess::Wrong { left: guesses_remaining }),
            _ => Err(error.into()),
        },
    }
}

/// Tells what happens, with the time it takes.
struct Story {
    began: Instant,
}

impl Story {
    fn tell(&self, line: impl Display) {
        println!("{line}");
    }

    fn chapter(&self, title: &str) {
        println!("\n{title}\n{}", "─".repeat(title.chars().count()));
    }

    async fn step<T, E: Into<Error>>(
        &self,
        what: &str,
        doing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let from = Instant::now();
        let done = doing.await.map_err(|error| format!("{what}: {}", error.into()))?;
        println!("  {:<76} {:>9}", what, duration(from.elapsed()));
        Ok(done)
    }

    fn fact(&self, what: impl Display) {
        println!("    → {what}");
    }

    fn expect(&self, holds: bool, what: impl Display) -> Result<(), Error> {
        if !holds {
            return Err(format!("this should have been true and is not: {what}").into());
        }
        self.fact(what);
        Ok(())
    }
}

fn duration(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{:.1} ms", took.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", took.as_secs_f64())
    }
}
