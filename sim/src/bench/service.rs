//! What a realm of real processes serves: three agents with three software HSMs, and more and more clients that each
//! begin a recovery when their last one has ended.

use super::calls::Calls;
use super::machine::Processor;
use super::numbers::{per, percentile};
use super::options::Options;
use super::place::Place;
use super::progress::Progress;
use super::report::{Idle, Load, Service};
use super::table::Table;
use super::tables;
use crate::Error;
use crate::chaos::{Doors, Programs, Realm, Sent, Wires};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_client::{Client, Pin, UserSecret};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(super) const PIN: &str = "4821";
pub(super) const SECRET: &[u8] = b"what the benchmark's users keep!";
/// How many users register at once.
pub(super) const TOGETHER: usize = 32;
/// How often a registration is tried: on a machine with few cores, the first of many may take too long.
pub(super) const ATTEMPTS: usize = 5;
/// How long a client waits after a failure, so that failing takes no more of the machine than recovering.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// Of how many recoveries percentiles may be told, and how long at most they are waited for.
const ENOUGH: usize = 20;
const MOST: Duration = Duration::from_secs(60);

/// Measures on one store, and prints each line when it is known.
///
/// # Errors
/// A process does not start, or ends; or users cannot register.
pub(super) async fn measure(
    options: &Options,
    place: &Place,
    programs: &Programs,
    progress: &Progress,
) -> Result<Service, Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-bench-").tempdir()?;
    progress.say(format!("service on {place}: starting"));
    let store = place.ready(folder.path(), options.put_ms, &options.store_option).await?;
    let realm = Realm::start_on(folder.path(), programs, store, Wires::Direct).await?;
    let mut bench = Bench { realm, options, progress };
    let idle = bench.idle().await?;
    let mut service = Service { store: place.to_string(), put_ms: options.put_ms, idle, loads: Vec::new() };
    let (title, head) = (tables::title(&service), tables::loads(&service).head());
    progress.tell(&format!("\n{title}\n{}\n{head}", tables::idle(&service)));
    let loads = options.loads();
    let most = loads.iter().copied().max().unwrap_or(0);
    let clients = bench.register(most).await?;
    for count in &loads {
        progress.say(format!("{title}: {count} clients"));
        service.loads.push(bench.load(&clients[..*count]).await?);
        progress.tell(&tables::loads(&service).last());
    }
    let more = [
        ("store calls for 1,000 recoveries", tables::calls(&service)),
        ("of all store calls, those without an answer", tables::failed_calls(&service)),
        ("processor time, in cores", tables::processor(&service)),
    ];
    let told = |(title, table): &(&str, Table)| {
        if table.is_empty() { String::new() } else { format!("{title}\n{table}") }
    };
    progress.tell(&more.iter().map(told).collect::<String>());
    Ok(service)
}

struct Bench<'a> {
    realm: Realm,
    options: &'a Options,
    progress: &'a Progress,
}

/// What the clients of a load have in common.
#[derive(Default)]
struct Crowd {
    measured: AtomicBool,
    enough: AtomicBool,
    took_ms: Mutex<Vec<f64>>,
    failed: AtomicU64,
}

