//! A consumer that is killed at any step, or whose machine loses power: when it starts again, it leaves out nothing, and prints again
//! only what it printed after it last kept its offsets.

mod support;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use strongroom_events::offsets::Disk;
use strongroom_events::tail::{Keeper, Style, tail};
use strongroom_events::{Begin, Consumer, Event, HttpSource, Offsets, Source, TokenSource, Unavailable};
use strongroom_proto::ids::GroupId;
use support::agent::{Agent, TOKEN};
use support::{Memory, REALM, TENANT, Writer, group, tenant};

/// A mistake of what is around the consumer, as if the consumer had made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    Nothing,
    /// Offsets get their name before their bytes are on the disk.
    NoSync,
    /// Offsets are said to be kept before their name is on the disk.
    NoFolderSync,
    /// Offsets are written over those of before.
    InPlace,
    /// Lines are not written when offsets are kept.
    NoFlush,
}

/// When it dies, and how far it is. Nothing has an effect once it is dead.
#[derive(Clone)]
struct Life(Arc<Mutex<(u64, u64)>>);

impl Life {
    fn of(steps: u64) -> Self {
        Self(Arc::new(Mutex::new((0, steps))))
    }

    fn steps(&self) -> u64 {
        self.0.lock().unwrap().0
    }

    /// A step. `Err`: it is dead, from this step on.
    fn step(&self) -> io::Result<()> {
        let mut life = self.0.lock().unwrap();
        life.0 += 1;
        if life.0 > life.1 { Err(io::Error::other("dead")) } else { Ok(()) }
    }

    /// Whether it died just now, in the middle of this step.
    fn is_last(&self) -> bool {
        let life = self.0.lock().unwrap();
        life.0 == life.1 + 1
    }
}

#[derive(Clone)]
struct Mortal<S>(S, Life);

impl<S> Mortal<S> {
    fn step(&self) -> Result<(), Unavailable> {
        self.1.step().map_err(|error| Unavailable(error.to_string()))
    }
}

impl<S: Source + Sync> Source for Mortal<S> {
    async fn groups(&self) -> Result<Vec<GroupId>, Unavailable> {
        self.step()?;
        self.0.groups().await
    }

    async fn page(&self, group: GroupId, number: u64) -> Result<Option<Vec<u8>>, Unavailable> {
        self.step()?;
        self.0.page(group, number).await
    }

    async fn oldest(&self, group: GroupId, from: u64) -> Result<Option<u64>, Unavailable> {
        self.step()?;
        self.0.oldest(group, from).await
    }

    async fn newest(&self, group: GroupId) -> Result<Option<u64>, Unavailable> {
        self.step()?;
        self.0.newest(group).await
    }
}

/// A file: what is in it, and what of that is on the disk.
#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

type Names = BTreeMap<PathBuf, usize>;

/// A disk that keeps what was synced, and of the rest what it likes.
#[derive(Default)]
struct Platter {
    inodes: Vec<Inode>,
    names: Names,
    /// The names as they were, since they were synced.
    unsynced: Vec<Names>,
    /// What was said to be kept.
    acknowledged: Option<Vec<u8>>,
}

#[derive(Clone)]
struct FakeDisk {
    platter: Rc<RefCell<Platter>>,
    life: Life,
    planted: Planted,
}

impl FakeDisk {
    fn named(&self, change: impl FnOnce(&mut Names)) {
        let mut platter = self.platter.borrow_mut();
        let before = platter.names.clone();
        platter.unsynced.push(before);
        change(&mut platter.names);
    }
}

