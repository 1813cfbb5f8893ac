//! What the move of a prefix costs: half of the key space goes from one group to another and back, while clients with
//! records in both halves recover. Five agents and five HSMs, each a process; the two groups share one host.

use super::calls::Calls;
use super::crowd::{Crowd, User, enrol};
use super::fill::{Below, fill};
use super::machine::Processor;
use super::memory::Watched;
use super::options::Options;
use super::place::Place;
use super::progress::Progress;
use super::report::{Move, Moving, Span};
use super::service::PAUSE;
use super::tables;
use crate::Error;
use crate::ceremony::{admin, within};
use crate::chaos::{Doors, Programs, Realm, Wires};
use std::path::Path;
use std::time::{Duration, Instant};
use strongroom_hsm::{Config, Core};
use strongroom_hsm_software::{Console, FileFlash, SoftwareEnv};
use strongroom_proto::hsm::{RealmStatus, Reply, Request};
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;
use tokio::time::sleep;

const HOSTS: usize = 5;
/// How often a step is asked for again that something came between.
const AGAIN: usize = 50;
/// An agent is at rest if it keeps less of a core busy for this long; and how long that is waited for.
const REST: Duration = Duration::from_secs(1);
const RESTING: f64 = 0.1;
const UNTIL_REST: Duration = Duration::from_secs(120);
/// What an agent logs when its HSM begins to lead.
const LEADS: &str = "role=\"leader\"";
/// Of how many recoveries percentiles may be told, and how long at most they are waited for.
const ENOUGH: usize = 20;
const MOST: Duration = Duration::from_secs(60);

/// Measures on one store, and prints each line when it is known.
///
/// # Errors
/// A process does not start, or ends; users cannot register; the prefix does not move.
pub(super) async fn measure(
    options: &Options,
    place: &Place,
    programs: &Programs,
    progress: &Progress,
) -> Result<Moving, Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-bench-").tempdir()?;
    progress.say(format!("move on {place}: starting"));
    let store = place.ready(folder.path(), options.put_ms, &options.store_option).await?;
    let realm = Realm::start_with(folder.path(), programs, store, Wires::Direct, HOSTS).await?;
    let [first, second] = realm.groups[..] else { return Err("two groups are needed".into()) };
    let mut bench = Bench { realm, options, progress };
    let [_, prefix] = bench.split(first).await?;
    let leader = bench.leader(first).await?;
    bench.leader(second).await?;
    if bench.elections()? == 0 {
        return Err("the agents' logs do not tell who leads; run it with RUST_LOG=info, or without".into());
    }
    let status = told(&bench.realm.nvram(leader), folder.path())?;
    let below = Below::new(&status, prefix);
    let users = bench.enrol(&below).await?;
    let clients_below = users.iter().filter(|user| user.moves()).count();
    let others = options.moved().saturating_sub(clients_below as u64);
    let filled = fill(&bench.realm, &status, below, (others, leader), progress).await?;
    let mut moving = Moving {
        store: place.to_string(),
        put_ms: options.put_ms,
        clients: users.len(),
        clients_below,
        records: others + clients_below as u64,
        filled_s: filled.as_secs_f64(),
        moves: Vec::new(),
    };
    let title = tables::moving_title(&moving);
    let filled_s = moving.filled_s;
    progress.tell(&format!("\n{title}\n{others} other users registered in {filled_s:.0} s\n"));
    for (way, from, to) in [("there", first, second), ("back", second, first)] {
        progress.say(format!("{title}: {way}"));
        let moved = bench.once((way, prefix, from, to), &users).await?;
        moving.moves.push(moved);
    }
    progress.tell(&told_of(&moving));
    Ok(moving)
}

fn told_of(moving: &Moving) -> String {
    let (moves, spans) = (tables::moves(moving), tables::spans(moving));
    format!(
        "{moves}{spans}store calls each second\n{}processor time, in cores\n{}memory of each agent at most, in MiB\n{}",
        tables::calls_of_moves(moving),
        tables::processor_of_moves(moving),
        tables::memory_of_moves(moving)
    )
}

