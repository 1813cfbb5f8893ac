//! A consumer of streams: it gives out every event once and in order, or says what is wrong with which page.

mod support;

use futures::FutureExt as _;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_events::offsets::Follows;
use strongroom_events::page::{MAX_PAGE_BYTES, Reach, name, stream};
use strongroom_events::{
    BadPage, Begin, Consumer, Event, Offset, Offsets, ReadError, Source, StoreSource, TenantSecret,
    Unavailable, Untellable,
};
use strongroom_proto::ids::{EntryHash, GroupId, Index};
use support::{Memory, REALM, TENANT, Writer, group, plain, tenant, tenant_with, told};
use url::Url;

fn none() -> Offsets {
    Offsets::none(REALM, TENANT)
}

fn resumed(source: &Memory, offsets: Offsets) -> Consumer<Memory> {
    Consumer::resume(source.clone(), tenant(), offsets)
}

/// What there is until the end, or until something is wrong.
async fn all<S: Source>(consumer: &mut Consumer<S>) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    while let Some(event) = consumer.next().await? {
        events.push(event);
    }
    Ok(events)
}

/// Each group's events are exactly what was written, from these on.
fn same(events: &[Event], writers: &[Writer], from: &BTreeMap<GroupId, u64>) {
    for writer in writers {
        let of_group: Vec<&Event> = events.iter().filter(|event| event.group == writer.group).collect();
        let first = from.get(&writer.group).copied().unwrap_or(0);
        assert_eq!(of_group.len() as u64, writer.next - first);
        for (sequence, event) in (first..).zip(of_group) {
            let (index, told) = &writer.told[usize::try_from(sequence).unwrap()];
            assert_eq!((event.sequence, event.index, &event.told), (sequence, *index, told));
        }
    }
}

/// A stream of some groups with some pages each.
fn written(seed: u64, groups: u8, pages: usize) -> (StdRng, Memory, Vec<Writer>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (memory, mut writers) = (Memory::default(), Vec::new());
    for n in 1..=groups {
        let mut writer = Writer::new(group(n));
        memory.write(&mut rng, &mut writer, pages);
        writers.push(writer);
    }
    (rng, memory, writers)
}