impl Crowd {
    fn recovered(&self) -> usize {
        self.took_ms.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What is counted from the beginning of a measurement to its end.
struct Begun {
    at: Instant,
    calls: Calls,
    processor: Processor,
    leader: Option<usize>,
}

struct Ended {
    seconds: f64,
    calls: Calls,
    processor_ms: BTreeMap<String, f64>,
    leader: Option<usize>,
}

impl Bench<'_> {
    fn processes(&mut self) -> Vec<(String, u32)> {
        let ids =
            self.realm.daemons().filter_map(|daemon| Some((daemon.name().to_owned(), daemon.process()?)));
        ids.chain([("clients".to_owned(), std::process::id())]).collect()
    }

    async fn begin(&mut self) -> Result<Begun, Error> {
        let leader = self.realm.leader().await;
        let calls = Calls::of(&self.realm.metrics()).await?;
        Ok(Begun { at: Instant::now(), calls, processor: Processor::of(&self.processes()), leader })
    }

    async fn end(&mut self, begun: &Begun) -> Result<Ended, Error> {
        let seconds = begun.at.elapsed().as_secs_f64();
        let processor_ms = Processor::of(&self.processes()).since(&begun.processor);
        let calls = Calls::of(&self.realm.metrics()).await?.since(&begun.calls);
        if let Some(died) = self.realm.daemons().find_map(|daemon| daemon.died()) {
            return Err(died.into());
        }
        let leader = self.realm.leader().await;
        Ok(Ended { seconds, calls, processor_ms, leader: leader.filter(|now| Some(*now) == begun.leader) })
    }

    async fn idle(&mut self) -> Result<Idle, Error> {
        self.progress.say("service: nobody asks for anything");
        // What a new realm does at first is not what it does all day.
        self.progress.wait(self.options.length()).await;
        let begun = self.begin().await?;
        // Twice as long as a load, because the system counts in hundredths of a second, of which there are few.
        self.progress.wait(self.options.length() * 2).await;
        let Ended { seconds, calls, mut processor_ms, .. } = self.end(&begun).await?;
        processor_ms.remove("clients");
        let percent = |(name, ms): (String, f64)| (name, ms / seconds / 10.0);
        let percent_of_a_core = processor_ms.into_iter().map(percent).collect();
        Ok(Idle { seconds, percent_of_a_core, calls: calls.all })
    }

    async fn register(&self, count: usize) -> Result<Vec<Arc<Client>>, Error> {
        let doors = Doors::new(&self.realm)?;
        self.progress.say(format!("service: {count} users register"));
        stream::iter(0..count)
            .map(|number| {
                let client = doors.device(&format!("user-{number}"), &Sent::default(), |_| {});
                register(Arc::new(client))
            })
            .buffered(TOGETHER)
            .try_collect()
            .await
    }

    async fn load(&mut self, clients: &[Arc<Client>]) -> Result<Load, Error> {
        let crowd = Arc::new(Crowd::default());
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(recover(Arc::clone(client), Arc::clone(&crowd)));
        }
        self.progress.wait(self.options.length() / 4).await;
        let begun = self.begin().await?;
        crowd.measured.store(true, Ordering::SeqCst);
        self.progress.wait(self.options.length()).await;
        // On a slow machine it takes longer until there is something to tell.
        while crowd.recovered() < ENOUGH && begun.at.elapsed() < MOST {
            self.progress.wait(PAUSE).await;
        }
        crowd.measured.store(false, Ordering::SeqCst);
        let ended = self.end(&begun).await?;
        crowd.enough.store(true, Ordering::SeqCst);
        tasks.join_all().await;
        let took_ms = std::mem::take(&mut *crowd.took_ms.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(summary(clients.len(), ended, took_ms, crowd.failed.load(Ordering::SeqCst)))
    }
}

fn summary(clients: usize, ended: Ended, mut took_ms: Vec<f64>, failed: u64) -> Load {
    let Ended { seconds, calls, processor_ms, leader } = ended;
    let count = took_ms.len() as f64;
    let all = |kind: &str| {
        let of_kind = processor_ms.iter().filter(|(name, _)| name.starts_with(kind));
        of_kind.clone().next().and_then(|_| per(of_kind.map(|(_, ms)| ms).sum(), count))
    };
    let (agents_ms, hsms_ms) = (all("agent-"), all("hsm-"));
    let per_1000 = |(name, calls): (&String, &u64)| Some((name.clone(), per(*calls as f64 * 1e3, count)?));
    let [p50_ms, p95_ms, p99_ms] = [50.0, 95.0, 99.0].map(|percent| percentile(&mut took_ms, percent));
    Load {
        clients,
        seconds,
        recoveries: took_ms.len() as u64,
        failed,
        per_second: count / seconds,
        p50_ms,
        p95_ms,
        p99_ms,
        calls_per_1000: calls.all.iter().filter_map(per_1000).collect(),
        dollars_per_million: per(calls.dollars() * 1e6, count),
        calls: calls.all,
        failed_calls: calls.failed,
        processor_ms,
        agents_ms,
        hsms_ms,
        agents_to_hsms: agents_ms.zip(hsms_ms).and_then(|(agents, hsms)| per(agents, hsms)),
        leader: leader.map_or(0, |leader| leader + 1),
    }
}

pub(super) async fn register(client: Arc<Client>) -> Result<Arc<Client>, Error> {
    let guesses = NonZeroU8::new(250).ok_or("250 is not zero")?;
    let secret = UserSecret::new(SECRET)?;
    let mut told = Ok(());
    for _ in 0..ATTEMPTS {
        told = client.register(&Pin::from(PIN), &secret, b"", guesses).await;
        if told.is_ok() {
            return Ok(client);
        }
        sleep(PAUSE).await;
    }
    Err(format!("a user cannot register: {}", told.err().map_or_else(String::new, |error| error.to_string()))
        .into())
}

/// Recovers over and over, until it is enough.
async fn recover(client: Arc<Client>, crowd: Arc<Crowd>) {
    while !crowd.enough.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let right =
            matches!(client.recover(&Pin::from(PIN), b"").await, Ok(secret) if secret.as_bytes() == SECRET);
        let took_ms = begun.elapsed().as_secs_f64() * 1e3;
        let counts = crowd.measured.load(Ordering::SeqCst);
        if right && counts {
            crowd.took_ms.lock().unwrap_or_else(PoisonError::into_inner).push(took_ms);
        } else if !right {
            crowd.failed.fetch_add(u64::from(counts), Ordering::SeqCst);
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_recovery_costs_is_the_sum_of_all_agents_over_the_recoveries_that_counted() {
        let named = |all: &[(&str, f64)]| all.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect();
        let processor_ms =
            named(&[("agent-1", 6.0), ("agent-2", 3.0), ("clients", 50.0), ("hsm-1", 2.0), ("hsm-2", 1.0)]);
        let calls = Calls { all: [("log put".into(), 6), ("log get".into(), 3)].into(), ..Calls::default() };
        let ended = Ended { seconds: 2.0, calls: calls.clone(), processor_ms, leader: Some(1) };
        let load = summary(4, ended, vec![4.0, 1.0, 3.0], 1);
        assert_eq!((load.recoveries, load.failed, load.leader), (3, 1, 2));
        assert_eq!((load.per_second, load.p50_ms, load.p99_ms), (1.5, Some(3.0), Some(4.0)));
        assert_eq!((load.agents_ms, load.hsms_ms, load.agents_to_hsms), (Some(3.0), Some(1.0), Some(3.0)));
        assert_eq!((load.calls_per_1000["log put"], load.calls_per_1000["log get"]), (2000.0, 1000.0));
        let dollars = load.dollars_per_million.unwrap();
        assert!((dollars - (2e6 * 5.0 + 1e6 * 0.4) / 1e6).abs() < 1e-9, "{dollars}");

        let silent = Ended { seconds: 2.0, calls, processor_ms: BTreeMap::new(), leader: None };
        let load = summary(4, silent, Vec::new(), 9);
        assert_eq!((load.agents_ms, load.agents_to_hsms, load.dollars_per_million), (None, None, None));
        assert_eq!((load.recoveries, load.leader, load.calls_per_1000.len()), (0, 0, 0));
        assert_eq!((load.per_second, load.p50_ms), (0.0, None));
    }
}
