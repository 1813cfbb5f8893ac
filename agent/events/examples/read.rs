//! How fast a tenant's events are read: writes a stream of a million events to a folder, reads it, and prints events per second.
//!
//! `cargo run --release -p strongroom-events --example read -- [EVENTS] [EVENTS IN AN ENTRY] [ENTRIES TOLD AT ONCE]`

#[path = "../tests/support/mod.rs"]
mod support;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::thread::available_parallelism;
use std::time::Instant;
use strongroom_events::page::{Reach, name};
use strongroom_events::{Begin, Consumer, Offsets, Page, PageEntry, StoreSource, Told};
use strongroom_proto::events::{MAX_EVENTS, MAX_TOLD_ENTRIES};
use strongroom_proto::ids::{EntryHash, Index};
use support::{REALM, Sealing, TENANT, group, plain, tenant, told};
use url::Url;

/// Tellings in a page.
const TELLINGS: u64 = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let events = arguments.next().transpose()?.unwrap_or(1_000_000);
    let each = u8::try_from(arguments.next().transpose()?.unwrap_or(16))?;
    // As many as an HSM takes.
    let most = (MAX_EVENTS / usize::from(each.max(1))).clamp(1, MAX_TOLD_ENTRIES - 1);
    let at_once = arguments.next().transpose()?.map_or(most, |at_once| (at_once as usize).clamp(1, most));
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let written = write(folder.path(), events, (each, u8::try_from(at_once)?))?;
    println!(
        "{written} events, {each} in an entry and {at_once} entries told at once, written in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let url = Url::from_file_path(folder.path()).map_err(|()| "not a path")?;
    let source = StoreSource::open(&url, &BTreeMap::new(), REALM, TENANT)?;
    let began = Instant::now();
    let none = Offsets::none(REALM, TENANT);
    let mut consumer = Consumer::begin(source, tenant(), none, Begin::Start).await?;
    let (mut read, mut bytes) = (0_u64, 0);
    while let Some(event) = consumer.next().await? {
        (read, bytes) = (read + 1, bytes + event.told.user.len());
    }
    let took = began.elapsed().as_secs_f64();
    assert_eq!(read, written);
    println!(
        "{read} events read in {took:.2} s: {:.0} a second ({bytes} bytes of names; {}, {} threads in the machine, one used)",
        read as f64 / took,
        processor(),
        available_parallelism()?
    );
    Ok(())
}

fn write(folder: &std::path::Path, events: u64, (each, at_once): (u8, u8)) -> Result<u64, Box<dyn Error>> {
    let (mut rng, group) = (StdRng::seed_from_u64(1), group(1));
    let (mut to, mut next, mut number) = (Reach::NOTHING, 0, 0);
    while next < events {
        let (after, first, mut entries) = (to, next, Vec::new());
        let mut index = after.index.0 + 1;
        for _ in 0..TELLINGS {
            let mut events = Vec::new();
            for after in 0..at_once {
                for place in 0..each {
                    events.push(Told { after, ..told(&mut rng, place, next) });
                    next += 1;
                }
            }
            let (first, last) = (Index(index), Index(index + u64::from(at_once) - 1));
            let count = u8::try_from(events.len())?;
            let events = Sealing::new(group, index).seal(&mut rng, &plain(&events));
            entries.push(PageEntry { index: first, last, count, events });
            index = last.0 + 1;
        }
        to = Reach { index: Index(index - 1), hash: EntryHash([1; 32]) };
        let path = folder.join(name(&REALM, TENANT, &group, number));
        fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        fs::write(path, Page { group, after, to, first, written: 0, entries }.encode()?)?;
        number += 1;
    }
    Ok(next)
}

/// As Linux names it.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("an unknown processor".to_owned(), |(_, name)| name.to_owned())
}
