//! Publishing a log, over stores and HSMs that fail at any call: what the public sees is whole at every moment, never goes back, and is
//! all there in the end; publishing with a rule left out, which must be noticed; and what is counted while the log goes on.

use crate::publish_model::chain::{Chain, GROUP};
use crate::publish_model::{Fault, Plan, World};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strongroom_agent::publish::{Bug, Led, PublishError, PublishMetrics};
use strongroom_proto::change::Evidence;
use strongroom_proto::ids::Index;

/// One agent publishes a log with a full tile and the beginning of another, in a few rounds.
async fn alone(chain: &Arc<Chain>, plan: Plan) -> Result<u64, String> {
    World::new(chain, 7, plan, 260, 1).await.run(None).await
}

/// Two agents publish a log in many rounds.
async fn two(chain: &Arc<Chain>, seed: u64, bug: Option<Bug>) -> Result<u64, String> {
    let plan = Plan::Often { one_in: 16, until: 300 };
    World::new(chain, seed, plan, 60, 2).await.run(bug).await
}

#[tokio::test(start_paused = true)]
async fn whatever_call_fails_the_public_sees_a_log_that_only_grows_and_all_of_it_in_the_end() {
    let chain = Arc::new(Chain::new(1, 270));
    let calls = alone(&chain, Plan::Never).await.expect("nothing fails");
    assert!(calls > 40, "{calls}");
    for nth in 0..calls {
        // What hangs is in the search below.
        for fault in Fault::ALL.into_iter().filter(|fault| !matches!(fault, Fault::Hangs { .. })) {
            let outcome = alone(&chain, Plan::Nth(nth, fault)).await;
            assert!(outcome.is_ok(), "call {nth}, {fault:?}: {outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_believe_they_lead_publish_one_log_whatever_fails() {
    for seed in 0..20 {
        let chain = Arc::new(Chain::new(seed % 4, 530));
        let outcome = two(&chain, seed, None).await;
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_with_a_rule_left_out_is_noticed() {
    let bugs = [
        Bug::CheckpointFirst,
        Bug::TilesUnsettled,
        Bug::HeadFirst,
        Bug::TidiesFirst,
        Bug::NobodyElsePublishes,
        Bug::ReplacesUnseen,
        Bug::GoneAtOnce,
    ];
    let chain = Arc::new(Chain::new(1, 270));
    for bug in bugs {
        let mut seed = 0;
        while two(&chain, seed, Some(bug)).await.is_ok() {
            seed += 1;
            assert!(seed < 200, "{bug:?}");
        }
    }
}

/// A leader whose clients keep asking: the log goes on whenever anybody looks at it.
struct Busy {
    chain: Arc<Chain>,
    committed: AtomicU64,
    time: AtomicU64,
    /// Whether another leads.
    is_deposed: AtomicBool,
    /// Whether clients ask.
    grows: AtomicBool,
}

impl Busy {
    fn goes_on(&self) -> u64 {
        let more = if self.grows.load(Ordering::Relaxed) { 7 } else { 0 };
        self.committed.fetch_add(more, Ordering::Relaxed)
    }
}

impl Led for Busy {
    fn committed(&self) -> Index {
        Index(self.goes_on())
    }

    fn leads(&self) -> bool {
        self.goes_on() > 0
    }

    async fn shown(&self) -> Option<Evidence> {
        self.time.fetch_add(5, Ordering::Relaxed);
        (!self.is_deposed.load(Ordering::Relaxed)).then(|| self.chain.evidence(self.goes_on()))
    }

    fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    fn reached(&self, _: Index) {
        self.goes_on();
    }
}

/// What a metric of publishing shows.
fn shown(registry: &Registry, name: &str) -> Option<u64> {
    let mut text = String::new();
    encode(&mut text, registry).expect("encodes");
    let line = text.lines().find(|line| line.starts_with(&format!("checkpoint_{name}{{")))?;
    assert!(line.contains(&GROUP.to_string()), "{line}");
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn a_log_that_goes_on_while_it_is_published_counts_as_current() {
    let chain = Arc::new(Chain::new(1, 270));
    let world = World::new(&chain, 1, Plan::Never, 1, 1).await;
    let (mut publication, metrics) = (world.publication(0), PublishMetrics::default());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let led = Busy {
        chain,
        committed: AtomicU64::new(1),
        time: AtomicU64::new(1000),
        is_deposed: AtomicBool::new(false),
        grows: AtomicBool::new(true),
    };
    for _ in 0..5 {
        let (began, committed) = (led.now(), led.committed.load(Ordering::Relaxed));
        publication.round(&led, &metrics).await.expect("nothing fails");
        // The time is when the round began, of which it is known that everything is published; the checkpoint covers more.
        assert_eq!(shown(&registry, "current_timestamp_seconds"), Some(began));
        let entries = shown(&registry, "entries").expect("published");
        assert_eq!(publication.published(), Some(Index(entries)));
        assert!(entries > committed, "{entries} of {committed} when it began");
        assert!(led.committed.load(Ordering::Relaxed) > entries, "the log has gone on since");
    }
    // What is not published stands still.
    let before = (shown(&registry, "current_timestamp_seconds"), shown(&registry, "entries"));
    led.is_deposed.store(true, Ordering::Relaxed);
    assert_eq!(publication.round(&led, &metrics).await, Err(PublishError::Deposed));
    assert_eq!((shown(&registry, "current_timestamp_seconds"), shown(&registry, "entries")), before);
    // Without news, all is published.
    led.is_deposed.store(false, Ordering::Relaxed);
    led.grows.store(false, Ordering::Relaxed);
    publication.round(&led, &metrics).await.expect("nothing fails");
    let entries = shown(&registry, "entries");
    led.time.fetch_add(100, Ordering::Relaxed);
    let began = led.now();
    publication.round(&led, &metrics).await.expect("nothing fails");
    assert_eq!(
        (shown(&registry, "current_timestamp_seconds"), shown(&registry, "entries")),
        (Some(began), entries)
    );
}
