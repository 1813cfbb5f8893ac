//! Power cuts: the emulator is killed at each write to the flash, and the board must start from the state before or
//! after it.

use super::gdb::Gdb;
use super::host::Host;
use super::play::Bench;
use crate::Error;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::time::Duration;
use strongroom_hsm::Config;
use strongroom_proto::hsm::{DeviceStatus, GroupStatus, Reply, Request};
use strongroom_proto::ids::RecordId;
use strongroom_testkit::{Event, Tape};

/// How long nothing may be written before checking whether the board has answered.
const PAUSE: Duration = Duration::from_millis(50);

/// What is interrupted.
struct Scene {
    name: &'static str,
    /// What happened before, from the first boot on.
    before: Vec<Event>,
    /// What is asked then. `None`: the board is booted once more.
    request: Option<Vec<u8>>,
}

/// Kills the emulator at every `every`-th write to the flash, from the first on, during a capture, the making of a
/// group, and a start; boots it again each time, and fails if its state is neither the one before nor the one after, or
/// if it goes back on what it said.
///
/// # Errors
/// As above; or the board cannot be booted.
pub fn cut(image: Option<&Path>, every: usize) -> Result<(), Error> {
    let mut bench = Bench::new(image.map(Path::to_path_buf))?;
    let config = bench.config()?;
    for scene in scenes(&config) {
        let writes = interrupt_all(&mut bench, &scene, every.max(1))?;
        let cuts = writes.div_ceil(every.max(1));
        println!("{}: {writes} writes to the flash, {cuts} power cuts right after one", scene.name);
    }
    notices(&mut bench, &config)
}

fn scenes(config: &Config) -> [Scene; 3] {
    let mut host = Host::new(1, config.clone());
    let grown = events(host.tape());
    let (begin, new_group) =
        grown.split_at(position(&grown, |request| matches!(request, Request::NewGroup(_))));
    let [Event::Exchange { request: new_group, .. }, ..] = new_group else { panic!("a group was made") };
    let (begin, new_group) = (begin.to_vec(), new_group.clone());
    host.register(RecordId([1; 32]));
    let before = events(host.tape());
    host.register(RecordId([2; 32]));
    let all = events(host.tape());
    let next =
        position(&all[before.len()..], |request| matches!(request, Request::Capture(_))) + before.len();
    let Event::Exchange { request: capture, .. } = &all[next] else { panic!("an entry was captured") };
    [
        Scene { name: "a capture", before: all[..next].to_vec(), request: Some(capture.clone()) },
        Scene { name: "a new group", before: begin, request: Some(new_group) },
        Scene { name: "a start", before: all.clone(), request: None },
    ]
}

fn events(tape: &Tape) -> Vec<Event> {
    tape.events().to_vec()
}

fn position(events: &[Event], is: impl Fn(&Request) -> bool) -> usize {
    let found = events.iter().position(|event| match event {
        Event::Exchange { request, .. } => minicbor::decode(request).is_ok_and(|request| is(&request)),
        Event::Boot(_) => false,
    });
    found.expect("it is on the tape")
}

/// Cuts the power at each write, and returns how many there were.
fn interrupt_all(bench: &mut Bench, scene: &Scene, every: usize) -> Result<usize, Error> {
    set(bench, scene)?;
    let before = bench.status()?;
    let writes = play_out(bench, scene)?;
    let after = bench.status()?;
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?;
    let bar = ProgressBar::new(writes as u64).with_style(style).with_message(scene.name);
    for at in (1..=writes).step_by(every) {
        bar.set_position(at as u64);
        set(bench, scene)?;
        interrupt(bench, scene, at)?;
        let found = settled(bench)?;
        let named = |error| format!("{}, cut after write {at}: {error}", scene.name);
        check(&before, &after, &found, false).map_err(named)?;
        // It has answered, and starts once more.
        bench.boot(None)?;
        let again = bench.status()?;
        check(&found, &found, &again, true)
            .map_err(|error| format!("{}, started again: {error}", scene.name))?;
    }
    bar.finish_and_clear();
    Ok(writes)
}

/// A board on which everything before the scene has happened.
fn set(bench: &mut Bench, scene: &Scene) -> Result<(), Error> {
    match bench.play(&scene.before)? {
        None => Ok(()),
        Some(difference) => Err(difference.into()),
    }
}

/// Plays the scene, and counts the writes.
fn play_out(bench: &mut Bench, scene: &Scene) -> Result<usize, Error> {
    let mut gdb = begin(bench, scene)?;
    let mut writes = 0;
    loop {
        match gdb.stop(PAUSE)? {
            Some(()) => {
                writes += 1;
                gdb.go()?;
            }
            None if bench.wire()?.poll(PAUSE)?.is_some() => return Ok(writes),
            None => {}
        }
    }
}

/// Plays it up to a write, and cuts the power.
fn interrupt(bench: &mut Bench, scene: &Scene, at: usize) -> Result<(), Error> {
    let mut gdb = begin(bench, scene)?;
    for write in 1..=at {
        gdb.stop(Duration::from_secs(60))?.ok_or_else(|| format!("write {write} does not come"))?;
        if write < at {
            gdb.go()?;
        }
    }
    bench.cut();
    Ok(())
}

/// Begins the scene under a debugger.
fn begin(bench: &mut Bench, scene: &Scene) -> Result<Gdb, Error> {
    let status = minicbor::to_vec(Request::DeviceStatus)?;
    let mut gdb = match &scene.request {
        Some(_) => bench.attach()?,
        None => {
            bench.boot_stopped()?;
            bench.attach()?
        }
    };
    gdb.go()?;
    bench.wire()?.send(scene.request.as_ref().unwrap_or(&status))?;
    Ok(gdb)
}

fn settled(bench: &mut Bench) -> Result<DeviceStatus, Error> {
    bench.boot(None)?;
    bench.status()
}

/// Whether a board that was cut is in the state before or after; if it had answered, in the one after.
fn check(
    before: &DeviceStatus,
    after: &DeviceStatus,
    found: &DeviceStatus,
    answered: bool,
) -> Result<(), String> {
    let (found, before, after) = (state(found), state(before), state(after));
    if found == after || (found == before && !answered) {
        return Ok(());
    }
    Err(format!("the board is {found:?}, neither {before:?} nor {after:?}"))
}

/// Everything in NVRAM, as far as the board reports it.
fn state(status: &DeviceStatus) -> (String, Option<String>, Vec<(String, u64, String)>) {
    let group =
        |g: &GroupStatus| (g.statement.group.to_string(), g.captured_index.0, g.captured_hash.to_string());
    let realm = status.realm.as_ref().map(|realm| format!("{} {}", realm.realm, realm.unassigned));
    (format!("{} {}", status.hsm, status.device_key), realm, status.groups.iter().map(group).collect())
}

/// Checks that a board that goes back on what it said would be noticed.
fn notices(bench: &mut Bench, config: &Config) -> Result<(), Error> {
    let [scene, ..] = scenes(config);
    set(bench, &scene)?;
    let (before, flash) = (bench.status()?, bench.flash());
    let old = std::fs::read(&flash)?;
    let request = scene.request.as_ref().ok_or("a capture is asked for")?;
    let reply: Reply = minicbor::decode(&bench.call(request)?)?;
    let after = bench.status()?;
    bench.cut();
    std::fs::write(&flash, old)?;
    let found = settled(bench)?;
    match check(&before, &after, &found, true) {
        Err(_) => Ok(()),
        Ok(()) => {
            Err(format!("after {reply:?} a flash from before was put back, and this was not noticed").into())
        }
    }
}