#[tokio::test]
async fn every_event_is_given_out_once_and_in_the_order_of_its_group() {
    for seed in 0..30 {
        let (mut rng, memory, mut writers) = written(seed, 3, 4);
        let mut consumer =
            Consumer::begin(memory.clone(), tenant(), none(), Begin::Start).await.expect("readable");
        let mut events = all(&mut consumer).await.expect("good pages");
        for _ in 0..4 {
            let writer = rng.random_range(0..writers.len());
            memory.write(&mut rng, &mut writers[writer], 2);
            if rng.random_bool(0.3) {
                let mut new = Writer::new(group(10 + rng.random_range(0..100)));
                memory.write(&mut rng, &mut new, 2);
                writers.retain(|writer| writer.group != new.group);
                writers.push(new);
            }
            events.extend(all(&mut consumer).await.expect("good pages"));
        }
        same(&events, &writers, &BTreeMap::new());
        assert_eq!(all(&mut consumer).await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn a_consumer_goes_on_after_any_event_also_from_a_file() {
    let (mut rng, memory, mut writers) = written(1, 2, 6);
    let mut consumer = resumed(&memory, none());
    let mut kept = vec![(0, consumer.offsets().clone())];
    let mut count = 0;
    while consumer.next().await.expect("good pages").is_some() {
        count += 1;
        kept.push((count, consumer.offsets().clone()));
    }
    kept.push((count, consumer.offsets().clone()));
    memory.write(&mut rng, &mut writers[0], 1);
    let whole = all(&mut resumed(&memory, none())).await.expect("good pages");
    for (given_out, offsets) in kept {
        let offsets = Offsets::parse(offsets.to_text().as_bytes()).expect("as it was written");
        let from = offsets.groups.iter().map(|(group, offset)| (*group, offset.sequence.unwrap())).collect();
        let rest = all(&mut resumed(&memory, offsets)).await.expect("good pages");
        assert_eq!(rest.len(), whole.len() - given_out);
        same(&rest, &writers, &from);
    }
}

/// A source that takes its time: each call is pending so many times before it is answered.
struct Slow(Memory, AtomicU64);

impl Slow {
    async fn wait(&self) {
        for _ in 0..self.1.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }
}

impl Source for Slow {
    async fn groups(&self) -> Result<Vec<GroupId>, Unavailable> {
        self.wait().await;
        self.0.groups().await
    }

    async fn page(&self, group: GroupId, number: u64) -> Result<Option<Vec<u8>>, Unavailable> {
        self.wait().await;
        self.0.page(group, number).await
    }

    async fn oldest(&self, group: GroupId, from: u64) -> Result<Option<u64>, Unavailable> {
        self.wait().await;
        self.0.oldest(group, from).await
    }

    async fn newest(&self, group: GroupId) -> Result<Option<u64>, Unavailable> {
        self.wait().await;
        self.0.newest(group).await
    }
}

#[tokio::test]
async fn a_read_that_is_dropped_at_any_await_has_done_nothing() {
    let (mut rng, memory, writers) = written(2, 3, 5);
    let mut consumer = Consumer::resume(Slow(memory, AtomicU64::new(3)), tenant(), none());
    let (mut events, mut dropped) = (Vec::new(), 0);
    while events.len() < writers.iter().map(|writer| writer.told.len()).sum() {
        let before = consumer.offsets().groups.clone();
        let mut polls = rng.random_range(0..12);
        let next = {
            let mut next = std::pin::pin!(consumer.next());
            std::future::poll_fn(|context| {
                polls -= 1;
                match next.as_mut().poll_unpin(context) {
                    std::task::Poll::Pending if polls <= 0 => std::task::Poll::Ready(None),
                    polled => polled.map(Some),
                }
            })
            .await
        };
        match next {
            Some(event) => events.extend(event.expect("good pages")),
            None => {
                dropped += 1;
                let after = &consumer.offsets().groups;
                let moved = |(group, offset): (&GroupId, &Offset)| {
                    before.get(group).is_some_and(|before| before.sequence != offset.sequence)
                };
                assert!(!after.iter().any(moved));
            }
        }
    }
    same(&events, &writers, &BTreeMap::new());
    assert!(dropped > 5, "{dropped}");
}

const G: GroupId = GroupId([1; 16]);

/// What a consumer says of a stream with one mistake in it.
async fn said(mistake: impl FnOnce(&Memory, &mut StdRng)) -> ReadError {
    let (mut rng, memory, _) = written(3, 1, 0);
    let mut writer = Writer::new(G);
    for number in 0..6 {
        let page = writer.page(&mut rng, 3);
        memory.put(G, number, &page);
    }
    assert!(all(&mut resumed(&memory, none())).await.is_ok());
    mistake(&memory, &mut rng);
    all(&mut resumed(&memory, none())).await.expect_err("a mistake")
}

fn untellable(said: &ReadError, number: u64) -> bool {
    matches!(said, ReadError::Untellable { page, why: Untellable::Unsigned, .. } if *page == number)
}

#[tokio::test]
async fn what_does_not_follow_is_not_given_out() {
    let not_following = |page| ReadError::NotFollowing { group: G, page };
    assert_eq!(said(|m, _| m.change(G, 3, |page| page.after.index = Index(1))).await, not_following(3));
    // What it says itself that it passes over.
    let passed_over = said(|m, _| {
        m.change(G, 3, |page| {
            page.after.index = page.entries[0].index;
            page.entries.remove(0);
        });
    });
    assert!(matches!(passed_over.await, ReadError::NotTold { page: 3, told, index, .. } if told < index));
    assert_eq!(
        said(|m, _| m.change(G, 3, |page| page.after.hash = EntryHash([9; 32]))).await,
        not_following(3)
    );
    assert_eq!(said(|m, _| m.change(G, 3, |page| page.to.hash = EntryHash([9; 32]))).await, not_following(4));
    assert_eq!(said(|m, _| m.change(G, 3, |page| page.first += 1)).await, not_following(3));
    assert_eq!(said(|m, _| m.change(G, 3, |page| page.first -= 1)).await, not_following(3));
    assert_eq!(said(|m, _| m.change(G, 0, |page| page.first = 1)).await, not_following(0));
    assert_eq!(said(|m, _| m.change(G, 3, |page| page.group = group(9))).await, not_following(3));
    // An entry left out at the end, in the middle, and with the numbers mended.
    assert_eq!(said(|m, _| m.change(G, 3, |page| drop(page.entries.pop()))).await, not_following(4));
    assert_eq!(said(|m, _| m.change(G, 3, |page| drop(page.entries.remove(1)))).await, not_following(4));
    // A page in the place of another.
    assert_eq!(said(|m, _| m.put(G, 4, &m.get(G, 3))).await, not_following(4));
    assert_eq!(said(|m, _| m.put(G, 2, &m.get(G, 4))).await, not_following(2));
}

#[tokio::test]
async fn what_does_not_open_is_not_given_out() {
    let opens = said(|m, _| m.change(G, 3, |page| page.entries[1].events.sealed[30] ^= 1)).await;
    assert!(untellable(&opens, 3), "{opens}");
    // Events of one entry in the place of another's.
    let opens = said(|m, _| {
        m.change(G, 3, |page| {
            page.entries[1].events = page.entries[0].events.clone();
            page.entries[1].count = page.entries[0].count;
        });
    });
    assert!(untellable(&opens.await, 3));
    // Sealed for another group.
    let opens = said(|m, rng| {
        let events = plain(&[told(rng, 0, 1)]);
        m.change(G, 3, |page| {
            page.entries[0].events =
                support::Sealing::new(group(2), page.entries[0].index.0).seal(rng, &events);
        });
    });
    assert!(untellable(&opens.await, 3));
    let (_, memory, _) = written(3, 1, 6);
    let mut other = Consumer::resume(memory, tenant_with(TenantSecret::new([8; 32])), none());
    assert!(matches!(all(&mut other).await, Err(ReadError::Untellable { sequence: 0, .. })));
    // Counts that are not those of what is sealed.
    let counted = said(|m, _| m.change(G, 3, |page| page.entries[2].count += 1)).await;
    assert!(
        matches!(counted, ReadError::Count { page: 3, said, opened, .. } if usize::from(said) == opened + 1)
    );
}

#[tokio::test]
async fn what_is_no_page_is_named() {
    let raw =
        |bytes: Vec<u8>| move |m: &Memory, _: &mut StdRng| drop(m.0.lock().unwrap().insert((G, 3), bytes));
    let bad = |why| ReadError::Page { group: G, page: 3, why };
    assert_eq!(said(raw(Vec::new())).await, bad(BadPage::Malformed));
    assert_eq!(said(raw(vec![0x82, 2])).await, bad(BadPage::Malformed));
    assert_eq!(said(raw(vec![0; MAX_PAGE_BYTES + 1])).await, bad(BadPage::TooLarge));
}

#[tokio::test]
async fn pages_that_are_gone_are_told_from_pages_that_are_missing() {
    let missing = said(|m, _| m.delete(G, 2..=3)).await;
    assert_eq!(missing, ReadError::Missing { group: G, page: 2, next: 4 });
    assert!(missing.to_string().contains(&format!("--from {G}:4")), "{missing}");
    // The oldest, for one who has read nothing, for one who has read a part, and for one who has read them all.
    let (mut rng, memory, _) = written(4, 1, 0);
    let mut writer = Writer::new(G);
    for number in 0..6 {
        memory.put(G, number, &writer.page(&mut rng, 3));
    }
    let starts: Vec<u64> = (0..6).map(|number| memory.get(G, number).first).collect();
    let mut half = resumed(&memory, none());
    for _ in 0..=starts[1] {
        half.next().await.expect("good pages");
    }
    let half = half.offsets().clone();
    memory.delete(G, 0..=3);
    let gone = all(&mut resumed(&memory, none())).await;
    assert_eq!(
        gone,
        Err(ReadError::Gone { group: G, offset: Offset::FIRST, oldest: 4, lost: Some(starts[4]) })
    );
    let offset = half.groups[&G];
    assert_eq!((offset.page, offset.sequence), (1, Some(starts[1] + 1)));
    let gone = all(&mut resumed(&memory, half)).await.expect_err("it lost some");
    let lost = starts[4] - starts[1] - 1;
    assert_eq!(gone, ReadError::Gone { group: G, offset, oldest: 4, lost: Some(lost) });
    assert!(gone.to_string().contains(&format!("{lost} events are lost")), "{gone}");
    // Nothing was lost of what was read.
    let follows = Follows { first: starts[4], after: memory.get(G, 4).after };
    let mut offsets = none();
    offsets.groups.insert(G, Offset { page: 4, sequence: Some(starts[4]), follows: Some(follows) });
    same(&all(&mut resumed(&memory, offsets)).await.unwrap(), &[writer.clone()], &[(G, starts[4])].into());
    // From the start is from the oldest that is kept.
    let mut start = Consumer::begin(memory.clone(), tenant(), none(), Begin::Start).await.unwrap();
    same(&all(&mut start).await.unwrap(), &[writer.clone()], &[(G, starts[4])].into());
    // As the error says to go on.
    let mut offsets = none();
    offsets.groups.insert(G, "4".parse().unwrap());
    same(&all(&mut resumed(&memory, offsets)).await.unwrap(), &[writer], &[(G, starts[4])].into());
}

#[tokio::test]
async fn who_begins_now_is_told_what_comes_and_nothing_of_before() {
    let (mut rng, memory, mut writers) = written(5, 2, 4);
    let before: BTreeMap<GroupId, u64> = writers.iter().map(|writer| (writer.group, writer.next)).collect();
    let mut consumer = Consumer::begin(memory.clone(), tenant(), none(), Begin::Now).await.unwrap();
    assert_eq!(all(&mut consumer).await, Ok(Vec::new()));
    writers.push(Writer::new(group(9)));
    for writer in &mut writers {
        memory.write(&mut rng, writer, 5);
    }
    same(&all(&mut consumer).await.unwrap(), &writers, &before);
    // It has to follow what was there, though nobody read it.
    let mut consumer = Consumer::begin(memory.clone(), tenant(), none(), Begin::Now).await.unwrap();
    memory.write(&mut rng, &mut writers[0], 1);
    memory.change(writers[0].group, writers[0].number - 1, |page| page.after.hash = EntryHash([9; 32]));
    assert!(matches!(all(&mut consumer).await, Err(ReadError::NotFollowing { .. })));
}

#[tokio::test]
async fn an_offset_that_is_in_no_page_is_refused() {
    let (_, memory, writers) = written(6, 1, 4);
    let at = |page, sequence| {
        let mut offsets = none();
        offsets.groups.insert(G, Offset { page, sequence, follows: None });
        resumed(&memory, offsets)
    };
    let among = memory.get(G, 2).first..=memory.get(G, 2).next();
    assert_eq!(
        all(&mut at(2, Some(among.end() + 1))).await,
        Err(ReadError::NoSuchEvent { group: G, page: 2, sequence: among.end() + 1, among: among.clone() })
    );
    for sequence in among.clone() {
        same(&all(&mut at(2, Some(sequence))).await.unwrap(), &writers, &[(G, sequence)].into());
    }
    assert_eq!(all(&mut at(4, None)).await, Ok(Vec::new()));
    assert_eq!(all(&mut at(5, None)).await, Err(ReadError::Ahead { group: G, page: 5, newest: 3 }));
}

#[tokio::test]
async fn what_is_wrong_with_one_group_does_not_keep_back_the_others() {
    let (mut rng, memory, mut writers) = written(7, 3, 4);
    for writer in &mut writers {
        let (number, page) = (writer.number, writer.page(&mut rng, 2));
        memory.put(writer.group, number, &page);
    }
    memory.change(group(2), 4, |page| page.entries[1].events.sealed[0] ^= 1);
    let (mut consumer, mut events, mut errors) = (resumed(&memory, none()), Vec::new(), Vec::new());
    loop {
        match consumer.next().await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => break,
            Err(error) => errors.push(error),
        }
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(untellable(&errors[0], 4));
    let whole = [writers[0].clone(), writers[2].clone()];
    same(&events, &whole, &BTreeMap::new());
    // In the next look it is told again, at the same place; once it is mended, nothing was left out.
    assert_eq!(consumer.next().await, Err(errors[0].clone()));
    memory.change(group(2), 4, |page| page.entries[1].events.sealed[0] ^= 1);
    while let Some(event) = consumer.next().await.transpose() {
        events.push(event.expect("it is mended"));
    }
    events.extend(all(&mut consumer).await.expect("it is mended"));
    same(&events, &writers, &BTreeMap::new());
}

async fn stored(objects: &dyn ObjectStore, base: &str, memory: &Memory) {
    let pages = memory.0.lock().unwrap().clone();
    for ((group, number), bytes) in pages {
        let name = name(&REALM, TENANT, &group, number);
        objects.put(&ObjectPath::from(format!("{base}{name}")), bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn streams_are_read_from_a_store_and_what_else_is_there_is_passed_over() {
    let (_, memory, writers) = written(8, 3, 20);
    let folder = tempfile::tempdir().unwrap();
    let url = Url::from_file_path(folder.path()).unwrap();
    let in_folder = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let in_memory = Arc::new(InMemory::new());
    stored(&in_folder, "", &memory).await;
    stored(&*in_memory, "some/where/", &memory).await;
    let other = stream(&REALM, TENANT, &G);
    for name in ["ff", "00000000000000FF", "0000000000000003/deeper", "zzz"] {
        let name = format!("some/where/{other}/{name}");
        in_memory.put(&ObjectPath::from(name), vec![1].into()).await.unwrap();
    }
    let not_a_group = format!("some/where/realms/{REALM}/events/{}/key", hex::encode(TENANT));
    in_memory.put(&ObjectPath::from(not_a_group.clone()), vec![1].into()).await.unwrap();
    in_memory.put(&ObjectPath::from(format!("{not_a_group}s/1")), vec![1].into()).await.unwrap();
    let first = StoreSource::open(&url, &BTreeMap::new(), REALM, TENANT).unwrap();
    let second = StoreSource::on(in_memory.clone(), ObjectPath::from("some/where"), REALM, TENANT).unwrap();
    for source in [first, second.clone()] {
        assert_eq!(source.groups().await.unwrap().len(), 3);
        let oldest = [source.oldest(G, 0).await, source.oldest(G, 7).await, source.oldest(G, 20).await];
        assert_eq!(oldest, [Ok(Some(0)), Ok(Some(7)), Ok(None)]);
        assert_eq!(source.newest(G).await, Ok(Some(19)));
        assert_eq!((source.oldest(group(9), 0).await, source.newest(group(9)).await), (Ok(None), Ok(None)));
        assert_eq!(source.page(G, 20).await, Ok(None));
        let mut consumer = Consumer::begin(source, tenant(), none(), Begin::Start).await.unwrap();
        same(&all(&mut consumer).await.unwrap(), &writers, &BTreeMap::new());
    }
    let long = ObjectPath::from(format!("some/where/{}", name(&REALM, TENANT, &G, 20)));
    in_memory.put(&long, vec![0; MAX_PAGE_BYTES + 7].into()).await.unwrap();
    assert_eq!(second.page(G, 20).await.unwrap().map(|bytes| bytes.len()), Some(MAX_PAGE_BYTES + 1));
    // What the agents note is a hint, and not more.
    let note = ObjectPath::from(format!("some/where/{other}/newest"));
    for noted in [format!("{:016x}", 9), format!("{:016x}", 99), "rubbish".into(), "0".repeat(100)] {
        in_memory.put(&note, noted.into_bytes().into()).await.unwrap();
        assert_eq!(second.newest(G).await, Ok(Some(20)));
    }
    // Nobody else's.
    let of_other = StoreSource::on(in_memory, ObjectPath::from("some/where"), REALM, "acm").unwrap();
    assert_eq!(of_other.groups().await, Ok(Vec::new()));
}

#[test]
fn a_store_that_cannot_be_used_is_named_without_its_credentials() {
    let open = |url: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        StoreSource::open(&Url::parse(url).unwrap(), &options, REALM, TENANT)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    for (url, options, expected) in [
        ("ftp://somewhere/", &[][..], "cannot read ftp:// as a store"),
        ("file:///nowhere/at/all", &[], "there is no folder /nowhere/at/all"),
        ("s3://bucket/realm", &[("aws_regoin", "x")], "has no option \"aws_regoin\""),
        (
            "s3://bucket/realm",
            &[("aws_secret_access_key", "hunter2\n")],
            "the option \"aws_secret_access_key\"",
        ),
        ("s3://bucket/realm", &[("aws_region", "")], "the option \"aws_region\" is empty"),
        ("file:///", &[("aws_region", "x")], "a store on file:// has no option"),
    ] {
        let said = open(url, options);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{url}: {said}");
    }
    let good: BTreeMap<String, String> =
        [("aws_region", "eu-1"), ("aws_access_key_id", "x"), ("aws_secret_access_key", "y")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert!(StoreSource::open(&Url::parse("s3://bucket/realm").unwrap(), &good, REALM, TENANT).is_ok());
    let unnamed = StoreSource::on(Arc::new(InMemory::new()), ObjectPath::default(), REALM, "");
    assert!(unnamed.is_err());
}

#[test]
fn a_file_of_offsets_is_whole_and_of_its_stream_or_refused() {
    let mut offsets = none();
    let follows = Some(Follows { first: 3, after: Reach { index: Index(9), hash: EntryHash([4; 32]) } });
    offsets.groups.insert(group(1), Offset { page: 7, sequence: Some(u64::MAX), follows });
    offsets.groups.insert(group(2), Offset { page: 0, sequence: None, follows: None });
    let text = offsets.to_text();
    assert_eq!(Offsets::parse(text.as_bytes()), Ok(offsets.clone()));
    for cut in 0..text.len() {
        assert!(Offsets::parse(&text.as_bytes()[..cut]).is_err(), "{cut} bytes");
    }
    for at in 0..text.len() {
        let mut wrong = text.clone().into_bytes();
        wrong[at] ^= 0x80;
        assert!(Offsets::parse(&wrong).is_err(), "byte {at}");
    }
    assert_eq!(Offsets::parse(text.replace(" 7 ", " 07 ").as_bytes()).map(drop), Err(6));
    assert_eq!(Offsets::parse(text.replace("offsets 1", "offsets 2").as_bytes()).map(drop), Err(1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("offsets");
    assert!(matches!(Offsets::open(&path, REALM, TENANT), Ok(None)));
    offsets.save(&path).unwrap();
    assert_eq!(Offsets::open(&path, REALM, TENANT).unwrap(), Some(offsets));
    assert!(
        Offsets::open(&path, REALM, "globex").unwrap_err().to_string().contains("another realm or tenant")
    );
    std::fs::write(&path, "rubbish").unwrap();
    assert!(Offsets::open(&path, REALM, TENANT).unwrap_err().to_string().contains("line 1"));
}

#[tokio::test]
async fn it_begins_where_a_time_or_a_number_is_found() {
    for seed in 0..10 {
        let (mut rng, memory, mut writers) = written(seed, 1, 9);
        memory.write(&mut rng, &mut writers[0], 1);
        // A page each minute, of which the oldest ones were deleted.
        for number in 0..10 {
            memory.change(group(1), number, |page| page.written = number * 60_000);
        }
        memory.delete(group(1), 0..=2);
        let first = |number: u64| memory.get(group(1), number).first;
        for (ms, page) in [(0, 3), (240_000, 3), (300_001, 5), (540_000, 8)] {
            let begin = Begin::Time(ms);
            let mut consumer =
                Consumer::begin(memory.clone(), tenant(), none(), begin).await.expect("readable");
            let from = BTreeMap::from([(group(1), first(page))]);
            same(&all(&mut consumer).await.expect("good pages"), &writers, &from);
        }
        let late = Begin::Time(700_000);
        let mut consumer = Consumer::begin(memory.clone(), tenant(), none(), late).await.expect("readable");
        assert!(all(&mut consumer).await.expect("good pages").is_empty());
        for sequence in first(3)..writers[0].next {
            let offset = Consumer::at(&memory, group(1), sequence).await.expect("readable");
            let mut offsets = none();
            offsets.groups.insert(group(1), offset);
            let from = BTreeMap::from([(group(1), sequence)]);
            same(&all(&mut resumed(&memory, offsets)).await.expect("good pages"), &writers, &from);
        }
        if first(3) > 0 {
            let offset = Consumer::at(&memory, group(1), 0).await.expect("readable");
            let mut offsets = none();
            offsets.groups.insert(group(1), offset);
            let error = all(&mut resumed(&memory, offsets)).await.expect_err("it is gone");
            assert!(matches!(error, ReadError::NoSuchEvent { page: 3, sequence: 0, .. }), "{error}");
        }
    }
}

/// An agent could have HSMs tell the same entry twice, and put both into pages.
#[tokio::test]
async fn a_telling_with_events_of_entries_beyond_its_last_is_refused() {
    let mut rng = StdRng::seed_from_u64(3);
    let (memory, mut writer) = (Memory::default(), Writer::new(group(1)));
    let events = [told(&mut rng, 0, 0), strongroom_events::Told { after: 2, ..told(&mut rng, 0, 1) }];
    for (last, good) in [(7, true), (8, true), (6, false), (5, false)] {
        let mut page = writer.page(&mut rng, 0);
        let sealed = support::Sealing::new(group(1), 5).seal(&mut rng, &plain(&events));
        let (index, last) = (Index(5), Index(last));
        page.entries = vec![strongroom_events::PageEntry { index, last, count: 2, events: sealed }];
        (page.after, page.first, page.to.index) = (Reach::NOTHING, 0, Index(9));
        memory.put(group(1), 0, &page);
        let read = all(&mut resumed(&memory, none())).await;
        if good {
            assert_eq!(read.expect("good").iter().map(|event| event.index.0).collect::<Vec<_>>(), [5, 7]);
        } else {
            let error = read.expect_err("an entry that another telling may be of");
            assert!(matches!(error, ReadError::Page { why: BadPage::Order, .. }), "{error}");
        }
    }
}