impl Disk for FakeDisk {
    type File = usize;

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.life.step()?;
        let path = if self.planted == Planted::InPlace { Path::new("offsets") } else { path };
        let new = self.platter.borrow().inodes.len();
        self.platter.borrow_mut().inodes.push(Inode::default());
        self.named(|names| {
            names.insert(path.into(), new);
        });
        Ok(new)
    }

    fn write(&mut self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        let alive = self.life.step();
        if alive.is_err() && !self.life.is_last() {
            return alive;
        }
        // Killed in the middle: half of it.
        let bytes = if alive.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.platter.borrow_mut().inodes[*file].now.extend_from_slice(bytes);
        alive
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        self.life.step()?;
        if self.planted != Planted::NoSync {
            let inode = &mut self.platter.borrow_mut().inodes[*file];
            inode.synced = inode.now.clone();
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.life.step()?;
        if self.planted != Planted::InPlace {
            self.named(|names| {
                let inode = names.remove(from).expect("it is there");
                names.insert(to.into(), inode);
            });
        }
        Ok(())
    }

    fn sync_folder(&mut self, of: &Path) -> io::Result<()> {
        self.life.step()?;
        let mut platter = self.platter.borrow_mut();
        if self.planted != Planted::NoFolderSync {
            platter.unsynced.clear();
        }
        let kept = platter.names.get(of).map(|inode| platter.inodes[*inode].now.clone());
        platter.acknowledged = kept;
        Ok(())
    }
}

impl Platter {
    /// Loses power.
    fn crash(&mut self, rng: &mut StdRng) {
        let mut histories = std::mem::take(&mut self.unsynced);
        histories.push(self.names.clone());
        self.names = histories.swap_remove(rng.random_range(0..histories.len()));
        for inode in &mut self.inodes {
            let more = rng.random_range(inode.synced.len()..=inode.now.len());
            inode.now.truncate(more);
            inode.synced = inode.now.clone();
        }
    }

    fn read(&self) -> Option<Vec<u8>> {
        self.names.get(Path::new("offsets")).map(|inode| self.inodes[*inode].now.clone())
    }
}

/// What the reader of the lines has.
#[derive(Clone)]
struct Out {
    got: Rc<RefCell<Vec<u8>>>,
    life: Life,
    held: Vec<u8>,
    planted: Planted,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let alive = self.life.step();
        if alive.is_err() && !self.life.is_last() {
            return alive.map(|()| 0);
        }
        let bytes = if alive.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        if self.planted == Planted::NoFlush {
            let held = std::mem::replace(&mut self.held, bytes.to_vec());
            self.got.borrow_mut().extend(held);
        } else {
            self.got.borrow_mut().extend_from_slice(bytes);
        }
        alive.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.life.step()
    }
}

fn line(event: &Event) -> String {
    format!("{} {}", event.group, event.sequence)
}