/// What an HSM says about its realm, all of it, as its agent is told: asked of a copy of the HSM.
fn told(nvram: &Path, folder: &Path) -> Result<RealmStatus, Error> {
    let copy = folder.join("asked.nvram");
    std::fs::copy(nvram, &copy)?;
    let mut env = SoftwareEnv::new(FileFlash::open(&copy)?, Console::dark());
    let mut core = Core::start(&mut env, Config::software())?;
    let asked = minicbor::to_vec(Request::DeviceStatus)?;
    match minicbor::decode(&core.handle(&mut env, &asked))? {
        Reply::Device(status) => Ok(status.realm.ok_or("the HSM has no realm")?),
        other => Err(format!("an HSM does not say what it is: {other:?}").into()),
    }
}

struct Bench<'a> {
    realm: Realm,
    options: &'a Options,
    progress: &'a Progress,
}

/// What is counted from the beginning of some time to its end.
struct Begun {
    at: Instant,
    calls: Calls,
    processor: Processor,
    elections: u64,
}

/// What the agents said at the steps of a move.
#[derive(Default)]
struct Steps {
    copied: u64,
    changed: u64,
    /// When the old group had let go.
    let_go: Option<Instant>,
}

impl Bench<'_> {
    /// Has a group that owns everything own two halves.
    async fn split(&self, group: GroupId) -> Result<[Prefix; 2], Error> {
        let mut admin = admin(&self.realm.sockets()[0]).await?;
        let (left, right) = Prefix::WHOLE.children().ok_or("it has halves")?;
        within(Duration::from_secs(60), "the key space is not split", async || {
            let owned = admin.divide(group, Prefix::WHOLE, false).await.ok();
            Ok(owned.filter(|owned| owned.contains(&right)))
        })
        .await?;
        Ok([left, right])
    }

    /// The host whose HSM leads a group.
    async fn leader(&self, group: GroupId) -> Result<usize, Error> {
        within(Duration::from_secs(60), "no member became the leader", async || {
            for host in 0..HOSTS {
                let report = self.realm.report(host).await;
                let leads = |report: strongroom_agent::admin::AgentReport| {
                    report.groups.iter().any(|led| led.group == group && led.serving)
                };
                if report.is_some_and(leads) {
                    return Ok(Some(host));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn enrol(&self, below: &Below) -> Result<Vec<User>, Error> {
        let count = self.options.beside();
        self.progress.say(format!("move: {count} users register"));
        let names = (0..count).map(|number| format!("user-{number}"));
        let names = names.map(|name| (below.has(&name), name)).map(|(moves, name)| (name, moves)).collect();
        enrol(&Doors::new(&self.realm)?, names).await
    }

    fn processes(&mut self) -> Vec<(String, u32)> {
        let daemons = self.realm.daemons();
        let ids = daemons.filter_map(|daemon| Some((daemon.name().to_owned(), daemon.process()?)));
        ids.chain([("clients".to_owned(), std::process::id())]).collect()
    }

    fn agents(&mut self) -> Vec<(String, u32)> {
        self.processes().into_iter().filter(|(name, _)| name.starts_with("agent-")).collect()
    }

    /// Waits until the agents have done what was left to do, such as merging what was written.
    async fn rest(&mut self) {
        let (agents, begun) = (self.agents(), Instant::now());
        while begun.elapsed() < UNTIL_REST {
            let before = Processor::of(&agents);
            self.progress.wait(REST).await;
            let busy = Processor::of(&agents).since(&before);
            if busy.values().all(|ms| ms / 1e3 < RESTING * REST.as_secs_f64()) {
                break;
            }
        }
    }

    /// How often an HSM has begun to lead a group, by what the agents have logged.
    fn elections(&self) -> Result<u64, Error> {
        let mut count = 0;
        for host in &self.realm.hosts {
            let log = std::fs::read_to_string(host.agent.log())?;
            count += log.lines().filter(|line| line.contains("a new role") && line.contains(LEADS)).count();
        }
        Ok(count as u64)
    }

    async fn begin(&mut self, watched: &Watched) -> Result<Begun, Error> {
        let calls = Calls::of(&self.realm.metrics()).await?;
        watched.take_mib();
        let (processor, elections) = (Processor::of(&self.processes()), self.elections()?);
        Ok(Begun { at: Instant::now(), calls, processor, elections })
    }

    async fn end(&mut self, begun: &Begun, crowd: &Crowd, watched: &Watched) -> Result<(Span, Calls), Error> {
        let mut span = crowd.span(begun.at, Instant::now());
        span.processor_ms = Processor::of(&self.processes()).since(&begun.processor);
        span.memory_mib = watched.take_mib();
        span.elections = self.elections()?.saturating_sub(begun.elections);
        let calls = Calls::of(&self.realm.metrics()).await?.since(&begun.calls);
        span.calls = calls.all.clone();
        match self.realm.daemons().find_map(|daemon| daemon.died()) {
            Some(died) => Err(died.into()),
            None => Ok((span, calls)),
        }
    }

    /// What the clients get while nothing else goes on.
    async fn quiet(&mut self, crowd: &Crowd, watched: &Watched) -> Result<Span, Error> {
        let begun = self.begin(watched).await?;
        self.progress.wait(self.options.length()).await;
        while crowd.count(begun.at) < ENOUGH && begun.at.elapsed() < MOST {
            self.progress.wait(PAUSE).await;
        }
        Ok(self.end(&begun, crowd, watched).await?.0)
    }

    async fn once(
        &mut self,
        (way, prefix, from, to): (&str, Prefix, GroupId, GroupId),
        users: &[User],
    ) -> Result<Move, Error> {
        self.rest().await;
        let watched = Watched::begin(self.agents());
        let crowd = Crowd::begin(users);
        self.progress.wait(self.options.length() / 4).await;
        let before = self.quiet(&crowd, &watched).await?;
        let begun = self.begin(&watched).await?;
        let steps = self.go(prefix, from, to).await?;
        let over = Instant::now();
        let (counted, calls) = self.end(&begun, &crowd, &watched).await?;
        let after = self.quiet(&crowd, &watched).await?;
        // Only now have those ended who waited while nobody served them.
        let unserved_ms = crowd.longest_pause_ms(begun.at, Instant::now());
        let Span { calls: kinds, processor_ms, memory_mib, elections, .. } = counted;
        let waited = crowd.span_with_edges(begun.at, over);
        let during = Span { calls: kinds, processor_ms, memory_mib, elections, ..waited };
        if let Some(why) = crowd.end().await {
            self.progress.tell(&format!("{way}: the first recovery that failed: {why}\n"));
        }
        let bytes = |way: &str| calls.bytes.get(&format!("tree {way}")).copied().unwrap_or(0);
        let let_go = steps.let_go.ok_or("the prefix was nowhere between")?;
        Ok(Move {
            way: way.to_owned(),
            copied: steps.copied,
            changed: steps.changed,
            sent_bytes: bytes("sent"),
            received_bytes: bytes("received"),
            copying_s: let_go.duration_since(begun.at).as_secs_f64(),
            unserved_ms,
            whole_s: during.seconds,
            before,
            during,
            after,
        })
    }

    /// Takes a move from step to step, as `partition move` does.
    async fn go(&self, prefix: Prefix, from: GroupId, to: GroupId) -> Result<Steps, Error> {
        let mut admin = admin(&self.realm.sockets()[0]).await?;
        let (mut steps, mut left) = (Steps::default(), AGAIN);
        loop {
            match admin.move_on(Some(prefix), Some(from), to).await? {
                Some((_, true)) => return Ok(steps),
                Some((done, false)) if steps.let_go.is_none() => {
                    (steps.copied, steps.let_go) = (records(&done), Some(Instant::now()));
                }
                Some((done, false)) => steps.changed += records(&done),
                None if left == 0 => return Err("the prefix does not move".into()),
                None => {
                    left -= 1;
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// How many records were copied, by what an agent says for people.
fn records(done: &str) -> u64 {
    let words: Vec<&str> = done.split_whitespace().collect();
    let counted = words.windows(2).find(|two| two[1] == "records").and_then(|two| two[0].parse().ok());
    counted.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_as_an_agent_says_it() {
        assert_eq!(records("1024 records copied; group 01 has let go of it"), 1024);
        assert_eq!(records("group 02 has taken it over, with 7 records that had changed"), 7);
        assert_eq!(records("group 01 has closed the move to group 02"), 0);
    }
}