struct World {
    rng: StdRng,
    memory: Memory,
    /// Where pages are read, if not there.
    http: Option<HttpSource>,
    writers: Vec<Writer>,
    platter: Rc<RefCell<Platter>>,
    /// The lines of each life, whole ones.
    printed: Vec<Vec<(GroupId, u64)>>,
    planted: Planted,
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let (mut rng, memory) = (StdRng::seed_from_u64(seed), Memory::default());
        let mut writers: Vec<Writer> = (1..=2).map(|n| Writer::new(group(n))).collect();
        writers.iter_mut().for_each(|writer| memory.write(&mut rng, writer, 3));
        Self { rng, memory, http: None, writers, platter: Rc::default(), printed: Vec::new(), planted }
    }

    /// The same, read over HTTP.
    fn over_http(seed: u64) -> Self {
        let world = Self::new(seed, Planted::Nothing);
        let url = Agent::over(&world.memory).url().parse().unwrap();
        let tokens = TokenSource::Minted(Arc::new(|| TOKEN.into()));
        Self { http: Some(HttpSource::open(&[url], None, tokens).unwrap()), ..world }
    }

    /// Runs it for so many steps. Returns how many it took, and whether it came to its end; `Err`: what is wrong.
    fn live(&mut self, steps: u64) -> Result<(u64, bool), String> {
        match self.http.clone() {
            Some(http) => self.live_on(http, steps),
            None => self.live_on(self.memory.clone(), steps),
        }
    }

    fn live_on<S: Source + Sync>(&mut self, pages: S, steps: u64) -> Result<(u64, bool), String> {
        let life = Life::of(steps);
        let kept = self.platter.borrow().read();
        if kept.is_none() && self.platter.borrow().acknowledged.is_some() {
            return Err("the offsets are gone".into());
        }
        let kept =
            kept.map(|text| Offsets::parse(&text).map_err(|line| format!("line {line} of the offsets")));
        let source = Mortal(pages, life.clone());
        let offsets = match kept.transpose()? {
            Some(kept) => kept,
            None => Offsets::none(REALM, TENANT),
        };
        let from = offsets.clone();
        let tenant = tenant();
        let mut consumer = Consumer::resume(source, tenant, offsets);
        let got = Rc::new(RefCell::new(Vec::new()));
        let out = Out { got: Rc::clone(&got), life: life.clone(), held: Vec::new(), planted: self.planted };
        let mut out = BufWriter::with_capacity(200, out);
        let disk = FakeDisk { platter: Rc::clone(&self.platter), life: life.clone(), planted: self.planted };
        let mut keeper = Keeper::new(disk, Some(Path::new("offsets")));
        let style = Style { line, all: true, follow: false, kept_every: 3 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let never = std::future::pending();
        let ended = runtime.block_on(tail(&mut consumer, &mut out, &mut keeper, style, never));
        // Without writing what is left in it, as a process that is killed.
        drop(out.into_parts());
        let got = String::from_utf8(got.borrow().clone()).unwrap();
        let whole = got.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let lines = whole.map(|line| {
            let (group, sequence) = line.split_once(' ').expect("two words");
            (group.parse().expect("a group"), sequence.parse().expect("a number"))
        });
        let lines: Vec<(GroupId, u64)> = lines.collect();
        self.begins_at(&from, &lines)?;
        self.printed.push(lines);
        Ok((life.steps(), ended.is_ok()))
    }

    /// Each group goes on where the offsets say, without a gap.
    fn begins_at(&self, from: &Offsets, lines: &[(GroupId, u64)]) -> Result<(), String> {
        let mut next: BTreeMap<GroupId, u64> = BTreeMap::new();
        for (group, sequence) in lines {
            let kept = from.groups.get(group).and_then(|offset| offset.sequence).unwrap_or(0);
            let expected = next.entry(*group).or_insert(kept);
            if sequence != expected {
                return Err(format!("group {group} printed {sequence} and not {expected}"));
            }
            *expected += 1;
        }
        Ok(())
    }

    /// Whether all that the offsets say was printed was, and what was said to be kept is.
    fn check(&self) -> Result<(), String> {
        let Some(text) = self.platter.borrow().read() else { return Ok(()) };
        let kept = Offsets::parse(&text).map_err(|line| format!("line {line} of the offsets"))?;
        for (group, offset) in &kept.groups {
            for sequence in 0..offset.sequence.unwrap_or(0) {
                if !self.printed.iter().flatten().any(|printed| *printed == (*group, sequence)) {
                    return Err(format!("group {group} never printed {sequence}"));
                }
            }
        }
        let platter = self.platter.borrow();
        let sequence =
            |offsets: &Offsets, group| offsets.groups.get(group).and_then(|offset| offset.sequence);
        if let Some(acknowledged) = platter.acknowledged.as_ref().and_then(|text| Offsets::parse(text).ok()) {
            for group in acknowledged.groups.keys() {
                if sequence(&kept, group) < sequence(&acknowledged, group) {
                    return Err(format!("group {group} is told again what was acknowledged"));
                }
            }
        }
        Ok(())
    }

    /// Lives on until it comes to an end by itself.
    fn end(&mut self) -> Result<(), String> {
        self.check()?;
        let (_, ended) = self.live(u64::MAX)?;
        assert!(ended);
        self.check()?;
        for writer in &self.writers {
            for sequence in 0..writer.next {
                if !self.printed.iter().flatten().any(|printed| *printed == (writer.group, sequence)) {
                    return Err(format!("group {} never printed {sequence}", writer.group));
                }
            }
        }
        Ok(())
    }
}

/// One kill at each step of a whole life, with and without the loss of power.
fn killed_once(planted: Planted) -> Result<(), String> {
    killed_each(1, || World::new(1, planted))
}

fn killed_each(nth: usize, world: impl Fn() -> World) -> Result<(), String> {
    let (steps, ended) = world().live(u64::MAX - 1)?;
    assert!(ended && steps > 50, "{steps} steps");
    for kill in (0..=steps).step_by(nth) {
        for crash in [false, true] {
            let mut world = world();
            world.live(kill)?;
            if crash {
                let World { rng, platter, .. } = &mut world;
                platter.borrow_mut().crash(rng);
            }
            world.end().map_err(|error| format!("killed at step {kill}, crash {crash}: {error}"))?;
        }
    }
    Ok(())
}

/// Many kills, while more is written.
fn killed_often(seed: u64, planted: Planted) -> Result<(), String> {
    killed_again(seed, World::new(seed, planted))
}

fn killed_again(seed: u64, mut world: World) -> Result<(), String> {
    for _ in 0..8 {
        let steps = world.rng.random_range(0..60);
        world.live(steps)?;
        let World { rng, platter, memory, writers, .. } = &mut world;
        if rng.random_bool(0.5) {
            platter.borrow_mut().crash(rng);
        }
        let writer = rng.random_range(0..writers.len());
        memory.write(rng, &mut writers[writer], 1);
        world.check().map_err(|error| format!("seed {seed}: {error}"))?;
    }
    world.end().map_err(|error| format!("seed {seed}: {error}"))
}

#[test]
fn a_consumer_that_is_killed_at_any_step_leaves_out_nothing_and_repeats_only_what_it_did_not_acknowledge() {
    killed_once(Planted::Nothing).unwrap();
    for seed in 0..60 {
        killed_often(seed, Planted::Nothing).unwrap();
    }
}

#[test]
fn so_does_one_that_reads_over_http() {
    killed_each(7, || World::over_http(1)).unwrap();
    for seed in 0..6 {
        killed_again(seed, World::over_http(seed)).unwrap();
    }
}

#[test]
fn each_planted_mistake_is_caught() {
    for planted in [Planted::NoSync, Planted::NoFolderSync, Planted::InPlace, Planted::NoFlush] {
        let caught = killed_once(planted)
            .and_then(|()| (0..300).try_for_each(|seed| killed_often(seed, planted)))
            .expect_err("a mistake");
        assert!(!caught.is_empty(), "{planted:?}");
    }
}

/// What begins now begins there also if it is killed before the first event.
#[test]
fn where_it_begins_is_kept_before_the_first_event() {
    let mut world = World::new(2, Planted::Nothing);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let life = Life::of(u64::MAX);
    let source = Mortal(world.memory.clone(), life.clone());
    let none = Offsets::none(REALM, TENANT);
    let mut consumer = runtime.block_on(Consumer::begin(source, tenant(), none, Begin::Now)).unwrap();
    let disk = FakeDisk { platter: Rc::clone(&world.platter), life, planted: Planted::Nothing };
    let mut keeper = Keeper::new(disk, Some(Path::new("offsets")));
    let style = Style { line, all: true, follow: false, kept_every: 3 };
    // It is stopped before it looks.
    let mut out = io::sink();
    runtime.block_on(tail(&mut consumer, &mut out, &mut keeper, style, async {})).unwrap();
    let before: Vec<u64> = world.writers.iter().map(|writer| writer.next).collect();
    let World { rng, memory, writers, .. } = &mut world;
    writers.iter_mut().for_each(|writer| memory.write(rng, writer, 3));
    let (_, ended) = world.live(u64::MAX - 1).unwrap();
    assert!(ended);
    let told = world.printed.concat();
    let expected: u64 = world.writers.iter().zip(before).map(|(writer, before)| writer.next - before).sum();
    assert_eq!(told.len() as u64, expected);
}
